//! The cost of call IDs: one more call on a chain, writing a chain, reading and verifying it,
//! freeing it.
//!
//! `cargo bench -p dagql --bench id`. Every number but `append` is for a whole chain, so time that
//! grows faster than the number of calls is a defect. Reading 100,000 calls must stay under 300 ms.

use dagql::Id;
use dagql::TypeRef;
use dagql::id::{Call, ImplicitInput, Scope};
use dagql::scheme::Scheme;
use dagql::wire;
use divan::{Bencher, black_box};

const LENGTHS: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

fn with_exec() -> Call {
    let container = TypeRef::named("Container").non_null();
    Call::new("withExec", container)
        .arg("args", vec!["cc", "-O2", "-c", "main.c"])
        .with_view("v0.19.11")
}

fn chain(scheme: Scheme, calls: usize) -> Id {
    let container = TypeRef::named("Container").non_null();
    let root = Id::root_under(scheme, Call::new("container", container));
    (1..calls).fold(root, |id, at| id.append(with_exec().arg("step", at as i64)))
}

#[divan::bench(args = [Scheme::Blake3, Scheme::Xxh3V1])]
fn append(bencher: Bencher<'_, '_>, scheme: Scheme) {
    let id = chain(scheme, 10);
    bencher
        .with_inputs(with_exec)
        .bench_values(|call| id.append(call));
}

/// One more call on a chain that is already long: the curve must be flat.
#[divan::bench(args = [10, 100, 1_000, 10_000])]
fn append_to_chain_of(bencher: Bencher<'_, '_>, calls: usize) {
    let id = chain(Scheme::Blake3, calls);
    bencher
        .with_inputs(with_exec)
        .bench_values(|call| id.append(call));
}

#[divan::bench]
fn append_scoped(bencher: Bencher<'_, '_>) {
    let id = chain(Scheme::Blake3, 10);
    let scoped = || with_exec().implicit(ImplicitInput::scoped(Scope::Client, "client-1"));
    bencher
        .with_inputs(scoped)
        .bench_values(|call| id.append(call));
}

#[divan::bench(args = LENGTHS)]
fn encode(bencher: Bencher<'_, '_>, calls: usize) {
    let id = chain(Scheme::Blake3, calls);
    bencher.bench_local(|| wire::encode(black_box(&id)).expect("the chain is within the limits"));
}

#[divan::bench(args = LENGTHS)]
fn decode_and_verify(bencher: Bencher<'_, '_>, calls: usize) {
    let text = wire::encode(&chain(Scheme::Blake3, calls)).expect("the chain is within the limits");
    bencher.bench_local(|| wire::decode(black_box(&text)).expect("the text was just written"));
}

#[divan::bench(args = LENGTHS)]
fn decode_and_verify_dagger(bencher: Bencher<'_, '_>, calls: usize) {
    let text = wire::encode(&chain(Scheme::Xxh3V2, calls)).expect("the chain is within the limits");
    bencher.bench_local(|| wire::decode(black_box(&text)).expect("the text was just written"));
}

#[divan::bench(args = LENGTHS)]
fn free(bencher: Bencher<'_, '_>, calls: usize) {
    bencher
        .with_inputs(|| chain(Scheme::Blake3, calls))
        .bench_local_values(drop);
}
