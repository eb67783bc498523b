//! Names of a document's operations, without parsing it.
//!
//! A front end that runs every operation of a document needs their names before it has a schema.
//! They stand outside all brackets: in front of each outermost `{`, behind the word `query`. What is
//! wrong with a document is for the parser to say; here it only must not stop the scan.

use super::parse::scan;

/// Names in document order; empty text for an anonymous operation. Fragments are left out.
pub fn operation_names(document: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut header = String::new();
    let mut copied = 0;
    scan(document.as_bytes(), |at, byte| {
        let opens = matches!(byte, b'{' | b'[' | b'(');
        if opens && depth == 0 {
            header.push_str(&without_comments(&document[copied..at]));
            if byte == b'{' {
                names.extend(operation_name(&header));
                header.clear();
            } else {
                // What is in parentheses belongs to the header but not to the name.
                header.push(' ');
            }
        }
        depth = if opens {
            depth + 1
        } else {
            depth.saturating_sub(1)
        };
        if depth == 0 {
            copied = at + 1;
        }
    });
    names
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    text.lines().map(code).collect::<Vec<_>>().join(" ")
}

/// The name in `query Name @directive`; nothing if the header begins a fragment.
fn operation_name(header: &str) -> Option<String> {
    let mut words = header
        .split([' ', '\t', ',', '\u{feff}'])
        .filter(|word| !word.is_empty());
    match words.next() {
        None => Some(String::new()),
        Some("fragment") => None,
        Some(_) => Some(
            words
                .next()
                .filter(|word| !word.starts_with('@'))
                .unwrap_or_default()
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::operation_names;

    #[test]
    fn names_stand_before_outermost_braces() {
        let document = r#"
            # query Comment { x }
            query A($v: String = "{ query Z {") { a(b: {c: 1}) { d } }
            fragment F on T { e }
            query B @skip(if: true) { ...F }
            { anonymous }
        "#;
        assert_eq!(operation_names(document), ["A", "B", ""]);
    }

    #[test]
    fn broken_documents_are_no_obstacle() {
        assert!(operation_names("").is_empty());
        assert_eq!(operation_names("query A { ) } } {"), ["A", ""]);
        assert_eq!(operation_names("query A"), Vec::<String>::new());
    }
}
