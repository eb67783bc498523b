//! Wildcards in names of steps.

/// Whether the whole of a text is what a pattern says: `*` is any text, `?` any one character. A
/// name is no path, so `/` is a character like any other. Linear in memory and, at worst, in the
/// product of the lengths.
#[must_use]
pub fn matches(glob: &str, text: &str) -> bool {
    let glob: Vec<char> = glob.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut g, mut t) = (0, 0);
    // The last star, and how far the text is that it stands for.
    let mut star = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                g = at + 1;
                t = taken + 1;
            }
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_text() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("withExec make*", "withExec make -j2 /src/a", true),
            ("*test*", "withExec go test ./...", true),
            ("*a*b", "xaxbxaxb", true),
            ("*a*b", "xaxbxa", false),
            ("ma?e", "make", true),
            ("ma?e", "mae", false),
            ("make", "make all", false),
            ("", "make", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
