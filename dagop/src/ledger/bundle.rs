//! One build in a file of its own, for another machine: a ledger with a single build, that
//! [`super::Reader`] opens like any other.
//!
//! The rows are copied into a database in memory, redacted there, and written out compactly, so
//! that nothing of what was replaced is in the file, not even in unused space. What is replaced:
//!
//! - values of environment variables whose *names* say that they are secret ([`SECRET_NAMES`], and
//!   patterns of the caller), wherever the value occurs;
//! - user names and passwords in URLs.
//!
//! A value is replaced by `redacted:` and a fingerprint, keyed by a number that is made for each
//! file and is not in it: two uses of one value can be seen to be equal, and it cannot be guessed
//! by trial. The digests of the steps themselves are those of the real values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;

use super::column::pack;
use super::row::OperationRow;
use super::{Error, Reader, schema};

/// Parts of the names of variables whose values are secret; upper and lower case are the same.
pub const SECRET_NAMES: [&str; 9] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "APIKEY",
    "_KEY",
    "_AUTH",
];

/// Shortest value that is looked for outside of its variable: shorter ones are in any text.
const SOUGHT_BYTES_MIN: usize = 4;

/// Tables whose rows carry the number of their build.
const OF_BUILD: [&str; 7] = [
    "calls", "vertices", "contents", "layers", "records", "sources", "trees",
];

/// Writes the build `build` to `target`, which must not exist. `is_secret` says of a variable's
/// name whether its value is secret, beside those of [`SECRET_NAMES`].
///
/// # Errors
/// When there is no such build, or the file cannot be written.
pub fn write(
    ledger: &Path,
    build: &str,
    target: &Path,
    is_secret: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    let reader = Reader::open(ledger)?;
    let build = reader.find(build)?;
    let operations = reader.operations(&build.id)?;
    let number = build.number.unwrap_or_default();
    let redaction = Redaction::new(operations.values(), is_secret);
    let sqlite = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Sqlite { path, source }
    };
    let copy = copy(ledger, i64::try_from(number).unwrap_or(0)).map_err(sqlite(ledger))?;
    redact(&copy, operations.into_values(), &redaction).map_err(sqlite(ledger))?;
    let io = |source| Error::Io {
        path: target.to_owned(),
        source,
    };
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Complete or not at all, and its owner's alone.
    let temporary = tempfile::Builder::new()
        .prefix(".dagop-")
        .tempdir_in(folder)
        .map_err(io)?;
    let path = temporary.path().join("bundle");
    copy.execute("VACUUM INTO ?1", [path.to_string_lossy()])
        .map_err(sqlite(target))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(io)?;
    std::fs::hard_link(&path, target).map_err(io)
}

/// The rows of one build in memory, without its operations.
fn copy(ledger: &Path, number: i64) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(":memory:", flags)?;
    schema::create(&mut copy)?;
    let uri = ledger
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    copy.execute("ATTACH ?1 AS source", [format!("file:{uri}?mode=ro")])?;
    copy.execute(
        "INSERT INTO main.builds SELECT * FROM source.builds WHERE number = ?1",
        [number],
    )?;
    for table in OF_BUILD {
        copy.execute(
            &format!("INSERT INTO main.{table} SELECT * FROM source.{table} WHERE build = ?1"),
            [number],
        )?;
    }
    copy.execute_batch(
        "INSERT INTO main.requests SELECT * FROM source.requests
             WHERE call_key IN (SELECT call_key FROM main.calls);
         INSERT INTO main.operations (digest, name, cache_map)
             SELECT digest, name, cache_map FROM source.operations
             WHERE digest IN (SELECT coalesce(canonical, raw) FROM main.vertices WHERE planned);
         INSERT INTO main.listings SELECT * FROM source.listings
             WHERE digest IN (SELECT listing FROM main.trees);",
    )?;
    let lists: Vec<Vec<u8>> = copy
        .prepare("SELECT chunks FROM main.listings")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let names: BTreeSet<&[u8]> = lists.iter().flat_map(|list| list.chunks(32)).collect();
    for name in names {
        copy.prepare_cached(
            "INSERT OR IGNORE INTO main.chunks SELECT * FROM source.chunks WHERE digest = ?1",
        )?
        .execute([name])?;
    }
    copy.execute_batch("DETACH source")?;
    Ok(copy)
}

/// Redacts the texts of the copy and adds the operations.
fn redact(
    copy: &Connection,
    operations: impl Iterator<Item = OperationRow>,
    redaction: &Redaction,
) -> rusqlite::Result<()> {
    for (table, key, column) in [
        ("requests", "call_key", "display"),
        ("requests", "call_key", "path"),
        ("requests", "call_key", "scopes"),
        ("operations", "digest", "name"),
        ("vertices", "number", "name"),
        ("sources", "number", "asked"),
        ("builds", "number", "daemon"),
    ] {
        let sql = format!("SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL");
        let rows: Vec<(rusqlite::types::Value, String)> = copy
            .prepare(&sql)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut update = copy.prepare(&format!(
            "UPDATE {table} SET {column} = ?2 WHERE {key} = ?1"
        ))?;
        for (key, text) in rows {
            let clean = redaction.text(&text);
            if clean != text {
                update.execute(params![key, clean])?;
            }
        }
    }
    let mut packer = super::operations::Repacker::new(copy);
    for mut operation in operations {
        redaction.value(&mut operation.fields);
        packer.add(pack(&operation.digest), &operation)?;
    }
    packer.flush()
}

/// What is replaced, and by what.
struct Redaction {
    /// Values by their replacements, longest first.
    values: Vec<(String, String)>,
    names: BTreeMap<String, String>,
}

impl Redaction {
    fn new<'a>(
        operations: impl Iterator<Item = &'a OperationRow>,
        is_secret: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut key = [0; 32];
        // Without a random source the fingerprints say that values are equal, and no more.
        let is_keyed = getrandom::fill(&mut key).is_ok();
        let fingerprint = |value: &str| {
            if !is_keyed {
                return "redacted".to_owned();
            }
            let hash = blake3::keyed_hash(&key, value.as_bytes());
            format!("redacted:{}", &hash.to_hex()[..16])
        };
        let mut names = BTreeMap::new();
        let mut values = BTreeMap::new();
        for operation in operations {
            let env = operation.fields["exec"]["meta"]["env"].as_array();
            for entry in env.into_iter().flatten().filter_map(Value::as_str) {
                let Some((name, value)) = entry.split_once('=') else {
                    continue;
                };
                let upper = name.to_ascii_uppercase();
                let named = SECRET_NAMES.iter().any(|part| upper.contains(part));
                if value.is_empty() || !(named || is_secret(name)) {
                    continue;
                }
                names.insert(entry.to_owned(), format!("{name}={}", fingerprint(value)));
                if value.len() >= SOUGHT_BYTES_MIN {
                    values.insert(value.to_owned(), fingerprint(value));
                }
            }
        }
        let mut values: Vec<(String, String)> = values.into_iter().collect();
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self { values, names }
    }

    fn text(&self, text: &str) -> String {
        if let Some(clean) = self.names.get(text) {
            return clean.clone();
        }
        let mut clean = without_users(text);
        for (value, replacement) in &self.values {
            // In a call's text a value is quoted as in JSON.
            let quoted = serde_json::to_string(value).unwrap_or_default();
            let quoted = quoted.trim_matches('"');
            for form in [value.as_str(), quoted] {
                if clean.contains(form) {
                    clean = clean.replace(form, replacement);
                }
            }
        }
        clean
    }

    /// Operations nest a handful of levels deep.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }
}

/// A text without the users of its URLs: `https://user:password@host/` is `https://host/`.
fn without_users(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace())
            .unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user) => &after[user + 1..],
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_users() {
        for (text, clean) in [
            ("https://u:p@host/a@b", "https://host/a@b"),
            ("x https://host/u@v y", "x https://host/u@v y"),
            ("git://a@h \"http://b:c@i\"", "git://h \"http://i\""),
            ("none", "none"),
        ] {
            assert_eq!(without_users(text), clean);
        }
    }
}
