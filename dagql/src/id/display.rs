//! How people see an ID: the dotted chain, its short name, and the path for error messages.
//!
//! ```text
//! container.from(address: "alpine").withMountedDirectory(path: "/src", source: {directory: Directory!}): Container!
//! ```
//!
//! `#n` marks the selected list element. Sensitive arguments are left out. Because a graph of n
//! calls can unfold to 2ⁿ characters, the text ends in `…` after [`DISPLAY_BYTES_MAX`] bytes; it is
//! written with an own stack, not recursively.

use std::fmt::{self, Write};

use super::Id;
use crate::literal::Literal;

/// After how many bytes the text of an ID is cut.
pub const DISPLAY_BYTES_MAX: usize = 64 * 1024;

/// One step of [`Id::path`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSegment<'a> {
    /// A field.
    Field(&'a str),
    /// A list element, counted from 0 as GraphQL error paths do.
    Index(usize),
}

impl Id {
    /// `Type.field` with the receiver's type, or the bare field on the query root.
    #[must_use]
    pub fn name(&self) -> String {
        match self.receiver() {
            Some(receiver) => format!("{}.{}", receiver.ty().name(), self.field()),
            None => self.field().to_owned(),
        }
    }

    /// The last call by itself, as `field(name: value, …)#n`, cut after `most` bytes. Arguments
    /// that are false or empty are left out: they are the defaults of nearly everything.
    #[must_use]
    pub fn display_call(&self, most: usize) -> String {
        LastCall(self, most).to_string()
    }

    /// The fields from the root to this call; an element of a list is its list's path and an index.
    #[must_use]
    pub fn path(&self) -> Vec<PathSegment<'_>> {
        let mut path = Vec::new();
        for id in self.chain() {
            if let Ok(nth @ 1..) = usize::try_from(id.nth()) {
                path.push(PathSegment::Index(nth - 1));
                // The receiver of an element is the list, which brings the field itself.
                if id.is_element() {
                    continue;
                }
            }
            path.push(PathSegment::Field(id.field()));
        }
        path.reverse();
        path
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Bounded {
            inner: f,
            left: DISPLAY_BYTES_MAX,
            full: false,
        };
        match render(vec![Piece::Id(self)], &mut out) {
            Err(fmt::Error) if out.full => f.write_char('…'),
            result => result,
        }
    }
}

/// The last call of an ID, without receiver and type.
struct LastCall<'a>(&'a Id, usize);

impl fmt::Display for LastCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, most) = *self;
        let mut out = Bounded {
            inner: f,
            left: most,
            full: false,
        };
        let mut pending = Vec::new();
        let written = render_step(id, says_something, &mut out, &mut pending);
        match written.and_then(|()| render(pending, &mut out)) {
            Err(fmt::Error) if out.full => f.write_char('…'),
            result => result,
        }
    }
}

/// Passes text on until the budget is spent, then fails.
struct Bounded<'a, 'b> {
    inner: &'a mut fmt::Formatter<'b>,
    left: usize,
    full: bool,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.left);
        self.inner.write_str(&text[..fits])?;
        self.left -= fits;
        self.full = fits < text.len();
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

/// What is still to be written, the next piece last.
enum Piece<'a> {
    /// A whole chain with its type.
    Id(&'a Id),
    /// One call of a chain.
    Call(&'a Id),
    /// `: Type` of a chain.
    Type(&'a Id),
    /// `#n` of a list element.
    Nth(i64),
    Value(&'a Literal),
    Name(&'a str),
    Fixed(&'static str),
}

fn render(mut pending: Vec<Piece<'_>>, out: &mut Bounded<'_, '_>) -> fmt::Result {
    while let Some(piece) = pending.pop() {
        match piece {
            Piece::Fixed(text) | Piece::Name(text) => out.write_str(text)?,
            Piece::Nth(nth) => write!(out, "#{nth}")?,
            Piece::Type(id) => write!(out, ": {}", id.ty())?,
            Piece::Id(id) => {
                pending.push(Piece::Type(id));
                pending.extend(id.chain().map(Piece::Call));
            }
            Piece::Call(id) => render_call(id, out, &mut pending)?,
            Piece::Value(value) => render_literal(value, out, &mut pending)?,
        }
    }
    Ok(())
}

fn render_call<'a>(
    id: &'a Id,
    out: &mut Bounded<'_, '_>,
    pending: &mut Vec<Piece<'a>>,
) -> fmt::Result {
    if id.receiver().is_some() {
        out.write_char('.')?;
    }
    render_step(id, |_| true, out, pending)
}

/// False for a value that is the usual default.
fn says_something(value: &Literal) -> bool {
    match value {
        Literal::Bool(value) => *value,
        Literal::String(text) => !text.is_empty(),
        Literal::List(items) => !items.is_empty(),
        _ => true,
    }
}

fn render_step<'a>(
    id: &'a Id,
    shown: fn(&Literal) -> bool,
    out: &mut Bounded<'_, '_>,
    pending: &mut Vec<Piece<'a>>,
) -> fmt::Result {
    out.write_str(id.field())?;
    if id.nth() != 0 {
        pending.push(Piece::Nth(id.nth()));
    }
    let fields = id
        .call()
        .public_args()
        .filter(|argument| shown(argument.value()))
        .map(|argument| (argument.name(), argument.value()));
    push_fields(fields, ["(", ")"], ", ", pending);
    Ok(())
}

fn render_literal<'a>(
    value: &'a Literal,
    out: &mut Bounded<'_, '_>,
    pending: &mut Vec<Piece<'a>>,
) -> fmt::Result {
    match value {
        Literal::Null => out.write_str("<nil>"),
        Literal::Bool(value) => write!(out, "{value}"),
        Literal::Int(value) => write!(out, "{value}"),
        Literal::Float(value) => write!(out, "{value}"),
        Literal::String(text) => write!(out, "{text:?}"),
        Literal::Enum(name) => out.write_str(name),
        Literal::Id(id) => {
            pending.extend([Piece::Fixed("}"), Piece::Id(id), Piece::Fixed("{")]);
            Ok(())
        }
        Literal::List(values) => {
            pending.push(Piece::Fixed("]"));
            for (index, value) in values.iter().enumerate().rev() {
                pending.push(Piece::Value(value));
                pending.push(Piece::Fixed(if index == 0 { "" } else { "," }));
            }
            pending.push(Piece::Fixed("["));
            Ok(())
        }
        Literal::Object(fields) => {
            if fields.is_empty() {
                return out.write_str("{}");
            }
            push_fields(
                fields.iter().map(|(name, value)| (&**name, value)),
                ["{", "}"],
                ",",
                pending,
            );
            Ok(())
        }
    }
}

/// Puts `open name: value, name: value close` on the stack; nothing when there are no fields.
fn push_fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a Literal)>,
    [open, close]: [&'static str; 2],
    separator: &'static str,
    pending: &mut Vec<Piece<'a>>,
) {
    let start = pending.len();
    for (name, value) in fields {
        pending.push(Piece::Fixed(if pending.len() == start {
            open
        } else {
            separator
        }));
        pending.extend([Piece::Name(name), Piece::Fixed(": "), Piece::Value(value)]);
    }
    if pending.len() > start {
        pending.push(Piece::Fixed(close));
        pending[start..].reverse();
    }
}
