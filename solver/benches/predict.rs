//! Prediction without content: time against the number of vertices, for a chain, diamonds and a fan.
//!
//! ```text
//! cargo bench -p solver --bench predict              all sizes
//! cargo bench -p solver --bench predict -- 10000     these
//! ```
//! Prints the median of [`ROUNDS`] runs for each size, and for each shape R2: how much of the time a
//! straight line through the sizes explains. Reading the definition back is part of it, as a
//! prediction always starts from bytes.

use std::time::{Duration, Instant};

use solver::{
    cachemap::Profile,
    llb::{
        self, Constraints, Definition, Output,
        exec::Exec,
        file::{FileOp, MkfileOptions},
    },
    predict::{Nothing, predict},
};

/// That of the dagop binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Vertices of each run.
const SIZES: [usize; 6] = [1_000, 10_000, 25_000, 50_000, 75_000, 100_000];

/// Runs of each size.
const ROUNDS: usize = 7;

/// Inputs of one merge of a fan.
const FAN: usize = 100;

fn mkfile(base: Option<Output>, number: usize) -> Output {
    FileOp::new(base)
        .mkfile(format!("/f{number}"), 0o644, "x", MkfileOptions::default())
        .build(Constraints::default())
        .expect("a good action")
}

/// Each step on the one before: files and commands in turn.
fn chain(size: usize) -> Output {
    let mut top = mkfile(None, 0);
    for number in 1..size {
        top = if number % 2 == 0 {
            mkfile(Some(top), number)
        } else {
            let exec = Exec::new(Some(top), ["/bin/make".to_owned(), format!("step{number}")]);
            let built = exec.directory("/").build().expect("a good command");
            built.root().expect("it is writable").clone()
        };
    }
    top
}

/// Two ways from each merge to the next: 2^(n/3) paths.
fn diamonds(size: usize) -> Output {
    let mut top = mkfile(None, 0);
    for number in 0..size / 3 {
        let sides = [
            Some(mkfile(Some(top.clone()), 2 * number + 1)),
            Some(mkfile(Some(top), 2 * number + 2)),
        ];
        top = llb::merge(&sides, Constraints::default()).expect("two sides");
    }
    top
}

/// Many files side by side, merged in groups, and the groups again.
fn fan(size: usize) -> Output {
    let mut level: Vec<Option<Output>> = (0..size).map(|at| Some(mkfile(None, at))).collect();
    while level.len() > 1 {
        level = level
            .chunks(FAN)
            .map(|group| llb::merge(group, Constraints::default()))
            .collect();
    }
    level.pop().flatten().expect("there is at least one file")
}

fn grow(shape: &str, size: usize) -> Output {
    match shape {
        "chain" => chain(size),
        "diamonds" => diamonds(size),
        _ => fan(size),
    }
}

fn median(definition: &Definition) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let prediction = predict(definition, &Nothing, Profile::NEWEST);
            let time = start.elapsed();
            assert!(prediction.expect("a good graph").missing.is_empty());
            time
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

/// Square of the correlation of sizes and times.
fn r_squared(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let sum = |of: fn(f64, f64) -> f64| {
        points
            .iter()
            .map(|(x, y)| of(x - mean_x, y - mean_y))
            .sum::<f64>()
    };
    sum(|x, y| x * y).powi(2) / (sum(|x, _| x * x) * sum(|_, y| y * y))
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() {
    // Cargo adds flags of its own.
    let given = std::env::args().skip(1);
    let mut sizes: Vec<usize> = given.filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = SIZES.to_vec();
    }
    println!(
        "{:<10}  {:>9}  {:>10}  {:>10}",
        "SHAPE", "VERTICES", "MS", "US/VERTEX"
    );
    for name in ["chain", "diamonds", "fan"] {
        let mut points = Vec::new();
        for &size in &sizes {
            let definition = Definition::marshal(Some(&grow(name, size)), &Constraints::default());
            let vertices = definition.def.len() - 1;
            let milliseconds = median(&definition).as_secs_f64() * 1e3;
            points.push((vertices as f64, milliseconds));
            println!(
                "{name:<10}  {vertices:>9}  {milliseconds:>10.2}  {:>10.2}",
                milliseconds * 1e3 / vertices as f64
            );
        }
        println!("{name:<10}  R2 {:.4}", r_squared(&points));
    }
}
