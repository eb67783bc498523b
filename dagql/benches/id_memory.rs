//! The memory of call IDs: bytes and allocations for chains of 1,000 calls with three arguments.
//!
//! `cargo bench -p dagql --bench id_memory`. Divide `alloc` by 1,000: a call with its digest,
//! arguments and texts should stay well under 1 KiB. A bench of its own, because counting
//! allocations costs time.

use dagql::Id;
use dagql::TypeRef;
use dagql::id::Call;
use dagql::scheme::Scheme;
use dagql::wire;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const CALLS: i64 = 1_000;

fn main() {
    divan::main();
}

fn chain() -> Id {
    let container = || TypeRef::named("Container").non_null();
    let root = Id::root_under(Scheme::Blake3, Call::new("container", container()));
    (1..CALLS).fold(root, |id, at| {
        let call = Call::new("withExec", container())
            .arg("args", vec!["cc", "-O2", "-c", "main.c"])
            .arg("step", at);
        id.append(call)
    })
}

/// Made by calls: every text is allocated by its maker.
#[divan::bench]
fn built(bencher: Bencher<'_, '_>) {
    bencher.bench_local(chain);
}

/// Read from text: equal names and short texts are shared.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let text = wire::encode(&chain()).expect("the chain is within the limits");
    bencher.bench_local(|| wire::decode(&text).expect("the text was just written"));
}
