//! Names, types and short texts that occur in many calls and are kept once.
//!
//! The memory is a *direct-mapped* table: a text has one place, computed from its length and its
//! ends, and what is put there replaces what was. So looking up is a comparison, the table never
//! grows, and texts that are chosen to collide cost one allocation each, which is what all of them
//! would cost without a table.

use std::sync::Arc;

use super::WireError;
use super::reader::{Fail, Fields, malformed, once, text};
use crate::typeref::{TYPE_DEPTH_MAX, TypeRef, is_name};

/// Places for names of fields, arguments and types.
const NAMES: usize = 256;
/// Places for other texts: string and enum values, views, scopes, modules.
const TEXTS: usize = 1024;
/// Places for types.
const TYPES: usize = 64;
/// Longer texts are not kept: they are rarely repeated, and comparing them is not free.
const TEXT_BYTES_MAX: usize = 64;

/// What was seen before.
pub(super) struct Names<'a> {
    names: Table<'a, Arc<str>>,
    texts: Table<'a, Arc<str>>,
    /// By their bytes on the wire.
    types: Table<'a, TypeRef>,
}

/// Values by the bytes they were made of.
struct Table<'a, T>(Box<[Place<'a, T>]>);

/// Some bytes and what they were made to.
type Place<'a, T> = Option<(&'a [u8], T)>;

impl<'a, T: Clone> Table<'a, T> {
    fn new(places: usize) -> Self {
        Self((0..places).map(|_| None).collect())
    }

    /// What `bytes` were made to before, or are made to by `make`.
    fn get(&mut self, bytes: &'a [u8], make: impl FnOnce() -> Result<T, Fail>) -> Result<T, Fail> {
        let place = place(bytes) % self.0.len();
        if let Some((known, value)) = &self.0[place]
            && *known == bytes
        {
            return Ok(value.clone());
        }
        let value = make()?;
        self.0[place] = Some((bytes, value.clone()));
        Ok(value)
    }
}

/// Mixes the length with the first and the last eight bytes.
#[inline]
fn place(bytes: &[u8]) -> usize {
    let word = |part: &[u8]| {
        part.iter()
            .fold(0_u64, |word, &byte| word << 8 | u64::from(byte))
    };
    let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (word(bytes), bytes.len() as u64),
    };
    // Two odd constants without structure: the golden ratio's and the square root of three's bits.
    let mixed = (first ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ last.wrapping_mul(0xbb67_ae85_84ca_a73b);
    // The upper bits depend on all of the lower ones.
    usize::try_from(mixed >> 40).expect("24 bits fit")
}

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Self {
            names: Table::new(NAMES),
            texts: Table::new(TEXTS),
            types: Table::new(TYPES),
        }
    }

    /// Any text.
    pub(super) fn text(&mut self, bytes: &'a [u8]) -> Result<Arc<str>, Fail> {
        match bytes.len() {
            0 => Ok(Arc::default()),
            1..=TEXT_BYTES_MAX => self.texts.get(bytes, || Ok(text(bytes)?.into())),
            _ => Ok(text(bytes)?.into()),
        }
    }

    /// The name of a field, argument or type.
    pub(super) fn name(&mut self, bytes: &'a [u8], role: &str) -> Result<Arc<str>, Fail> {
        checked(&mut self.names, bytes, role)
    }

    pub(super) fn ty(&mut self, bytes: &'a [u8]) -> Result<TypeRef, Fail> {
        let names = &mut self.names;
        self.types.get(bytes, || read_type(bytes, names))
    }
}

fn checked<'a>(
    names: &mut Table<'a, Arc<str>>,
    bytes: &'a [u8],
    role: &str,
) -> Result<Arc<str>, Fail> {
    names.get(bytes, || {
        let text = text(bytes)?;
        if is_name(text) {
            Ok(text.into())
        } else {
            Err(malformed(format!("a {role} without a valid name")))
        }
    })
}

fn read_type<'a>(bytes: &'a [u8], names: &mut Table<'a, Arc<str>>) -> Result<TypeRef, Fail> {
    let mut lists = Vec::new();
    let mut bytes = bytes;
    let mut ty = loop {
        let (mut name, mut element, mut non_null) = (None, None, None);
        for field in Fields::new(bytes) {
            match field? {
                (1, value) => once(&mut name, value.bytes()?)?,
                (2, value) => once(&mut element, value.bytes()?)?,
                (3, value) => once(&mut non_null, value.boolean()?)?,
                _ => {}
            }
        }
        let non_null = non_null.unwrap_or(false);
        match (name.unwrap_or_default(), element) {
            ([], Some(_)) if lists.len() == TYPE_DEPTH_MAX => {
                return Err(WireError::TypeDepth.into());
            }
            ([], Some(element)) => {
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
                    name: checked(names, name, "type")?,
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
