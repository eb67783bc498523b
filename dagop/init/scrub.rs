//! Replaces secret values by `***` in a stream of bytes.
//!
//! What a step prints is cached by the daemon, written to its log and sent to
//! the caller, so a printed secret has to be removed here, before the first
//! copy is made. The values come from the environment variables and files
//! named on the command line, which hold what BuildKit gave the step.
//!
//! A value may arrive in pieces: the end of a chunk that could be the
//! beginning of a value is held back until the next one decides. Of a value
//! with several lines each longer line is a pattern too, since tools print
//! keys line by line.

/// Bytes of all patterns together.
const ARENA: usize = 4 << 20;
/// Number of patterns.
const PATTERNS: usize = 512;
/// Shorter values are left alone: replacing them would garble any output.
const LENGTH_MIN: usize = 3;
/// Shorter lines of a value with several lines are no patterns of their own.
const LINE_MIN: usize = 8;

/// What stands in the place of a value.
const MASK: &[u8] = b"***";

/// The values to hide.
pub struct Scrubber {
    arena: [u8; ARENA],
    used: usize,
    /// Start and length in the arena, longest first.
    patterns: [(usize, usize); PATTERNS],
    count: usize,
    /// Whether a pattern begins with this byte: most bytes of any output do not.
    begins: [bool; 256],
}

impl Scrubber {
    pub const fn new() -> Self {
        Self {
            arena: [0; ARENA],
            used: 0,
            patterns: [(0, 0); PATTERNS],
            count: 0,
            begins: [false; 256],
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Room for a value read from a file; give what was read to [`Self::add_tail`].
    pub fn tail(&mut self) -> &mut [u8] {
        &mut self.arena[self.used..]
    }

    /// Adds the first `n` bytes of [`Self::tail`] as a value.
    pub fn add_tail(&mut self, n: usize) {
        let (start, end) = (self.used, self.used + n);
        self.used = end;
        let (start, end) = self.trimmed(start, end);
        self.insert(start, end - start, LENGTH_MIN);
        let mut line = start;
        for at in start..=end {
            if at < end && self.arena[at] != b'\n' {
                continue;
            }
            let whole = line == start && at == end;
            if !whole {
                let (from, to) = self.trimmed(line, at);
                self.insert(from, to - from, LINE_MIN);
            }
            line = at + 1;
        }
    }

    /// Adds a value; false when there is no room for it.
    pub fn add(&mut self, value: &[u8]) -> bool {
        if value.len() > ARENA - self.used {
            return false;
        }
        self.tail()[..value.len()].copy_from_slice(value);
        self.add_tail(value.len());
        true
    }

    fn trimmed(&self, mut start: usize, mut end: usize) -> (usize, usize) {
        while start < end && self.arena[start].is_ascii_whitespace() {
            start += 1;
        }
        while end > start && self.arena[end - 1].is_ascii_whitespace() {
            end -= 1;
        }
        (start, end)
    }

    fn insert(&mut self, start: usize, len: usize, min: usize) {
        if len < min || self.count == PATTERNS {
            return;
        }
        let mut at = self.count;
        while at > 0 && self.patterns[at - 1].1 < len {
            self.patterns[at] = self.patterns[at - 1];
            at -= 1;
        }
        self.patterns[at] = (start, len);
        self.begins[usize::from(self.arena[start])] = true;
        self.count += 1;
    }

    /// Sends `input` to `out` with values replaced; returns how many bytes at
    /// the end are held back. With `last`, nothing is held back.
    pub fn pass(&self, input: &[u8], last: bool, mut out: impl FnMut(&[u8])) -> usize {
        let mut sent = 0;
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            if !self.begins[usize::from(rest[0])] {
                at += 1;
                continue;
            }
            let mut held = false;
            let mut matched = 0;
            for &(start, len) in &self.patterns[..self.count] {
                let pattern = &self.arena[start..start + len];
                if pattern[0] != rest[0] {
                    continue;
                }
                if rest.starts_with(pattern) {
                    matched = len;
                    break;
                }
                held |= !last && rest.len() < len && pattern.starts_with(rest);
            }
            if held {
                // A longer value may still be coming; longest wins.
                break;
            }
            if matched > 0 {
                out(&input[sent..at]);
                out(MASK);
                at += matched;
                sent = at;
            } else {
                at += 1;
            }
        }
        out(&input[sent..at]);
        input.len() - at
    }
}
