//! What is equal to what: classes of keys, terms over classes, and congruence.
//!
//! # State
//! - A *class* is a set of things that are known to be equal. It lists the stored results in it
//!   (*members*) and knows at most one content. Classes are united by a union-find.
//! - A *name* is a key in a class. One name may also be the exact key of one stored result.
//! - A *term* says that doing something (a self digest) to the things of some classes gives the
//!   things of one class: the *output*. There is one term for each self digest and input classes.
//!
//! # Congruence
//! When two classes are united, every term on the one that goes is looked at again under the name of
//! the one that stays; no other term is. Two terms that have become the same give equal outputs, so
//! their outputs are united in turn, until nothing changes. Each round removes a class, and the
//! class with fewer uses goes, so `n` unions look at `n log n` terms.
//!
//! # Two contents are never equal
//! A call that gives another result each time it runs (a step that writes the date) is congruent
//! with itself. Uniting its outputs would claim that two different contents are one, and every
//! other object with one of them would be served as the other. So classes that know different
//! contents are not united; of their terms the older stays. This holds for as long as the class
//! lives, even when all results that had the content are gone.
//!
//! # Nothing is kept alive from here
//! A class, a name or a term is kept as long as it can lead to a stored result: a class is live if
//! it has members or is an input of a live term; a term is live if its output class is. Cycles are
//! common (adding a file and removing it again gives the first directory), so this is decided by
//! marking from the members, in `cache/sweep.rs`, whenever enough results have gone.
//!
//! Numbers of classes, names and terms are positions in vectors; a sweep packs the vectors and
//! renumbers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::Key;

/// Position of a name.
pub(super) type NameIx = u32;
/// Position of a class.
pub(super) type ClassIx = u32;
/// Position of a term.
pub(super) type TermIx = u32;
/// Position of an entry in the table of results.
pub(super) type EntryIx = u32;

/// Stands for no position.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Name {
    pub(super) key: Key,
    /// [`NONE`] for a key that leads to a result and names nothing by itself.
    pub(super) class: ClassIx,
    /// The result whose exact key this is.
    pub(super) entry: EntryIx,
}

pub(super) struct Class {
    /// The class this one was united into, or itself.
    pub(super) parent: ClassIx,
    /// First and last term input that is this class, and how many there are.
    uses: (u32, u32),
    uses_len: u32,
    /// First and last term whose output this is.
    pub(super) terms: (TermIx, TermIx),
    /// The name that is the content, if it is known.
    pub(super) content: NameIx,
    pub(super) members: Members,
}

/// Stored results of a class by age: the number an entry got when it was stored, and its position.
#[derive(Default)]
pub(super) enum Members {
    #[default]
    None,
    One(u64, EntryIx),
    Many(BTreeSet<(u64, EntryIx)>),
}

pub(super) struct Term {
    pub(super) digest: Key,
    /// Its inputs are `len` uses from `first` on.
    pub(super) first: u32,
    pub(super) len: u32,
    pub(super) output: ClassIx,
    /// The next term with the same output.
    pub(super) next: TermIx,
    /// Cleared when an older term has become the same.
    pub(super) live: bool,
}

/// One input of a term.
pub(super) struct Use {
    pub(super) class: ClassIx,
    pub(super) term: TermIx,
    /// The next use of the same class.
    next: u32,
}

/// See the module's manual.
#[derive(Default)]
pub(super) struct Classes {
    pub(super) names: Vec<Name>,
    pub(super) by_key: HashTable<NameIx>,
    pub(super) classes: Vec<Class>,
    /// Classes that were not united into another.
    pub(super) distinct: usize,
    pub(super) terms: Vec<Term>,
    pub(super) by_shape: HashTable<TermIx>,
    pub(super) uses: Vec<Use>,
    seed: RandomState,
}

impl Members {
    pub(super) fn insert(&mut self, number: u64, entry: EntryIx) {
        match self {
            Self::None => *self = Self::One(number, entry),
            Self::One(other, at) => {
                let both = [(*other, *at), (number, entry)];
                *self = Self::Many(BTreeSet::from(both));
            }
            Self::Many(all) => {
                all.insert((number, entry));
            }
        }
    }

    pub(super) fn remove(&mut self, number: u64, entry: EntryIx) {
        match self {
            Self::One(_, at) if *at == entry => *self = Self::None,
            Self::Many(all) => {
                all.remove(&(number, entry));
            }
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, EntryIx)> + '_ {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(number, entry) => (Some((*number, *entry)), None),
            Self::Many(all) => (None, Some(all.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl Class {
    fn empty(at: ClassIx) -> Self {
        Self {
            parent: at,
            uses: (NONE, NONE),
            uses_len: 0,
            terms: (NONE, NONE),
            content: NONE,
            members: Members::None,
        }
    }
}

/// Vectors are bounded by memory long before a position exceeds 32 bits.
fn position(len: usize) -> u32 {
    u32::try_from(len).expect("a table of results has fewer than 2^32 rows")
}

impl Classes {
    /// The name of `key`, if it is known.
    pub(super) fn name(&self, key: &Key) -> Option<NameIx> {
        let hash = self.seed.hash_one(key.bits());
        let found = self
            .by_key
            .find(hash, |at| self.names[*at as usize].key == *key);
        found.copied()
    }

    /// The name of `key`, made if it is new, in a class of its own if it has none.
    pub(super) fn intern(&mut self, key: Key) -> NameIx {
        let name = self.intern_pointer(key);
        if self.names[name as usize].class == NONE {
            self.names[name as usize].class = self.new_class();
        }
        name
    }

    /// The name of `key`, made without a class if it is new.
    pub(super) fn intern_pointer(&mut self, key: Key) -> NameIx {
        match self.name(&key) {
            Some(name) => name,
            None => self.new_name(key, NONE),
        }
    }

    pub(super) fn new_class(&mut self) -> ClassIx {
        let class = position(self.classes.len());
        self.classes.push(Class::empty(class));
        self.distinct += 1;
        class
    }

    /// A name that is not known yet, in `class`.
    pub(super) fn new_name(&mut self, key: Key, class: ClassIx) -> NameIx {
        let name = position(self.names.len());
        self.names.push(Name {
            key,
            class,
            entry: NONE,
        });
        let (names, seed) = (&self.names, &self.seed);
        let hash = |at: &NameIx| seed.hash_one(names[*at as usize].key.bits());
        self.by_key.insert_unique(hash(&name), name, hash);
        name
    }

    /// The class that `class` is part of now.
    pub(super) fn find(&mut self, mut class: ClassIx) -> ClassIx {
        loop {
            let parent = self.classes[class as usize].parent;
            if parent == class {
                return class;
            }
            let above = self.classes[parent as usize].parent;
            self.classes[class as usize].parent = above;
            class = above;
        }
    }

    /// The class of a name, if it has one.
    pub(super) fn class_of(&mut self, name: NameIx) -> Option<ClassIx> {
        let class = self.names[name as usize].class;
        (class != NONE).then(|| {
            let class = self.find(class);
            self.names[name as usize].class = class;
            class
        })
    }

    /// The class of `key`, if it is known.
    pub(super) fn class_of_key(&mut self, key: &Key) -> Option<ClassIx> {
        let name = self.name(key)?;
        self.class_of(name)
    }

    /// The class of `key`, made if it is not known.
    pub(super) fn make_class_of_key(&mut self, key: Key) -> ClassIx {
        let name = self.intern(key);
        self.find(self.names[name as usize].class)
    }

    /// Says that everything in the class has this content.
    pub(super) fn set_content(&mut self, class: ClassIx, content: Key) {
        let class = self.find(class);
        match self.class_of_key(&content) {
            Some(other) => self.unite(class, other),
            None if self.classes[class as usize].content == NONE => {
                let name = self.new_name(content, class);
                self.classes[class as usize].content = name;
            }
            // It has another content: two contents are never equal.
            None => {}
        }
    }

    /// The output of the term, if there is one.
    pub(super) fn output(&mut self, digest: &Key, inputs: &[ClassIx]) -> Option<ClassIx> {
        let inputs: Vec<ClassIx> = inputs.iter().map(|class| self.find(*class)).collect();
        let term = self.term(digest, &inputs)?;
        let output = self.terms[term as usize].output;
        Some(self.find(output))
    }

    /// Says that the term has this output.
    pub(super) fn add_term(&mut self, digest: Key, inputs: &[ClassIx], output: ClassIx) {
        if let Some(known) = self.output(&digest, inputs) {
            self.unite(known, output);
            return;
        }
        let (term, first) = (position(self.terms.len()), position(self.uses.len()));
        for &class in inputs {
            let class = self.find(class);
            let at = position(self.uses.len());
            self.uses.push(Use {
                class,
                term,
                next: NONE,
            });
            self.append_use(class, at);
        }
        let output = self.find(output);
        self.terms.push(Term {
            digest,
            first,
            len: position(inputs.len()),
            output,
            next: NONE,
            live: true,
        });
        let (head, tail) = self.classes[output as usize].terms;
        match head {
            NONE => self.classes[output as usize].terms = (term, term),
            _ => {
                self.terms[tail as usize].next = term;
                self.classes[output as usize].terms = (head, term);
            }
        }
        self.index_term(term);
    }

    fn append_use(&mut self, class: ClassIx, at: u32) {
        let (head, tail) = self.classes[class as usize].uses;
        match head {
            NONE => self.classes[class as usize].uses = (at, at),
            _ => {
                self.uses[tail as usize].next = at;
                self.classes[class as usize].uses = (head, at);
            }
        }
        self.classes[class as usize].uses_len += 1;
    }

    /// Unites two classes and everything that follows from it.
    pub(super) fn unite(&mut self, a: ClassIx, b: ClassIx) {
        let mut pending = vec![(a, b)];
        while let Some((a, b)) = pending.pop() {
            let (a, b) = (self.find(a), self.find(b));
            let contents = [a, b].map(|class| self.classes[class as usize].content);
            if a == b || (contents[0] != NONE && contents[1] != NONE) {
                continue;
            }
            let uses = [a, b].map(|class| self.classes[class as usize].uses_len);
            // Of two with as many uses the older stays, so that a run can be repeated.
            let (winner, loser) = match uses[0].cmp(&uses[1]).then(b.cmp(&a)) {
                std::cmp::Ordering::Less => (b, a),
                _ => (a, b),
            };
            self.absorb(winner, loser, &mut pending);
        }
    }

    fn absorb(&mut self, winner: ClassIx, loser: ClassIx, pending: &mut Vec<(ClassIx, ClassIx)>) {
        let mut changed = BTreeSet::new();
        let mut at = self.classes[loser as usize].uses.0;
        while at != NONE {
            let Use { term, next, .. } = self.uses[at as usize];
            if self.terms[term as usize].live && changed.insert(term) {
                self.unindex_term(term);
            }
            at = next;
        }
        let empty = Class {
            parent: winner,
            ..Class::empty(loser)
        };
        let gone = std::mem::replace(&mut self.classes[loser as usize], empty);
        self.distinct -= 1;
        let (head, tail) = gone.uses;
        if head != NONE {
            let (first, last) = self.classes[winner as usize].uses;
            if last != NONE {
                self.uses[last as usize].next = head;
            }
            let first = if first == NONE { head } else { first };
            self.classes[winner as usize].uses = (first, tail);
        }
        let (head, tail) = gone.terms;
        if head != NONE {
            let (first, last) = self.classes[winner as usize].terms;
            if last != NONE {
                self.terms[last as usize].next = head;
            }
            let first = if first == NONE { head } else { first };
            self.classes[winner as usize].terms = (first, tail);
        }
        let kept = &mut self.classes[winner as usize];
        kept.uses_len += gone.uses_len;
        if kept.content == NONE {
            kept.content = gone.content;
        }
        for (number, entry) in gone.members.iter() {
            kept.members.insert(number, entry);
        }
        // Oldest first: the older of two that become the same stays.
        for term in changed {
            self.reindex_term(term, pending);
        }
    }

    fn reindex_term(&mut self, term: TermIx, pending: &mut Vec<(ClassIx, ClassIx)>) {
        let inputs = self.inputs(term);
        let Some(same) = self.term(&self.terms[term as usize].digest.clone(), &inputs) else {
            self.index_term(term);
            return;
        };
        let [a, b] = [same, term].map(|term| self.terms[term as usize].output);
        pending.push((a, b));
        if same < term {
            self.terms[term as usize].live = false;
        } else {
            self.unindex_term(same);
            self.terms[same as usize].live = false;
            self.index_term(term);
        }
    }

    /// The classes of a term's inputs.
    pub(super) fn inputs(&mut self, term: TermIx) -> Vec<ClassIx> {
        let Term { first, len, .. } = self.terms[term as usize];
        (first..first + len)
            .map(|at| {
                let class = self.find(self.uses[at as usize].class);
                self.uses[at as usize].class = class;
                class
            })
            .collect()
    }

    fn shape_hash(&self, digest: &Key, inputs: &[ClassIx]) -> u64 {
        self.seed.hash_one((digest.bits(), inputs))
    }

    /// The term with these inputs, which are canonical.
    fn term(&self, digest: &Key, inputs: &[ClassIx]) -> Option<TermIx> {
        let hash = self.shape_hash(digest, inputs);
        let found = self.by_shape.find(hash, |at| {
            let term = &self.terms[*at as usize];
            let range = term.first as usize..(term.first + term.len) as usize;
            let uses = &self.uses[range];
            term.digest == *digest
                && uses.len() == inputs.len()
                && uses.iter().zip(inputs).all(|(known, class)| {
                    // Every term in the index was canonical when it was put there, and a class that
                    // goes takes its terms out first.
                    known.class == *class
                })
        });
        found.copied()
    }

    pub(super) fn index_term(&mut self, term: TermIx) {
        let inputs = self.inputs(term);
        let hash = self.shape_hash(&self.terms[term as usize].digest, &inputs);
        let (terms, uses, seed) = (&self.terms, &self.uses, &self.seed);
        self.by_shape.insert_unique(hash, term, |at| {
            let term = &terms[*at as usize];
            let range = term.first as usize..(term.first + term.len) as usize;
            let inputs: Vec<ClassIx> = uses[range].iter().map(|known| known.class).collect();
            seed.hash_one((term.digest.bits(), inputs.as_slice()))
        });
    }

    fn unindex_term(&mut self, term: TermIx) {
        let inputs = self.inputs(term);
        let hash = self.shape_hash(&self.terms[term as usize].digest, &inputs);
        if let Ok(found) = self.by_shape.find_entry(hash, |at| *at == term) {
            found.remove();
        }
    }
}
