//! Where two IDs part: the first call that differs, down to the argument, and what follows from it.
//!
//! A call's digest covers everything under it, so after one difference every later digest differs
//! and says nothing. [`diff`] finds the cause:
//! 1. *Align.* Both chains are cut to the same length from the root, then walked towards it until
//!    the receivers have one digest. The calls on top of that are the first of the chains that
//!    differ.
//! 2. *Compare* those two calls part by part. If anything but objects in their arguments (or the
//!    module's call) differs, this is the first difference.
//! 3. Otherwise *descend* into the first object that differs, and begin anew.
//! 4. *Count.* A call that only one ID has, but that equals a call that only the other one has when
//!    the digests it refers to are left out, differs as a consequence. Any other differs by itself.
//!    By the same test a call that was put in or left out is told from one that was changed.
//!
//! Calls looked at in one descent lie above those of the next, so all of it is linear in the number
//! of distinct calls, and nothing recurses along chains.

use std::collections::{HashMap, HashSet};

use super::{Call, Id, Module};
use crate::digest::Digest;
use crate::digest::scheme::{Blake3, DigestScheme, Scheme};
use crate::literal::Literal;

/// How two IDs differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// The digest rules, if they differ. The rest then compares the calls alone, without custom
    /// and content digests, under our own rules.
    pub rules: Option<(Scheme, Scheme)>,
    /// The first call that differs; `None` if only the rules do.
    pub first: Option<Difference>,
    /// How many more calls differ although what they refer to is left out, in the first ID and in
    /// the second.
    pub own: (usize, usize),
    /// How many calls of the second ID differ only because something under them does.
    pub consequences: usize,
}

/// A call that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The first ID's call; `None` if only the second has this call.
    pub left: Option<Id>,
    /// The second ID's call; `None` if only the first has this call.
    pub right: Option<Id>,
    /// How it is reached from the ends of the IDs: empty if it is on their receiver chains.
    pub through: Vec<Through>,
    /// What differs between the two calls; empty if one of them is missing.
    pub changes: Vec<Change>,
}

/// An object in a call, in which the difference lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Through {
    /// The first ID's call.
    pub left: Id,
    /// The second ID's call.
    pub right: Id,
    /// The part of the call: an argument's path or the module.
    pub part: Part,
}

/// One part of a call that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub part: Part,
    /// Its value in the first ID; `None` if it has none.
    pub left: Option<Literal>,
    /// Its value in the second ID.
    pub right: Option<Literal>,
}

/// A part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The field's name.
    Field,
    /// The returned type.
    Type,
    /// An argument, an element of a list in it or a field of an object, as `name[1].field`.
    Argument(String),
    /// The order in which equal arguments are written.
    ArgumentOrder,
    /// The selected list element.
    Nth,
    /// The API version.
    View,
    /// The module that implements the field: its name, source, pin, or the call that builds it.
    Module,
    /// An implicit input of this name.
    Scope(String),
    /// The digest that was assigned to the call.
    CustomDigest,
    /// The digest of the result.
    ContentDigest,
}

/// How `right` differs from `left`; `None` if they are the same.
#[must_use]
pub fn diff(left: &Id, right: &Id) -> Option<Diff> {
    if left.scheme() == right.scheme() {
        return diff_under_one_scheme(left, right, None);
    }
    let rules = Some((left.scheme(), right.scheme()));
    let ours = [left, right].map(|id| id.rehash(Scheme::Blake3));
    let none = Diff {
        rules,
        first: None,
        own: (0, 0),
        consequences: 0,
    };
    Some(diff_under_one_scheme(&ours[0], &ours[1], rules).unwrap_or(none))
}

fn diff_under_one_scheme(left: &Id, right: &Id, rules: Option<(Scheme, Scheme)>) -> Option<Diff> {
    let mut first = first_difference(left, right)?;
    let mut counts = Counts::new(left, right);
    counts.settle(&mut first);
    Some(Diff {
        rules,
        own: (counts.left.len(), counts.right.len()),
        consequences: counts.consequences,
        first: Some(first),
    })
}

// ---- the first difference ------------------------------------------------------------------------

fn same(left: &Id, right: &Id) -> bool {
    left == right && left.content_digest() == right.content_digest()
}

fn first_difference(left: &Id, right: &Id) -> Option<Difference> {
    let depths = [depths(left), depths(right)];
    let (mut left, mut right) = (left, right);
    let mut through = Vec::new();
    while !same(left, right) {
        let (a, b) = lowest_difference(left, right, &depths);
        let difference = |left, right, through, changes| {
            Some(Difference {
                left,
                right,
                through,
                changes,
            })
        };
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return difference(a.cloned(), b.cloned(), through, Vec::new()),
        };
        let mut comparison = Comparison::default();
        comparison.calls(a, b);
        let Some((part, below, other)) = comparison
            .objects
            .into_iter()
            .next()
            .filter(|_| comparison.changes.is_empty())
        else {
            return difference(
                Some(a.clone()),
                Some(b.clone()),
                through,
                comparison.changes,
            );
        };
        through.push(Through {
            left: a.clone(),
            right: b.clone(),
            part,
        });
        (left, right) = (below, other);
    }
    None
}

/// The number of receivers under each call.
fn depths(id: &Id) -> HashMap<&Digest, usize> {
    let mut depths = HashMap::new();
    for call in id.post_order() {
        let depth = call
            .receiver()
            .and_then(|receiver| depths.get(receiver.digest()))
            .map_or(0, |depth| depth + 1);
        depths.insert(call.digest(), depth);
    }
    depths
}

/// The calls nearest to the root that differ, of two chains that do. If one chain continues the
/// other, only the longer one has such a call.
fn lowest_difference<'a>(
    left: &'a Id,
    right: &'a Id,
    depths: &[HashMap<&Digest, usize>; 2],
) -> (Option<&'a Id>, Option<&'a Id>) {
    let depth = |side: usize, id: &Id| depths[side].get(id.digest()).copied().unwrap_or(0);
    let (l, r) = (depth(0, left), depth(1, right));
    // The call right above the level of the shorter chain, if its chain is longer.
    let above = |id: &'a Id, more: usize| id.chain().nth(more.checked_sub(1)?);
    if let Some(above) = above(left, l.saturating_sub(r))
        && let Some(level) = above.receiver()
    {
        return match same(level, right) {
            true => (Some(above), None),
            false => lowest_of_level(level, right),
        };
    }
    if let Some(above) = above(right, r.saturating_sub(l))
        && let Some(level) = above.receiver()
    {
        return match same(left, level) {
            true => (None, Some(above)),
            false => lowest_of_level(left, level),
        };
    }
    lowest_of_level(left, right)
}

fn lowest_of_level<'a>(mut left: &'a Id, mut right: &'a Id) -> (Option<&'a Id>, Option<&'a Id>) {
    while let (Some(l), Some(r)) = (left.receiver(), right.receiver()) {
        if same(l, r) {
            break;
        }
        (left, right) = (l, r);
    }
    (Some(left), Some(right))
}

// ---- comparing two calls -------------------------------------------------------------------------

/// What differs between two calls.
#[derive(Default)]
struct Comparison<'a> {
    /// Parts that differ by themselves.
    changes: Vec<Change>,
    /// Objects that both have in the same place, and that differ.
    objects: Vec<(Part, &'a Id, &'a Id)>,
}

impl<'a> Comparison<'a> {
    fn calls(&mut self, left: &'a Id, right: &'a Id) {
        let text = |text: &str| Some(Literal::string(text));
        self.part(Part::Field, text(left.field()), text(right.field()));
        let ty = |id: &Id| text(&id.ty().to_string());
        self.part(Part::Type, ty(left), ty(right));
        self.arguments(left, right);
        self.part(Part::Nth, Some(left.nth().into()), Some(right.nth().into()));
        self.part(Part::View, text(left.view()), text(right.view()));
        self.modules(left.module(), right.module());
        self.scopes(left.call(), right.call());
        let custom = |id: &Id| {
            let assigned = id.has_custom_digest() && !id.has_element_digest();
            assigned.then(|| Literal::string(id.digest().as_str()))
        };
        self.part(Part::CustomDigest, custom(left), custom(right));
        let content = |id: &Id| Some(Literal::string(id.content_digest()?.as_str()));
        self.part(Part::ContentDigest, content(left), content(right));
    }

    fn part(&mut self, part: Part, left: Option<Literal>, right: Option<Literal>) {
        if left != right {
            self.changes.push(Change { part, left, right });
        }
    }

    fn arguments(&mut self, left: &'a Id, right: &'a Id) {
        let named = |id: &'a Id| {
            let args = id.call().public_args();
            args.map(|argument| (argument.name(), argument.value()))
                .collect::<Vec<_>>()
        };
        let (left, right) = (named(left), named(right));
        let before = (self.changes.len(), self.objects.len());
        self.fields("", &left, &right);
        let names = |args: &[(&str, _)]| {
            let names = args.iter().map(|(name, _)| Literal::string(*name));
            Some(Literal::List(names.collect()))
        };
        if before == (self.changes.len(), self.objects.len()) {
            self.part(Part::ArgumentOrder, names(&left), names(&right));
        }
    }

    /// Compares by name: what only one side has, has no value on the other.
    fn fields(
        &mut self,
        prefix: &str,
        left: &[(&'a str, &'a Literal)],
        right: &[(&'a str, &'a Literal)],
    ) {
        let known: HashMap<&str, &'a Literal> = right.iter().copied().collect();
        let mut seen = HashSet::new();
        for (name, value) in left {
            seen.insert(*name);
            let path = format!("{prefix}{name}");
            self.literals(path, Some(value), known.get(name).copied());
        }
        for (name, value) in right.iter().filter(|(name, _)| !seen.contains(name)) {
            self.literals(format!("{prefix}{name}"), None, Some(value));
        }
    }

    /// Recursion is bounded by [`crate::LITERAL_DEPTH_MAX`].
    fn literals(&mut self, path: String, left: Option<&'a Literal>, right: Option<&'a Literal>) {
        match (left, right) {
            (Some(Literal::Id(left)), Some(Literal::Id(right))) => {
                if !same(left, right) {
                    self.objects.push((Part::Argument(path), left, right));
                }
            }
            (Some(Literal::List(left)), Some(Literal::List(right))) => {
                for at in 0..left.len().max(right.len()) {
                    self.literals(format!("{path}[{at}]"), left.get(at), right.get(at));
                }
            }
            (Some(Literal::Object(one)), Some(Literal::Object(other))) => {
                let before = (self.changes.len(), self.objects.len());
                let named = |fields: &'a [(std::sync::Arc<str>, Literal)]| {
                    let fields = fields.iter();
                    fields
                        .map(|(name, value)| (&**name, value))
                        .collect::<Vec<_>>()
                };
                self.fields(&format!("{path}."), &named(one), &named(other));
                // The same fields in another order.
                if before == (self.changes.len(), self.objects.len()) {
                    self.part(Part::Argument(path), left.cloned(), right.cloned());
                }
            }
            _ => self.part(Part::Argument(path), left.cloned(), right.cloned()),
        }
    }

    fn modules(&mut self, left: Option<&'a Module>, right: Option<&'a Module>) {
        let told = |module: &Module| {
            let parts = [module.name(), module.source(), module.pin()];
            Literal::List(parts.map(Literal::string).into())
        };
        self.part(Part::Module, left.map(told), right.map(told));
        if let (Some(left), Some(right)) = (left, right)
            && !same(left.id(), right.id())
        {
            self.objects.push((Part::Module, left.id(), right.id()));
        }
    }

    fn scopes(&mut self, left: &Call, right: &Call) {
        let value = |call: &Call, name: &str| {
            let mut inputs = call.implicit_inputs().iter();
            let input = inputs.find(|input| input.name() == name)?;
            Some(Literal::string(input.value()))
        };
        let names: std::collections::BTreeSet<&str> = [left, right]
            .into_iter()
            .flat_map(|call| {
                call.implicit_inputs()
                    .iter()
                    .map(super::ImplicitInput::name)
            })
            .collect();
        for name in names {
            self.part(
                Part::Scope(name.to_owned()),
                value(left, name),
                value(right, name),
            );
        }
    }
}

// ---- what follows --------------------------------------------------------------------------------

/// The calls that only one ID has, without those that differ as a consequence.
struct Counts<'a> {
    left: HashMap<&'a Digest, Digest>,
    right: HashMap<&'a Digest, Digest>,
    /// What calls of both sides are when the digests they refer to are left out.
    shared: HashSet<Digest>,
    consequences: usize,
}

impl<'a> Counts<'a> {
    fn new(left: &'a Id, right: &'a Id) -> Self {
        let orders = [left.public_post_order(), right.public_post_order()];
        let known = [0, 1].map(|side: usize| -> HashSet<&Digest> {
            orders[side].iter().map(|call| call.digest()).collect()
        });
        let only = |side: usize| -> HashMap<&'a Digest, Digest> {
            let new = orders[side]
                .iter()
                .filter(|call| !known[1 - side].contains(call.digest()));
            new.map(|call| (call.digest(), alone(call))).collect()
        };
        let (mut left, mut right) = (only(0), only(1));
        let mut unmatched: HashMap<Digest, usize> = HashMap::new();
        for own in left.values() {
            *unmatched.entry(own.clone()).or_default() += 1;
        }
        let mut matched: HashMap<Digest, usize> = HashMap::new();
        right.retain(|_, own| match unmatched.get_mut(own) {
            Some(count @ 1..) => {
                *count -= 1;
                *matched.entry(own.clone()).or_default() += 1;
                false
            }
            _ => true,
        });
        let shared: HashSet<Digest> = matched.keys().cloned().collect();
        let consequences = matched.values().sum();
        left.retain(|_, own| match matched.get_mut(own) {
            Some(count @ 1..) => {
                *count -= 1;
                false
            }
            _ => true,
        });
        Self {
            left,
            right,
            shared,
            consequences,
        }
    }

    /// Takes the first difference out of the counts. Where one of its calls is found again on the
    /// other side and the other is not, that other one was put in or left out.
    fn settle(&mut self, first: &mut Difference) {
        if let (Some(left), Some(right)) = (&first.left, &first.right) {
            let again = [left, right].map(|id| self.shared.contains(&alone(id)));
            match again {
                [true, false] => first.left = None,
                [false, true] => first.right = None,
                _ => {}
            }
            if first.left.is_none() || first.right.is_none() {
                first.changes.clear();
            }
        }
        if let Some(left) = &first.left {
            self.left.remove(left.digest());
        }
        if let Some(right) = &first.right {
            self.right.remove(right.digest());
        }
    }
}

/// A digest of the call itself: what it refers to is left out, as in a [`super::Term`].
fn alone(id: &Id) -> Digest {
    let mut preimage = Vec::with_capacity(512);
    Blake3.term_preimage(id, &mut preimage);
    let custom = id.has_custom_digest() && !id.has_element_digest();
    let assigned = if custom { id.digest().as_str() } else { "" };
    Blake3.parts("call alone", &[&preimage, assigned.as_bytes()])
}
