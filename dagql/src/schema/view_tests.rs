//! Views and the `Node` interface: who sees what, what calls record, and what IDs load.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::{data, errors, run};
use crate::{Cache, ObjectData, Server, Session, SessionOptions, Unobserved, Value, Visible};

struct Thing(&'static str);

impl ObjectData for Thing {
    fn type_name(&self) -> &str {
        "Thing"
    }
}

/// A field that returns a thing made by the definition `made`.
fn thing(name: &str, made: &'static str) -> Field {
    Field::new(name, "Thing!").resolve(move |cx, _, _| async move { Ok(cx.object(Thing(made))) })
}

fn server() -> Server {
    let mut builder = Schema::builder();
    builder
        .query(thing("plain", "plain"))
        // The order of registration decides, not that of the versions.
        .query(thing("made", "new").visible(Visible::After("v0.12.0")))
        .query(thing("made", "old").visible(Visible::Before("v0.12.0")))
        .query(thing("made", "special").visible(Visible::Exact("v0.13.0")))
        .query(thing("gone", "gone").visible(Visible::Before("v0.12.0")))
        .query(thing("always", "always").visible(Visible::All))
        .query(
            Field::new("arg", "String!")
                .arg(Arg::new("kept", "String").default("d"))
                .arg(
                    Arg::new("old", "String")
                        .visible(Visible::Before("v0.12.0"))
                        .deprecated("use kept"),
                )
                .resolve(|_, _, args| async move {
                    let old = args.str_opt("old")?.unwrap_or("none");
                    Ok(format!("{} {old}", args.str("kept")?))
                }),
        )
        .query(
            Field::new("inside", "Thing!")
                .resolve(|cx, _, _| async move { cx.select(&cx.root(), "made", []).await }),
        );
    builder.object(
        ObjectType::new("Thing")
            .field(
                Field::new("made", "String!")
                    .experimental("may go")
                    .resolve(|_, this, _| async move { Ok(this.data::<Thing>()?.0) }),
            )
            .field(
                Field::new("view", "String!")
                    .resolve(|_, this, _| async move { Ok(this.require_id()?.view().to_owned()) }),
            )
            .field(
                Field::new("key", "String!").resolve(|_, this, _| async move {
                    Ok(this.require_id()?.digest().to_string())
                }),
            ),
    );
    builder.object(
        ObjectType::new("Other").field(
            Field::new("made", "String!")
                .resolve(|_, _, _| async move { Ok::<Value, crate::Error>(Value::from("other")) }),
        ),
    );
    let schema = builder.build().expect("valid");
    Server::new(schema, Cache::in_memory(), Arc::new(Unobserved))
}

fn session(server: &Server, version: &str) -> Arc<Session> {
    let options = SessionOptions::new(version, version, Arc::new(()));
    server.session(options.view(View::of(version)))
}

#[tokio::test]
async fn each_version_sees_its_own_definition_and_the_last_installed_wins() {
    let server = server();
    for (version, made) in [
        ("v0.11.0", "old"),
        ("not a version", "old"),
        ("v0.12.0", "new"),
        ("v0.13.0", "special"),
        ("v0.13.1", "new"),
        ("", "new"),
    ] {
        let session = session(&server, version);
        assert_eq!(
            data(&session, "{ made { made } }").await["made"]["made"],
            made,
            "{version}"
        );
        let gone = run(&session, "{ gone { made } }").await;
        assert_eq!(gone.errors.is_empty(), made == "old", "{version}");
    }
    let unseen = errors(&session(&server, ""), "{ gone { made } }").await;
    assert!(
        unseen[0].starts_with("1:3 type Query has no field gone"),
        "{unseen:?}"
    );
}

#[tokio::test]
async fn a_view_is_recorded_only_where_the_call_needs_it() {
    let server = server();
    let query =
        "{ plain { view key } made { view key } always { view key } inside { view key made } }";
    let newest = data(&session(&server, ""), query).await;
    let later = data(&session(&server, "v0.19.11"), query).await;
    let special = data(&session(&server, "v0.13.0-rc.1"), query).await;
    let old = data(&session(&server, "v0.11.0"), query).await;
    // Same definition, same key, whatever the client's version.
    assert_eq!(newest["made"], later["made"]);
    for answer in [&later, &special, &old] {
        assert_eq!(answer["plain"], newest["plain"]);
        assert_eq!(answer["plain"]["view"], "");
        // Resolvers see the newest, whoever asked.
        assert_eq!(answer["inside"], newest["inside"]);
        assert_eq!(answer["inside"]["made"], "new");
    }
    assert_eq!(special["made"]["view"], "v0.13.0");
    assert_eq!(old["made"]["view"], "v0.11.0");
    assert_ne!(old["made"]["key"], newest["made"]["key"]);
    // What depends on the view itself always says so.
    assert_eq!(later["always"]["view"], "v0.19.11");
}

#[tokio::test]
async fn a_call_is_loaded_in_the_view_it_records() {
    let server = server();
    let answer = data(&session(&server, "v0.11.0"), "{ made { id } gone { id } }").await;
    // Another session: nothing is cached any more, and its own view sees neither definition.
    let newest = session(&server, "");
    for (field, made) in [("made", "old"), ("gone", "gone")] {
        let id = answer[field]["id"].as_str().expect("an ID");
        let query = format!("{{ loadThingFromID(id: \"{id}\") {{ made }} }}");
        let loaded = data(&newest, &query).await;
        assert_eq!(loaded["loadThingFromID"]["made"], made);
    }
}

#[tokio::test]
async fn arguments_have_views_too() {
    let server = server();
    let (old, new) = (session(&server, "v0.11.0"), session(&server, "v0.12.0"));
    assert_eq!(
        data(&old, r#"{ arg(old: "o") }"#).await,
        json!({"arg": "d o"})
    );
    assert_eq!(
        errors(&new, r#"{ arg(old: "o") }"#).await,
        ["1:7 Query.arg has no argument old"]
    );
    assert_eq!(data(&new, "{ arg }").await, json!({"arg": "d none"}));
}

#[tokio::test]
async fn introspection_shows_the_clients_view() {
    let server = server();
    let query = "{ __type(name: \"Query\") { fields(includeDeprecated: true) { name } } }";
    let names = |answer: serde_json::Value| -> Vec<String> {
        let fields = answer["__type"]["fields"]
            .as_array()
            .expect("fields")
            .iter();
        fields.map(|field| field["name"].to_string()).collect()
    };
    let old = names(data(&session(&server, "v0.11.0"), query).await);
    let new = names(data(&session(&server, ""), query).await);
    assert!(old.contains(&"\"gone\"".to_owned()) && !new.contains(&"\"gone\"".to_owned()));
    let made = |names: &[String]| names.iter().filter(|name| *name == "\"made\"").count();
    assert_eq!((made(&old), made(&new)), (1, 1));
    let sdl = server.schema().sdl();
    assert!(
        sdl.contains("made: String! @experimental(reason: \"may go\")"),
        "{sdl}"
    );
    let old = server.schema().in_view(View::of("v0.11.0"));
    assert!(
        old.sdl()
            .contains("old: String @deprecated(reason: \"use kept\")")
    );
    assert_ne!(old.digest(), server.schema().digest());
    // Versions that see the same share one schema.
    let (a, b) = (View::of("v0.14.0"), View::of("v0.19.11"));
    assert_eq!(
        server.schema().in_view(a).digest(),
        server.schema().in_view(b).digest()
    );
}

#[test]
fn a_name_is_for_everyone_or_for_views() {
    let refused = |fields: Vec<Field>| {
        let mut builder = Schema::builder();
        fields.into_iter().for_each(|field| {
            builder.query(field);
        });
        builder.object(ObjectType::new("Thing").field(thing("self", "")));
        builder.build().expect_err("refused").to_string()
    };
    assert_eq!(
        refused(vec![
            thing("a", ""),
            thing("a", "").visible(Visible::After("v0.12.0"))
        ]),
        "field Query.a has definitions for everyone and for some views"
    );
    assert_eq!(
        refused(vec![thing("a", ""), thing("a", "")]),
        "field Query.a is defined twice"
    );
    assert_eq!(
        refused(vec![thing("a", "").visible(Visible::After("0.12"))]),
        "Query.a: `0.12` is not a version"
    );
}

#[tokio::test]
async fn node_loads_any_object_beside_the_typed_loaders() {
    let server = server();
    let session = session(&server, "");
    let answer = data(&session, "{ plain { id } }").await;
    let id = answer["plain"]["id"].as_str().expect("an ID");
    let query = format!(
        "{{ node(id: \"{id}\") {{ __typename id ... on Thing {{ made }} ... on Other {{ o: made }} }} }}"
    );
    assert_eq!(
        data(&session, &query).await["node"],
        json!({"__typename": "Thing", "id": id, "made": "plain"})
    );
    // A variable of the narrow type fits where any ID does.
    let request = crate::Request::new("query($id: ThingID!) { node(id: $id) { __typename } }");
    let response = session
        .execute(request.variable("id", id), Default::default())
        .await;
    assert_eq!(
        response.json().expect("loads")["node"]["__typename"],
        "Thing"
    );
}

#[tokio::test]
async fn a_loader_refuses_the_id_of_another_type() {
    let server = server();
    let session = session(&server, "");
    let answer = data(&session, "{ plain { id } }").await;
    let id = answer["plain"]["id"].as_str().expect("an ID");
    let query = format!("{{ loadOtherFromID(id: \"{id}\") {{ made }} }}");
    assert_eq!(
        errors(&session, &query).await,
        ["1:19 loadOtherFromID: argument id: expected the ID of a Other, got the ID of a Thing"]
    );
    assert_eq!(
        errors(&session, "{ node(id: \"\") { id } }").await,
        ["1:8 node: argument id: cannot decode empty string as ID"]
    );
}
