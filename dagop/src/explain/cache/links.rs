//! The records that a cache would have of a recorded build, with their links.
//!
//! An output of a step has the records that the ledger names, mostly one. It links, by input, to
//! every record of that input under the selector of the step, and, where the step is keyed by the
//! content of the input, to the record of that content. This is what a prediction says of a graph
//! ([`solver::predict`]); here it is put together from the rows that the prediction left, since
//! the files it was made from are gone.

use std::collections::HashMap;

use solver::Digest;
use solver::predict::{Link, Prediction, Record};

use super::super::graph::Graph;

/// The records of a build.
pub(super) struct Wanted {
    /// Records and links; nothing else of the prediction.
    pub(super) prediction: Prediction,
    /// By step: outputs with positions of their records.
    pub(super) keys: Vec<Vec<(u64, usize)>>,
}

impl Wanted {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut records: Vec<Record> = Vec::new();
        let add = |records: &mut Vec<Record>, digest: Digest| {
            records.push(Record {
                digest,
                inputs: Vec::new(),
                unknown: Vec::new(),
                outputs: Vec::new(),
                merged: false,
            });
            records.len() - 1
        };
        let mut keys = Vec::with_capacity(graph.steps.len());
        for step in &graph.steps {
            let own = step.keys.iter().filter_map(|(output, digest)| {
                // The ledger has no others; one that a hand wrote is as good as none.
                let digest = Digest::parse(digest).ok()?;
                Some((*output, add(&mut records, digest)))
            });
            keys.push(own.collect::<Vec<_>>());
        }
        let mut contents: HashMap<&str, usize> = HashMap::new();
        for (step, own) in graph.steps.iter().zip(&keys) {
            if own.is_empty() {
                continue;
            }
            let mut inputs = Vec::with_capacity(step.inputs.len());
            let mut unknown = Vec::new();
            for (input, link) in step.inputs.iter().enumerate() {
                let mut links = Vec::new();
                for (output, record) in link.step.iter().flat_map(|&below| &keys[below]) {
                    let selector = link.selector.as_deref();
                    if *output == link.output {
                        links.push(Link {
                            record: *record,
                            selector: selector.and_then(|text| Digest::parse(text).ok()),
                        });
                    }
                }
                for content in &link.contents {
                    let known = contents.get(content.as_str()).copied();
                    let record = known.or_else(|| {
                        let record = add(&mut records, Digest::parse(content).ok()?);
                        contents.insert(content, record);
                        Some(record)
                    });
                    links.extend(record.map(|record| Link {
                        record,
                        selector: None,
                    }));
                }
                if link.content.is_some() && link.contents.is_empty() {
                    unknown.push((input, 0));
                }
                inputs.push(links);
            }
            for &(_, record) in own {
                records[record].inputs.clone_from(&inputs);
                records[record].unknown.clone_from(&unknown);
            }
        }
        Self {
            prediction: Prediction {
                records,
                ..Prediction::default()
            },
            keys,
        }
    }
}
