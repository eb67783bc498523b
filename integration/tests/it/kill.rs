//! SIGKILL at random moments, while eight clients compute and recall values: the
//! database opens, everything a client was told is there, and nothing else than
//! the truth is answered.
//!
//! The process that is killed is this test binary itself, running the test
//! [`child`]. It prints a line for every value a client was given; what the
//! parent has read is acknowledged. A value is a pure function of its number, so
//! both sides can check it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dagql::{
    Arg, Cache, CallInfo, Field, Finished, ObjectData, ObjectType, Observer, Outcome, Request,
    Schema, Server, SessionOptions, ValueLimits, ValueStore,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The variable that tells the child where its database is.
const FILE: &str = "DAGOP_TEST_KILL_FILE";

/// How often the child is killed.
const KILLS: u32 = 200;

/// Clients of the child at a time.
const CLIENTS: u64 = 8;

/// Numbers that clients ask for: few enough to meet again.
const NUMBERS: u64 = 3000;

/// Longest the child lives, in milliseconds.
const LIFE_MAX: u64 = 120;

struct Number(u64);

impl ObjectData for Number {
    fn type_name(&self) -> &str {
        "Number"
    }
}

/// The value of a number, as long as a line of output.
fn text(number: u64) -> String {
    format!(
        "{}-{}",
        number.wrapping_mul(number),
        "x".repeat((number % 300) as usize)
    )
}

/// Counts the calls that were answered by an earlier process.
#[derive(Default)]
struct Recalled(AtomicU64);

impl Observer for Recalled {
    fn call_finished(&self, _: &CallInfo, finished: &Finished<'_>) {
        if finished.outcome == Outcome::Recalled {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn server(file: &Path, recalled: &Arc<Recalled>) -> Server {
    let mut builder = Schema::builder();
    builder.query(
        Field::new("number", "Number!")
            .arg(Arg::new("n", "Int!"))
            .resolve(
                |cx, _, args| async move { Ok(cx.object(Number(args.int("n")?.unsigned_abs()))) },
            ),
    );
    builder.object(
        ObjectType::new("Number").field(Field::new("text", "String!").persist().resolve(
            |_, this, _| async move {
                // A step takes a while; others go on meanwhile.
                tokio::time::sleep(Duration::from_micros(200)).await;
                Ok(text(this.data::<Number>()?.0))
            },
        )),
    );
    let store = ValueStore::open(file, "kill", ValueLimits::default()).unwrap();
    let cache = Cache::in_memory().with_values(store);
    let observer: Arc<dyn Observer> = Arc::<Recalled>::clone(recalled);
    Server::new(builder.build().unwrap(), cache, observer)
}

async fn ask(server: &Server, client: &str, number: u64) -> String {
    // A session per call: nothing is answered from memory for as long as it matters here.
    let session = server.session(SessionOptions::new(client, client, Arc::new(())));
    let request = Request::new(format!("{{ number(n: {number}) {{ text }} }}"));
    let answer = session.execute(request, CancellationToken::new()).await;
    let data = answer.json().unwrap();
    data["number"]["text"].as_str().unwrap().to_owned()
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "runs as a child process of the test below"]
fn child() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else {
        return;
    };
    runtime().block_on(async {
        let server = server(&file, &Arc::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(serve_client(server.clone(), client.to_string()));
        }
        // Clients have no end; one that panics ends the process.
        clients.join_next().await.unwrap().unwrap();
    });
}

/// Asks for numbers and says what it was given, until the process is killed.
async fn serve_client(server: Server, name: String) {
    loop {
        let number = random() % NUMBERS;
        let answer = ask(&server, &name, number).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "given {number} {answer}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs the child for a while, kills it, and returns what it had told its clients.
fn run_and_kill(file: &Path) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "kill::child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE, file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut given = BTreeSet::new();
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            // The last line may be cut; the first ones are the test runner's own.
            if let Some(rest) = line
                .strip_prefix("given ")
                .and_then(|l| l.strip_suffix('\n'))
            {
                let (number, answer) = rest.split_once(' ').unwrap();
                let number = number.parse().unwrap();
                assert_eq!(answer, text(number), "a wrong answer");
                given.insert(number);
            }
            line.clear();
        }
        given
    });
    std::thread::sleep(Duration::from_millis(random() % LIFE_MAX));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn check_file(file: &Path) {
    if !file.exists() {
        return;
    }
    let connection = rusqlite::Connection::open(file).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn whenever_it_is_killed_what_was_given_is_there_and_true() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.db");
    let runtime = runtime();
    let mut all = BTreeSet::new();
    let mut useful = 0;
    for kill in 0..KILLS {
        let given = run_and_kill(&file);
        useful += u32::from(!given.is_empty());
        all.extend(&given);
        check_file(&file);
        // A new process knows every value that this one gave; the last knows all that were ever.
        let asked = if kill + 1 == KILLS { &all } else { &given };
        runtime.block_on(async {
            let recalled = Arc::<Recalled>::default();
            let server = server(&file, &recalled);
            for number in asked {
                assert_eq!(ask(&server, "parent", *number).await, text(*number));
            }
            let recalled = recalled.0.load(Ordering::Relaxed);
            assert_eq!(recalled, asked.len() as u64, "lost after kill {kill}");
        });
    }
    assert!(
        useful > KILLS / 4,
        "only {useful} children came as far as an answer"
    );
    assert!(all.len() > 500, "only {} values", all.len());
}
