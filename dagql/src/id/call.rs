//! One call, before it is placed on a receiver: [`Call`] and what it is made of.

use std::fmt;
use std::sync::Arc;

use super::{Argument, Id};
use crate::literal::Literal;
use crate::typeref::TypeRef;

/// A field call without its receiver. Built by chaining, then placed with [`Id::root`] or
/// [`Id::append`].
#[derive(Debug, Clone)]
pub struct Call {
    field: Arc<str>,
    ty: TypeRef,
    args: Vec<Argument>,
    view: Arc<str>,
    rare: Option<Box<Rare>>,
}

/// What few calls have, kept apart so that the others, of which a chain can have 100,000, are
/// smaller.
#[derive(Debug, Clone, Default)]
struct Rare {
    nth: i64,
    module: Option<Arc<Module>>,
    implicit: Vec<ImplicitInput>,
}

/// The module that implements a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    id: Id,
    name: Arc<str>,
    source: Arc<str>,
    pin: Arc<str>,
}

/// What an implicit input scopes a call to. The text form is the input's name in IDs and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One client: `client` = client ID.
    Client,
    /// One session: `session` = session ID.
    Session,
    /// One execution: `call` = a random text.
    Call,
    /// One version of the schema: `schema` = schema digest.
    Schema,
    /// A period: `ttl` = the period's name.
    Ttl,
    /// A text chosen by the user: `key` = that text.
    Key,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Session,
        Self::Call,
        Self::Schema,
        Self::Ttl,
        Self::Key,
    ];

    /// The input's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Session => "session",
            Self::Call => "call",
            Self::Schema => "schema",
            Self::Ttl => "ttl",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A recorded input that the caller did not write as an argument but that the result depends on. It
/// is part of the call's digest and of its encoding, and never secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImplicitInput {
    name: Arc<str>,
    value: Arc<str>,
}

impl ImplicitInput {
    /// An input under a name of the caller's choice, for hooks that need more than the common
    /// scopes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// An input that scopes the call to `value`.
    #[must_use]
    pub fn scoped(scope: Scope, value: impl Into<Arc<str>>) -> Self {
        Self::new(scope.as_str(), value)
    }

    /// The name, unique within a call.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The recorded value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Which common scope this is, if it is one.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == &*self.name)
    }
}

impl Module {
    /// A module: the call that builds the module object, its name, its source reference and the
    /// pinned commit.
    #[must_use]
    pub fn new(
        id: Id,
        name: impl Into<Arc<str>>,
        source: impl Into<Arc<str>>,
        pin: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            source: source.into(),
            pin: pin.into(),
        }
    }

    /// The call that builds the module object.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The module's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source reference, for example `github.com/x/y`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The pinned commit, possibly empty.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// The same module, built by another call.
    pub(super) fn with_id(&self, id: Id) -> Self {
        Self { id, ..self.clone() }
    }

    pub(super) fn into_id(self) -> Id {
        self.id
    }
}

impl Call {
    /// A call of `field`, which returns `ty`, with neither arguments nor scope.
    #[must_use]
    pub fn new(field: impl Into<Arc<str>>, ty: TypeRef) -> Self {
        Self {
            field: field.into(),
            ty,
            args: Vec::new(),
            view: Arc::default(),
            rare: None,
        }
    }

    /// Adds a public argument, or replaces the one of that name in place.
    #[must_use]
    pub fn arg(self, name: impl Into<Arc<str>>, value: impl Into<Literal>) -> Self {
        self.argument(Argument::new(name, value))
    }

    /// Adds an argument, or replaces the one of that name in place.
    #[must_use]
    pub fn argument(mut self, argument: Argument) -> Self {
        match self
            .args
            .iter_mut()
            .find(|known| known.name() == argument.name())
        {
            Some(known) => *known = argument,
            None => self.args.push(argument),
        }
        self
    }

    /// Replaces all arguments, usually by what [`super::canonical_arguments`] returned.
    #[must_use]
    pub fn with_args(mut self, args: Vec<Argument>) -> Self {
        self.args = args;
        self
    }

    /// Selects one element of the returned list, counted from 1. The call's type is then the
    /// element type.
    #[must_use]
    pub fn with_nth(mut self, nth: i64) -> Self {
        if nth != self.nth() {
            self.rare_mut().nth = nth;
        }
        self
    }

    /// Replaces the type.
    #[must_use]
    pub fn with_type(mut self, ty: TypeRef) -> Self {
        self.ty = ty;
        self
    }

    /// Sets the module that implements the field.
    #[must_use]
    pub fn with_module(mut self, module: impl Into<Arc<Module>>) -> Self {
        self.rare_mut().module = Some(module.into());
        self
    }

    /// Sets the API version under which the call is made.
    #[must_use]
    pub fn with_view(mut self, view: impl Into<Arc<str>>) -> Self {
        self.view = view.into();
        self
    }

    /// Records an implicit input, replacing one of the same name; the order of recording does not
    /// matter.
    #[must_use]
    pub fn implicit(mut self, input: ImplicitInput) -> Self {
        let inputs = &mut self.rare_mut().implicit;
        match inputs.binary_search_by(|known| known.name().cmp(input.name())) {
            Ok(at) => inputs[at] = input,
            Err(at) => inputs.insert(at, input),
        }
        self
    }

    /// Sets all implicit inputs, which are already ascending and distinct by name.
    pub(crate) fn with_implicit_inputs(mut self, inputs: Vec<ImplicitInput>) -> Self {
        if inputs != self.implicit_inputs() {
            self.rare_mut().implicit = inputs;
        }
        self
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The field's name.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The returned type.
    #[must_use]
    pub fn ty(&self) -> &TypeRef {
        &self.ty
    }

    /// All arguments.
    #[must_use]
    pub fn args(&self) -> &[Argument] {
        &self.args
    }

    /// The arguments that may be hashed, encoded and shown.
    pub fn public_args(&self) -> impl Iterator<Item = &Argument> {
        self.args.iter().filter(|argument| !argument.is_sensitive())
    }

    /// The selected list element from 1, or 0.
    #[must_use]
    pub fn nth(&self) -> i64 {
        self.rare.as_ref().map_or(0, |rare| rare.nth)
    }

    /// The module that implements the field.
    #[must_use]
    pub fn module(&self) -> Option<&Module> {
        self.rare.as_ref()?.module.as_deref()
    }

    /// The API version, possibly empty.
    #[must_use]
    pub fn view(&self) -> &str {
        &self.view
    }

    /// The recorded implicit inputs, ascending by name.
    #[must_use]
    pub fn implicit_inputs(&self) -> &[ImplicitInput] {
        self.rare.as_ref().map_or(&[], |rare| &rare.implicit)
    }

    /// Moves every ID the call refers to into `ids`, so that dropping the call cannot recurse into
    /// them.
    pub(super) fn take_ids(&mut self, ids: &mut Vec<Id>) {
        for argument in &mut self.args {
            argument.take_ids(ids);
        }
        let module = self.rare.as_mut().and_then(|rare| rare.module.take());
        if let Some(module) = module.and_then(Arc::into_inner) {
            ids.push(module.into_id());
        }
    }

    /// The call with each ID it refers to replaced by what `replace` says.
    pub(super) fn map_ids(&self, replace: &impl Fn(&Id) -> Id) -> Self {
        let args = self.args.iter();
        let call = Self {
            field: self.field.clone(),
            ty: self.ty.clone(),
            args: args.map(|argument| argument.map_ids(replace)).collect(),
            view: self.view.clone(),
            rare: self.rare.clone(),
        };
        match self.module() {
            Some(module) => call.with_module(module.with_id(replace(module.id()))),
            None => call,
        }
    }
}
