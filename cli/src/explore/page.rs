//! The files of the page, which are part of the program.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::plain;

/// Media type of data.
pub(super) const JSON: &str = "application/json";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, media type and text of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("page/index.html")),
    ("style.css", CSS, include_str!("page/style.css")),
    ("icon.svg", SVG, include_str!("page/icon.svg")),
    ("compare.js", SCRIPT, include_str!("page/compare.js")),
    ("data.js", SCRIPT, include_str!("page/data.js")),
    ("details.js", SCRIPT, include_str!("page/details.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("format.js", SCRIPT, include_str!("page/format.js")),
    ("graph.js", SCRIPT, include_str!("page/graph.js")),
    ("keyboard.js", SCRIPT, include_str!("page/keyboard.js")),
    ("layout.js", SCRIPT, include_str!("page/layout.js")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("outcome.js", SCRIPT, include_str!("page/outcome.js")),
    ("search.js", SCRIPT, include_str!("page/search.js")),
    ("track.js", SCRIPT, include_str!("page/track.js")),
];

/// The file called `name`.
pub(super) fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, media_type, text)) => {
            ([(header::CONTENT_TYPE, *media_type)], *text).into_response()
        }
        None => plain(StatusCode::NOT_FOUND, "The page has no such file."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that is imported and not listed would leave the page empty.
    #[test]
    fn every_file_that_a_file_names_is_there() {
        let names: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        for (name, _, text) in FILES {
            let pieces = text.split(['"', '\'']);
            for found in pieces
                .filter_map(|piece| piece.strip_prefix("./"))
                .filter(|name| !name.starts_with("api/"))
            {
                assert!(names.contains(&found), "{name} names {found}");
            }
        }
    }

    /// A new word would be shown as unknown.
    #[test]
    fn every_outcome_has_a_letter_and_a_colour() {
        let (outcomes, style) = (
            include_str!("page/outcome.js"),
            include_str!("page/style.css"),
        );
        for outcome in dagop::ledger::Outcome::ALL {
            let (word, colour) = (outcome.as_str(), outcome.as_str().replace(' ', "-"));
            let entries = [format!("  {word}: ["), format!("  \"{word}\": [")];
            assert!(
                entries.iter().any(|entry| outcomes.contains(entry)),
                "{word}"
            );
            assert_eq!(
                style.matches(&format!("--{colour}: #")).count(),
                2,
                "{word}: light and dark"
            );
        }
    }

    /// The policy would refuse these, and the page would be broken in a browser only.
    #[test]
    fn no_file_holds_what_the_policy_forbids() {
        let forbidden = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "style=\"",
            " onclick=",
            "https://",
        ];
        for (name, _, text) in FILES {
            for word in forbidden {
                assert!(!text.contains(word), "{name} holds {word}");
            }
        }
    }
}
