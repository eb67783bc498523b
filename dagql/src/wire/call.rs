//! One call on the wire: finding what it refers to, and turning it into a [`Call`].
//!
//! [`scan`] comes first and alone enforces the bounds on arguments, values and nesting; [`parse`]
//! then reads the same bytes into memory and may recurse.

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::{Field, Fields, malformed, once};
use super::{IMPLICIT_INPUTS_MAX, WireError};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;
use crate::id::{ARGS_MAX, Argument, Call, Id, ImplicitInput, Module};
use crate::literal::{LITERAL_DEPTH_MAX, Literal};
use crate::typeref::{TYPE_DEPTH_MAX, TypeRef, is_name};

/// How many values may still be read.
pub(super) struct Budget {
    left: usize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    fn spend(&mut self) -> Result<(), WireError> {
        self.left = self.left.checked_sub(1).ok_or(WireError::Limit {
            what: "values",
            limit: self.max,
        })?;
        Ok(())
    }
}

/// Told of each digest a call refers to.
type Refer<'r, 'a> = &'r mut dyn FnMut(&'a str) -> Result<(), WireError>;

/// Calls `refer` with the digest of the receiver, of the module's call and of each ID in the
/// arguments, in the order of the bytes.
pub(super) fn scan<'a>(
    call: &'a [u8],
    budget: &mut Budget,
    refer: Refer<'_, 'a>,
) -> Result<(), WireError> {
    let mut args = 0;
    let mut inputs = 0;
    for field in Fields::new(call) {
        match field? {
            (1, value) => {
                let digest = value.text()?;
                if !digest.is_empty() {
                    refer(digest)?;
                }
            }
            (4, value) => {
                args += 1;
                if args > ARGS_MAX {
                    return Err(WireError::Limit {
                        what: "arguments in one call",
                        limit: ARGS_MAX,
                    });
                }
                scan_argument(value.bytes()?, 0, budget, refer)?;
            }
            (8, value) => {
                for field in Fields::new(value.bytes()?) {
                    if let (1, value) = field? {
                        refer(value.text()?)?;
                    }
                }
            }
            (100, _) => {
                inputs += 1;
                if inputs > IMPLICIT_INPUTS_MAX {
                    return Err(WireError::Limit {
                        what: "implicit inputs in one call",
                        limit: IMPLICIT_INPUTS_MAX,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn scan_argument<'a>(
    argument: &'a [u8],
    depth: usize,
    budget: &mut Budget,
    refer: Refer<'_, 'a>,
) -> Result<(), WireError> {
    for field in Fields::new(argument) {
        if let (2, value) = field? {
            scan_literal(value.bytes()?, depth, budget, refer)?;
        }
    }
    Ok(())
}

/// Recurses at most [`LITERAL_DEPTH_MAX`] deep.
fn scan_literal<'a>(
    literal: &'a [u8],
    depth: usize,
    budget: &mut Budget,
    refer: Refer<'_, 'a>,
) -> Result<(), WireError> {
    budget.spend()?;
    for field in Fields::new(literal) {
        match field? {
            (1, value) => refer(value.text()?)?,
            (8 | 9, _) if depth == LITERAL_DEPTH_MAX => return Err(WireError::LiteralDepth),
            (8, value) => {
                for element in Fields::new(value.bytes()?) {
                    if let (1, element) = element? {
                        scan_literal(element.bytes()?, depth + 1, budget, refer)?;
                    }
                }
            }
            (9, value) => {
                for field in Fields::new(value.bytes()?) {
                    if let (1, argument) = field? {
                        scan_argument(argument.bytes()?, depth + 1, budget, refer)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A call as read, with what the bytes claim about its digests.
pub(super) struct Parsed<'a> {
    pub(super) receiver: Option<Id>,
    pub(super) call: Call,
    pub(super) digest: &'a str,
    pub(super) custom: bool,
    pub(super) content: Option<Digest>,
}

impl Parsed<'_> {
    /// The call as `scheme` knows it: without what did not exist under those rules, which would
    /// otherwise enter unverified.
    pub(super) fn under(mut self, scheme: Scheme) -> Result<Self, WireError> {
        match (scheme, self.content.take()) {
            (Scheme::Blake3, Some(content)) => return Err(WireError::Claim(content)),
            (Scheme::Xxh3V2, content) => self.content = content,
            _ => {}
        }
        if scheme != Scheme::Blake3 {
            self.call = self.call.with_implicit_inputs(Vec::new());
        }
        Ok(self)
    }
}

/// Names and types that occur in many calls and are kept once.
#[derive(Default)]
pub(super) struct Names<'a> {
    names: HashMap<&'a str, Arc<str>>,
    /// By their bytes on the wire.
    types: HashMap<&'a [u8], TypeRef>,
}

impl<'a> Names<'a> {
    fn text(&mut self, text: &'a str) -> Arc<str> {
        if text.is_empty() {
            return Arc::default();
        }
        self.names
            .entry(text)
            .or_insert_with(|| text.into())
            .clone()
    }

    fn name(&mut self, text: &'a str, role: &str) -> Result<Arc<str>, WireError> {
        if let Some(known) = self.names.get(text) {
            return Ok(known.clone());
        }
        if !is_name(text) {
            return Err(malformed(format!("a {role} without a valid name")));
        }
        Ok(self.text(text))
    }

    fn ty(&mut self, bytes: &'a [u8]) -> Result<TypeRef, WireError> {
        if let Some(known) = self.types.get(bytes) {
            return Ok(known.clone());
        }
        let ty = self.new_type(bytes)?;
        self.types.insert(bytes, ty.clone());
        Ok(ty)
    }

    fn new_type(&mut self, bytes: &'a [u8]) -> Result<TypeRef, WireError> {
        let mut lists = Vec::new();
        let mut bytes = bytes;
        let mut ty = loop {
            let (mut name, mut element, mut non_null) = (None, None, None);
            for field in Fields::new(bytes) {
                match field? {
                    (1, value) => once(&mut name, value.text()?)?,
                    (2, value) => once(&mut element, value.bytes()?)?,
                    (3, value) => once(&mut non_null, value.boolean()?)?,
                    _ => {}
                }
            }
            let non_null = non_null.unwrap_or(false);
            match (name.unwrap_or(""), element) {
                ("", Some(_)) if lists.len() == TYPE_DEPTH_MAX => return Err(WireError::TypeDepth),
                ("", Some(element)) => {
                    lists.push(non_null);
                    bytes = element;
                }
                (_, Some(_)) => {
                    return Err(malformed(
                        "a type that is both a name and a list".to_owned(),
                    ));
                }
                (name, None) => {
                    break TypeRef::Named {
                        name: self.name(name, "type")?,
                        non_null,
                    };
                }
            }
        };
        for non_null in lists.into_iter().rev() {
            ty = TypeRef::List {
                of: Arc::new(ty),
                non_null,
            };
        }
        Ok(ty)
    }
}

/// Finds the call that a digest of the input names; asked in the order of the bytes.
type Resolve<'r, 'a> = &'r mut dyn FnMut(&'a str) -> Result<Id, WireError>;

/// Reads a call that [`scan`] has accepted.
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Parsed<'a>, WireError> {
    let (mut receiver, mut ty, mut field_name, mut nth) = (None, None, None, None);
    let (mut module, mut digest, mut view, mut custom, mut content) =
        (None, None, None, None, None);
    let mut args = Vec::with_capacity(
        Fields::new(bytes)
            .filter(|field| matches!(field, Ok((4, _))))
            .count(),
    );
    let mut inputs: Vec<ImplicitInput> = Vec::new();
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => match value.text()? {
                "" => {}
                digest => once(&mut receiver, resolve(digest)?)?,
            },
            (2, value) => once(&mut ty, names.ty(value.bytes()?)?)?,
            (3, value) => once(&mut field_name, names.name(value.text()?, "field")?)?,
            (4, value) => {
                let (name, value) = parse_argument(value.bytes()?, names, resolve)?;
                args.push(Argument::new(name, value));
            }
            (7, value) => once(&mut nth, value.varint()?.cast_signed())?,
            (8, value) => once(&mut module, parse_module(value.bytes()?, names, resolve)?)?,
            (9, value) => once(&mut digest, value.text()?)?,
            (10, value) => once(&mut view, names.text(value.text()?))?,
            (11, value) => once(&mut custom, value.boolean()?)?,
            (12, value) => once(&mut content, Digest::parse(value.text()?)?)?,
            (100, value) => inputs.push(parse_input(value.bytes()?, names)?),
            _ => {}
        }
    }
    let digest = digest.unwrap_or("");
    if !inputs.is_sorted_by(|left, right| left.name() < right.name()) {
        return Err(malformed(
            "implicit inputs that are not sorted and distinct".to_owned(),
        ));
    }
    let missing = |what: &str| malformed(format!("a call without {what}"));
    let mut call = Call::new(
        field_name.ok_or_else(|| missing("a field"))?,
        ty.ok_or_else(|| missing("a type"))?,
    )
    .with_args(args)
    .with_nth(nth.unwrap_or(0))
    .with_view(view.unwrap_or_default())
    .with_implicit_inputs(inputs);
    if let Some(module) = module {
        call = call.with_module(module);
    }
    Ok(Parsed {
        receiver,
        call,
        digest,
        custom: custom.unwrap_or(false),
        content,
    })
}

fn parse_module<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Module, WireError> {
    let (mut call, mut name, mut source, mut pin) = (None, None, None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut call, resolve(value.text()?)?)?,
            (2, value) => once(&mut name, names.text(value.text()?))?,
            (3, value) => once(&mut source, names.text(value.text()?))?,
            (4, value) => once(&mut pin, names.text(value.text()?))?,
            _ => {}
        }
    }
    let call = call.ok_or_else(|| malformed("a module without a call".to_owned()))?;
    Ok(Module::new(
        call,
        name.unwrap_or_default(),
        source.unwrap_or_default(),
        pin.unwrap_or_default(),
    ))
}

fn parse_input<'a>(bytes: &'a [u8], names: &mut Names<'a>) -> Result<ImplicitInput, WireError> {
    let (mut name, mut text) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut name, value.text()?)?,
            (2, value) => once(&mut text, names.text(value.text()?))?,
            _ => {}
        }
    }
    match name {
        None | Some("") => Err(malformed("an implicit input without a name".to_owned())),
        Some(name) => Ok(ImplicitInput::new(
            names.text(name),
            text.unwrap_or_default(),
        )),
    }
}

fn parse_argument<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<(Arc<str>, Literal), WireError> {
    let (mut name, mut literal) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut name, names.name(value.text()?, "argument")?)?,
            (2, value) => once(&mut literal, parse_literal(value.bytes()?, names, resolve)?)?,
            _ => {}
        }
    }
    name.zip(literal)
        .ok_or_else(|| malformed("an argument without name or value".to_owned()))
}

fn parse_literal<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Literal, WireError> {
    let mut literal = None;
    for field in Fields::new(bytes) {
        let (number, value) = field?;
        if (1..=9).contains(&number) {
            once(&mut literal, parse_kind(number, value, names, resolve)?)?;
        }
    }
    literal.ok_or_else(|| malformed("a value of no known kind".to_owned()))
}

/// The literal of the kind that `number` stands for.
fn parse_kind<'a>(
    number: u64,
    value: Field<'a>,
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Literal, WireError> {
    Ok(match number {
        1 => Literal::Id(resolve(value.text()?)?),
        2 if value.boolean()? => Literal::Null,
        3 => Literal::Bool(value.boolean()?),
        4 => Literal::Enum(names.text(value.text()?)),
        5 => Literal::Int(value.varint()?.cast_signed()),
        6 => Literal::Float(
            Some(value.double()?)
                .filter(|number| number.is_finite())
                .ok_or_else(|| malformed("a number that is not finite".to_owned()))?,
        ),
        7 => Literal::string(value.text()?),
        8 => {
            let mut values = Vec::new();
            for field in Fields::new(value.bytes()?) {
                if let (1, element) = field? {
                    values.push(parse_literal(element.bytes()?, names, resolve)?);
                }
            }
            Literal::List(values)
        }
        9 => {
            let mut fields = Vec::new();
            for field in Fields::new(value.bytes()?) {
                if let (1, argument) = field? {
                    fields.push(parse_argument(argument.bytes()?, names, resolve)?);
                }
            }
            Literal::Object(fields)
        }
        _ => return Err(malformed("a null that is false".to_owned())),
    })
}
