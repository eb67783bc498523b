//! What a build did, for people and for programs: its rows, their counts, and the key table.

mod steps;
mod summary;
mod table;
pub mod text;

use serde::{Deserialize, Serialize};

use solver::cachemap::Profile;

use crate::ledger::{BuildRow, CacheRows, CallRow, Error, Evidence, Reader, VertexRow};

pub use steps::is_like;
pub use summary::Summary;

/// A build's rows and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The build.
    pub build: BuildRow,
    /// Its counts.
    pub summary: Summary,
    /// Its calls, in order of start.
    pub calls: Vec<CallRow>,
    /// Its vertices, in order of start.
    pub vertices: Vec<VertexRow>,
    /// What is known of the cache for its vertices.
    pub cache: CacheRows,
    /// What went wrong with the record itself, one sentence each.
    pub notices: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        build: BuildRow,
        calls: Vec<CallRow>,
        mut vertices: Vec<VertexRow>,
        cache: CacheRows,
        notices: Vec<String>,
    ) -> Self {
        if !has_newest_formulas(&build, &cache) {
            for vertex in &mut vertices {
                vertex.predicted_cache_map = None;
            }
        }
        let summary = Summary::of(&build, &calls, &vertices);
        Self {
            build,
            summary,
            calls,
            vertices,
            cache,
            notices,
        }
    }

    /// The report of a build in the ledger: an id, the beginning of one, or `last`.
    pub fn read(ledger: &Reader, build: &str) -> Result<Self, Error> {
        let build = ledger.find(build)?;
        let calls = ledger.calls(&build.id)?;
        let vertices = ledger.vertices(&build.id)?;
        let cache = ledger.cache(&build.id)?;
        Ok(Self::new(build, calls, vertices, cache, Vec::new()))
    }

    /// One line per call: what it was, what became of it, and its keys across the layers.
    pub fn key_table(&self) -> String {
        table::render(self)
    }
}

/// Whether the daemon of a build is known to have the formulas with which cache maps are noted.
/// Keys are predicted only where its formulas are known.
fn has_newest_formulas(build: &BuildRow, cache: &CacheRows) -> bool {
    let mut records = cache.records.iter();
    let is_newest = |profile| profile == Profile::NEWEST;
    Profile::for_version(&build.daemon_version).is_none_or(is_newest)
        && records.any(|record| record.evidence == Evidence::Predicted)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::event::ScopeInput;
    use crate::ledger::{
        BuildState, DagOpKind, Evidence, LayerRow, Outcome, RecordRow, VertexKind,
    };

    fn call(call: u64, display: &str, outcome: Outcome) -> CallRow {
        CallRow {
            call,
            parent: None,
            path: "container".into(),
            display: display.into(),
            call_key: format!("blake3:{call}000111122223333"),
            scopes: Vec::new(),
            storage_key: String::new(),
            kind: DagOpKind::None,
            vertex: None,
            canonical: None,
            predicted_cache_map: None,
            other_vertices: Vec::new(),
            outcome,
            bytes: 0,
            started_ms: 1000,
            finished_ms: Some(1010),
            error_class: None,
        }
    }

    fn sample() -> Report {
        let make = CallRow {
            kind: DagOpKind::Ctr,
            vertex: Some("sha256:aaaa".into()),
            canonical: Some("sha256:4444555566667777".into()),
            predicted_cache_map: Some("sha256:8888999900001111".into()),
            bytes: 12_345,
            scopes: vec![ScopeInput {
                name: "session".into(),
                value: "x".into(),
            }],
            ..call(
                2,
                "withExec(args: [\"sh\", \"-c\", \"make\ncheck\"])",
                Outcome::Executed,
            )
        };
        let vertex = VertexRow {
            number: 0,
            raw: "sha256:aaaa".into(),
            canonical: make.canonical.clone(),
            name: "make".into(),
            kind: VertexKind::Exec,
            predicted_cache_map: None,
            outcome: Outcome::Executed,
            bytes: 12_345,
            started_ms: Some(2000),
            completed_ms: Some(65_000),
            ignore_cache: false,
        };
        let build = BuildRow {
            number: Some(7),
            id: "0123456789abcdef".into(),
            state: BuildState::Succeeded,
            started_ms: 900,
            finished_ms: Some(70_900),
            daemon: "unix:///run/bk.sock".into(),
            daemon_version: "v0.32.2".into(),
            daemon_ref: None,
            rows_dropped: 0,
        };
        let calls = vec![
            call(1, "container", Outcome::Computed),
            make,
            call(3, "stdout", Outcome::Hit),
        ];
        let cache = CacheRows {
            records: vec![RecordRow {
                vertex: "sha256:aaaa".into(),
                output: 0,
                evidence: Evidence::Local,
                digest: "sha256:1212121212121212".into(),
                canonical: None,
                layer: Some(0),
            }],
            layers: vec![LayerRow {
                number: 0,
                parent: None,
                blob: "sha256:3434343434343434".into(),
                diff_id: None,
                chain_id: None,
                size: None,
                media_type: None,
            }],
            ..CacheRows::default()
        };
        Report::new(build, calls, vec![vertex], cache, Vec::new())
    }

    #[test]
    fn the_key_table_puts_a_calls_keys_side_by_side() {
        expect![[r#"
            build 0123456789abcdef succeeded on unix:///run/bk.sock v0.32.2
            #  CALL                                        OUTCOME   KIND  TIME   BYTES   CALL KEY      SCOPE    VERTEX        RECORD        LAYER
            1  container                                   computed  -     0.0s   -       100011112222  -        -             -             -
            2  withExec(args: ["sh", "-c", "make check"])  executed  ctr   1m03s  12.3kB  200011112222  session  444455556666  121212121212  343434343434
            3  stdout                                      hit       -     0.0s   -       300011112222  -        -             -             -
            3 calls (1 executed, 1 hit, 1 computed), 1 vertex (1 executed), 12.3kB, 1m10s
        "#]]
        .assert_eq(&sample().key_table());
    }

    #[test]
    fn a_cache_map_is_shown_where_the_daemons_formulas_are_known_to_be_the_newest() {
        for (version, evidence, is_shown) in [
            ("v0.32.2", Evidence::Predicted, true),
            ("v0.99.0", Evidence::Predicted, true),
            ("v0.17.3", Evidence::Predicted, false),
            ("v0.32.2", Evidence::Local, false),
            ("v0.99.0", Evidence::Local, false),
        ] {
            let mut report = sample();
            report.build.daemon_version = version.to_owned();
            report.cache.records[0].evidence = evidence;
            report.vertices[0].predicted_cache_map = Some("sha256:5656".to_owned());
            let report = Report::new(
                report.build,
                report.calls,
                report.vertices,
                report.cache,
                Vec::new(),
            );
            let cache_map = &report.vertices[0].predicted_cache_map;
            assert_eq!(cache_map.is_some(), is_shown, "{version} {evidence:?}");
        }
    }

    #[test]
    fn zero_executed_is_always_said() {
        let mut report = sample();
        report.vertices[0].outcome = Outcome::Cached;
        let report = Report::new(
            report.build,
            report.calls,
            report.vertices,
            CacheRows::default(),
            Vec::new(),
        );
        let line = report.summary.line();
        assert!(line.contains("1 vertex (0 executed, 1 cached)"), "{line}");
    }

    #[test]
    fn json_says_the_same_and_comes_back() {
        let json = serde_json::to_value(sample()).unwrap();
        assert_eq!(json["summary"]["calls_by_outcome"]["computed"], 1);
        assert_eq!(json["calls"][1]["outcome"], "executed");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), sample());
    }
}
