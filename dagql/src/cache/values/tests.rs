//! The store alone, and calls answered from it: by a second server over the same file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::*;
use crate::testing::session;
use crate::{
    Arg, Cache, CachePolicy, Field, ObjectData, ObjectType, Observer, Outcome, Request, Schema,
    Server, Sighting,
};

fn key(text: &str) -> Digest {
    Digest::parse(text).expect("well formed")
}

struct File {
    folder: TempDir,
    now: Arc<AtomicU64>,
}

impl File {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("creates"),
            now: Arc::new(AtomicU64::new(1_000_000)),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("cache.db")
    }

    fn store(&self) -> ValueStore {
        self.store_within(Limits::default())
    }

    fn store_within(&self, limits: Limits) -> ValueStore {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
        ValueStore::with_clock(&self.path(), "space", limits, clock).expect("opens")
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    fn sql(&self, text: &str) {
        let connection = Connection::open(self.path()).expect("opens");
        connection.execute_batch(text).expect(text);
    }
}

async fn text(store: &ValueStore, name: &str) -> Option<String> {
    let value = store.get(&key(name)).await?;
    Some(value.as_str().expect("a text").to_owned())
}

#[tokio::test]
async fn a_value_is_there_once_put_returned_and_in_the_next_process() {
    let file = File::new();
    let store = file.store();
    assert_eq!(text(&store, "a").await, None);
    store.put(&key("a"), &"one".into(), None).await;
    assert_eq!(text(&store, "a").await.as_deref(), Some("one"));
    assert_eq!(text(&file.store(), "a").await.as_deref(), Some("one"));
    let other = ValueStore::open(&file.path(), "elsewhere", Limits::default()).expect("opens");
    assert_eq!(text(&other, "a").await, None, "another namespace");
    let mode = std::fs::metadata(file.path()).expect("exists");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[tokio::test]
async fn an_expired_value_is_a_miss() {
    let file = File::new();
    let store = file.store();
    store.put(&key("a"), &"one".into(), Some(1_000_060)).await;
    file.pass(59);
    assert!(text(&store, "a").await.is_some());
    file.pass(1);
    assert!(text(&store, "a").await.is_none());
}

#[tokio::test]
async fn a_row_whose_sum_does_not_fit_is_a_miss() {
    let file = File::new();
    let store = file.store();
    let tampering = [
        "UPDATE call_values SET value = x'0402000000000000006162'",
        "UPDATE call_values SET sum = x'00'",
        "UPDATE call_values SET expires = 9999999",
    ];
    for sql in tampering {
        store.put(&key("a"), &"one".into(), None).await;
        file.sql(sql);
        assert_eq!(text(&store, "a").await, None, "{sql}");
    }
    store.put(&key("a"), &"one".into(), None).await;
    store.put(&key("b"), &"two".into(), None).await;
    file.sql(
        "CREATE TEMP TABLE other AS SELECT key FROM call_values ORDER BY rowid LIMIT 1;
         DELETE FROM call_values WHERE key = (SELECT key FROM other);
         UPDATE call_values SET key = (SELECT key FROM other)",
    );
    assert_eq!(text(&store, "a").await, None, "the row of another key");
}

#[tokio::test]
async fn a_file_that_is_broken_is_replaced_also_while_it_is_open() {
    let file = File::new();
    let store = file.store();
    for n in 0..200 {
        store
            .put(&key(&format!("k{n}")), &"x".repeat(2000).into(), None)
            .await;
    }
    file.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    drop(store);
    let whole = std::fs::read(file.path()).expect("reads");
    for n in 0..4 {
        let mut bytes = whole.clone();
        match n {
            0 => bytes.truncate(5000),
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes[4096..].fill(0xa5),
            _ => bytes[..100].fill(b'x'),
        }
        std::fs::write(file.path(), bytes).expect("writes");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(file.folder.path().join(format!("cache.db{suffix}")));
        }
        let store = file.store();
        for at in 0..200 {
            let found = text(&store, &format!("k{at}")).await;
            assert!(
                found.is_none_or(|text| text == "x".repeat(2000)),
                "damage {n}, row {at}"
            );
        }
        store.put(&key("again"), &"y".into(), None).await;
        store.put(&key("again"), &"y".into(), None).await;
        assert_eq!(
            text(&store, "again").await.as_deref(),
            Some("y"),
            "damage {n}"
        );
    }
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let file = File::new();
    file.sql("PRAGMA user_version = 7; CREATE TABLE future (x)");
    let before = std::fs::read(file.path()).expect("reads");
    let error = ValueStore::open(&file.path(), "space", Limits::default()).expect_err("refused");
    assert!(error.to_string().contains("newer version"), "{error}");
    assert!(Cache::open(&file.path()).is_err());
    file.sql("SELECT x FROM future");
    assert_eq!(
        std::fs::read(file.path()).expect("reads").len(),
        before.len()
    );
}

#[tokio::test]
async fn a_locked_file_loses_the_value_and_not_the_run() {
    let file = File::new();
    let store = file.store();
    let other = Connection::open(file.path()).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    store.put(&key("a"), &"one".into(), None).await;
    assert_eq!(text(&store, "a").await, None);
    // The second write does not wait for the lock again.
    store.put(&key("b"), &"two".into(), None).await;
    other.execute_batch("COMMIT").expect("unlocks");
    assert_eq!(text(&store, "b").await, None);
    assert_eq!(text(&file.store(), "a").await, None);
}

#[tokio::test]
async fn what_was_used_longest_ago_goes_first() {
    let file = File::new();
    let limits = Limits {
        bytes: 1 << 20,
        rows: 4000,
    };
    let store = file.store_within(limits);
    store.put(&key("kept"), &"mine".into(), None).await;
    for round in 0..6 {
        file.pass(TOUCH_AFTER.as_secs() + 1);
        assert!(text(&store, "kept").await.is_some(), "round {round}");
        for n in 0..300 {
            let name = format!("{round}-{n}");
            store.put(&key(&name), &"x".repeat(1000).into(), None).await;
        }
    }
    let stats = value_stats(&file.path()).expect("reads");
    assert!(stats.bytes <= limits.bytes && stats.rows > 500, "{stats:?}");
    assert!(text(&store, "kept").await.is_some());
    assert!(text(&store, "0-0").await.is_none());
    let pruned = prune_values(&file.path()).expect("prunes");
    assert_eq!(pruned, stats);
    assert_eq!(
        value_stats(&file.path()).expect("reads"),
        ValueStats::default()
    );
    assert!(text(&store, "kept").await.is_none());
}

#[tokio::test]
async fn many_writers_at_once_share_transactions_and_lose_nothing() {
    let file = File::new();
    let (one, two) = (file.store(), file.store());
    let puts = (0..400).map(|n| {
        let store = if n % 2 == 0 { one.clone() } else { two.clone() };
        async move { store.put(&key(&format!("k{n}")), &n.into(), None).await }
    });
    futures::future::join_all(puts).await;
    for n in 0..400_i64 {
        let found = two.get(&key(&format!("k{n}"))).await;
        assert!(
            matches!(found, Some(Value::Int(value)) if value == n),
            "{n}"
        );
    }
}

/// Trees whose content the test changes, as a host's directories change.
#[derive(Default)]
struct World {
    trees: Mutex<HashMap<String, String>>,
    /// Changes a tree while a value is computed from it.
    meddle: Mutex<Option<(String, String)>>,
    runs: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
}

impl World {
    fn get(&self, path: &str) -> String {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.get(path).cloned().unwrap_or_default()
    }

    fn set(&self, path: &str, content: &str) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.insert(path.to_owned(), content.to_owned());
    }

    fn last(&self) -> Outcome {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *outcomes.last().expect("a call has ended")
    }
}

struct Watch(Arc<World>);

impl Observer for Watch {
    fn call_finished(&self, call: &crate::CallInfo, finished: &crate::Finished<'_>) {
        if call.id.field() == "read" {
            let mut outcomes = self
                .0
                .outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            outcomes.push(finished.outcome);
        }
    }
}

struct Tree {
    world: Arc<World>,
    path: String,
    suffix: String,
}

impl ObjectData for Tree {
    fn type_name(&self) -> &str {
        "Tree"
    }
}

struct Seen {
    world: Arc<World>,
    path: String,
    content: String,
}

impl Sighting for Seen {
    fn digest(&self) -> Option<Digest> {
        Some(Scheme::Blake3.rules().strings("tree", &[&self.content]))
    }

    fn holds(&self) -> bool {
        self.world.get(&self.path) == self.content
    }
}

fn schema(world: &Arc<World>) -> Schema {
    let mut builder = Schema::builder();
    let at = Arc::clone(world);
    builder.query(
        Field::new("tree", "Tree!")
            .arg(Arg::new("path", "String!"))
            .cache(CachePolicy::PerClient)
            .resolve(move |cx, _, args| {
                let world = Arc::clone(&at);
                async move {
                    let path = args.str("path")?.to_owned();
                    let content = world.get(&path);
                    let seen = Seen {
                        world: Arc::clone(&world),
                        path: path.clone(),
                        content,
                    };
                    let tree = Tree {
                        world,
                        path,
                        suffix: String::new(),
                    };
                    Ok(cx.object(tree).with_sighting(Arc::new(seen)))
                }
            }),
    );
    let at = Arc::clone(world);
    builder.query(
        Field::new("secret", "Tree!")
            .arg(Arg::new("plaintext", "String!").sensitive())
            .cache(CachePolicy::PerCall)
            .resolve(move |cx, _, args| {
                let world = Arc::clone(&at);
                async move {
                    let suffix = args.str("plaintext")?.to_owned();
                    Ok(cx.object(Tree {
                        world,
                        path: String::new(),
                        suffix,
                    }))
                }
            }),
    );
    builder.object(
        ObjectType::new("Tree")
            .field(
                Field::new("add", "Tree!")
                    .arg(Arg::new("text", "String!"))
                    .resolve(|cx, this, args| async move {
                        let tree = this.data::<Tree>()?;
                        Ok(cx.object(Tree {
                            world: Arc::clone(&tree.world),
                            path: tree.path.clone(),
                            suffix: format!("{}{}", tree.suffix, args.str("text")?),
                        }))
                    }),
            )
            .field(
                Field::new("read", "String!")
                    .persist()
                    .resolve(|_, this, _| async move {
                        let tree = this.data::<Tree>()?;
                        tree.world.runs.fetch_add(1, Ordering::Relaxed);
                        let meddle = tree
                            .world
                            .meddle
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .take();
                        if let Some((path, content)) = meddle {
                            tree.world.set(&path, &content);
                        }
                        Ok(format!("{}{}", tree.world.get(&tree.path), tree.suffix))
                    }),
            ),
    );
    builder.build().expect("valid")
}

/// A process: a server over the file, asked one thing.
async fn ask(world: &Arc<World>, file: &File, query: &str) -> String {
    let cache = Cache::in_memory().with_values(file.store());
    let server = Server::new(schema(world), cache, Arc::new(Watch(Arc::clone(world))));
    let session = session(&server, "a");
    let request = Request::new(query);
    let answer = session
        .execute(request, Default::default())
        .await
        .json()
        .expect(query);
    let text = answer
        .pointer("/tree/add/read")
        .or_else(|| answer.pointer("/secret/add/read"));
    text.and_then(|text| text.as_str()).expect(query).to_owned()
}

const READ: &str = r#"{ tree(path: "p") { add(text: "+") { read } } }"#;

#[tokio::test]
async fn a_second_process_recalls_and_a_changed_input_runs_again() {
    let (world, file) = (Arc::<World>::default(), File::new());
    world.set("p", "one");
    assert_eq!(ask(&world, &file, READ).await, "one+");
    assert_eq!(world.last(), Outcome::Executed);
    assert_eq!(ask(&world, &file, READ).await, "one+");
    assert_eq!(
        (world.last(), world.runs.load(Ordering::Relaxed)),
        (Outcome::Recalled, 1)
    );
    let other = READ.replace('+', "-");
    assert_eq!(ask(&world, &file, &other).await, "one-");
    assert_eq!(world.last(), Outcome::Executed);
    world.set("p", "two");
    assert_eq!(ask(&world, &file, READ).await, "two+");
    assert_eq!(world.last(), Outcome::Executed);
    // The same content at another path is the same call.
    world.set("q", "one");
    assert_eq!(
        ask(&world, &file, &READ.replace("\"p\"", "\"q\"")).await,
        "one+"
    );
    assert_eq!(world.last(), Outcome::Recalled);
}

#[tokio::test]
async fn an_input_that_changes_meanwhile_keeps_the_value_out() {
    let (world, file) = (Arc::<World>::default(), File::new());
    world.set("p", "one");
    *world.meddle.lock().expect("free") = Some(("p".to_owned(), "two".to_owned()));
    assert_eq!(ask(&world, &file, READ).await, "two+");
    world.set("p", "one");
    assert_eq!(ask(&world, &file, READ).await, "one+");
    assert_eq!(
        world.last(),
        Outcome::Executed,
        "filed under content it was not made from"
    );
}

#[tokio::test]
async fn what_comes_from_a_secret_is_not_kept() {
    let (world, file) = (Arc::<World>::default(), File::new());
    let query = r#"{ secret(plaintext: "canary-7c1") { add(text: "+") { read } } }"#;
    for _ in 0..2 {
        assert_eq!(ask(&world, &file, query).await, "canary-7c1+");
        assert_eq!(world.last(), Outcome::Executed);
    }
    assert_eq!(
        value_stats(&file.path()).expect("reads"),
        ValueStats::default()
    );
}

#[tokio::test]
async fn a_session_may_ask_anew_and_its_value_is_kept() {
    let (world, file) = (Arc::<World>::default(), File::new());
    world.set("p", "one");
    ask(&world, &file, READ).await;
    let cache = Cache::in_memory().with_values(file.store());
    let server = Server::new(schema(&world), cache, Arc::new(Watch(Arc::clone(&world))));
    let options = crate::SessionOptions::new("a", "a", Arc::new(())).recall(false);
    server
        .session(options)
        .execute(Request::new(READ), Default::default())
        .await;
    assert_eq!(
        (world.last(), world.runs.load(Ordering::Relaxed)),
        (Outcome::Executed, 2)
    );
    ask(&world, &file, READ).await;
    assert_eq!(world.last(), Outcome::Recalled);
}
