//! Building a schema: what is added, what is refused, and the text that comes out.

use std::sync::Arc;

use expect_test::expect;

use super::*;
use crate::testing::{Lab, data, session};
use crate::{Cache, Error, ObjectData, Server, Unobserved, Value};

fn field(name: &str, ty: &str) -> Field {
    Field::new(name, ty).resolve(|_, _, _| async { Ok(Value::Null) })
}

fn refused(fill: impl FnOnce(&mut SchemaBuilder)) -> String {
    let mut builder = Schema::builder();
    builder.query(field("ok", "String"));
    fill(&mut builder);
    match builder.build() {
        Ok(schema) => panic!("it was accepted:\n{}", schema.sdl()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn objects_get_an_id_scalar_an_id_field_and_a_loader() {
    let mut builder = Schema::builder();
    builder.object(
        ObjectType::new("Port")
            .doc("A port.\n\nSays \"\"\"hello\"\"\".")
            .field(
                field("number", "Int!")
                    .doc("Its number.")
                    .deprecated("say \"port\""),
            ),
    );
    builder.extend(
        "Port",
        field("near", "[Port!]!")
            .arg(
                Arg::new("others", "[PortID!]")
                    .default(Vec::<&str>::new())
                    .doc("Some."),
            )
            .arg(Arg::new("protocol", "Protocol!").default("TCP"))
            .arg(Arg::new("secret", "String").internal()),
    );
    builder.enumeration(
        EnumType::new("Protocol")
            .member("TCP", "")
            .member("UDP", ""),
    );
    builder.input(InputType::new("Forward").field(Arg::new("backend", "Int!")));
    let schema = builder.build().expect("valid");
    let (_directives, types) = schema
        .sdl()
        .split_once(") on FIELD\n\n")
        .expect("directives first");
    expect![[r#"
        """Gives the value of this leaf field to later operations as a variable."""
        directive @export("""The variable's name.""" as: String!) on FIELD

        """
        The root of all queries.
        """
        type Query {
          """
          Load a Port from its ID.
          """
          loadPortFromID(
            id: PortID!
          ): Port!
          """
          Load any object from its ID.
          """
          node(
            id: ID!
          ): Node!
        }

        """
        A port.

        Says \"""hello\""".
        """
        type Port implements Node {
          """
          A unique identifier for this Port.
          """
          id: ID!
          """
          Its number.
          """
          number: Int! @deprecated(reason: "say \"port\"")
          near(
            """
            Some.
            """
            others: [PortID!] = []
            protocol: Protocol = TCP
          ): [Port!]!
        }

        """
        An object that its ID names.
        """
        interface Node {
          """
          A unique identifier for this object.
          """
          id: ID!
        }

        """
        Who shares the result of a call that carries the directive `@cache`.
        """
        enum CacheScope {
          """
          The calls of one client.
          """
          CLIENT
          """
          The calls of one session.
          """
          SESSION
          """
          Nobody: the call runs whenever it is made.
          """
          CALL
        }

        enum Protocol {
          TCP
          UDP
        }

        input Forward {
          backend: Int!
        }

        """
        The `PortID` scalar type represents an identifier for an object of type Port.
        """
        scalar PortID
    "#]]
    .assert_eq(types);
}

#[test]
fn mistakes_of_the_program_are_named() {
    for (found, expected) in [
        (
            refused(|b| {
                b.query(field("a", "Strin!"));
            }),
            "Query.a: Strin! is not defined",
        ),
        (
            refused(|b| {
                b.query(field("a", "[String"));
            }),
            "Query, field a: expected `]` at offset 7 of `[String`",
        ),
        (
            refused(|b| {
                b.query(field("a", "Int").arg(Arg::new("x", "Query")));
            }),
            "Query.a(x): Query cannot be an argument's type",
        ),
        (
            refused(|b| {
                b.input(InputType::new("I").field(Arg::new("x", "Int")))
                    .query(field("a", "I"));
            }),
            "Query.a: I cannot be a field's type",
        ),
        (
            refused(|b| {
                b.query(field("a", "Int").arg(Arg::new("x", "Int").default("one")));
            }),
            "Query.a(x): the default value does not fit: expected Int, got a string",
        ),
        (
            refused(|b| {
                b.query(field("ok", "Int"));
            }),
            "field Query.ok is defined twice",
        ),
        (
            refused(|b| {
                b.query(
                    field("a", "Int")
                        .arg(Arg::new("x", "Int"))
                        .arg(Arg::new("x", "Int")),
                );
            }),
            "Query.a(x) is defined twice",
        ),
        (
            refused(|b| {
                b.enumeration(EnumType::new("E").member("A", ""))
                    .scalar(ScalarType::new("E"));
            }),
            "type E is defined twice",
        ),
        (
            refused(|b| {
                b.query(Field::new("a", "Int"));
            }),
            "Query.a has no resolver",
        ),
        (
            refused(|b| {
                b.extend("Nope", field("a", "Int"));
            }),
            "cannot add field a to the unknown type Nope",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_only_the_whole_shows_is_found_by_apollo() {
    let named = || InterfaceType::new("Named").field(Field::new("name", "String!"));
    let found = refused(|b| {
        b.interface(named());
        b.object(
            ObjectType::new("Thing")
                .implements("Named")
                .field(field("size", "Int")),
        );
    });
    assert!(found.starts_with("invalid schema: "), "{found}");
    assert!(found.contains("Named") && found.contains("name"), "{found}");
    let found = refused(|b| {
        b.query(field("__hidden", "Int"));
    });
    assert!(found.starts_with("invalid schema: "), "{found}");
}

/// A record without an ID.
struct Size(i64);

impl ObjectData for Size {
    fn type_name(&self) -> &str {
        "Size"
    }
}

#[tokio::test]
async fn defaults_are_part_of_the_call_however_they_are_spelt() {
    let mut builder = Schema::builder();
    builder.query(
        Field::new("size", "Size!")
            .arg(Arg::new("of", "Int!").default(420_i64))
            .resolve(|cx, _, args| async move { Ok::<_, Error>(cx.object(Size(args.int("of")?))) }),
    );
    builder.object(ObjectType::new("Size").without_id().field(
        Field::new("key", "String!").resolve(|_, this, _| async move {
            let size = this.data::<Size>()?.0;
            Ok(format!("{size} {}", this.require_id()?.digest()))
        }),
    ));
    let schema = builder.build().expect("valid");
    assert!(schema.sdl().contains("of: Int = 420"), "shown as nullable");
    assert!(!schema.sdl().contains("SizeID"));
    let server = Server::new(schema, Cache::in_memory(), Arc::new(Unobserved));
    let session = session(&server, "s");
    let query = "{ a: size { key } b: size(of: 420) { key } c: size(of: null) { key } d: size(of: \"420\") { key } e: size(of: 1) { key } }";
    let answer = data(&session, query).await;
    for other in ["b", "c", "d"] {
        assert_eq!(answer["a"], answer[other], "{other}");
    }
    assert_ne!(answer["a"], answer["e"]);
}

#[test]
fn the_schema_digest_follows_the_text() {
    let lab = Arc::new(Lab::default());
    let (one, two) = (crate::testing::schema(&lab), crate::testing::schema(&lab));
    assert_eq!(one.digest(), two.digest());
    let mut builder = crate::testing::builder(&lab);
    builder.query(field("more", "Int"));
    assert_ne!(builder.build().expect("valid").digest(), one.digest());
}
