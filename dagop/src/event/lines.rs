//! Lines out of the chunks in which a daemon sends a process's output.
//!
//! A chunk ends anywhere: in the middle of a line, of a UTF-8 sequence, or of a `\r\n` pair. One
//! splitter serves one (vertex, stream) pair. It keeps at most [`LINE_BYTES_MAX`] bytes; a longer
//! line is cut there and goes on as the next one, so a process that never ends its line costs no
//! memory.

/// Longest line kept whole, in bytes.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Holds the unfinished last line between chunks.
#[derive(Debug, Default)]
pub struct LineSplitter {
    rest: Vec<u8>,
}

impl LineSplitter {
    /// Adds a chunk and calls `line` for every line it completes, without line ends. Bytes that are
    /// not UTF-8 become U+FFFD.
    pub fn push(&mut self, mut chunk: &[u8], mut line: impl FnMut(String)) {
        while !chunk.is_empty() {
            let room = LINE_BYTES_MAX - self.rest.len();
            let window = &chunk[..chunk.len().min(room)];
            match window.iter().position(|&b| b == b'\n') {
                Some(end) => {
                    self.rest.extend_from_slice(&window[..end]);
                    line(self.take());
                    chunk = &chunk[end + 1..];
                }
                None => {
                    self.rest.extend_from_slice(window);
                    chunk = &chunk[window.len()..];
                    if self.rest.len() == LINE_BYTES_MAX {
                        line(self.take_whole_characters());
                    }
                }
            }
        }
    }

    /// The line that was never ended, if there is one.
    pub fn finish(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        if self.rest.last() == Some(&b'\r') {
            self.rest.pop();
        }
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }

    /// Like `take`, but leaves a character the cut would have torn for the next line.
    fn take_whole_characters(&mut self) -> String {
        let torn = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => self.rest.split_off(error.valid_up_to()),
            _ => Vec::new(),
        };
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = torn;
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn a_chunk_may_end_anywhere() {
        let euro = "€".as_bytes();
        assert_eq!(
            split(&[b"one\ntw", b"o\r", b"\n", &euro[..1], &euro[1..], b"\nlast"]),
            ["one", "two", "€", "last"]
        );
    }

    #[test]
    fn an_endless_line_is_cut_between_characters() {
        let long = "€".repeat(LINE_BYTES_MAX);
        let lines = split(&[long.as_bytes()]);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.concat(), long);
    }

    proptest! {
        #[test]
        fn cutting_into_chunks_changes_nothing(text in "[a-c€\n]{0,200}", size in 1_usize..9) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(split(&chunks), expected);
        }
    }
}
