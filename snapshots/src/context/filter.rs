//! Which entries of a tree are listed, and which directories are worth entering.
//!
//! An entry is listed when it matches the include patterns (if there are any) and does not match the exclude patterns.
//! An unlisted directory may still have listed entries below it, so it must be entered, unless no pattern can possibly
//! match there:
//!
//! - it does not match the includes, all of them are plain paths (apart from a trailing `/*` or `/**`), and none of
//!   them leads into it;
//! - it matches the excludes, and no exception (`!pattern`) can lead into it.
//!
//! The second rule is what keeps an ignored `node_modules` from being read at all.

use crate::patterns::{MatchInfo, Pattern, PatternError, PatternMatcher};

/// Compiled patterns of one transfer.
#[derive(Debug, Default)]
pub struct Filter {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

/// One list with what is known about it in advance.
#[derive(Debug)]
struct Patterns {
    matcher: PatternMatcher,
    /// The plain texts, each ending in `/`, of the patterns that can make an unlisted directory worth entering;
    /// `None` when one of those patterns has a wildcard, so that nothing can be ruled out.
    leads: Option<Vec<String>>,
}

impl Patterns {
    /// `leading` selects the patterns that can add entries below an unlisted directory.
    fn new(
        patterns: &[String],
        leading: impl Fn(&Pattern) -> bool,
    ) -> Result<Option<Self>, PatternError> {
        let matcher = PatternMatcher::new(patterns)?;
        if matcher.is_empty() {
            return Ok(None);
        }
        let mut leads = Some(Vec::new());
        for pattern in matcher.patterns().iter().filter(|p| leading(p)) {
            let text = pattern.text();
            let text = text.strip_suffix("/**").unwrap_or(text);
            let text = text.strip_suffix("/*").unwrap_or(text);
            if text.contains(['*', '[', ']', '?', '^', '\\']) {
                leads = None;
                break;
            }
            leads.iter_mut().for_each(|l| l.push(format!("{text}/")));
        }
        Ok(Some(Self { matcher, leads }))
    }

    /// Could a pattern that adds entries match below `directory`?
    fn lead_below(&self, directory: &str) -> bool {
        self.leads.as_ref().is_none_or(|leads| {
            leads.iter().any(|l| {
                l.strip_prefix(directory)
                    .is_some_and(|rest| rest.starts_with('/'))
            })
        })
    }
}

/// What the patterns said about a directory; needed to judge its children.
#[derive(Debug, Default)]
pub(super) struct Matches {
    include: Option<MatchInfo>,
    exclude: Option<MatchInfo>,
}

/// The verdict on one entry.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The entry is part of the listing.
    pub(super) listed: bool,
    /// If it is a directory, its children are to be looked at.
    pub(super) entered: bool,
    /// To be passed on for the children.
    pub(super) matches: Matches,
}

impl Filter {
    /// Compiles both lists. Blank patterns do not count.
    ///
    /// # Errors
    /// [`PatternError`] naming the pattern.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self {
            include: Patterns::new(include, |p| !p.exclusion())?,
            exclude: Patterns::new(exclude, Pattern::exclusion)?,
        })
    }

    /// Judges the entry at `path`, whose parent was judged with the result `parent`.
    pub(super) fn judge(&self, path: &str, is_dir: bool, parent: &Matches) -> Verdict {
        let mut verdict = Verdict {
            listed: true,
            entered: is_dir,
            matches: Matches::default(),
        };
        if let Some(include) = &self.include {
            let (matched, info) = include.matcher.matches_below(path, parent.include.as_ref());
            verdict.matches.include = Some(info);
            if !matched {
                verdict.listed = false;
                verdict.entered &= include.lead_below(path);
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, info) = exclude.matcher.matches_below(path, parent.exclude.as_ref());
            verdict.matches.exclude = Some(info);
            if matched {
                verdict.listed = false;
                verdict.entered &= exclude.matcher.has_exclusions() && exclude.lead_below(path);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    /// (listed, entered) of a directory in the root.
    fn dir(filter: &Filter, path: &str) -> (bool, bool) {
        let verdict = filter.judge(path, true, &Matches::default());
        (verdict.listed, verdict.entered)
    }

    #[test]
    fn without_patterns_everything_is_listed() {
        assert_eq!(dir(&filter(&[], &[]), "a"), (true, true));
        assert_eq!(
            dir(&filter(&["", " "], &[]), "a"),
            (true, true),
            "blank patterns do not count"
        );
    }

    #[test]
    fn plain_includes_rule_out_other_directories() {
        let f = filter(&["src/lib/**", "doc/*"], &[]);
        assert_eq!(dir(&f, "src"), (false, true));
        assert_eq!(dir(&f, "doc"), (false, true));
        assert_eq!(dir(&f, "src2"), (false, false));
        assert_eq!(dir(&f, "s"), (false, false));
        assert_eq!(
            dir(&filter(&["*.rs"], &[]), "other"),
            (false, true),
            "a wildcard may match anywhere"
        );
    }

    #[test]
    fn an_excluded_directory_is_entered_only_for_an_exception_below_it() {
        assert_eq!(
            dir(&filter(&[], &["node_modules"]), "node_modules"),
            (false, false)
        );
        let f = filter(&[], &["vendor", "!vendor/keep", "build"]);
        assert_eq!(dir(&f, "vendor"), (false, true));
        assert_eq!(dir(&f, "build"), (false, false));
        assert_eq!(
            dir(&filter(&[], &["vendor", "!**/*.go"]), "vendor"),
            (false, true)
        );
    }

    #[test]
    fn children_inherit_their_parents_match() {
        let f = filter(&[], &["vendor", "!vendor/keep"]);
        let vendor = f.judge("vendor", true, &Matches::default());
        assert!(f.judge("vendor/keep", false, &vendor.matches).listed);
        assert!(!f.judge("vendor/drop", false, &vendor.matches).listed);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Filter::new(&["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("a["), "{error}");
    }
}
