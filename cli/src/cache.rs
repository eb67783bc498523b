//! How a cache is named on the command line, as `buildctl` and `docker buildx` have it:
//! `type=local,dest=DIR,mode=max`. A field with a comma in its value is put in double quotes, which
//! are written twice inside of them.

use std::collections::BTreeMap;
use std::path::Path;

use dagop::CacheBackend;

/// Kinds of caches that a daemon can read or write.
const KINDS: [&str; 6] = ["azblob", "gha", "inline", "local", "registry", "s3"];

/// Reads the value of `--export-cache`.
pub(crate) fn export(text: &str) -> Result<CacheBackend, String> {
    let cache = parse(text)?;
    match cache.kind.as_str() {
        "local" => needs(&cache, "dest")?,
        "registry" => needs(&cache, "ref")?,
        _ => {}
    }
    Ok(cache)
}

/// Reads the value of `--import-cache`.
pub(crate) fn import(text: &str) -> Result<CacheBackend, String> {
    let cache = parse(text)?;
    match cache.kind.as_str() {
        "local" => needs(&cache, "src")?,
        "registry" => needs(&cache, "ref")?,
        "inline" => return Err("an inline cache is read as type=registry,ref=IMAGE".to_owned()),
        _ => {}
    }
    Ok(cache)
}

/// Reads the name of a cache to look at: as `--import-cache` has it, the path of a directory or an
/// archive, or an image reference.
pub(crate) fn named(text: &str) -> Result<CacheBackend, String> {
    if text.contains('=') {
        return import(text);
    }
    let is_path = text.starts_with(['/', '.']) || Path::new(text).exists();
    let (kind, name) = if is_path {
        ("local", "src")
    } else {
        ("registry", "ref")
    };
    let cache = CacheBackend {
        kind: kind.to_owned(),
        attrs: BTreeMap::from([(name.to_owned(), text.to_owned())]),
    };
    needs(&cache, name)?;
    Ok(cache)
}

fn needs(cache: &CacheBackend, name: &str) -> Result<(), String> {
    let given = cache.attrs.get(name).is_some_and(|value| !value.is_empty());
    let kind = &cache.kind;
    given
        .then_some(())
        .ok_or_else(|| format!("type={kind} needs {name}="))
}

fn parse(text: &str) -> Result<CacheBackend, String> {
    let mut attrs = BTreeMap::new();
    for field in fields(text)? {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| format!("{field:?} is not NAME=VALUE"))?;
        let name = name.trim().to_ascii_lowercase();
        if attrs.insert(name.clone(), value.to_owned()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let kind = attrs.remove("type").unwrap_or_default();
    if !KINDS.contains(&kind.as_str()) {
        return Err(format!("type={kind} is none of {}", KINDS.join(", ")));
    }
    Ok(CacheBackend { kind, attrs })
}

/// The fields of one line of comma-separated values.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        let after = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                field.push_str(&rest[..end]);
                &rest[end..]
            }
            Some(mut quoted) => loop {
                let end = quoted.find('"').ok_or("a double quote is not closed")?;
                field.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => break quoted,
                }
            },
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err(format!("{after:?} follows a closing double quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_named_as_buildctl_names_it() {
        let cache = export("type=local,dest=/a,mode=max").unwrap();
        assert_eq!(
            (cache.kind.as_str(), cache.attrs["mode"].as_str()),
            ("local", "max")
        );
        assert!(!cache.attrs.contains_key("type"));
        let cache = export(r#"type=local,"dest=/a,""b""""#).unwrap();
        assert_eq!(cache.attrs["dest"], r#"/a,"b""#);
        assert_eq!(
            import("type=registry,ref=r/i:t").unwrap().attrs["ref"],
            "r/i:t"
        );
    }

    #[test]
    fn a_path_is_told_from_a_reference() {
        let kind = |text: &str| named(text).map(|cache| cache.kind);
        for path in ["/tmp/cache", "./cache", "../cache.tar", "."] {
            assert_eq!(kind(path).as_deref(), Ok("local"), "{path}");
        }
        let reference = named("host:5000/a/b:tag").unwrap();
        assert_eq!(reference.attrs["ref"], "host:5000/a/b:tag");
        let full = named("type=local,src=host/a,tag=v1").unwrap();
        assert_eq!(
            (full.kind.as_str(), full.attrs["tag"].as_str()),
            ("local", "v1")
        );
        assert!(kind("").unwrap_err().contains("needs ref="));
    }

    #[test]
    fn what_is_wrong_with_a_cache_is_said() {
        let cases = [
            ("dest=/a", "type= is none of"),
            ("type=floppy", "type=floppy is none of"),
            ("type=local", "type=local needs dest="),
            ("type=local,dest", "is not NAME=VALUE"),
            ("type=local,dest=a,dest=b", "dest is given twice"),
            (r#"type=local,"dest=a"#, "is not closed"),
            (r#""type=local"x,dest=a"#, "follows a closing double quote"),
        ];
        for (text, expected) in cases {
            let error = export(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(import("type=inline").unwrap_err().contains("type=registry"));
        assert!(
            import("type=local,dest=a")
                .unwrap_err()
                .contains("needs src=")
        );
    }
}
