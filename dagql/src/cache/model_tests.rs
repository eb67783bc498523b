//! Random timelines of the table against the naive model in `cache/model.rs`.
//!
//! A world is a hidden truth: every name is something, calls are functions of what their inputs are,
//! and a content is known by what it is a content of. Sessions ask for names as the engine does (hit,
//! equal, join, run), leave, fail, are released; results are private, volatile, expiring or not
//! portable; contents are learnt late; the clock moves; the table sweeps. After each step table and
//! model have answered the same, the answer is true, and the same values are alive.
//!
//! A failure prints a seed and the shortest list of steps that still fails. Replay:
//! `DAGQL_MODEL_SEED=n cargo test -p dagql --lib timelines`. By hand, in a release build:
//! `cargo test -p dagql --release --lib -- --ignored ten_million`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures::FutureExt;

use super::flights::Waiter;
use super::model::{Call, Model, Name, Stored};
use super::{CacheStats, Claim, Completion, Input, Key, SessionKey, Shape, Table, Ticket};
use crate::digest::scheme::Scheme;
use crate::{Digest, Error};

/// Steps of one timeline; fewer results go in it than make the table sweep by itself.
const STEPS: usize = 200;

/// Names that steps choose from; few, so that they meet.
const NAMES: u32 = 12;

/// So much more than everything that is known weighs that budgets count results.
const WEIGHT: usize = 1 << 32;

type Value = Arc<u64>;

/// What to do, with numbers that are taken modulo what is there.
#[derive(Debug, Clone, Copy)]
struct Step(u32, u32, u32, u32);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn step(&mut self) -> Step {
        let (a, b) = (self.next(), self.next());
        Step(a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32)
    }
}

struct Flight {
    name: Name,
    session: usize,
    ticket: Ticket<Value>,
    waiters: Vec<Waiter<Value>>,
}

struct World {
    table: Arc<Table<Value>>,
    model: Model,
    /// Open sessions by a number that is never used again, and the one in each of four slots.
    sessions: BTreeMap<usize, SessionKey>,
    slots: [Option<usize>; 4],
    /// What each name is, and how it is called; none for a root.
    names: Vec<(u32, Option<Call>)>,
    recipes: BTreeMap<Call, Name>,
    flights: Vec<Flight>,
    values: Vec<Weak<u64>>,
    next: u64,
    now: u64,
}

macro_rules! same {
    ($left:expr, $right:expr, $($what:tt)*) => {
        let (left, right) = ($left, $right);
        if left != right {
            return Err(format!("{}: table {left:?}, model {right:?}", format_args!($($what)*)));
        }
    };
}

fn key(name: Name) -> Key {
    let text = format!("n{name}");
    Key::of(&Digest::parse(&text).expect("well formed"))
}

fn content(truth: u32) -> Key {
    let digest = Scheme::Blake3.rules().strings("t", &[&truth.to_string()]);
    Key::content("T", &digest)
}

impl World {
    fn new(Step(a, b, ..): Step) -> Self {
        let budget = (a % 16) as usize * WEIGHT + WEIGHT / 2;
        let roots = (0..6).map(|at| ((b >> (2 * at)) % 4, None));
        Self {
            table: Table::new(budget),
            model: Model {
                budget,
                ..Model::default()
            },
            sessions: BTreeMap::new(),
            slots: [None; 4],
            names: roots.collect(),
            recipes: BTreeMap::new(),
            flights: Vec::new(),
            values: Vec::new(),
            next: 0,
            now: 0,
        }
    }

    fn name(&self, number: u32) -> Name {
        number % (self.names.len() as u32).min(NAMES)
    }

    /// What a call gives: a function of the digest and of what the inputs are. Digest 0 changes
    /// nothing.
    fn output(&self, call: &Call) -> u32 {
        let inputs = call.inputs.iter().map(|name| self.names[*name as usize].0);
        let mut truths = inputs.collect::<Vec<_>>();
        match (call.digest, truths.as_mut_slice()) {
            (0, [truth, ..]) => *truth,
            (digest, truths) => truths
                .iter()
                .fold(digest + 10, |sum, truth| (sum * 31 + truth) % 97),
        }
    }

    /// The name of a call, as its ID would be.
    fn call(&mut self, Step(a, b, c, d): Step) -> Name {
        let inputs = match d % 3 {
            0 => vec![self.name(b), self.name(c)],
            _ => vec![self.name(b)],
        };
        let call = Call {
            digest: a % 3,
            inputs,
        };
        if let Some(name) = self.recipes.get(&call) {
            return *name;
        }
        let name = self.names.len() as Name;
        self.names.push((self.output(&call), Some(call.clone())));
        self.recipes.insert(call, name);
        name
    }

    fn fresh(&mut self, truth: u32) -> Name {
        self.names.push((truth, None));
        self.names.len() as Name - 1
    }

    fn shape(&self, name: Name, session: SessionKey) -> Option<Shape> {
        let call = self.names[name as usize].1.as_ref()?;
        let input = |input: &Name| Input {
            keys: vec![key(*input).private(session), key(*input)],
            content: None,
        };
        Some(Shape {
            digest: key(1_000_000 + call.digest),
            inputs: call.inputs.iter().map(input).collect(),
        })
    }

    fn truth_of(&self, value: u64) -> u32 {
        (value >> 32) as u32
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let Step(a, b, c, _) = step;
        match a % 16 {
            0 => self.open(b as usize % 4),
            1 if c % 4 == 0 => self.release(b as usize % 4),
            1 => self.open(b as usize % 4),
            2 => self.now += u64::from(b % 3),
            3 => {
                let name = self.name(b);
                let truth = self.names[name as usize].0;
                self.expire();
                self.table.learn(&key(name), content(truth));
                self.model.learn(name, truth);
            }
            4 => self.sweep()?,
            5..=8 => self.finish(b, step)?,
            9 => self.leave(b, c)?,
            10 | 11 => {
                let name = self.name(c);
                self.ask(name, b as usize % 4)?;
            }
            _ => {
                let name = self.call(Step(b, c, step.3, a >> 4));
                self.ask(name, (b >> 8) as usize % 4)?;
            }
        }
        self.compare()
    }

    fn open(&mut self, slot: usize) {
        if self.slots[slot].is_none() {
            self.next += 1;
            let session = self.next as usize;
            self.slots[slot] = Some(session);
            self.sessions.insert(session, self.table.open_session());
            self.model.sessions.insert(session);
        }
    }

    fn release(&mut self, slot: usize) {
        if let Some(session) = self.slots[slot].take()
            && let Some(key) = self.sessions.remove(&session)
        {
            self.expire();
            self.table.release_session(key);
            self.model.release(session);
        }
    }

    /// Both forget what has expired before they look anything up.
    fn expire(&mut self) {
        let _ = self.table.stats(self.now);
        self.model.expire(self.now);
    }

    /// Asks as the engine does.
    fn ask(&mut self, name: Name, slot: usize) -> Result<(), String> {
        let Some(session) = self.slots[slot] else {
            return Ok(());
        };
        let owner = self.sessions[&session];
        self.expire();
        let (key, now) = (key(name), self.now);
        let hit = self.table.hit(&key, owner, now).map(|held| *held.value);
        same!(
            hit,
            self.model.hit(name, session),
            "hit {name} in {session}"
        );
        if let Some(value) = hit {
            same!(
                self.truth_of(value),
                self.names[name as usize].0,
                "truth of {name}"
            );
            return Ok(());
        }
        let call = self.names[name as usize].1.clone();
        let shape = self.shape(name, owner);
        let found = self.table.equal(&key, shape.as_ref(), owner, now);
        let expected = self.model.equal(name, call.as_ref(), session);
        let value = found.as_ref().map(|equal| *equal.value);
        same!(
            value,
            expected.map(|(_, value)| value),
            "equal to {name} in {session}"
        );
        if let (Some(equal), Some((home, value))) = (found, expected) {
            same!(
                self.truth_of(value),
                self.names[name as usize].0,
                "truth of {name}"
            );
            let taught = Completion {
                expires: equal.expires,
                private: equal.private,
                volatile: equal.volatile,
                equal: vec![equal.home],
                weight: WEIGHT,
                shape,
                ..Completion::of(equal.value)
            };
            let stored = Stored {
                expires: equal.expires,
                private: equal.private.then_some(session),
                volatile: equal.volatile,
                equal: Some(home),
                weight: WEIGHT,
                ..Stored::of(value, name, name)
            };
            let held = self.table.teach(&key, owner, taught, now).ok();
            let expected = self.model.store(stored, session, None, call.as_ref(), now);
            same!(held.map(|held| *held.value), expected, "taught {name}");
            return Ok(());
        }
        self.fly(name, session)
    }

    /// Joins the flight of a name or begins one.
    fn fly(&mut self, name: Name, session: usize) -> Result<(), String> {
        let owner = self.sessions[&session];
        let known = self.flights.iter().position(|flight| {
            let claim = (flight.name, flight.session);
            claim == (name, session) && !flight.ticket.stop().is_cancelled()
        });
        match self.table.claim(&key(name), owner, None, self.now) {
            Claim::Join(waiter) => match known {
                Some(at) => self.flights[at].waiters.push(waiter),
                None => return Err(format!("joined {name}, which is not computed")),
            },
            Claim::Run(ticket, waiter) => {
                if known.is_some() {
                    return Err(format!("{name} is computed twice in one session"));
                }
                self.flights.push(Flight {
                    name,
                    session,
                    ticket,
                    waiters: vec![waiter],
                });
            }
            _ => return Err(format!("no hit for {name}, and no flight")),
        }
        Ok(())
    }

    fn leave(&mut self, b: u32, c: u32) -> Result<(), String> {
        if self.flights.is_empty() {
            return Ok(());
        }
        let at = b as usize % self.flights.len();
        let flight = &mut self.flights[at];
        if !flight.waiters.is_empty() {
            let waiter = c as usize % flight.waiters.len();
            drop(flight.waiters.remove(waiter));
        }
        let left = flight.waiters.is_empty();
        same!(
            flight.ticket.stop().is_cancelled(),
            left,
            "stop of {}",
            flight.name
        );
        Ok(())
    }

    /// Ends a flight, in one of many ways.
    fn finish(&mut self, b: u32, Step(_, _, c, d): Step) -> Result<(), String> {
        if self.flights.is_empty() {
            return Ok(());
        }
        let at = b as usize % self.flights.len();
        let flight = self.flights.swap_remove(at);
        let (name, session) = (flight.name, flight.session);
        self.expire();
        if c % 8 == 0 {
            flight.ticket.complete(Err(Error::input("no")), self.now);
            return self.told(flight.waiters, None);
        }
        let truth = self.names[name as usize].0;
        self.next += 1;
        let number = u64::from(truth) << 32 | self.next;
        let value = Arc::new(number);
        self.values.push(Arc::downgrade(&value));
        let expires = (d % 7 == 0).then(|| self.now + u64::from(d % 5));
        let volatile = d % 11 == 0;
        let call = self.names[name as usize].1.clone();
        // What a key does not name for ever has a name of its own, and no term.
        let versioned = expires.is_some() || volatile;
        let home = if versioned { self.fresh(truth) } else { name };
        let call = call.filter(|_| !versioned);
        let known = (c % 3 == 0).then_some(truth);
        let private = d % 9 == 0;
        let unchanged = call.as_ref().filter(|call| call.digest == 0);
        let equal = unchanged.map(|call| call.inputs[0]);
        let stored = Stored {
            expires,
            volatile: volatile || private,
            private: private.then_some(session),
            portable: c % 5 != 0,
            weight: WEIGHT,
            equal,
            ..Stored::of(number, name, home)
        };
        let owner = self.sessions.get(&session).copied();
        let completion = Completion {
            expires,
            private,
            volatile: stored.volatile,
            portable: stored.portable,
            weight: WEIGHT,
            home: Some(key(home)),
            content: known.map(content),
            equal: equal.map(key).into_iter().collect(),
            shape: call.as_ref().and_then(|_| self.shape(name, owner?)),
            ..Completion::of(value)
        };
        let abandoned = flight.ticket.stop().is_cancelled();
        flight.ticket.complete(Ok(completion), self.now);
        let expected = match abandoned {
            true => None,
            false => self
                .model
                .store(stored, session, known, call.as_ref(), self.now),
        };
        self.told(flight.waiters, expected)
    }

    /// Every waiter was told the same.
    fn told(&self, waiters: Vec<Waiter<Value>>, expected: Option<u64>) -> Result<(), String> {
        for waiter in waiters {
            let told = waiter.wait().now_or_never();
            let told = told.ok_or("a waiter was not told")?;
            same!(told.ok().map(|held| *held.value), expected, "told");
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), String> {
        let stats = self.table.stats(self.now);
        let stored: Vec<&Stored> = {
            let valid = |stored: &&Stored| stored.expires.is_none_or(|expires| expires > self.now);
            self.model.stored.iter().filter(valid).collect()
        };
        let owned = stored.iter().filter(|stored| !stored.owners.is_empty());
        same!(stats.entries, stored.len(), "entries");
        same!(stats.owned, owned.count(), "owned");
        let flying = self.flights.iter();
        let flying = flying.filter(|flight| !flight.ticket.stop().is_cancelled());
        same!(stats.in_flight, flying.count(), "in flight");
        let mut held: Vec<u64> = stored.iter().map(|stored| stored.value).collect();
        held.sort_unstable();
        held.dedup();
        let mut alive: Vec<u64> = self
            .values
            .iter()
            .filter_map(Weak::upgrade)
            .map(|v| *v)
            .collect();
        alive.sort_unstable();
        same!(alive, held, "values alive");
        Ok(())
    }

    /// Both forget what leads to no result; what they then know is of one size.
    fn sweep(&mut self) -> Result<(), String> {
        self.expire();
        self.table.sweep();
        self.model.sweep();
        let stats = self.table.stats(self.now);
        let known = (stats.classes, stats.terms);
        same!(known, self.model.sizes(), "classes and terms after a sweep");
        Ok(())
    }

    /// Everybody goes; then nothing is left.
    fn end(mut self) -> Result<CacheStats, String> {
        self.sweep()?;
        for session in 0..4 {
            self.release(session);
        }
        self.flights.clear();
        self.table.set_budget(0);
        match self.table.stats(self.now) {
            stats if stats.is_empty() => Ok(stats),
            stats => Err(format!("something is left: {stats:?}")),
        }
    }
}

fn run(steps: &[Step]) -> Result<CacheStats, String> {
    let [first, rest @ ..] = steps else {
        return Ok(CacheStats::default());
    };
    let mut world = World::new(*first);
    for (at, step) in rest.iter().enumerate() {
        world
            .step(*step)
            .map_err(|error| format!("step {at} {step:?}: {error}"))?;
    }
    world.end()
}

/// A failing timeline without the steps it does not need.
fn shrunk(mut steps: Vec<Step>) -> Vec<Step> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 1;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            if run(&fewer).is_err() {
                steps = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    steps
}

/// Runs many timelines and adds up what happened in them.
fn timelines(steps: usize, seed: u64) -> [u64; 7] {
    let mut happened = [0; 7];
    for number in 0..steps.div_ceil(STEPS) as u64 {
        let seed = seed + number;
        let mut random = Random(seed);
        let timeline: Vec<Step> = (0..=STEPS).map(|_| random.step()).collect();
        let Ok(stats) = run(&timeline) else {
            let steps = shrunk(timeline);
            let error = run(&steps).expect_err("the steps were kept because they fail");
            panic!("DAGQL_MODEL_SEED={seed}: {error}\n{steps:#?}");
        };
        let events = [
            stats.hits_exact,
            stats.hits_class,
            stats.hits_term,
            stats.joined,
            stats.executed,
            stats.evicted,
            stats.expired,
        ];
        happened
            .iter_mut()
            .zip(events)
            .for_each(|(sum, count)| *sum += count);
    }
    happened
}

#[test]
fn timelines_agree_with_the_model() {
    match std::env::var("DAGQL_MODEL_SEED") {
        Ok(seed) => _ = timelines(STEPS, seed.parse().expect("a number")),
        Err(_) => {
            let happened = timelines(100_000, 1);
            // Worlds in which nothing ever happens would agree as well.
            assert!(happened.iter().all(|count| *count > 300), "{happened:?}");
        }
    }
}

#[test]
#[ignore = "takes minutes; see the module's manual"]
fn ten_million_steps_agree_with_the_model() {
    timelines(10_000_000, 1 << 32);
}
