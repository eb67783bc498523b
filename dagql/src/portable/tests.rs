//! Portable keys against a naive model: the recipe written out as text, with content in the place
//! of everything whose content is known.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{Arg, Call, Field, ImplicitInput, Literal, Object, ObjectData, ObjectType, TypeRef};

struct Tree;

impl ObjectData for Tree {
    fn type_name(&self) -> &str {
        "Tree"
    }
}

struct Seen(Digest);

impl Sighting for Seen {
    fn digest(&self) -> Option<Digest> {
        Some(self.0.clone())
    }

    fn holds(&self) -> bool {
        self.0.as_str() != "changed"
    }
}

fn digest(text: &str) -> Digest {
    Digest::parse(text).expect("well formed")
}

fn schema() -> &'static Schema {
    static SCHEMA: std::sync::OnceLock<Schema> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(|| {
        let field = |name: &str| {
            Field::new(name, "Tree!").resolve(|cx, _, _| async move { Ok(cx.object(Tree)) })
        };
        let mut builder = Schema::builder();
        builder.query(field("empty"));
        builder.query(field("host").arg(Arg::new("path", "String!")));
        builder.query(field("drift").volatile());
        let name = Arg::new("name", "String!");
        builder.object(
            ObjectType::new("Tree")
                .field(field("add").arg(name))
                .field(field("join").arg(Arg::new("others", "[TreeID!]!"))),
        );
        builder.build().expect("valid")
    })
}

fn call(field: &str) -> Call {
    Call::new(field, TypeRef::named("Tree").non_null())
}

/// What a host's directory of this name holds; several hold the same.
fn content(path: u8) -> Digest {
    digest(&format!("content:{}", path % 3))
}

fn host(client: &str, path: u8) -> Id {
    let scope = ImplicitInput::scoped(Scope::Client, client);
    Id::root(call("host").arg("path", path.to_string()).implicit(scope))
}

#[derive(Debug, Clone)]
enum Step {
    Empty,
    Host(u8),
    Drift,
    Scoped(usize, Scope),
    Add(usize, u8),
    Join(usize, Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scope = prop::sample::select(vec![Scope::Session, Scope::Call, Scope::Key]);
    let step = prop_oneof![
        1 => Just(Step::Empty),
        4 => (0_u8..6).prop_map(Step::Host),
        1 => Just(Step::Drift),
        1 => (any::<usize>(), scope).prop_map(|(on, scope)| Step::Scoped(on, scope)),
        6 => (any::<usize>(), 0_u8..3).prop_map(|(on, name)| Step::Add(on, name)),
        4 => (any::<usize>(), prop::collection::vec(any::<usize>(), 0..3))
            .prop_map(|(on, others)| Step::Join(on, others)),
    ];
    prop::collection::vec(step, 1..30)
}

/// The IDs that steps make for one client, each with its recipe as the model writes it: none where
/// it is not the same call everywhere.
fn build(steps: &[Step], client: &str) -> Vec<(Id, Option<String>)> {
    let mut made: Vec<(Id, Option<String>)> = vec![(Id::root(call("empty")), Some("empty".into()))];
    for step in steps {
        let at = |n: &usize| made[n % made.len()].clone();
        let next = match step {
            Step::Empty => at(&0),
            Step::Host(path) => (host(client, *path), Some(format!("<{}>", content(*path)))),
            Step::Drift => (Id::root(call("drift")), None),
            Step::Scoped(on, scope) => {
                let (on, recipe) = at(on);
                let call = call("add")
                    .arg("name", "s")
                    .implicit(ImplicitInput::scoped(*scope, "v"));
                let recipe = recipe.filter(|_| *scope == Scope::Key);
                (
                    on.append(call),
                    recipe.map(|on| format!("{on}.add[key](s)")),
                )
            }
            Step::Add(on, name) => {
                let (on, recipe) = at(on);
                let id = on.append(call("add").arg("name", name.to_string()));
                (id, recipe.map(|on| format!("{on}.add({name})")))
            }
            Step::Join(on, others) => {
                let (on, recipe) = at(on);
                let others: Vec<_> = others.iter().map(at).collect();
                let ids = others
                    .iter()
                    .map(|(id, _)| Literal::Id(id.clone()))
                    .collect();
                let texts: Option<Vec<String>> = others.into_iter().map(|(_, text)| text).collect();
                let id = on.append(call("join").arg("others", Literal::List(ids)));
                (
                    id,
                    recipe
                        .zip(texts)
                        .map(|(on, texts)| format!("{on}.join({})", texts.join(","))),
                )
            }
        };
        made.push(next);
    }
    made
}

/// The keys of all IDs in a session of their own, asked for in the given order.
fn keys(made: &[(Id, Option<String>)], client: &str, backwards: bool) -> Vec<Option<Digest>> {
    let portables = Portables::default();
    for path in 0..6 {
        let object = Object::new(host(client, path), Arc::new(Tree));
        portables.note(&Value::Object(
            object.with_sighting(Arc::new(Seen(content(path)))),
        ));
    }
    let ask = |(id, _): &(Id, _)| portables.of(schema(), id).map(|portable| portable.key);
    match backwards {
        false => made.iter().map(ask).collect(),
        true => {
            let mut keys: Vec<_> = made.iter().rev().map(ask).collect();
            keys.reverse();
            keys
        }
    }
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_if_the_recipes_with_content_in_place_are(steps in steps()) {
        let made = build(&steps, "a");
        let all = keys(&made, "a", false);
        let mut by_recipe: HashMap<&str, &Digest> = HashMap::new();
        let mut by_key: HashMap<&Digest, &str> = HashMap::new();
        for ((_, recipe), key) in made.iter().zip(&all) {
            prop_assert_eq!(recipe.is_some(), key.is_some());
            if let (Some(recipe), Some(key)) = (recipe, key) {
                prop_assert_eq!(*by_recipe.entry(recipe).or_insert(key), key);
                prop_assert_eq!(*by_key.entry(key).or_insert(recipe), recipe);
            }
        }
    }

    #[test]
    fn they_depend_neither_on_the_client_nor_on_the_order_of_asking(steps in steps()) {
        let (ours, theirs) = (build(&steps, "a"), build(&steps, "b"));
        let keys_of_ours = keys(&ours, "a", false);
        prop_assert_eq!(&keys_of_ours, &keys(&ours, "a", true));
        prop_assert_eq!(&keys_of_ours, &keys(&theirs, "b", false));
    }
}

/// A changed text here means that a rule changed: what is on disk would never be found again.
#[test]
fn keys_are_the_same_in_every_process() {
    let pinned = expect_test::expect![[r#"
        blake3:e1f80adc902d6dcb49b93ca4bfa7b2c977de90d38a56bdb2cfc13c9e08764300
        blake3:089419da318c8f8fb2461a52dc49e019f97edd72f9bb8c5a1c0cbe58093b0ee3
        blake3:1f119f96353387e3736951880b031c05ff126898ec0b9d56c2a2e74b78831343
        blake3:75f5792a700432e8228b70d60601e95fe64568e94fb65b797d2bb626b19aba2a"#]];
    let made = build(
        &[Step::Host(1), Step::Add(1, 2), Step::Join(2, vec![1])],
        "a",
    );
    let lines: Vec<String> = keys(&made, "a", false)
        .into_iter()
        .flatten()
        .map(|key| key.to_string())
        .collect();
    pinned.assert_eq(&lines.join("\n"));
}

#[test]
fn what_was_seen_is_inherited_once_and_asked_again() {
    let portables = Portables::default();
    let ids = [host("a", 0), host("a", 1)];
    for (id, content) in ids.iter().zip(["content:0", "changed"]) {
        let object = Object::new(id.clone(), Arc::new(Tree));
        portables.note(&Value::Object(
            object.with_sighting(Arc::new(Seen(digest(content)))),
        ));
    }
    let [steady, changed] = ids.map(|id| id.append(call("add").arg("name", "x")));
    let of = |id: &Id| portables.of(schema(), id).expect("all content is known");
    assert!(of(&steady).holds());
    assert!(!of(&changed).holds());
    let others = Literal::List(vec![Literal::Id(changed), Literal::Id(steady.clone())]);
    let both = of(&steady.append(call("join").arg("others", others)));
    assert_eq!(both.sightings.len(), 2);
    assert!(!both.holds());
}

#[test]
fn a_time_to_live_is_part_of_the_key_and_of_what_follows() {
    let portables = Portables::default();
    let id = Id::root(call("empty").implicit(ImplicitInput::scoped(Scope::Ttl, "60")));
    let lease = |key: &str, expires| Lease::of_row(digest(key), expires);
    assert!(
        portables.of(schema(), &id).is_none(),
        "its storage key is not known"
    );
    let portables = Portables::default();
    portables.note_lease(&id, &lease("k:1", 100));
    let child = id.append(call("add").arg("name", "x"));
    let before = portables.of(schema(), &child).expect("known");
    assert_eq!(before.expires, Some(100));
    portables.note_lease(&id, &lease("k:2", 200));
    let after = portables.of(schema(), &child).expect("known");
    assert_eq!(after.expires, Some(200));
    assert_ne!(before.key, after.key);
}

#[test]
fn a_long_chain_needs_no_stack_and_each_new_call_one_hash() {
    let portables = Portables::default();
    let mut id = host("a", 1);
    let object = Object::new(id.clone(), Arc::new(Tree));
    portables.note(&Value::Object(
        object.with_sighting(Arc::new(Seen(content(1)))),
    ));
    for name in 0..50_000_u32 {
        id = id.append(call("add").arg("name", name.to_string()));
    }
    let first = portables.of(schema(), &id).expect("a key");
    assert_eq!(portables.known().keys.len(), 50_001);
    let next = portables
        .of(schema(), &id.append(call("add").arg("name", "last")))
        .expect("a key");
    assert_eq!(portables.known().keys.len(), 50_002);
    assert!(Arc::ptr_eq(&first.sightings, &next.sightings));
}
