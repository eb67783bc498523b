//! Numbers and digests as short text, the same in every table and progress display.

use crate::event::UnixMillis;

/// Hexadecimal digits shown of a digest: enough to tell apart, and to search for.
const DIGEST_DIGITS: usize = 12;

/// `1.2s`, `3m04s`, `2h05m`.
pub fn duration(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The time between two moments, `-` when one is missing.
pub fn between(start: Option<UnixMillis>, end: Option<UnixMillis>) -> String {
    match (start, end) {
        (Some(start), Some(end)) => duration(end.saturating_sub(start)),
        _ => "-".to_owned(),
    }
}

/// `0B`, `999B`, `1.2kB`, `34.0MB`: decimal units, as registries and BuildKit count.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut divisor = 1000;
    let mut unit = 0;
    while count / divisor >= 1000 {
        divisor *= 1000;
        unit += 1;
    }
    format!(
        "{}.{}{}",
        count / divisor,
        count % divisor * 10 / divisor,
        UNITS[unit]
    )
}

/// The first digits of a digest without its algorithm; `-` for none.
pub fn digest(digest: Option<&str>) -> &str {
    let Some(digest) = digest else { return "-" };
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..DIGEST_DIGITS).unwrap_or(digits)
}

/// `text` on one line and without control characters, at most `width` characters wide; a longer one
/// ends in an ellipsis.
pub fn one_line(text: &str, width: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == width {
            shown.pop();
            shown.push('…');
            break;
        }
        shown.push(if c.is_control() { ' ' } else { c });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let durations = [0, 99, 100, 59_999, 60_000, 3_599_000, 7_500_000].map(duration);
        assert_eq!(
            durations,
            ["0.0s", "0.0s", "0.1s", "59.9s", "1m00s", "59m59s", "2h05m"]
        );
        let sizes = [0, 999, 1000, 1_250_000, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0B", "999B", "1.0kB", "1.2MB", "18.4EB"]);
    }

    #[test]
    fn text_stays_on_its_line() {
        assert_eq!(one_line("a\nb\x1b[31mc", 20), "a b [31mc");
        assert_eq!(one_line("€uro area", 4), "€ur…");
        assert_eq!(one_line("four", 4), "four");
        assert_eq!(digest(Some("sha256:0123456789abcdef")), "0123456789ab");
        assert_eq!(digest(None), "-");
    }
}
