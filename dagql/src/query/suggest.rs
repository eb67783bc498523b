//! "Did you mean": the known names closest to a misspelt one.

/// Names longer than this are not compared; the distance is quadratic in their length.
const NAME_MAX: usize = 64;

/// At most this many suggestions.
const SUGGESTIONS_MAX: usize = 3;

/// `"; did you mean a or b?"`, or nothing when no known name is close.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let limit = name.len() / 3 + 1;
    let mut close: Vec<(usize, &str)> = known
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    close.sort_unstable();
    close.truncate(SUGGESTIONS_MAX);
    match close.as_slice() {
        [] => String::new(),
        names => {
            let names: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
            format!("; did you mean {}?", names.join(" or "))
        }
    }
}

/// Number of single-letter changes, letter case not counted; adjacent letters may be swapped.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > NAME_MAX || b.len() > NAME_MAX {
        return usize::MAX;
    }
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (previous[j] + 1)
                .min(row[j - 1] + 1)
                .min(previous[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_offered_best_first() {
        let known = ["withExec", "withEnvVariable", "from", "form"];
        let suggest = |name| suggestion(name, known.into_iter());
        assert_eq!(suggest("withexec"), "; did you mean withExec?");
        assert_eq!(suggest("wihtExec"), "; did you mean withExec?");
        assert_eq!(suggest("frm"), "; did you mean form or from?");
        assert_eq!(suggest("publish"), "");
    }

    #[test]
    fn long_names_cost_nothing() {
        let long = "a".repeat(100_000);
        assert_eq!(suggestion(&long, [long.as_str()].into_iter()), "");
    }
}
