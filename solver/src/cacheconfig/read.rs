//! From JSON to a checked [`Config`].
//!
//! The one quirk of the format: a layer's parent 0 is written by leaving it out, and "no parent"
//! is -1. Links and results always write their position.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Config, DOCUMENT_BYTES_MAX, Error, ITEMS_MAX, LINKS_MAX, Layer, Link, Record, canonical,
};
use crate::Digest;

#[derive(Deserialize)]
struct WireConfig {
    #[serde(default)]
    layers: Vec<WireLayer>,
    #[serde(default)]
    records: Vec<WireRecord>,
}

#[derive(Deserialize)]
struct WireLayer {
    blob: String,
    #[serde(default)]
    parent: i64,
    annotations: Option<WireAnnotations>,
}

#[derive(Deserialize)]
struct WireAnnotations {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(rename = "diffID")]
    diff_id: Option<String>,
    size: Option<i64>,
}

#[derive(Deserialize)]
struct WireRecord {
    #[serde(default)]
    layers: Vec<WireResult>,
    #[serde(default)]
    chains: Vec<WireChain>,
    digest: String,
    #[serde(default)]
    inputs: Vec<Vec<WireLink>>,
}

#[derive(Deserialize)]
struct WireResult {
    layer: i64,
}

#[derive(Deserialize)]
struct WireChain {
    layers: Vec<i64>,
}

#[derive(Deserialize)]
struct WireLink {
    #[serde(default)]
    selector: String,
    link: i64,
}

/// Reads a document.
///
/// # Errors
/// Whatever is wrong with it, and where.
pub fn parse(document: &[u8]) -> Result<Config, Error> {
    let wire: WireConfig = from_json(document, b'{', DOCUMENT_BYTES_MAX)?;
    bound("layers", wire.layers.len())?;
    let layers = wire.layers.iter().enumerate().map(layer);
    let (layers, positions) = parents_first(layers.collect::<Result<_, _>>()?)?;
    finish(layers, wire.records, &positions)
}

/// Reads the records of an inline cache; `layers` are those of the image, lowest first.
///
/// # Errors
/// Whatever is wrong with it, and where.
pub fn parse_inline(records: &[u8], layers: Vec<Layer>) -> Result<Config, Error> {
    let records: Vec<WireRecord> = from_json(records, b'[', DOCUMENT_BYTES_MAX)?;
    let positions: Vec<usize> = (0..layers.len()).collect();
    finish(layers, records, &positions)
}

/// A value of at most `max` bytes that begins with `opening`: an object would also be read from the
/// list of its fields.
pub(super) fn from_json<'a, T: Deserialize<'a>>(
    document: &'a [u8],
    opening: u8,
    max: usize,
) -> Result<T, Error> {
    if document.len() > max {
        let bytes = document.len();
        return Err(Error::TooLarge { bytes, max });
    }
    if document.trim_ascii_start().first() != Some(&opening) {
        let expected = char::from(opening);
        return Err(Error::Shape(format!("it does not begin with {expected:?}")));
    }
    serde_json::from_slice(document).map_err(|error| Error::Shape(error.to_string()))
}

pub(super) fn bound(what: &str, count: usize) -> Result<(), Error> {
    if count > ITEMS_MAX {
        return Err(Error::at(what, format!("there are more than {ITEMS_MAX}")));
    }
    Ok(())
}

pub(super) fn digest(place: impl Fn() -> String, text: &str) -> Result<Digest, Error> {
    Digest::parse(text).map_err(|error| Error::at(place(), error.to_string()))
}

fn position(place: impl Fn() -> String, index: i64, count: usize) -> Result<usize, Error> {
    let position = usize::try_from(index).ok().filter(|&at| at < count);
    position.ok_or_else(|| Error::at(place(), format!("{index} is none of the {count} there are")))
}

/// A layer whose parent is a position in the document yet.
fn layer((index, wire): (usize, &WireLayer)) -> Result<Layer, Error> {
    let place = |field: &str| format!("layers[{index}].{field}");
    let parent = match wire.parent {
        -1 => None,
        // Whether there is one with this position is checked when all are known.
        parent => Some(usize::try_from(parent).map_err(|_| {
            Error::at(
                place("parent"),
                format!("{parent} is neither a position nor -1"),
            )
        })?),
    };
    let annotations = wire.annotations.as_ref();
    let diff_id = annotations
        .and_then(|a| a.diff_id.as_deref())
        .filter(|text| !text.is_empty())
        .map(|text| digest(|| place("annotations.diffID"), text));
    Ok(Layer {
        blob: digest(|| place("blob"), &wire.blob)?,
        parent,
        diff_id: diff_id.transpose()?,
        size: annotations.and_then(|a| u64::try_from(a.size?).ok()),
        media_type: annotations.and_then(|a| a.media_type.clone()),
    })
}

/// Layers in an order in which parents come first, and the new position of each old one.
fn parents_first(layers: Vec<Layer>) -> Result<(Vec<Layer>, Vec<usize>), Error> {
    let count = layers.len();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut order = Vec::with_capacity(count);
    for (index, layer) in layers.iter().enumerate() {
        match layer.parent {
            None => order.push(index),
            Some(parent) if parent < count => children[parent].push(index),
            Some(parent) => {
                let reason = format!("{parent} is none of the {count} there are");
                return Err(Error::at(format!("layers[{index}].parent"), reason));
            }
        }
    }
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        next += 1;
        order.extend_from_slice(&children[index]);
    }
    let mut positions = vec![usize::MAX; count];
    for (new, &old) in order.iter().enumerate() {
        positions[old] = new;
    }
    if let Some(index) = positions.iter().position(|&new| new == usize::MAX) {
        let reason = "its parents form a loop";
        return Err(Error::at(format!("layers[{index}].parent"), reason));
    }
    let mut slots: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
    let sorted = order.iter().filter_map(|&old| slots[old].take());
    let sorted = sorted.map(|layer| Layer {
        parent: layer.parent.map(|parent| positions[parent]),
        ..layer
    });
    Ok((sorted.collect(), positions))
}

/// Checks records; `positions` are those of the layers that the document counts.
fn finish(layers: Vec<Layer>, wire: Vec<WireRecord>, positions: &[usize]) -> Result<Config, Error> {
    bound("records", wire.len())?;
    let links: usize = wire
        .iter()
        .flat_map(|record| &record.inputs)
        .map(Vec::len)
        .sum();
    if links > LINKS_MAX {
        return Err(Error::at(
            "records",
            format!("there are more than {LINKS_MAX} links"),
        ));
    }
    let mut chains = Chains::new(layers);
    let count = wire.len();
    let mut records = Vec::with_capacity(count);
    for (index, record) in wire.iter().enumerate() {
        let mut results = Vec::new();
        for (number, result) in record.layers.iter().enumerate() {
            let place = || format!("records[{index}].layers[{number}].layer");
            results.push(positions[position(place, result.layer, positions.len())?]);
        }
        for (number, chain) in record.chains.iter().enumerate() {
            let place = || format!("records[{index}].chains[{number}].layers");
            results.extend(chains.add(place, &chain.layers, positions)?);
        }
        let inputs = record.inputs.iter().enumerate().map(|(input, links)| {
            let links = links.iter().enumerate().map(|(number, link)| {
                let place =
                    |field: &str| format!("records[{index}].inputs[{input}][{number}].{field}");
                let selector = (!link.selector.is_empty())
                    .then(|| digest(|| place("selector"), &link.selector));
                Ok(Link {
                    record: position(|| place("link"), link.link, count)?,
                    selector: selector.transpose()?,
                })
            });
            links.collect::<Result<Vec<_>, Error>>()
        });
        records.push(Record {
            digest: digest(|| format!("records[{index}].digest"), &record.digest)?,
            inputs: inputs.collect::<Result<_, _>>()?,
            results,
        });
    }
    check_loops(&records)?;
    Ok(Config {
        layers: chains.layers,
        records,
    })
}

pub(super) fn check_loops(records: &[Record]) -> Result<(), Error> {
    let order = canonical::order(records);
    if order.len() == records.len() {
        return Ok(());
    }
    let mut reached = vec![false; records.len()];
    order.iter().for_each(|&position| reached[position] = true);
    let first = reached.iter().position(|reached| !reached).unwrap_or(0);
    let reason = "its links form a loop, or lead to one";
    Err(Error::at(format!("records[{first}].inputs"), reason))
}

/// Layers, with those added that a record lists one by one.
///
/// An inline cache lists the layers of a result where they are not simply the lowest ones of the
/// image; they become layers of their own, each on top of the one before.
struct Chains {
    layers: Vec<Layer>,
    known: HashMap<(Digest, Option<usize>), usize>,
}

impl Chains {
    fn new(layers: Vec<Layer>) -> Self {
        let known = layers.iter().enumerate();
        let known = known.map(|(at, layer)| ((layer.blob.clone(), layer.parent), at));
        Self {
            known: known.collect(),
            layers,
        }
    }

    /// Position of the top of a chain; nothing for an empty one.
    fn add(
        &mut self,
        place: impl Fn() -> String,
        chain: &[i64],
        positions: &[usize],
    ) -> Result<Option<usize>, Error> {
        let mut top = None;
        for &index in chain {
            let layer = positions[position(&place, index, positions.len())?];
            let layer = Layer {
                parent: top,
                ..self.layers[layer].clone()
            };
            let next = self.layers.len();
            let key = (layer.blob.clone(), top);
            let at = *self.known.entry(key).or_insert(next);
            if at == next {
                self.layers.push(layer);
                bound("layers", self.layers.len())?;
            }
            top = Some(at);
        }
        Ok(top)
    }
}
