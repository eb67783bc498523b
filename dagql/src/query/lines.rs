//! From byte offsets to lines and columns.
//!
//! SDKs send a whole chain of calls on one line, which may be a megabyte long; counting its
//! characters from the start for each of a thousand errors would be quadratic. So characters are
//! counted once, in blocks, when the first error asks.

use std::sync::{Arc, OnceLock};

use crate::Location;

/// A byte offset in the document's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct At(pub(crate) u32);

/// Bytes between two counted positions.
const BLOCK: usize = 256;

/// The text and, once asked, its index.
#[derive(Default)]
pub(crate) struct Lines {
    text: Arc<str>,
    /// Offsets after which the parser's text has one blank more; see `query/parse.rs`.
    blanks: Vec<u32>,
    index: OnceLock<Index>,
}

struct Index {
    /// Byte offset of the start of each line.
    starts: Vec<usize>,
    /// Characters before each block.
    characters: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(text: Arc<str>, blanks: Vec<u32>) -> Self {
        Self {
            text,
            blanks,
            index: OnceLock::new(),
        }
    }

    /// The offset in the original text of an offset in the parser's text.
    pub(crate) fn original(&self, parsed: usize) -> At {
        // The n-th blank (from 0) stands at its brace's offset + 1 + n.
        let (mut low, mut high) = (0, self.blanks.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.blanks[middle] as usize + 1 + middle < parsed {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        At(u32::try_from(parsed - low).unwrap_or(u32::MAX))
    }

    /// Line and column of an offset; an offset beyond the end is the end.
    pub(crate) fn locate(&self, at: At) -> Location {
        let index = self.index.get_or_init(|| Index::new(&self.text));
        let offset = usize::try_from(at.0)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        let line = index.starts.partition_point(|start| *start <= offset);
        let start = index.starts[line - 1];
        Location {
            line,
            column: self.count(index, offset) - self.count(index, start) + 1,
        }
    }

    /// Characters that start before `offset`.
    fn count(&self, index: &Index, offset: usize) -> usize {
        let block = offset / BLOCK;
        let rest = &self.text.as_bytes()[block * BLOCK..offset];
        index.characters[block] + rest.iter().filter(|byte| starts_character(**byte)).count()
    }
}

impl Index {
    fn new(text: &str) -> Self {
        let mut starts = vec![0];
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        starts.extend(newlines.map(|(at, _)| at + 1));
        let mut characters = vec![0];
        for block in text.as_bytes().chunks(BLOCK) {
            let before = characters[characters.len() - 1];
            let here = block.iter().filter(|byte| starts_character(**byte)).count();
            characters.push(before + here);
        }
        Self { starts, characters }
    }
}

/// Whether a byte of UTF-8 is the first of its character.
fn starts_character(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_counting_from_the_start(text in "[a-zé\n𝄞]{0,800}", offset in 0_usize..900) {
            let mut offset = offset.min(text.len());
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            let lines = Lines::new(text.as_str().into(), Vec::new());
            let at = At(u32::try_from(offset).unwrap_or(u32::MAX));
            prop_assert_eq!(lines.locate(at), Location { line, column });
        }
    }
}
