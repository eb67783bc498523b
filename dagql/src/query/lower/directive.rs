//! Directives in a document: `@skip`, `@include`, `@cache`, `@export`, and where they may stand.

use std::sync::Arc;

use apollo_compiler::Node;
use apollo_compiler::ast;

use super::Lowering;
use crate::query::suggest::suggestion;
use crate::query::{At, Condition, GivenArg, Input};

impl<'a> Lowering<'a> {
    pub(super) fn no_directives(&mut self, directives: &ast::DirectiveList, place: &str) {
        for directive in &directives.0 {
            let message = format!("directive @{} is not allowed on {place}", directive.name);
            self.error(self.span(directive.location()), message);
        }
    }

    pub(super) fn directives(
        &mut self,
        directives: &'a ast::DirectiveList,
        on_field: bool,
    ) -> Directives {
        let mut lowered = Directives::default();
        let mut seen: Vec<&str> = Vec::new();
        for directive in &directives.0 {
            let (name, at) = (directive.name.as_str(), self.span(directive.location()));
            if seen.contains(&name) {
                self.error(at, format!("directive @{name} is given twice"));
                continue;
            }
            match name {
                "skip" | "include" => {
                    if let Some(value) = self.directive_arg(directive, "if", "Boolean!", at) {
                        let keep = name == "include";
                        lowered.conditions.push(Condition {
                            keep,
                            value,
                            location: at,
                        });
                    }
                }
                "cache" if on_field => lowered.cache = Some(self.cache_args(directive)),
                "export" if on_field => match self.directive_arg(directive, "as", "String!", at) {
                    Some(Input::String(text)) => lowered.export = Some(text),
                    Some(_) => self.error(at, "@export needs a constant string"),
                    None => {}
                },
                "cache" | "export" => {
                    self.error(at, format!("directive @{name} is allowed on fields only"));
                }
                _ => {
                    let known = ["skip", "include", "cache", "export"];
                    let hint = suggestion(name, known.into_iter());
                    self.error(at, format!("there is no directive @{name}{hint}"));
                    continue;
                }
            }
            seen.push(name);
        }
        lowered
    }

    /// The only argument of a directive.
    fn directive_arg(
        &mut self,
        directive: &Node<ast::Directive>,
        name: &str,
        ty: &str,
        at: At,
    ) -> Option<Input> {
        match directive.arguments.as_slice() {
            [argument] if argument.name.as_str() == name => {
                let value = self.value(&argument.value, 0)?;
                self.usage.constant_type(ty, &value, at);
                Some(value)
            }
            _ => {
                let message = format!("@{} takes one argument, {name}: {ty}", directive.name);
                self.error(at, message);
                None
            }
        }
    }

    fn cache_args(&mut self, directive: &Node<ast::Directive>) -> Vec<GivenArg> {
        let mut args: Vec<GivenArg> = Vec::new();
        for argument in &directive.arguments {
            let at = self.name_at(&argument.name);
            let ty = match argument.name.as_str() {
                "scope" => "CacheScope",
                "ttl" | "key" => "String",
                name => {
                    let hint = suggestion(name, ["scope", "ttl", "key"].into_iter());
                    self.error(at, format!("@cache has no argument {name}{hint}"));
                    continue;
                }
            };
            if args.iter().any(|arg| *arg.name == *argument.name.as_str()) {
                self.error(
                    at,
                    format!("argument {} of @cache is given twice", argument.name),
                );
                continue;
            }
            if let Some(value) = self.value(&argument.value, 0) {
                self.usage.constant_type(ty, &value, at);
                args.push(GivenArg {
                    name: argument.name.as_str().into(),
                    value,
                    location: at,
                });
            }
        }
        args
    }
}

/// The directives of one selection.
#[derive(Default)]
pub(super) struct Directives {
    pub(super) conditions: Vec<Condition>,
    pub(super) cache: Option<Vec<GivenArg>>,
    pub(super) export: Option<Arc<str>>,
}
