//! One call on the wire: finding what it refers to, and turning it into a [`Call`].
//!
//! [`scan`] comes first and alone enforces the bounds on arguments, values and nesting; [`parse`]
//! then reads the same bytes into memory and may recurse.

use std::sync::Arc;

use super::decode::stated;
use super::names::Names;
use super::reader::{Fail, Field, Fields, malformed, once};
use super::{IMPLICIT_INPUTS_MAX, WireError};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;
use crate::id::{ARGS_MAX, Argument, Call, Id, ImplicitInput, Module};
use crate::literal::{LITERAL_DEPTH_MAX, Literal};

/// How many values may still be read.
pub(super) struct Budget {
    left: usize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    fn spend(&mut self) -> Result<(), Fail> {
        self.left = self.left.checked_sub(1).ok_or(WireError::Limit {
            what: "values",
            limit: self.max,
        })?;
        Ok(())
    }
}

/// Told of each digest a call refers to.
type Refer<'r, 'a> = &'r mut dyn FnMut(&'a [u8]) -> Result<(), Fail>;

/// Calls `refer` with the digest of the receiver, of the module's call and of each ID in the
/// arguments, in the order of the bytes.
pub(super) fn scan<'a>(
    call: &'a [u8],
    budget: &mut Budget,
    refer: Refer<'_, 'a>,
) -> Result<(), Fail> {
    let mut args = 0;
    let mut inputs = 0;
    for field in Fields::new(call) {
        match field? {
            (1, value) => {
                let digest = value.bytes()?;
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
                    }
                    .into());
                }
                scan_argument(value.bytes()?, 0, budget, refer)?;
            }
            (8, value) => {
                for field in Fields::new(value.bytes()?) {
                    if let (1, value) = field? {
                        refer(value.bytes()?)?;
                    }
                }
            }
            (100, _) => {
                inputs += 1;
                if inputs > IMPLICIT_INPUTS_MAX {
                    return Err(WireError::Limit {
                        what: "implicit inputs in one call",
                        limit: IMPLICIT_INPUTS_MAX,
                    }
                    .into());
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
) -> Result<(), Fail> {
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
) -> Result<(), Fail> {
    budget.spend()?;
    for field in Fields::new(literal) {
        match field? {
            (1, value) => refer(value.bytes()?)?,
            (8 | 9, _) if depth == LITERAL_DEPTH_MAX => return Err(WireError::LiteralDepth.into()),
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
    pub(super) digest: &'a [u8],
    pub(super) custom: bool,
    pub(super) content: Option<Digest>,
}

impl Parsed<'_> {
    /// The call as `scheme` knows it: without what did not exist under those rules, which would
    /// otherwise enter unverified.
    pub(super) fn under(mut self, scheme: Scheme) -> Result<Self, Fail> {
        match (scheme, self.content.take()) {
            (Scheme::Blake3, Some(content)) => return Err(WireError::Claim(content).into()),
            (Scheme::Xxh3V2, content) => self.content = content,
            _ => {}
        }
        if scheme != Scheme::Blake3 {
            self.call = self.call.with_implicit_inputs(Vec::new());
        }
        Ok(self)
    }
}

/// Finds the call that a digest of the input names; asked in the order of the bytes.
type Resolve<'r, 'a> = &'r mut dyn FnMut(&'a [u8]) -> Result<Id, Fail>;

/// Reads a call that [`scan`] has accepted.
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Parsed<'a>, Fail> {
    let (mut receiver, mut ty, mut field_name, mut nth) = (None, None, None, None);
    let (mut module, mut digest, mut view, mut custom, mut content) =
        (None, None, None, None, None);
    let mut args = Vec::new();
    let mut inputs: Vec<ImplicitInput> = Vec::new();
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => match value.bytes()? {
                [] => {}
                digest => once(&mut receiver, resolve(digest)?)?,
            },
            (2, value) => once(&mut ty, names.ty(value.bytes()?)?)?,
            (3, value) => once(&mut field_name, names.name(value.bytes()?, "field")?)?,
            (4, value) => {
                let (name, value) = parse_argument(value.bytes()?, names, resolve)?;
                args.push(Argument::new(name, value));
            }
            (7, value) => once(&mut nth, value.varint()?.cast_signed())?,
            (8, value) => once(&mut module, parse_module(value.bytes()?, names, resolve)?)?,
            (9, value) => once(&mut digest, value.bytes()?)?,
            (10, value) => once(&mut view, names.text(value.bytes()?)?)?,
            (11, value) => once(&mut custom, value.boolean()?)?,
            (12, value) => once(&mut content, stated(value.bytes()?)?)?,
            (100, value) => inputs.push(parse_input(value.bytes()?, names)?),
            _ => {}
        }
    }
    let digest = digest.unwrap_or_default();
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
    .with_args(exact(args)?)
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

/// The arguments in no more memory than they need: IDs are kept for long.
fn exact(mut args: Vec<Argument>) -> Result<Vec<Argument>, Fail> {
    distinct(args.iter().map(Argument::name))?;
    args.shrink_to_fit();
    Ok(args)
}

/// How many names are compared each with each; more are sorted.
const PAIRS_MAX: usize = 16;

/// Refuses arguments, or fields of an input object, of one name: no honest call has them, and
/// readers would disagree on which of them counts.
pub(super) fn distinct<'n>(
    names: impl ExactSizeIterator<Item = &'n str> + Clone,
) -> Result<(), WireError> {
    let repeated = if names.len() <= PAIRS_MAX {
        let mut numbered = names.clone().enumerate();
        numbered.find_map(|(at, name)| names.clone().take(at).find(|earlier| *earlier == name))
    } else {
        let mut sorted: Vec<&str> = names.collect();
        sorted.sort_unstable();
        let pair = sorted.windows(2).find(|pair| pair[0] == pair[1]);
        pair.map(|pair| pair[0])
    };
    match repeated {
        None => Ok(()),
        Some(name) => Err(WireError::Malformed(format!("`{name}` is given twice"))),
    }
}

fn parse_module<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<Module, Fail> {
    let (mut call, mut name, mut source, mut pin) = (None, None, None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut call, resolve(value.bytes()?)?)?,
            (2, value) => once(&mut name, names.text(value.bytes()?)?)?,
            (3, value) => once(&mut source, names.text(value.bytes()?)?)?,
            (4, value) => once(&mut pin, names.text(value.bytes()?)?)?,
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

fn parse_input<'a>(bytes: &'a [u8], names: &mut Names<'a>) -> Result<ImplicitInput, Fail> {
    let (mut name, mut text) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut name, value.bytes()?)?,
            (2, value) => once(&mut text, names.text(value.bytes()?)?)?,
            _ => {}
        }
    }
    match name {
        None | Some([]) => Err(malformed("an implicit input without a name".to_owned())),
        Some(name) => Ok(ImplicitInput::new(
            names.text(name)?,
            text.unwrap_or_default(),
        )),
    }
}

fn parse_argument<'a>(
    bytes: &'a [u8],
    names: &mut Names<'a>,
    resolve: Resolve<'_, 'a>,
) -> Result<(Arc<str>, Literal), Fail> {
    let (mut name, mut literal) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut name, names.name(value.bytes()?, "argument")?)?,
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
) -> Result<Literal, Fail> {
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
) -> Result<Literal, Fail> {
    Ok(match number {
        1 => Literal::Id(resolve(value.bytes()?)?),
        2 if value.boolean()? => Literal::Null,
        3 => Literal::Bool(value.boolean()?),
        4 => Literal::Enum(names.text(value.bytes()?)?),
        5 => Literal::Int(value.varint()?.cast_signed()),
        6 => Literal::Float(
            Some(value.double()?)
                .filter(|number| number.is_finite())
                .ok_or_else(|| malformed("a number that is not finite".to_owned()))?,
        ),
        7 => Literal::String(names.text(value.bytes()?)?),
        8 => {
            let mut values = Vec::new();
            for field in Fields::new(value.bytes()?) {
                if let (1, element) = field? {
                    values.push(parse_literal(element.bytes()?, names, resolve)?);
                }
            }
            values.shrink_to_fit();
            Literal::List(values)
        }
        9 => {
            let mut fields = Vec::new();
            for field in Fields::new(value.bytes()?) {
                if let (1, argument) = field? {
                    fields.push(parse_argument(argument.bytes()?, names, resolve)?);
                }
            }
            distinct(fields.iter().map(|(name, _): &(Arc<str>, _)| &**name))?;
            Literal::Object(fields)
        }
        _ => return Err(malformed("a null that is false".to_owned())),
    })
}
