//! JSON bytes exactly as Go's `encoding/json` writes them.
//!
//! BuildKit hashes such bytes for its cache maps and puts such texts into source attributes. Go
//! differs from serde_json in strings and in floating point numbers:
//!
//! - `<`, `>`, `&`, U+2028 and U+2029 are written `\u003c`, `\u003e`, `\u0026`, `\u2028`, `\u2029`.
//! - A float is written like an integer where it is one (`1`, not `1.0`), and with an exponent
//!   below 1e-6 and from 1e21 on, where a positive exponent has a sign (`1e+21`).
//!
//! The short escapes `\b`, `\f`, `\n`, `\r`, `\t` and `\u00xx` in lower case for other control
//! characters are the same in both (in Go since 1.22).
//!
//! The caller decides the rest: fields are written in the order of declaration, as in Go; Go sorts
//! map keys, so a map must be a `BTreeMap`; `omitempty` is `skip_serializing_if`; Go writes a byte
//! slice as base64. Go refuses infinity and NaN, serde_json writes `null`: keep them out.

use std::{fmt::LowerExp, io};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Encodes a value as Go does, without white space.
///
/// # Errors
///
/// If the value refuses to be serialised, for instance a map with keys that are no strings.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut out, GoFormatter))?;
    Ok(out)
}

/// Encodes a value as Go does, as text.
///
/// # Errors
///
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    Ok(String::from_utf8(to_vec(value)?).expect("JSON of UTF-8 strings is UTF-8"))
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        // Both separators start with the byte 0xE2.
        let may_differ = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xE2);
        while let Some(at) = rest.as_bytes().iter().position(may_differ) {
            let (before, from) = rest.split_at(at);
            let mut characters = from.chars();
            let Some(character) = characters.next() else {
                break;
            };
            writer.write_all(before.as_bytes())?;
            match character {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    write!(writer, "\\u{:04x}", u32::from(character))?;
                }
                _ => write!(writer, "{character}")?,
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        let exponent = value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21);
        write_float(writer, value, exponent)
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let exponent = value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21);
        write_float(writer, value, exponent)
    }
}

/// Writes the shortest decimal that reads back as `value`.
fn write_float<W: io::Write + ?Sized, F: LowerExp + std::fmt::Display>(
    writer: &mut W,
    value: F,
    exponent: bool,
) -> io::Result<()> {
    if !exponent {
        return write!(writer, "{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            write!(writer, "{digits}e+{exponent}")
        }
        _ => writer.write_all(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
