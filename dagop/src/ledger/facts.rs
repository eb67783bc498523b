//! What is known of the cache beside calls and vertices, on its way from whoever finds it out to
//! the file.
//!
//! Unlike calls and vertices these rows never change once they are known; they are sent once, and
//! repetitions are dropped.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use super::listing::Listing;
use super::row::{
    CacheRows, ContentRow, ImportRow, ImportedRow, LayerRow, RecordRow, SourceRow, TreeRow, clip,
};
use super::write::Batch;

/// Rows of each kind kept per vertex that a build may have: an output has a record per cache it
/// was seen in, and an image has two.
const ROWS_PER_VERTEX_MAX: usize = 4;

/// Things found out about a build's steps in some cache.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Records of vertices. Their layers are numbers of `layers` here.
    pub records: Vec<RecordRow>,
    /// Layers, parents first; numbered from 0 within these facts. The ledger numbers them anew.
    pub layers: Vec<LayerRow>,
    /// Content of inputs.
    pub contents: Vec<ContentRow>,
    /// What names stood for.
    pub sources: Vec<SourceRow>,
    /// Trees of local sources, by raw digest of the vertex.
    pub trees: Vec<(String, Arc<dyn Listing>)>,
    /// Caches that the build was told to read.
    pub imports: Vec<ImportRow>,
    /// What they have of the build's vertices.
    pub imported: Vec<ImportedRow>,
}

/// All facts of a build, and how many of each are on their way already.
#[derive(Default)]
pub(super) struct Held {
    rows: CacheRows,
    listings: Vec<Arc<dyn Listing>>,
    /// Numbers of layers by blob and parent.
    layers: HashMap<(String, Option<u64>), u64>,
    /// Hashes of the rows, 128 bits each: a row is a few hundred bytes, and there may be many.
    seen: HashSet<(u64, u64)>,
    sent: Sent,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    records: usize,
    layers: usize,
    contents: usize,
    sources: usize,
    trees: usize,
    imports: usize,
    imported: usize,
}

impl Held {
    /// Adds facts; those beyond [`ROWS_PER_VERTEX_MAX`] times `vertices_max` are dropped.
    pub(super) fn add(&mut self, facts: Facts, vertices_max: usize) {
        let most = vertices_max.saturating_mul(ROWS_PER_VERTEX_MAX);
        let mut numbers = HashMap::new();
        for layer in facts.layers {
            let parent = layer
                .parent
                .and_then(|parent| numbers.get(&parent).copied());
            let key = (layer.blob.clone(), parent);
            let next = self.rows.layers.len() as u64;
            let number = *self.layers.entry(key).or_insert(next);
            numbers.insert(layer.number, number);
            if number == next && self.rows.layers.len() < most {
                self.rows.layers.push(LayerRow {
                    number,
                    parent,
                    ..layer
                });
            }
        }
        for record in facts.records {
            let layer = record.layer.and_then(|layer| numbers.get(&layer).copied());
            let record = RecordRow { layer, ..record };
            if self.rows.records.len() < most && self.is_new(&record) {
                self.rows.records.push(record);
            }
        }
        for content in facts.contents {
            if self.rows.contents.len() < most && self.is_new(&content) {
                self.rows.contents.push(content);
            }
        }
        for source in facts.sources {
            let source = SourceRow {
                asked: clip(&source.asked).into_owned(),
                resolved: clip(&source.resolved).into_owned(),
                ..source
            };
            if self.rows.sources.len() < most && self.is_new(&source) {
                self.rows.sources.push(source);
            }
        }
        for import in facts.imports {
            let import = ImportRow {
                kind: clip(&import.kind).into_owned(),
                name: clip(&import.name).into_owned(),
                ..import
            };
            if self.rows.imports.len() < most && self.is_new(&import) {
                self.rows.imports.push(import);
            }
        }
        for imported in facts.imported {
            if self.rows.imported.len() < most && self.is_new(&imported) {
                self.rows.imported.push(imported);
            }
        }
        for (vertex, tree) in facts.trees {
            let row = TreeRow {
                vertex,
                listing: tree.digest(),
            };
            if self.rows.trees.len() < most && self.is_new(&row) {
                self.rows.trees.push(row);
                self.listings.push(tree);
            }
        }
    }

    fn is_new<T: Hash>(&mut self, row: &T) -> bool {
        let part = |half: u8| {
            let mut hasher = DefaultHasher::new();
            (half, std::any::type_name::<T>(), row).hash(&mut hasher);
            hasher.finish()
        };
        self.seen.insert((part(0), part(1)))
    }

    /// Moves what was not sent yet into a batch.
    pub(super) fn take(&mut self, batch: &mut Batch) {
        let Sent {
            records,
            layers,
            contents,
            sources,
            trees,
            imports,
            imported,
        } = self.sent;
        let rows = &self.rows;
        let numbered = (records as u64..).zip(rows.records[records..].iter().cloned());
        batch.records = numbered.collect();
        batch.layers = rows.layers[layers..].to_vec();
        batch.contents = rows.contents[contents..].to_vec();
        batch.sources = (sources as u64..)
            .zip(rows.sources[sources..].iter().cloned())
            .collect();
        batch.imports = rows.imports[imports..].to_vec();
        batch.imported = rows.imported[imported..].to_vec();
        batch.trees = rows.trees[trees..]
            .iter()
            .zip(self.listings.drain(..))
            .map(|(row, tree)| (row.vertex.clone(), tree))
            .collect();
        self.sent = Sent {
            records: rows.records.len(),
            layers: rows.layers.len(),
            contents: rows.contents.len(),
            sources: rows.sources.len(),
            trees: rows.trees.len(),
            imports: rows.imports.len(),
            imported: rows.imported.len(),
        };
    }

    /// Takes back what could not be sent, which is always what was taken last.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.sent.records -= batch.records.len();
        self.sent.layers -= batch.layers.len();
        self.sent.contents -= batch.contents.len();
        self.sent.sources -= batch.sources.len();
        self.sent.trees -= batch.trees.len();
        self.sent.imports -= batch.imports.len();
        self.sent.imported -= batch.imported.len();
        let newer = std::mem::take(&mut self.listings);
        self.listings = batch.trees.into_iter().map(|(_, tree)| tree).collect();
        self.listings.extend(newer);
    }

    /// Everything, for the report.
    pub(super) fn evidence(self) -> CacheRows {
        self.rows
    }
}
