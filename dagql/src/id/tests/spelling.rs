//! What a client writes against a schema: every way to say a call is one key.

use std::sync::Arc;

use proptest::prelude::*;

use crate::coerce;
use crate::id::{ArgSpec, Call, Id, canonical_arguments};
use crate::{Arg, EnumType, Field, InputType, Literal, Schema, TypeRef, Value};

type Given = Vec<(Arc<str>, Literal)>;

/// A field with every kind of default: of a scalar, an enum, a list, an input object and a field
/// inside one.
fn schema() -> Schema {
    let mut builder = Schema::builder();
    let run = Field::new("run", "String")
        .arg(Arg::new("args", "[String!]!"))
        .arg(Arg::new("level", "Int").default(3_i64))
        .arg(Arg::new("ratio", "Float").default(1.0))
        .arg(Arg::new("mode", "Mode").default("SHARED"))
        .arg(Arg::new("user", "String"))
        .arg(Arg::new("options", "Options"));
    builder.query(run.resolve(|_, _, _| async { Ok(Value::Null) }));
    builder.enumeration(
        EnumType::new("Mode")
            .member("SHARED", "")
            .alias("shared", "SHARED")
            .member("LOCKED", ""),
    );
    builder.input(
        InputType::new("Options")
            .field(Arg::new("expand", "Boolean").default(false))
            .field(Arg::new("mode", "Mode").default("LOCKED"))
            .field(Arg::new("note", "String")),
    );
    builder.build().expect("the schema is sound")
}

fn key(schema: &Schema, given: Given) -> Id {
    let field = schema.field("Query", "run").expect("it is there");
    let given = coerce::literals(schema, field, given).expect("the values fit");
    let specs: Vec<ArgSpec<'_>> = field
        .args
        .iter()
        .map(|arg| ArgSpec {
            name: &arg.name,
            default: arg.default.as_ref(),
            sensitive: arg.sensitive,
        })
        .collect();
    let args = canonical_arguments(&specs, given).expect("the arguments are distinct");
    Id::root(Call::new("run", TypeRef::named("String")).with_args(args))
}

fn named(fields: &[(&str, Literal)]) -> Given {
    let fields = fields.iter();
    fields
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect()
}

fn options(fields: &[(&str, Literal)]) -> Literal {
    Literal::Object(named(fields))
}

fn args() -> (&'static str, Literal) {
    ("args", vec!["make"].into())
}

#[test]
fn explicit_default_and_omitted_are_one_key() {
    let schema = schema();
    let short = key(&schema, named(&[args()]));
    for (name, default) in [
        ("level", Literal::Int(3)),
        ("ratio", Literal::Float(1.0)),
        ("ratio", Literal::Int(1)),
        ("mode", Literal::enumeration("SHARED")),
        ("mode", Literal::string("SHARED")),
    ] {
        assert_eq!(
            key(&schema, named(&[(name, default), args()])),
            short,
            "{name}"
        );
    }
    let other = key(&schema, named(&[args(), ("level", 4_i64.into())]));
    assert_ne!(other, short);
}

#[test]
fn explicit_null_is_omitted_where_there_is_no_default_and_overrides_one() {
    let schema = schema();
    let short = key(&schema, named(&[args()]));
    let user = key(&schema, named(&[args(), ("user", Literal::Null)]));
    assert_eq!(user, short);
    let level = key(&schema, named(&[args(), ("level", Literal::Null)]));
    assert_ne!(level, short);
}

#[test]
fn an_enum_alias_is_its_member() {
    let schema = schema();
    let mode = |name: &str| {
        key(
            &schema,
            named(&[args(), ("mode", Literal::enumeration(name))]),
        )
    };
    assert_eq!(mode("shared"), mode("SHARED"));
    assert_ne!(mode("LOCKED"), mode("SHARED"));
}

#[test]
fn defaults_inside_an_input_object_are_written_out() {
    let schema = schema();
    let with =
        |fields: &[(&str, Literal)]| key(&schema, named(&[args(), ("options", options(fields))]));
    let spelled = with(&[
        ("note", Literal::Null),
        ("mode", Literal::enumeration("LOCKED")),
        ("expand", false.into()),
    ]);
    assert_eq!(with(&[]), spelled);
    assert_ne!(with(&[("expand", true.into())]), spelled);
    assert_ne!(key(&schema, named(&[args()])), spelled);
}

/// What a program means: `None` is what it does not care about.
#[derive(Debug, Clone)]
struct Meant {
    level: Option<i64>,
    mode: Option<bool>,
    user: Option<String>,
    options: Option<(Option<bool>, Option<String>)>,
}

fn meant() -> impl Strategy<Value = Meant> {
    let options = (any::<Option<bool>>(), prop::option::of("[a-z]{0,3}"));
    (
        prop::option::of(2_i64..5),
        any::<Option<bool>>(),
        prop::option::of("[a-z]{0,3}"),
        prop::option::of(options),
    )
        .prop_map(|(level, mode, user, options)| Meant {
            level,
            mode,
            user,
            options,
        })
}

fn mode(locked: bool) -> &'static str {
    if locked { "LOCKED" } else { "SHARED" }
}

/// Go sends what was set, in the order of a map; enum values as strings.
fn go(meant: &Meant) -> Given {
    let mut given = named(&[args()]);
    given.extend(meant.level.map(|level| ("level".into(), level.into())));
    given.extend(
        meant
            .mode
            .map(|locked| ("mode".into(), Literal::string(mode(locked)))),
    );
    given.extend(meant.user.clone().map(|user| ("user".into(), user.into())));
    given.extend(meant.options.clone().map(|(expand, note)| {
        let mut fields: Given = Vec::new();
        fields.extend(note.map(|note| ("note".into(), note.into())));
        fields.extend(expand.map(|expand| ("expand".into(), expand.into())));
        ("options".into(), Literal::Object(fields))
    }));
    given
}

/// Python leaves out what equals the default.
fn python(meant: &Meant) -> Given {
    let mut meant = meant.clone();
    meant.level = meant.level.filter(|level| *level != 3);
    meant.mode = meant.mode.filter(|locked| *locked);
    meant.options = meant
        .options
        .map(|(expand, note)| (expand.filter(|expand| *expand), note));
    go(&meant)
}

/// TypeScript spells everything out, null for what has no value.
fn typescript(meant: &Meant) -> Given {
    let options = meant.options.clone().map(|(expand, note)| {
        options(&[
            ("expand", expand.unwrap_or(false).into()),
            ("mode", Literal::enumeration("LOCKED")),
            ("note", note.into()),
        ])
    });
    named(&[
        ("options", options.into()),
        args(),
        ("level", meant.level.unwrap_or(3).into()),
        ("ratio", 1.0.into()),
        (
            "mode",
            Literal::enumeration(mode(meant.mode.unwrap_or(false))),
        ),
        ("user", meant.user.clone().into()),
    ])
}

proptest! {
    #[test]
    fn three_sdks_one_key(meant in meant(), order in any::<u64>()) {
        let schema = schema();
        let mut shuffled = go(&meant);
        let count = shuffled.len() as u64;
        shuffled.sort_by_key(|(name, _)| (name.len() as u64).wrapping_mul(order) % (count + 1));
        let [go, python, typescript] =
            [shuffled, python(&meant), typescript(&meant)].map(|given| key(&schema, given));
        prop_assert_eq!(go.digest(), python.digest());
        prop_assert_eq!(python.digest(), typescript.digest());
        prop_assert_eq!(go.preimage(), typescript.preimage());
    }
}
