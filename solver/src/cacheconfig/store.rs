//! A daemon's own cache store, as its debug endpoint lists it.
//!
//! The list is JSON: nodes with a number, each with links to the nodes below (`parents`), and
//! where a node has no node below, its digest. A link has the input it is of, the selector, and the
//! digest of the record *above*: so a node with links is a record by the digest that its links
//! have, and if they have several it is several records. Both kinds of digest are in the form that
//! cache documents have, with the output in it.
//!
//! What the list lacks: the results. Whether a record has one, and in which layers, is not in it.
//! Nodes of one session (`random`) are left out, with the links to them: no cache document has
//! them. So are the preimages that a daemon may add; they hold arguments and environments.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::read::{bound, check_loops, digest, from_json};
use super::{Config, Error, LINKS_MAX, Link, Record};

/// Largest list, in bytes: a node has some 500, and much more where preimages are added.
pub const STORE_BYTES_MAX: usize = 256 << 20;

/// Inputs of a vertex that are believed.
const INPUTS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Node {
    id: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    random: bool,
    #[serde(default)]
    parents: Vec<Parent>,
}

#[derive(Deserialize)]
struct Parent {
    #[serde(default)]
    input: usize,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    selector: String,
    #[serde(default)]
    target: u64,
}

/// Reads the list.
///
/// # Errors
/// Whatever is wrong with it, and where.
pub fn parse_store(list: &[u8]) -> Result<Config, Error> {
    let nodes: Vec<Node> = from_json(list, b'[', STORE_BYTES_MAX)?;
    bound("nodes", nodes.len())?;
    let links: usize = nodes.iter().map(|node| node.parents.len()).sum();
    if links > LINKS_MAX {
        let reason = format!("there are more than {LINKS_MAX} links");
        return Err(Error::at("nodes", reason));
    }
    let mut records = Vec::with_capacity(nodes.len());
    // Positions of the records of each node, and for each record the node and digest it is made of.
    let mut of_node: HashMap<u64, Vec<usize>> = HashMap::with_capacity(nodes.len());
    let mut made: Vec<(usize, &str)> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| !node.random) {
        let mut digests: Vec<&str> = node.parents.iter().map(|p| p.digest.as_str()).collect();
        if digests.is_empty() {
            digests.push(&node.digest);
        }
        digests.sort_unstable();
        digests.dedup();
        for text in digests {
            of_node.entry(node.id).or_default().push(records.len());
            made.push((index, text));
            records.push(Record {
                digest: digest(|| format!("nodes[{index}].digest"), text)?,
                inputs: Vec::new(),
                results: Vec::new(),
            });
        }
    }
    let random: HashMap<u64, bool> = nodes.iter().map(|node| (node.id, node.random)).collect();
    for (record, (index, own)) in made.into_iter().enumerate() {
        let mut inputs: BTreeMap<usize, Vec<Link>> = BTreeMap::new();
        for (number, parent) in nodes[index].parents.iter().enumerate() {
            let place = |field: &str| format!("nodes[{index}].parents[{number}].{field}");
            if parent.digest != own {
                continue;
            }
            if parent.input >= INPUTS_MAX {
                let reason = format!("{} is no input", parent.input);
                return Err(Error::at(place("input"), reason));
            }
            let links = inputs.entry(parent.input).or_default();
            match (of_node.get(&parent.target), random.get(&parent.target)) {
                (Some(below), _) => {
                    let selector = (!parent.selector.is_empty())
                        .then(|| digest(|| place("selector"), &parent.selector));
                    let selector = selector.transpose()?;
                    links.extend(below.iter().map(|&record| Link {
                        record,
                        selector: selector.clone(),
                    }));
                }
                (None, Some(true)) => {}
                (None, _) => {
                    let reason = format!("there is no node {}", parent.target);
                    return Err(Error::at(place("target"), reason));
                }
            }
        }
        let count = inputs.last_key_value().map_or(0, |(last, _)| last + 1);
        records[record].inputs = (0..count)
            .map(|input| inputs.remove(&input).unwrap_or_default())
            .collect();
    }
    check_loops(&records)?;
    Ok(Config {
        layers: Vec::new(),
        records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn hash(text: &str) -> String {
        Digest::sha256(text.as_bytes()).to_string()
    }

    fn read(list: &serde_json::Value) -> Result<Config, Error> {
        parse_store(list.to_string().as_bytes())
    }

    #[test]
    fn a_node_with_links_is_a_record_by_their_digest() {
        let list = serde_json::json!([
            {"id": 1, "digest": hash("image"), "children": {"0": {"2": {}}}},
            {"id": 2, "parents": [
                {"input": 0, "output": 0, "digest": hash("run"), "selector": hash("/"), "target": 1},
                {"input": 1, "output": 0, "digest": hash("run"), "target": 3},
                {"input": 1, "output": 0, "digest": hash("run"), "target": 4},
            ], "debug": [{"digest": hash("run"), "type": "json", "data": []}]},
            {"id": 3, "digest": hash("files")},
            {"id": 4, "digest": hash("session"), "random": true},
        ]);
        let config = read(&list).unwrap();
        let digests: Vec<&str> = config.records.iter().map(|r| r.digest.as_str()).collect();
        assert_eq!(digests, [hash("image"), hash("run"), hash("files")]);
        let link = |record, selector: Option<&str>| Link {
            record,
            selector: selector.map(|text| Digest::sha256(text.as_bytes())),
        };
        let expected = vec![vec![link(0, Some("/"))], vec![link(2, None)]];
        assert_eq!(config.records[1].inputs, expected);
    }

    #[test]
    fn links_of_two_digests_are_two_records_and_both_are_linked_to() {
        let parent = |digest: &str, target: u64| serde_json::json!({"input": 0, "digest": hash(digest), "target": target});
        let list = serde_json::json!([
            {"id": 1, "digest": hash("base")},
            {"id": 2, "parents": [parent("a", 1), parent("b", 1)]},
            {"id": 3, "parents": [parent("c", 2)]},
        ]);
        let config = read(&list).unwrap();
        assert_eq!(config.records.len(), 4);
        assert_eq!(config.records[3].inputs[0].len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        let cases = [
            (serde_json::json!({}), "does not begin with '['"),
            (serde_json::json!([{"id": 1}]), "nodes[0].digest"),
            (
                serde_json::json!([{"id": 1, "parents": [{"digest": hash("a"), "target": 7}]}]),
                "there is no node 7",
            ),
            (
                serde_json::json!([{"id": 1, "parents": [{"digest": hash("a"), "target": 1}]}]),
                "loop",
            ),
            (
                serde_json::json!([
                    {"id": 2, "digest": hash("b")},
                    {"id": 1, "parents": [{"input": 1_u64 << 40, "digest": hash("a"), "target": 2}]},
                ]),
                "is no input",
            ),
        ];
        for (list, expected) in cases {
            let error = read(&list).unwrap_err().to_string();
            assert!(error.contains(expected), "{list}: {error}");
        }
    }
}
