//! Mistakes in documents: each with its place, its name and, if close, what was meant.

use std::sync::Arc;

use proptest::prelude::*;

use crate::digest::scheme::Scheme;
use crate::testing::{Lab, data, errors, run, schema, server, session, shared_server};
use crate::{CacheStats, Call, Digest, Id, Kind, Request, TypeRef};
use tokio_util::sync::CancellationToken;

async fn refused(query: &str) -> Vec<String> {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let session = session(&server, "s");
    let found = errors(&session, query).await;
    let untouched = CacheStats {
        sessions: 1,
        ..CacheStats::default()
    };
    assert_eq!(
        server.cache().stats(),
        untouched,
        "{query} executed something"
    );
    found
}

#[tokio::test]
async fn unknown_names_are_located_and_suggested() {
    for (query, expected) in [
        (
            "{ txet { value } }",
            "1:3 type Query has no field txet; did you mean text or texts?",
        ),
        (
            "{ text {\n  valeu } }",
            "2:3 type Text has no field valeu; did you mean value?",
        ),
        (
            r#"{ text(valu: "a") { value } }"#,
            "1:8 Query.text has no argument valu; did you mean value?",
        ),
        (
            "{ text { ... on Txt { value } } }",
            "1:17 there is no object type Txt; did you mean Text?",
        ),
        (
            "{ text { ...G } } fragment F on Text { value }",
            "1:10 there is no fragment G; did you mean F?",
        ),
        (
            "query($v: Strin) { text(value: $v) { value } }",
            "1:7 variable $v: there is no type Strin; did you mean String?",
        ),
        (
            "{ text @cach { value } }",
            "1:8 there is no directive @cach; did you mean cache?",
        ),
        (
            "{ echo(color: RDE) }",
            "1:8 echo: argument color: RDE is not a member of enum Color; did you mean RED?",
        ),
        (
            "{ echo(ports: [{ backed: 1 }]) }",
            "1:8 echo: argument ports: [0]: input Port has no field backed; did you mean backend?",
        ),
        (
            "{ internalField }",
            "1:3 type Query has no field internalField",
        ),
        (
            "{ echo(hidden: \"x\") }",
            "1:8 Query.echo has no argument hidden",
        ),
    ] {
        assert_eq!(refused(query).await, [expected], "{query}");
    }
}

#[tokio::test]
async fn shapes_that_do_not_fit_are_refused() {
    for (query, expected) in [
        (
            "{ text }",
            "1:3 Query.text returns Text!: select at least one of its fields, for example { id }",
        ),
        (
            "{ text { value { x } } }",
            "1:10 Text.value returns String!, which has no fields",
        ),
        (
            "{ text { append { value } } }",
            "1:10 Text.append needs the argument with of type String!",
        ),
        (
            "{ text { append(with: null) { value } } }",
            "1:17 append: argument with: expected String!, got null",
        ),
        (
            r#"{ text(value: "a", value: "b") { value } }"#,
            "1:20 argument value of Query.text is given twice",
        ),
        (
            "mutation { text { value } }",
            "1:1 mutation operations are not supported, only queries",
        ),
        (
            "query A { number { value } } query A { number { value } }",
            "1:30 operation A is not unique: every operation of a document needs its own name",
        ),
        (
            "{ number { value } } query A { number { value } }",
            "1:22 an operation without a name must be the only one of its document",
        ),
        (
            "fragment F on Text { value }",
            "1:1 the document has no operation",
        ),
        (
            "{ number { value } } fragment F on Text { value }",
            "1:31 fragment F is not used",
        ),
        (
            "{ number { ... on Text { value } } }",
            "1:12 a fragment on Text can never apply to Number",
        ),
        (
            "{ text { ...F } } fragment F on Text { append(with: \"a\") { ...F } }",
            "1:60 fragment F contains itself",
        ),
        (
            "{ number { value } } type X { a: Int }",
            "1:22 type definitions are not allowed in a query document",
        ),
        (
            "{ echo(int: 99999999999999999999) }",
            "1:13 the integer 99999999999999999999 does not fit 64 signed bits",
        ),
        (
            "{ neverText @cache(key: \"k\") { value } }",
            "1:3 neverText is never cached: @cache has no effect on it",
        ),
        (
            "{ text { id @cache(scope: CALL) } }",
            "1:10 id is never cached: @cache has no effect on it",
        ),
        (
            "{ text @export(as: \"t\") { value } }",
            "1:3 @export needs a field without fields of its own, text has some",
        ),
        (
            "{ text @skip { value } }",
            "1:8 @skip takes one argument, if: Boolean!",
        ),
        (
            "{ text { value @skip(if: \"yes\") } }",
            "1:16 the condition of @skip or @include must be true or false",
        ),
    ] {
        assert_eq!(refused(query).await, [expected], "{query}");
    }
}

#[tokio::test]
async fn variables_are_declared_used_and_of_the_right_type() {
    for (query, expected) in [
        (
            "{ text(value: $v) { value } }",
            "1:8 variable $v is not declared",
        ),
        (
            "query($v: String) { number { value } }",
            "1:7 variable $v is not used",
        ),
        (
            "query($v: Int) { text(value: $v) { value } }",
            "1:23 variable $v of type Int cannot be used where String! is expected",
        ),
        (
            "query($v: String) { text { append(with: $v) { value } } }",
            "1:35 variable $v of type String cannot be used where String! is expected",
        ),
        (
            "query($v: [String!]!) { text { append(with: $v) { value } } }",
            "1:39 variable $v of type [String!]! cannot be used where String! is expected",
        ),
        (
            "query($v: Text) { number { value } }",
            "1:7 variable $v: Text is not an input type",
        ),
        (
            "query($v: String, $v: String) { text(value: $v) { value } }",
            "1:19 variable $v is declared twice",
        ),
        (
            "query($n: Int!) { echo(ports: [{ backend: $n, color: $c }]) }",
            "1:24 variable $c is not declared",
        ),
    ] {
        assert_eq!(refused(query).await, [expected], "{query}");
    }
    // A default stands in for null, and a string for any scalar or enum.
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query = "query($v: String = \"d\", $c: String) { text { append(with: $v) { value } } echo(color: $c) }";
    let request = Request::new(query).variable("c", "Crimson");
    let answer = session
        .execute(request, CancellationToken::new())
        .await
        .json()
        .expect("fits");
    assert_eq!(answer["text"]["append"]["value"], "xd");
    assert_eq!(answer["echo"], "color=RED");
}

#[tokio::test]
async fn syntax_errors_are_located_in_the_text_as_sent() {
    let found = refused("{a{b{ text(value:) }}}").await;
    assert!(found[0].starts_with("1:18 "), "{found:?}");
    for broken in [
        "",
        "{",
        "}",
        "{ text(",
        "\"",
        "{ a: }",
        "query ($",
        "\u{feff}\0",
        "{a}}",
        "{text(value:\"\\q\")}",
    ] {
        let lab = Arc::new(Lab::default());
        let response = run(&session(&server(&lab), "s"), broken).await;
        let kind = response.errors.first().map(crate::Error::kind);
        assert!(
            kind.is_some_and(Kind::is_request_error),
            "{broken:?}: {:?}",
            response.errors
        );
    }
}

/// An introspection whose fragments spread each other in a chain.
fn chained_fragments(length: usize) -> String {
    let mut query = String::from("{ __schema { types { ...F0 } } }");
    for at in 0..length {
        let next = at + 1;
        query.push_str(&format!(
            " fragment F{at} on __Type {{ ofType {{ ...F{next} }} }}"
        ));
    }
    query.push_str(&format!(" fragment F{length} on __Type {{ name }}"));
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn adversarial_documents_fail_cleanly() {
    let deep = crate::QUERY_DEPTH_MAX;
    for query in [
        "{a".repeat(deep + 1),
        "{".repeat(deep),
        "[".repeat(1_000_000),
        format!("{{ echo(strings: {}", "[".repeat(100_000)),
        format!("{{ echo(ports: {}", "{a:".repeat(100_000)),
        format!(
            "query($v: {}Int{}) {{ echo(int: $v) }}",
            "[".repeat(50),
            "]".repeat(50)
        ),
        format!("{{ echo(strings: {}1{}) }}", "[".repeat(50), "]".repeat(50)),
        format!(
            "{{ {} }}",
            "text{value}".repeat(10) + &"@skip(if:true)".repeat(100_000)
        ),
        format!(
            "{} {{ number {{ value }} }}",
            "fragment F on Text { value }".repeat(2000)
        ),
        format!("{{ {} }}", "__schema { queryType { name } }".repeat(1000)),
        format!(
            "{{ __type(name: \"Text\") {{ {} name {} }} }}",
            "ofType {".repeat(deep - 10),
            "}".repeat(deep - 10)
        ),
        chained_fragments(1000),
        "... on Query {".repeat(1000),
        "\u{0}".repeat(1000),
    ] {
        let start: String = query.chars().take(40).collect();
        let lab = Arc::new(Lab::default());
        let response = run(&session(&server(&lab), "s"), &query).await;
        let first = response.errors.first().expect(&start);
        assert!(first.kind().is_request_error(), "{start}: {first:?}");
        assert!(
            first.message().len() < 2000,
            "{start}: {}",
            first.message().len()
        );
    }
}

/// Text that is often nearly GraphQL.
fn nearly_graphql() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        "$v",
        "!",
        "...",
        "=",
        "query",
        "fragment",
        "on",
        "text",
        "value",
        "append",
        "with",
        "Text",
        "F",
        "__schema",
        "types",
        "name",
        "__typename",
        "@skip(if: true)",
        "@cache(key: \"k\")",
        "@include(if: $v)",
        "\"a\"",
        "\"\"\"b\"\"\"",
        "1",
        "-2.5e3",
        "null",
        "true",
        "RED",
        "echo",
        "ports",
        "# comment\n",
        ",",
        "\u{feff}",
        "\"",
        "\\",
        "é",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_text_is_answered_or_refused(text in nearly_graphql()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let response = runtime.block_on(async {
            run(&session(shared_server(), "s"), &text).await
        });
        prop_assert_eq!(response.data.is_some(), response.errors.is_empty());
        for error in &response.errors {
            prop_assert!(error.kind() != Kind::Internal, "{}: {:?}", text, error);
        }
    }
}

#[tokio::test]
async fn values_are_coerced_as_real_clients_write_them() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    for (args, expected) in [
        (r#"int: "42""#, "int=42"),
        ("int: 42.0", "int=42"),
        ("float: 2", "float=2.0"),
        (r#"float: "2.5""#, "float=2.5"),
        (r#"bool: "true""#, "bool=true"),
        ("color: RED", "color=RED"),
        (r#"color: "GREEN""#, "color=GREEN"),
        ("color: Crimson", "color=RED"),
        (r#"lower: "LinuX/AMD64""#, r#"lower="linux/amd64""#),
        (r#"strings: "one""#, r#"strings=["one"]"#),
        ("strings: []", "strings=[]"),
        (
            "ports: [{ frontend: 1, backend: 2 }]",
            r#"ports=[{"backend": 2, "frontend": 1, "color": GREEN}]"#,
        ),
        (
            r#"ports: { backend: 2, color: "RED" }"#,
            r#"ports=[{"backend": 2, "color": RED}]"#,
        ),
        (r#"string: "a\nb\u00e9""#, r#"string="a\nbé""#),
        ("int: null", ""),
    ] {
        let answer = data(&session, &format!("{{ echo({args}) }}")).await;
        assert_eq!(answer["echo"], expected, "{args}");
    }
    for (args, expected) in [
        ("int: 1.5", "expected Int, got a float"),
        ("string: 1", "expected String, got an integer"),
        ("string: RED", "expected String, got an enum value"),
        (r#"lower: "é""#, "not a Lower: only ASCII"),
        (
            "ports: [{ frontend: 1 }]",
            "[0]: input Port needs the field backend of type Int!",
        ),
        (r#"strings: ["a", null]"#, "[1]: expected String!, got null"),
        (r#"id: """#, "cannot decode empty string as ID"),
    ] {
        let found = errors(&session, &format!("{{ echo({args}) }}")).await;
        assert!(found[0].ends_with(expected), "{args}: {found:?}");
    }
}

#[tokio::test]
async fn ids_as_arguments_are_decoded_and_checked() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let answer = data(&session, r#"{ text(value: "a") { id } number { id } }"#).await;
    let text = answer["text"]["id"].as_str().expect("an ID").to_owned();
    let number = answer["number"]["id"].as_str().expect("an ID").to_owned();
    let query = format!(r#"{{ text {{ join(others: ["{text}", "{text}"]) {{ value }} }} }}"#);
    assert_eq!(data(&session, &query).await["text"]["join"]["value"], "xaa");
    let query = format!(r#"{{ text {{ join(others: ["{number}"]) {{ value }} }} }}"#);
    let found = errors(&session, &query).await;
    assert!(
        found[0].ends_with("[0]: expected the ID of a Text, got the ID of a Number"),
        "{found:?}"
    );
    assert!(data(&session, &format!(r#"{{ echo(any: "{number}") }}"#)).await["echo"].is_string());
    for broken in ["abc", "!!!!", &text[..text.len() - 8]] {
        let found = errors(
            &session,
            &format!(r#"{{ loadTextFromID(id: "{broken}") {{ value }} }}"#),
        )
        .await;
        assert!(found[0].contains("cannot decode the ID"), "{found:?}");
    }
}

#[tokio::test]
async fn a_genuine_dagger_id_names_the_same_object_as_ours() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let text = |scheme| {
        let ty: TypeRef = "Text!".parse().expect("a type");
        let made = Call::new("text", ty.clone()).arg("value", "a");
        // Dagger writes no defaults, and the view of the client.
        let appended = Call::new("append", ty)
            .arg("with", "b")
            .with_view("v0.19.11");
        Id::root_under(scheme, made).append(appended)
    };
    let ours = data(
        &session,
        r#"{ text(value: "a") { append(with: "b") { id } } }"#,
    )
    .await;
    let dagger = text(Scheme::Xxh3V1).encode().expect("short");
    let query = format!(r#"{{ loadTextFromID(id: "{dagger}") {{ value id }} }}"#);
    let loaded = data(&session, &query).await["loadTextFromID"].take();
    assert_eq!(loaded["value"], "ab");
    assert_eq!(loaded["id"], ours["text"]["append"]["id"]);
    assert_eq!(lab.runs("append"), 1, "found under the same key");
    // A digest that somebody assigned cannot be checked, so it names nothing here.
    let claimed = text(Scheme::Xxh3V1)
        .with_custom_digest(Digest::parse("xxh3:0011223344556677").expect("a digest"))
        .expect("allowed under these rules");
    for (id, reason) in [
        (claimed, "an ID of Dagger's: the call `Text.append` "),
        (
            text(Scheme::Xxh3V1).append(Call::new("nope", "Text!".parse().expect("a type"))),
            "the call `Text.nope`: type Text has no field nope",
        ),
    ] {
        let id = id.encode().expect("short");
        let query = format!(r#"{{ loadTextFromID(id: "{id}") {{ value }} }}"#);
        let found = errors(&session, &query).await;
        assert!(
            found[0].starts_with("1:18 loadTextFromID: argument id: ") && found[0].contains(reason),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn introspection_answers_the_standard_query() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query = "
        query IntrospectionQuery($deprecated: Boolean = true) {
            __schema {
                queryType { name }
                types { ...FullType }
                directives { name args(includeDeprecated: true) { ...InputValue } }
            }
            number { value }
            kind: __type(name: \"Text\") { kind __typename }
        }
        fragment FullType on __Type {
            kind name description
            fields(includeDeprecated: $deprecated) { name args { ...InputValue } type { ...TypeRef } isDeprecated }
            enumValues(includeDeprecated: $deprecated) { name isDeprecated deprecationReason }
            possibleTypes { name }
        }
        fragment InputValue on __InputValue { name defaultValue type { ...TypeRef } }
        fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name } } }";
    let answer = data(&session, query).await;
    assert_eq!(answer["__schema"]["queryType"]["name"], "Query");
    assert_eq!(answer["number"]["value"], 7);
    assert_eq!(answer["kind"]["kind"], "OBJECT");
    let types = answer["__schema"]["types"].as_array().expect("a list");
    let find = |name: &str| types.iter().find(|ty| ty["name"] == name).expect("defined");
    assert_eq!(
        find("Named")["possibleTypes"].as_array().map(Vec::len),
        Some(2)
    );
    let members = find("Color")["enumValues"].as_array().expect("members");
    assert_eq!(members[1]["deprecationReason"], "use RED");
    let found = errors(&session, "{ __schema { typs { name } } }").await;
    assert!(
        found.iter().any(|error| error.starts_with("1:14 ")),
        "{found:?}"
    );
    let found = errors(&session, "{ __schema { types { ...F } } } fragment F on __Type { name } fragment G on __Type { name }").await;
    assert_eq!(found, ["1:72 fragment G is not used"]);
}

#[tokio::test]
async fn the_sdl_is_what_clients_may_use() {
    let lab = Arc::new(Lab::default());
    let schema = schema(&lab);
    assert!(
        schema
            .sdl()
            .contains("loadTextFromID(\n    id: TextID!\n  ): Text!")
    );
    assert!(
        !schema.sdl().contains("hidden"),
        "internal arguments stay out"
    );
    assert!(!schema.sdl().contains("internalField"));
}
