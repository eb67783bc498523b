//! The session of a plan: takes operations as a run does, and makes the plan in the end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::causes::{self, Causes};
use super::decide::{self, Decision, World};
use super::graph::{Graph, Operations};
use super::held::Store;
use super::{Plan, Reason, Step, Unknowns, Verdict};
use crate::engine::{Engine, EngineSession, SessionOptions};
use crate::error::Error;
use crate::formulas::Formulas;
use crate::ledger::{self, BuildRow, CallRow, Ledger, Outcome, Reader};
use crate::report::Report;
use crate::{DiskRecord, Request, Response};

/// Builds of the ledger that are looked at, newest first.
const BUILDS_MAX: usize = 200;

/// After this many steps of them no further build is looked at: what an older one made is then of
/// unknown origin.
const STEPS_MAX: usize = 100_000;

/// See the module.
pub struct Planner {
    engine: Arc<Engine>,
    session: EngineSession,
    imports: bool,
    unknowns: Unknowns,
    /// Holds the record of this session, which is no build.
    scratch: tempfile::TempDir,
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Planner {
    /// Opens a session in which nothing runs.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn start(engine: Arc<Engine>, options: SessionOptions) -> Result<Self, Error> {
        let scratch = tempfile::Builder::new()
            .prefix("dagop-plan-")
            .tempdir()
            .map_err(|e| Error::input(format!("temporary directory: {e}")))?;
        let imports = !options.cache_imports.is_empty();
        let ledger = Ledger::start(ledger::path_in(scratch.path()));
        Ok(Self {
            session: engine.open_plan(options, &ledger)?,
            engine,
            imports,
            unknowns: Unknowns::default(),
            scratch,
        })
    }

    /// Takes one operation. Where only values are missing that a run would tell, the answer is null,
    /// with what is known to be handed on; so it is where an operation wants such a value.
    pub async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        let operation = request.operation_name.clone().unwrap_or_default();
        let response = self.session.execute(request, cancel).await;
        self.unknowns.take(operation, response)
    }

    /// Ends the session and makes the plan.
    ///
    /// # Errors
    /// When the daemon does not say what it holds, or the ledger cannot be read.
    pub async fn finish(self) -> Result<Plan, Error> {
        // A daemon that is away cannot say; then it stays unknown.
        if let Err(error) = self.engine.prove_formulas().await {
            tracing::debug!(%error, "how the daemon computes keys is not known");
        }
        let roots = self.session.planned();
        let report = self.session.finish().await?;
        let fail = |e: ledger::Error| Error::input(e.to_string());
        let own = Reader::open(&ledger::path_in(self.scratch.path())).map_err(fail)?;
        let planned = Graph::read(&own, report.build.clone(), &mut Operations::new());
        let planned = planned.map_err(fail)?;
        let ledger = match self.engine.ledger() {
            Ok(ledger) => Some(ledger),
            Err(ledger::Error::Empty(_)) => None,
            Err(error) => return Err(fail(error)),
        };
        let earlier = match &ledger {
            Some(ledger) => earlier(ledger, &report.build).map_err(fail)?,
            None => Vec::new(),
        };
        // Steps that cannot be there need no daemon, which may be away.
        let disk: Vec<DiskRecord> = if planned.steps.is_empty() {
            Vec::new()
        } else {
            self.engine.disk_usage().await?
        };
        let world = World {
            planned: &planned,
            earlier: &earlier,
            store: &Store::new(&disk, &earlier),
            imports: self.imports,
        };
        let mut decisions = decide::decide(&world, &roots);
        let formulas = self.engine.formulas();
        for decision in decisions.values_mut() {
            as_far_as_proven(decision, &formulas);
        }
        let mut causes = match &ledger {
            Some(ledger) => Causes::find((ledger, &own), &world, &decisions)
                .map_err(|e| Error::input(e.to_string()))?,
            None => Causes::default(),
        };
        let mut calls = calls(&report);
        let mut plan = Plan {
            daemon: report.build.daemon.clone(),
            daemon_version: report.build.daemon_version.clone(),
            steps: recalled(&report),
            causes: std::mem::take(&mut causes.list),
            sources: Vec::new(),
            unplanned: self.unknowns.into_list(),
        };
        for (position, step) in planned.steps.iter().enumerate() {
            let Some(decision) = decisions.get(&position) else {
                plan.sources.push(step.name.clone());
                continue;
            };
            let own = causes.steps.remove(&position).unwrap_or_default();
            let sentence = causes::sentence(&plan.causes, &own, &step.canonical);
            plan.steps.push(Step {
                canonical: Some(step.canonical.clone()),
                name: step.name.clone(),
                calls: calls.remove(&step.canonical).unwrap_or_default(),
                kind: Some(step.kind),
                verdict: decision.verdict,
                sentence: sentence.unwrap_or_else(|| decision.reason.to_string()),
                reason: decision.reason.clone(),
                causes: own,
            });
        }
        Ok(plan)
    }
}

/// The builds that ran on the same daemon, newest first.
fn earlier(ledger: &Reader, build: &BuildRow) -> Result<Vec<Graph>, ledger::Error> {
    let mut operations = Operations::new();
    let mut graphs = Vec::new();
    let mut steps = 0;
    let builds = ledger.builds(BUILDS_MAX)?.into_iter();
    for earlier in builds.filter(|earlier| earlier.daemon == build.daemon) {
        let graph = Graph::read(ledger, earlier, &mut operations)?;
        steps += graph.steps.len();
        graphs.push(graph);
        if steps >= STEPS_MAX {
            break;
        }
    }
    Ok(graphs)
}

/// Where the daemon's formulas are not known to be ours, a step is only known to miss if the daemon
/// holds nothing at all that could be its result.
fn as_far_as_proven(decision: &mut Decision, formulas: &Formulas) {
    if formulas.proven().is_some() || decision.reason == Reason::NothingHeld {
        return;
    }
    *decision = Decision {
        verdict: Verdict::Unknown,
        reason: Reason::Formulas {
            differ: *formulas == Formulas::Other,
        },
        same_key: None,
    };
}

/// The calls of each vertex, by canonical digest.
fn calls(report: &Report) -> HashMap<String, Vec<String>> {
    let mut calls: HashMap<String, Vec<String>> = HashMap::new();
    for call in &report.calls {
        if let Some(canonical) = &call.canonical {
            let calls = calls.entry(canonical.clone()).or_default();
            if !calls.contains(&call.display) {
                calls.push(call.display.clone());
            }
        }
    }
    calls
}

/// The calls that are answered with what an earlier run kept.
fn recalled(report: &Report) -> Vec<Step> {
    let calls = report.calls.iter();
    let by_number: HashMap<u64, &CallRow> = calls.clone().map(|call| (call.call, call)).collect();
    // What a value was made by does not run either.
    let above = |call: &CallRow| {
        let above = call.and_above(&by_number).skip(1);
        above.map(|call| call.display.clone()).collect()
    };
    let recalled = calls.filter(|call| call.outcome == Outcome::Recalled);
    recalled
        .map(|call| Step {
            canonical: None,
            name: call.display.clone(),
            calls: above(call),
            kind: None,
            verdict: Verdict::Hit,
            reason: Reason::Recalled,
            causes: Vec::new(),
            sentence: Reason::Recalled.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use solver::cachemap::Profile;

    use super::*;

    #[test]
    fn without_a_proof_only_what_cannot_be_there_is_known() {
        let after = |verdict, reason, formulas: &Formulas| {
            let same_key = None;
            let mut decision = Decision {
                verdict,
                reason,
                same_key,
            };
            as_far_as_proven(&mut decision, formulas);
            (decision.verdict, decision.reason)
        };
        let held = |formulas: &Formulas| after(Verdict::Hit, Reason::NotNeeded, formulas);
        let absent = |formulas: &Formulas| after(Verdict::Miss, Reason::NothingHeld, formulas);
        let proven = Formulas::Proven(Profile::NEWEST);
        assert_eq!(held(&proven), (Verdict::Hit, Reason::NotNeeded));
        for (formulas, differ) in [
            (Formulas::Unknown(Profile::NEWEST), false),
            (Formulas::Other, true),
        ] {
            let unknown = (Verdict::Unknown, Reason::Formulas { differ });
            assert_eq!(held(&formulas), unknown);
            assert_eq!(absent(&formulas), (Verdict::Miss, Reason::NothingHeld));
        }
    }
}
