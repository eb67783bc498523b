//! The answer for people: a line per step, and the sentences.

use std::fmt::Write as _;

use super::{Break, BreakCause, CacheAnswer, InCache, StepInCache};
use crate::report::text;

/// Widest a name may be, in characters.
const NAME_WIDTH_MAX: usize = 56;

/// Widest the word for what a cache has.
const STATUS_WIDTH: usize = 12;

impl InCache {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "there",
            Self::KeyOnly => "key only",
            Self::BlobMissing => "blob missing",
            Self::Missing => "not there",
            Self::Unknown => "unknown",
            Self::NoKey => "no key",
        }
    }
}

impl CacheAnswer {
    /// A table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        // Writing to a String cannot fail, here and below.
        _ = writeln!(table, "{} for build {}", self.cache, self.build);
        for held in &self.held {
            let platform = held.platform.as_ref();
            let platform = platform.map_or(String::new(), |platform| format!(" for {platform}"));
            _ = writeln!(
                table,
                "  {} cache{platform}: {} records, {} layers ({})",
                held.kind,
                held.records,
                held.layers,
                text::digest(Some(&held.manifest))
            );
        }
        for step in &self.steps {
            let record = step.records.first().map(|record| record.digest.as_str());
            _ = writeln!(
                table,
                "{:<STATUS_WIDTH$}  {:<12}  {:<NAME_WIDTH_MAX$}  {}",
                step.status.as_str(),
                text::digest(record),
                text::one_line(&step.step.name, NAME_WIDTH_MAX),
                step.sentence
            );
        }
        _ = writeln!(table, "{}", self.counts());
        table
    }

    /// How many steps have which status, in one line.
    #[must_use]
    pub fn counts(&self) -> String {
        let all = [
            InCache::Complete,
            InCache::KeyOnly,
            InCache::BlobMissing,
            InCache::Missing,
            InCache::Unknown,
            InCache::NoKey,
        ];
        let counts = all.into_iter().filter_map(|status| {
            let count = self
                .steps
                .iter()
                .filter(|step| step.status == status)
                .count();
            (count > 0).then(|| format!("{count} {}", status.as_str()))
        });
        let counts: Vec<String> = counts.collect();
        format!("{} steps: {}", self.steps.len(), counts.join(", "))
    }
}

/// Everything about a step as one sentence.
pub(super) fn sentence(step: &StepInCache, is_source: bool) -> String {
    let layers = || step.records.iter().flat_map(|record| &record.layers);
    match step.status {
        InCache::Complete => {
            let deepest = step.records.iter().map(|record| record.layers.len()).max();
            match deepest.unwrap_or(0) {
                1 => "its record and layer are there".to_owned(),
                count => format!("its record and {count} layers are there"),
            }
        }
        InCache::KeyOnly if is_source => {
            "its key is there; caches keep no files of steps without inputs".to_owned()
        }
        InCache::KeyOnly => "its key is there without files, as mode=min leaves it: \
             a hit only where the files of a later step are there"
            .to_owned(),
        InCache::BlobMissing => {
            let gone = layers().find(|layer| !layer.is_usable());
            match gone {
                Some(layer) => match layer.wrong_size {
                    Some(size) => format!(
                        "its record is there, but its blob {} has {size} bytes, not those it should have",
                        layer.blob
                    ),
                    None => format!("its record is there, but its blob {} is gone", layer.blob),
                },
                None => "its record is there, but not all of its blobs".to_owned(),
            }
        }
        InCache::Missing | InCache::Unknown => broken(step),
        InCache::NoKey => {
            "a directory of the client has no key; its files are in those of the steps that use them"
                .to_owned()
        }
    }
}

fn broken(step: &StepInCache) -> String {
    let Some(first) = step.breaks.first() else {
        return "its record is not there".to_owned();
    };
    let others = step.breaks.len() - 1;
    let more = match (others, step.more) {
        (0, false) => String::new(),
        (_, true) => format!(", and for more than {others} other reasons"),
        (1, false) => ", and for another reason".to_owned(),
        (others, false) => format!(", and for {others} other reasons"),
    };
    if first.step.canonical == step.step.canonical {
        return format!("{}{more}", first.sentence);
    }
    let Break {
        step: at, sentence, ..
    } = first;
    let name = text::one_line(&at.name, NAME_WIDTH_MAX);
    format!("the chain breaks at `{name}`: {sentence}{more}")
}

/// The sentence for a cause.
pub(super) fn cause(cause: &BreakCause) -> String {
    let short = |name: &str| text::one_line(name, NAME_WIDTH_MAX);
    match cause {
        BreakCause::Key { instead: None } => "its key is not in the cache".to_owned(),
        BreakCause::Key {
            instead: Some(instead),
        } => format!(
            "its key is not in the cache, which has `{}` of build {} there",
            short(&instead.name),
            text::digest(Some(&instead.build))
        ),
        BreakCause::Platform { wanted, has } => {
            format!("it is for {wanted}, and the cache has it for {has}")
        }
        BreakCause::Content { input, of } => format!(
            "the files it takes from input {input}, `{}`, are not those of the cache",
            short(of)
        ),
        BreakCause::Link { input, of } => format!(
            "the cache has it over another input {input} than `{}`",
            short(of)
        ),
        BreakCause::NoRecord => "the ledger does not tell its key".to_owned(),
        BreakCause::NoContent { input } => {
            format!("the ledger does not tell the content of its input {input}")
        }
    }
}
