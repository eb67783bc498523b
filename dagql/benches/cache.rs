//! The result cache at a million entries.
//!
//! `cargo bench -p dagql --bench cache`
//! - `memory` (printed first): bytes per entry by a counting allocator, ID and index included. Must
//!   stay under 1 KiB; `cache/budget.rs` takes its constants from here.
//! - `hit`: one cached call in process, from the field's name and arguments to the value, with a
//!   million entries in the table. Must stay under 5 us.
//! - `new_call`: the digest and the ID of one more call on a chain. The three lengths must not
//!   differ.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use dagql::id::Call;
use dagql::{
    Arg, Cache, Field, Id, Literal, Object, ObjectData, ObjectType, Schema, Server, Session,
    SessionOptions, TypeRef, Unobserved, Value,
};
use divan::{Bencher, black_box};
use tokio_util::sync::CancellationToken;

const ENTRIES: usize = 1_000_000;

/// Calls in a row on one object before the next root; entries are links of chains as in real use.
const CHAIN: usize = 100;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by nature; this one only counts"
)]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the trait's contract, which the caller keeps.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the trait's contract, which the caller keeps.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The smallest object there is.
struct Link;

impl ObjectData for Link {
    fn type_name(&self) -> &str {
        "Link"
    }
}

fn schema() -> Schema {
    let mut builder = Schema::builder();
    let at = || Arg::new("at", "Int!");
    let field = || Field::new("link", "Link!").arg(at());
    builder.query(field().resolve(|cx, _, _| async move { Ok(cx.object(Link)) }));
    builder.object(
        ObjectType::new("Link")
            .field(field().resolve(|cx, _, _| async move { Ok(cx.object(Link)) })),
    );
    builder.build().expect("the schema is valid")
}

fn at(number: usize) -> Vec<(Arc<str>, Literal)> {
    vec![("at".into(), Literal::Int(number as i64))]
}

async fn link(session: &Arc<Session>, receiver: &Object, number: usize) -> Object {
    let value = session
        .select(receiver, "link", at(number), CancellationToken::new())
        .await;
    value
        .and_then(Value::into_object)
        .expect("the call succeeds")
}

/// A session over a full cache.
#[expect(clippy::print_stdout, reason = "a bench prints what it measures")]
fn full() -> &'static Arc<Session> {
    static FULL: OnceLock<Arc<Session>> = OnceLock::new();
    FULL.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime starts");
        runtime.block_on(async {
            let cache = Cache::in_memory().with_budget(usize::MAX);
            let server = Server::new(schema(), cache, Arc::new(Unobserved));
            let session = server.session(SessionOptions::new("s", "c", Arc::new(())));
            let before = ALLOCATED.load(Ordering::Relaxed);
            let mut last = session.root();
            for number in 0..ENTRIES {
                let receiver = match number % CHAIN {
                    0 => session.root(),
                    _ => last,
                };
                last = link(&session, &receiver, number).await;
            }
            let bytes = ALLOCATED.load(Ordering::Relaxed) - before;
            let stats = server.cache().stats();
            println!(
                "memory: {} entries, {} bytes per entry allocated, {} estimated",
                stats.entries,
                bytes / stats.entries,
                stats.bytes / stats.entries,
            );
            session
        })
    })
}

/// A hit never waits, so its future is ready at the first poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a cached call had to wait"),
    }
}

#[divan::bench]
fn hit(bencher: Bencher<'_, '_>) {
    let session = full();
    let root = session.root();
    let mut number = 0;
    bencher.bench_local(|| {
        // Another chain's root each time, far apart in memory.
        number = (number + 7919 * CHAIN) % ENTRIES;
        ready(link(session, black_box(&root), number))
    });
}

#[divan::bench(args = [10, 1_000, 10_000])]
fn new_call(bencher: Bencher<'_, '_>, length: usize) {
    let call = |number: usize| {
        let ty = TypeRef::named("Link").non_null();
        Call::new("link", ty).arg("at", number as i64)
    };
    let chain = (1..length).fold(Id::root(call(0)), |id, number| id.append(call(number)));
    bencher
        .with_inputs(|| call(length))
        .bench_values(|call| chain.append(call));
}

fn main() {
    full();
    divan::main();
}
