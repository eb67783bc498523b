//! `$NAME` and `${NAME}` in an argument, with a container's variables.
//!
//! The rules are those of Go's `os.Expand`, which the API promises: a name is
//! letters, digits and `_` not beginning with a digit, or one special
//! character; an unknown name is empty text; `${` without a name is dropped.
//! A variable that comes from a secret is refused: its value would end up in
//! the call's arguments, and so in keys and logs.

use crate::error::Error;

/// Expands `text`; `lookup` answers the value, nothing for an unknown name, or
/// an error for one that must not be used.
///
/// # Errors
/// Whatever `lookup` refuses.
pub(crate) fn expand(
    text: &str,
    mut lookup: impl FnMut(&str) -> Result<Option<String>, Error>,
) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, used) = name_at(after);
        rest = &after[used..];
        match name {
            Some(name) => out.push_str(&lookup(name)?.unwrap_or_default()),
            None if used == 0 => out.push('$'),
            None => {}
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The name that begins after a `$`, and how many bytes it takes there.
fn name_at(text: &str) -> (Option<&str>, usize) {
    let Some(first) = text.bytes().next() else {
        return (None, 0);
    };
    if first == b'{' {
        return braced(text);
    }
    if is_special(first) {
        return (Some(&text[..1]), 1);
    }
    let len = text
        .bytes()
        .take_while(|&b| b == b'_' || b.is_ascii_alphanumeric())
        .count();
    if len == 0 {
        (None, 0)
    } else {
        (Some(&text[..len]), len)
    }
}

fn braced(text: &str) -> (Option<&str>, usize) {
    match text.find('}') {
        // "${}" and an unclosed "${" are mistakes that Go drops.
        Some(1) => (None, 2),
        None => (None, 1),
        Some(end) => (Some(&text[1..end]), end + 1),
    }
}

fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_env(text: &str) -> String {
        expand(text, |name| {
            Ok(match name {
                "HOME" => Some("/root".to_owned()),
                "A_1" => Some("one".to_owned()),
                _ => None,
            })
        })
        .expect("nothing is refused")
    }

    #[test]
    fn names_are_replaced() {
        assert_eq!(with_env("$HOME/bin:${A_1}x:$A_1"), "/root/bin:onex:one");
        assert_eq!(with_env("no variables"), "no variables");
        assert_eq!(with_env("$UNKNOWN."), ".");
    }

    #[test]
    fn mistakes_are_treated_as_in_go() {
        assert_eq!(with_env("100$"), "100$");
        assert_eq!(with_env("a$ b"), "a$ b");
        assert_eq!(with_env("${}x"), "x");
        assert_eq!(with_env("${HOME"), "HOME");
    }

    #[test]
    fn a_refused_name_is_an_error() {
        let refuse = |name: &str| Err(Error::input(format!("no {name}")));
        assert_eq!(
            expand("$TOKEN", refuse).expect_err("refused").message(),
            "no TOKEN"
        );
    }
}
