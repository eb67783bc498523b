//! What a bundle replaces, and by what.
//!
//! Looked for in every text are the places where a secret stands beside a name that says so: a
//! name is secret if it holds one of [`SECRET_NAMES`], or if the caller says so.
//!
//! | place | example |
//! |---|---|
//! | assignments: variables, flags, parameters of a URL | `API_TOKEN=x`, `--password=x`, `?token=x&` |
//! | a flag and the next word | `--token x`, `"--token", "x"` |
//! | headers, fields of JSON | `Authorization: Bearer x`, `"password": "x"` |
//! | a named value in a call | `name: "API_TOKEN", value: "x"` |
//! | passwords in URLs | `https://user:x@host` (user and password are removed) |
//!
//! Whatever stands there is also replaced wherever else it occurs, alone or as a part, in plain
//! text, hexadecimal, base64, or as the SHA-256 or BLAKE3 of it. What is a reference to a variable
//! (`TOKEN=$X`) stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Parts of names whose values are secret. Upper and lower case are the same, and so are `-` and
/// `_`.
pub const SECRET_NAMES: [&str; 12] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "APIKEY",
    "_KEY",
    "_AUTH",
    "AUTHORIZATION",
    "COOKIE",
    "SIGNATURE",
];

/// Shortest value that is looked for outside of its place: shorter ones are in any text.
const SOUGHT_BYTES_MIN: usize = 4;

/// Values that are no secret whatever their name says; replacing them everywhere says nothing.
const WORDS: [&str; 6] = ["true", "false", "null", "none", "undefined", "redacted"];

/// What a replacement begins with.
const MARK: &str = "redacted:";

/// Whether the value of this name is secret, beside those of [`SECRET_NAMES`].
pub(super) type IsSecret<'a> = &'a dyn Fn(&str) -> bool;

/// Finds what is secret in some texts, and replaces it in all.
pub(super) struct Redaction<'a> {
    is_secret: IsSecret<'a>,
    /// Absent where the system has no random bytes: then replacements say nothing at all.
    key: Option<[u8; 32]>,
    /// Values that were found, with what they are replaced by; every form of them.
    found: BTreeMap<String, String>,
    /// The same, longest first.
    sought: Vec<(String, String)>,
}

impl<'a> Redaction<'a> {
    pub(super) fn new(is_secret: IsSecret<'a>) -> Self {
        let mut key = [0; 32];
        let is_keyed = getrandom::fill(&mut key).is_ok();
        Self {
            is_secret,
            key: is_keyed.then_some(key),
            found: BTreeMap::new(),
            sought: Vec::new(),
        }
    }

    /// Notes what is secret in the texts of a value.
    pub(super) fn learn_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.learn(text),
            Value::Array(list) => {
                // A flag and its value are neighbours in a list of arguments.
                for pair in list.windows(2) {
                    if let [Value::String(flag), Value::String(value)] = pair
                        && self.is_flag(flag)
                    {
                        self.note(value);
                    }
                }
                list.iter().for_each(|item| self.learn_value(item));
            }
            Value::Object(map) => map.values().for_each(|item| self.learn_value(item)),
            _ => {}
        }
    }

    /// Notes what is secret in a text.
    pub(super) fn learn(&mut self, text: &str) {
        let places = places(text, &|name| self.names_secret(name));
        for place in places {
            self.note(&text[place]);
        }
        for password in passwords(text) {
            self.note(password);
        }
    }

    /// Everything was learned: texts can be replaced now.
    pub(super) fn ready(&mut self) {
        self.sought = std::mem::take(&mut self.found).into_iter().collect();
        self.sought
            .sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }

    /// The text without what is secret.
    pub(super) fn text(&self, text: &str) -> String {
        let mut clean = without_users(text);
        for (value, replacement) in &self.sought {
            if clean.contains(value.as_str()) {
                clean = clean.replace(value.as_str(), replacement);
            }
        }
        // What is too short to be looked for is replaced where its name is.
        let places = places(&clean, &|name| self.names_secret(name));
        for place in places.into_iter().rev() {
            if !is_replaced(&clean[place.clone()]) {
                let replacement = self.replacement(&clean[place.clone()]);
                clean.replace_range(place, &replacement);
            }
        }
        clean
    }

    /// The same for all texts of a value. Operations nest a handful of levels deep.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => {
                for at in 1..list.len() {
                    let follows = list[at - 1].as_str().is_some_and(|flag| self.is_flag(flag));
                    if let (true, Value::String(text)) = (follows, &mut list[at])
                        && !text.starts_with(['-', '$'])
                        && !text.is_empty()
                    {
                        *text = self.replacement(text);
                    }
                }
                list.iter_mut().for_each(|item| self.value(item));
            }
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    fn names_secret(&self, name: &str) -> bool {
        let upper = name.to_ascii_uppercase().replace('-', "_");
        SECRET_NAMES.iter().any(|part| upper.contains(part)) || (self.is_secret)(name)
    }

    /// A flag whose value is the next word.
    fn is_flag(&self, word: &str) -> bool {
        word.strip_prefix('-').is_some_and(|name| {
            let name = name.trim_start_matches('-');
            !name.is_empty() && name.bytes().all(is_of_name) && self.names_secret(name)
        })
    }

    /// Takes a value, and the word after a scheme such as `Bearer`, as something to be looked for.
    fn note(&mut self, value: &str) {
        let last = value.rsplit(' ').next().unwrap_or_default();
        for value in BTreeSet::from([value, last]) {
            let plain = value.len() < SOUGHT_BYTES_MIN
                || WORDS.contains(&value.to_ascii_lowercase().as_str())
                || value.starts_with(['$', '-'])
                || is_replaced(value);
            if plain || self.found.contains_key(value) {
                continue;
            }
            let replacement = self.replacement(value);
            for form in forms(value) {
                self.found.insert(form, replacement.clone());
            }
        }
    }

    /// Tells equal values by, and nothing else.
    fn replacement(&self, value: &str) -> String {
        let Some(key) = &self.key else {
            return format!("{MARK}unkeyed");
        };
        let hash = blake3::keyed_hash(key, value.as_bytes());
        format!("{MARK}{}", &hash.to_hex()[..16])
    }
}

/// What stands for a secret already: here, and in what the session stored.
fn is_replaced(text: &str) -> bool {
    text.starts_with(MARK) || text.contains("***")
}

/// A value in the forms in which it is recognised.
fn forms(value: &str) -> Vec<String> {
    // In a call's text a value is quoted as in JSON.
    let quoted = serde_json::to_string(value).unwrap_or_default();
    // Without padding, which is not there where the value is a part of what was encoded.
    let base64 = STANDARD_NO_PAD.encode(value);
    let url_safe = URL_SAFE_NO_PAD.encode(value);
    let mut forms = vec![
        value.to_owned(),
        quoted.trim_matches('"').to_owned(),
        hex::encode(value),
        hex::encode(Sha256::digest(value)),
        blake3::hash(value.as_bytes()).to_hex().to_string(),
        url_safe,
        base64,
    ];
    forms.sort();
    forms.dedup();
    forms
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Where in a text the values of secret names stand, in order; see the module. One pass.
fn places(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut places: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_of_name(bytes[at]) {
            at += 1;
            continue;
        }
        let end = (at..bytes.len())
            .find(|&end| !is_of_name(bytes[end]))
            .unwrap_or(bytes.len());
        let name = &text[at..end];
        let is_flag = name.starts_with('-');
        at = end;
        // Cheap tests first: most words are followed by neither.
        let Some(begin) = separator(&text[end..], is_flag) else {
            continue;
        };
        if !is_secret(name.trim_start_matches('-')) {
            continue;
        }
        let value = value(text, end + begin);
        let shown = &text[value.clone()];
        if !shown.is_empty() && !shown.starts_with('$') {
            at = value.end;
            places.push(value);
        }
    }
    places
}

/// How far behind a name its value begins; none if what follows is no value.
fn separator(rest: &str, is_flag: bool) -> Option<usize> {
    const NAMED: [&str; 2] = ["\", value: \"", "\\\", value: \\\""];
    const FIELD: [&str; 6] = ["\": \"", "\":\"", ": \"", "\\\": \\\"", "\\\":\\\"", ": "];
    const FLAG: [&str; 3] = ["\", \"", "\\\", \\\"", " "];
    if let Some(value) = rest.strip_prefix('=') {
        let quotes = ["\\\"", "\"", "'"];
        let quote = quotes.iter().find(|quote| value.starts_with(**quote));
        return Some(1 + quote.map_or(0, |quote| quote.len()));
    }
    let lists: [&[&str]; 3] = [&NAMED, &FIELD, if is_flag { &FLAG } else { &[] }];
    let all = lists.into_iter().flatten();
    let found = all.copied().find(|form| rest.starts_with(*form))?;
    // An argument that is no text, such as the ID of a secret, is not the secret.
    let digest = rest[found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (found != ": " || digest).then_some(found.len())
}

/// From the beginning of a value to its end: the quote it is in, or else the next blank or sign
/// that ends a word. After a colon all words up to the end of the line are the value.
fn value(text: &str, begin: usize) -> Range<usize> {
    let before = &text[..begin];
    let quote = ["\\\"", "\"", "'"]
        .into_iter()
        .find(|quote| before.ends_with(quote));
    let rest = &text[begin..];
    let length = match quote {
        Some("\"") => closing_quote(rest),
        Some(quote) => rest.find(quote),
        None if before.ends_with(": ") => rest.find(['"', '\'', '\n', '\\', ',', ')', '}']),
        None => rest.find(|c: char| c.is_whitespace() || "\"'\\&;|,)}]<>`#".contains(c)),
    };
    begin..begin + length.unwrap_or(rest.len())
}

/// The quote that ends a text in JSON's way of writing.
fn closing_quote(rest: &str) -> Option<usize> {
    let mut escaped = false;
    rest.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// The part of a text behind `://` that may name a user, and what follows.
fn authorities(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("://").map(|(at, mark)| {
        let begin = at + mark.len();
        let rest = &text[begin..];
        let end = rest
            .find(|c: char| c.is_whitespace() || "/\"'?#\\".contains(c))
            .unwrap_or(rest.len());
        (begin, &rest[..end])
    })
}

/// Shortest user of a URL that may be a token: `https://ghp_...@host`.
const USER_TOKEN_MIN: usize = 16;

/// The passwords in the URLs of a text.
fn passwords(text: &str) -> impl Iterator<Item = &str> {
    authorities(text).filter_map(|(_, authority)| {
        let (user, _) = authority.rsplit_once('@')?;
        match user.split_once(':') {
            Some((_, password)) => Some(password),
            None => Some(user).filter(|user| user.len() >= USER_TOKEN_MIN),
        }
    })
}

/// A text without the users of its URLs: `https://user:password@host/` is `https://host/`.
fn without_users(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for (begin, authority) in authorities(text) {
        if let Some(user) = authority.rfind('@') {
            // Writing to a String cannot fail.
            _ = write!(clean, "{}", &text[done..begin]);
            done = begin + user + 1;
        }
    }
    clean.push_str(&text[done..]);
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn clean(text: &str) -> String {
        let mut redaction = Redaction::new(&|name| name == "COLOUR");
        redaction.learn(text);
        redaction.ready();
        redaction.text(text)
    }

    #[test]
    fn urls_lose_their_users() {
        for (text, clean) in [
            ("https://u:p@host/a@b", "https://host/a@b"),
            ("x https://host/u@v y", "x https://host/u@v y"),
            ("git://a@h \"http://b:c@i\"", "git://h \"http://i\""),
            ("http://a:b@h?x=y@z", "http://h?x=y@z"),
            ("none", "none"),
        ] {
            assert_eq!(without_users(text), clean);
        }
    }

    #[test]
    fn what_has_a_secret_name_is_replaced() {
        for text in [
            "API_TOKEN=hunter2",
            "sh -c \"PASSWORD='hunter2' login\"",
            "curl --password=hunter2 x",
            "curl --api-token hunter2 x",
            "withExec(args: [\"login\", \"--password\", \"hunter2\", \"x\"])",
            "withEnvVariable(name: \"DEPLOY_TOKEN\", value: \"hunter2\")",
            "withEnvVariable(name: \"COLOUR\", value: \"hunter2\")",
            "https://host/x?token=hunter2&y=1",
            "https://me:hunter2@host/x",
            "Authorization: Bearer hunter2",
            "x-api-key: hunter2",
            "{\"password\": \"hunter2\", \"user\": \"me\"}",
            "{\\\"password\\\":\\\"hunter2\\\"}",
        ] {
            let clean = clean(text);
            assert!(!clean.contains("hunter2"), "{text} became {clean}");
            assert!(
                clean.contains(MARK) || !clean.contains('@'),
                "{text} became {clean}"
            );
        }
        for text in [
            "TOKEN=$OTHER run",
            "withSecretVariable(name: \"TOKEN\", secret: {})",
            "a token of thanks",
            "withExec(args: [\"make\", \"test\"])",
            "keys: 5",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn a_value_is_found_in_every_form_and_place() {
        let mut redaction = Redaction::new(&|_| false);
        redaction.learn_value(&json!({"args": ["login", "--token", "p\"w-5d1c"]}));
        redaction.ready();
        let value = "p\"w-5d1c";
        let digest = hex::encode(Sha256::digest(value));
        let mut texts = json!([
            value,
            "a p\"w-5d1c b",
            "p\\\"w-5d1c",
            digest,
            "cCJ3LTVkMWM="
        ]);
        redaction.value(&mut texts);
        let replacement = redaction.replacement(value);
        assert_eq!(
            texts,
            json!([
                replacement,
                format!("a {replacement} b"),
                replacement,
                replacement,
                format!("{replacement}=")
            ])
        );
    }

    #[test]
    fn equal_values_can_be_told_within_one_bundle_only() {
        let texts = "A_TOKEN=x1 B_TOKEN=x1 C_TOKEN=x2";
        let (one, other) = (clean(texts), clean(texts));
        let words: Vec<&str> = one.split([' ', '=']).collect();
        assert_eq!(words[1], words[3]);
        assert_ne!(words[1], words[5]);
        assert_ne!(one, other);
    }

    #[test]
    fn base64_is_the_standard_one_without_padding() {
        for (bytes, text) in [
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert!(forms(bytes).contains(&text.to_owned()), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cleaned_once_and_for_all(
            text in "([a-z]{0,4}|_TOKEN|--password|=|: |\"|\\\\\"|'|, value: |://|@|:|\\$|é| ){0,24}"
        ) {
            let mut redaction = Redaction::new(&|_| false);
            redaction.learn(&text);
            redaction.ready();
            let clean = redaction.text(&text);
            prop_assert_eq!(redaction.text(&clean), clean);
        }
    }
}
