//! Values as written: numbers that fit, nesting that ends, fields once.

use std::collections::HashSet;

use apollo_compiler::Node;
use apollo_compiler::ast;

use super::Lowering;
use crate::LITERAL_DEPTH_MAX;
use crate::query::Input;

impl Lowering<'_> {
    pub(super) fn value(&mut self, value: &Node<ast::Value>, depth: usize) -> Option<Input> {
        let at = self.span(value.location());
        if depth > LITERAL_DEPTH_MAX {
            let message = format!("a value may nest at most {LITERAL_DEPTH_MAX} lists and objects");
            self.error(at, message);
            return None;
        }
        Some(match &**value {
            ast::Value::Null => Input::Null,
            ast::Value::Boolean(value) => Input::Bool(*value),
            ast::Value::String(text) => Input::String(text.as_str().into()),
            ast::Value::Enum(name) => Input::Enum(name.as_str().into()),
            ast::Value::Variable(name) => Input::Variable(name.as_str().into()),
            ast::Value::Int(int) => match int.as_str().parse() {
                Ok(int) => Input::Int(int),
                Err(_) => {
                    self.error(at, format!("the integer {int} does not fit 64 signed bits"));
                    return None;
                }
            },
            ast::Value::Float(float) => match float.try_to_f64() {
                Ok(float) => Input::Float(float),
                Err(_) => {
                    self.error(at, format!("the number {float} is too large"));
                    return None;
                }
            },
            ast::Value::List(items) => {
                let items = items.iter().map(|item| self.value(item, depth + 1));
                Input::List(items.collect::<Option<_>>()?)
            }
            ast::Value::Object(fields) => {
                let mut seen = HashSet::new();
                let mut lowered = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    if !seen.insert(name.as_str()) {
                        self.error(self.name_at(name), format!("field {name} is given twice"));
                        return None;
                    }
                    lowered.push((name.as_str().into(), self.value(field, depth + 1)?));
                }
                Input::Object(lowered)
            }
        })
    }
}
