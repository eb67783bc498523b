//! The ledger's tables, as the steps that lead from one version of the file to the next.
//!
//! What many builds share is stored once, under its digest:
//!
//! ```text
//! builds ─┬─ calls ────── requests     what a call asks for, by call key
//!         ├─ vertices ─── operations   what a step asks for, by canonical digest
//!         │                  └─ packs    its fields: JSON of many operations, compressed together
//!         ├─ contents     content of an input, as the cache keys it
//!         ├─ records ──── layers       cache records of a vertex's outputs, and their blobs
//!         ├─ sources      what a name stood for
//!         ├─ imports ──── imported     caches that were read, and what they have of each vertex
//!         └─ trees ────── listings     a local directory file by file, by the digest of the tree
//!                            └─ chunks   runs of its entries, shared by trees that have them alike
//! ```
//!
//! A second run of the same pipeline therefore adds some 150 bytes per call and vertex, which say
//! how it went, and no more. The views `call_keys` and `vertex_keys` show the same with digests as
//! text, for people with `sqlite3`.
//!
//! Digests are stored as `column` says. What a row shares with another is absent: a vertex's
//! canonical digest where it is the raw one, its name and cache map where they are its
//! operation's, a call's path where it is its request's, a storage key where it is the call key.
//! An empty cache map says that there is none although the operation has one.

/// One entry per schema version.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// Calls and vertices only, digests as text.
const VERSION_1: &str = "
    CREATE TABLE builds (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        daemon TEXT NOT NULL,
        daemon_version TEXT NOT NULL,
        daemon_ref TEXT,
        rows_dropped INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX builds_by_time ON builds (started_ms);
    CREATE TABLE calls (
        build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
        call INTEGER NOT NULL,
        parent INTEGER,
        path TEXT NOT NULL,
        display TEXT NOT NULL,
        call_key TEXT NOT NULL,
        scopes TEXT,
        storage_key TEXT,
        kind TEXT NOT NULL,
        vertex TEXT,
        other_vertices TEXT,
        outcome TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        error_class TEXT,
        PRIMARY KEY (build, call)
    ) WITHOUT ROWID;
    CREATE TABLE vertices (
        build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
        raw TEXT NOT NULL,
        canonical TEXT,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        predicted_cache_map TEXT,
        outcome TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        started_ms INTEGER,
        completed_ms INTEGER,
        PRIMARY KEY (build, raw)
    ) WITHOUT ROWID;
";

/// Shared tables, evidence from caches, and everything that an explanation compares.
const VERSION_2: &str = "
    ALTER TABLE builds RENAME TO old_builds;
    ALTER TABLE calls RENAME TO old_calls;
    ALTER TABLE vertices RENAME TO old_vertices;
    DROP INDEX builds_by_time;

    CREATE TABLE builds (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        daemon TEXT NOT NULL,
        daemon_version TEXT NOT NULL,
        daemon_ref TEXT,
        rows_dropped INTEGER NOT NULL
    );
    CREATE INDEX builds_by_time ON builds (started_ms);
    CREATE TABLE requests (
        call_key BLOB PRIMARY KEY,
        display TEXT NOT NULL,
        path TEXT NOT NULL,
        scopes TEXT
    ) WITHOUT ROWID;
    CREATE TABLE calls (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        call INTEGER NOT NULL,
        parent INTEGER,
        call_key BLOB NOT NULL,
        path TEXT,
        storage_key BLOB,
        kind TEXT NOT NULL,
        vertex INTEGER,
        other_vertices TEXT,
        outcome TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        error_class TEXT,
        PRIMARY KEY (build, call)
    ) WITHOUT ROWID;
    CREATE TABLE packs (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE operations (
        digest BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        cache_map BLOB,
        pack INTEGER,
        at INTEGER,
        length INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE vertices (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        raw BLOB NOT NULL,
        canonical BLOB,
        planned INTEGER NOT NULL,
        name TEXT,
        kind TEXT NOT NULL,
        cache_map BLOB,
        outcome TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        started_ms INTEGER,
        completed_ms INTEGER,
        PRIMARY KEY (build, number)
    ) WITHOUT ROWID;
    CREATE TABLE contents (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        vertex INTEGER NOT NULL,
        input INTEGER NOT NULL,
        record BLOB NOT NULL,
        evidence TEXT NOT NULL,
        PRIMARY KEY (build, vertex, input, evidence, record)
    ) WITHOUT ROWID;
    CREATE TABLE layers (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        parent INTEGER,
        blob BLOB NOT NULL,
        diff_id BLOB,
        chain_id BLOB,
        size INTEGER,
        media_type TEXT,
        PRIMARY KEY (build, number)
    ) WITHOUT ROWID;
    CREATE TABLE records (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        vertex INTEGER NOT NULL,
        output INTEGER NOT NULL,
        evidence TEXT NOT NULL,
        digest BLOB NOT NULL,
        canonical BLOB,
        layer INTEGER,
        PRIMARY KEY (build, number)
    ) WITHOUT ROWID;
    CREATE TABLE sources (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        asked TEXT NOT NULL,
        resolved TEXT NOT NULL,
        PRIMARY KEY (build, number)
    ) WITHOUT ROWID;
    CREATE TABLE trees (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        vertex INTEGER NOT NULL,
        listing BLOB NOT NULL,
        PRIMARY KEY (build, vertex)
    ) WITHOUT ROWID;
    CREATE TABLE listings (
        digest BLOB PRIMARY KEY,
        chunks BLOB NOT NULL,
        entries INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE chunks (digest BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;

    INSERT INTO builds (id, state, started_ms, finished_ms, daemon, daemon_version, daemon_ref,
            rows_dropped)
        SELECT * FROM old_builds ORDER BY started_ms, id;
    CREATE TEMP TABLE old_numbers AS
        SELECT b.number AS build, v.*,
            row_number() OVER (PARTITION BY v.build ORDER BY v.started_ms, v.raw) - 1 AS number
        FROM old_vertices v JOIN builds b ON b.id = v.build;
    CREATE INDEX temp.old_numbers_by_raw ON old_numbers (build, raw);
    INSERT OR IGNORE INTO operations (digest, name, cache_map)
        SELECT CAST(x'00' || canonical AS BLOB), name,
            CAST(x'00' || predicted_cache_map AS BLOB)
        FROM old_numbers WHERE canonical IS NOT NULL;
    INSERT INTO vertices
        SELECT build, number, CAST(x'00' || raw AS BLOB), CAST(x'00' || canonical AS BLOB),
            canonical IS NOT NULL, name, kind,
            coalesce(CAST(x'00' || predicted_cache_map AS BLOB), x''), outcome, bytes, started_ms,
            completed_ms
        FROM old_numbers;
    INSERT OR IGNORE INTO requests
        SELECT CAST(x'00' || call_key AS BLOB), display, path, scopes FROM old_calls;
    INSERT INTO calls
        SELECT b.number, c.call, c.parent, CAST(x'00' || c.call_key AS BLOB), c.path,
            CAST(x'00' || c.storage_key AS BLOB), c.kind, v.number,
            (SELECT json_group_array(o.number) FROM json_each(c.other_vertices) j
                JOIN old_numbers o ON o.build = b.number AND o.raw = j.value),
            c.outcome, c.bytes, c.started_ms, c.finished_ms, c.error_class
        FROM old_calls c JOIN builds b ON b.id = c.build
        LEFT JOIN old_numbers v ON v.build = b.number AND v.raw = c.vertex;
    DROP TABLE old_numbers;
    DROP TABLE old_calls;
    DROP TABLE old_vertices;
    DROP TABLE old_builds;

    CREATE VIEW vertex_keys AS
        SELECT b.id AS build, v.number, v.outcome, v.kind, coalesce(v.name, o.name) AS name,
            lower(hex(substr(v.raw, 2))) AS raw,
            lower(hex(substr(coalesce(v.canonical, v.raw), 2))) AS canonical,
            lower(hex(substr(coalesce(v.cache_map, o.cache_map), 2))) AS cache_map,
            v.bytes, v.started_ms, v.completed_ms
        FROM vertices v JOIN builds b ON b.number = v.build
        LEFT JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw);
    CREATE VIEW call_keys AS
        SELECT b.id AS build, c.call, c.parent, coalesce(c.path, r.path) AS path, r.display,
            lower(hex(substr(c.call_key, 2))) AS call_key, r.scopes, c.kind, c.outcome,
            lower(hex(substr(v.raw, 2))) AS vertex, c.bytes, c.started_ms, c.finished_ms
        FROM calls c JOIN builds b ON b.number = c.build
        LEFT JOIN requests r ON r.call_key = c.call_key
        LEFT JOIN vertices v ON v.build = c.build AND v.number = c.vertex;
";

/// Steps that ask to be run whatever the cache has, and caches that builds read.
const VERSION_3: &str = "
    ALTER TABLE vertices ADD COLUMN ignore_cache INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE imports (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (build, number)
    ) WITHOUT ROWID;
    CREATE TABLE imported (
        build INTEGER NOT NULL REFERENCES builds (number) ON DELETE CASCADE,
        import INTEGER NOT NULL,
        vertex INTEGER NOT NULL,
        output INTEGER NOT NULL,
        state TEXT NOT NULL,
        blob BLOB,
        PRIMARY KEY (build, import, vertex, output)
    ) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::ledger::{Reader, schema};

    /// A file of version 1 with one build of two calls and two vertices.
    const OLD_ROWS: &str = "
        INSERT INTO builds VALUES ('00ff00ff00ff00ff', 'succeeded', 10, 20, 'unix:///s', 'v1', NULL, 3);
        INSERT INTO calls VALUES ('00ff00ff00ff00ff', 1, NULL, 'a', 'a(x: 1)', 'blake3:01', NULL,
            'blake3:02', 'fs', 'sha256:r1', NULL, 'cached', 7, 11, 12, NULL);
        INSERT INTO calls VALUES ('00ff00ff00ff00ff', 2, 1, 'a.b', 'b', 'blake3:03',
            '[{\"name\":\"session\",\"value\":\"s\"}]', NULL, 'ctr', 'sha256:r2',
            '[\"sha256:r1\"]', 'failed', 0, 12, NULL, 'input');
        INSERT INTO vertices VALUES ('00ff00ff00ff00ff', 'sha256:r2', NULL, 'two', 'other', NULL,
            'failed', 0, NULL, NULL);
        INSERT INTO vertices VALUES ('00ff00ff00ff00ff', 'sha256:r1', 'sha256:c1', 'one', 'file',
            'sha256:p1', 'cached', 7, 13, 14);
    ";

    #[test]
    fn a_file_of_version_1_keeps_everything_it_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(VERSION_1).unwrap();
        old.execute_batch(OLD_ROWS).unwrap();
        old.pragma_update(None, "application_id", schema::APPLICATION_ID)
            .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        drop(schema::open(&path, schema::Look::Thorough).unwrap());

        let reader = Reader::open(&path).unwrap();
        let build = reader.find("last").unwrap();
        assert_eq!((build.number, build.rows_dropped), (Some(1), 3));
        let vertices = reader.vertices(&build.id).unwrap();
        let seen: Vec<_> = vertices
            .iter()
            .map(|v| {
                (
                    &*v.raw,
                    v.canonical.as_deref(),
                    &*v.name,
                    v.predicted_cache_map.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("sha256:r1", Some("sha256:c1"), "one", Some("sha256:p1")),
                ("sha256:r2", None, "two", None)
            ]
        );
        let calls = reader.calls(&build.id).unwrap();
        assert_eq!(calls[0].storage_key, "blake3:02");
        assert_eq!(calls[0].canonical.as_deref(), Some("sha256:c1"));
        assert_eq!(calls[1].path, "a.b");
        assert_eq!(calls[1].other_vertices, ["sha256:r1"]);
        assert_eq!(calls[1].scopes[0].value, "s");
        assert_eq!(calls[1].error_class.as_deref(), Some("input"));
    }
}
