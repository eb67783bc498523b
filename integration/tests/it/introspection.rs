//! Our schema as two independent implementations of GraphQL see it: graphql-core
//! and graphql-js build a client schema from the introspection answer, find it
//! valid, and agree with our server about a document.

use std::{fs::File, process::Command};

use integration::{
    daemon,
    dagop::{self, Dagop},
    env, sdk,
    server::Server,
};
use serde_json::{Value, json};

/// Uses a fragment, an interface, an alias, an enum, an input list and a directive.
const DOCUMENT: &str = r#"query Q {
  made: container {
    ...Ports
    withEnvVariable(name: "A", value: "1") { envVariables { name value } }
  }
  directory { withNewFile(path: "a", contents: "b") { entries @include(if: true) __typename } }
}
fragment Ports on Container {
  withExposedPort(port: 53, protocol: UDP) { exposedPorts { port protocol description } }
}"#;

fn check(command: Command, user: &Dagop) {
    let server = Server::start(user).unwrap();
    let document = user.home().join("document.graphql");
    std::fs::write(&document, DOCUMENT).unwrap();
    let mut command = command;
    command
        .arg(server.url())
        .stdin(File::open(&document).unwrap());
    let found = dagop::finish(command).unwrap().json().unwrap();
    assert_eq!(found["errors"], json!([]), "{found}");
    // The checks do find something where there is something.
    assert!(found["wrong"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["interfaces"], json!(["Node"]));
    assert_eq!(
        found["data"],
        json!({
            "made": {
                "withExposedPort": {"exposedPorts": [{"port": 53, "protocol": "UDP", "description": null}]},
                "withEnvVariable": {"envVariables": [{"name": "A", "value": "1"}]},
            },
            "directory": {"withNewFile": {"entries": ["a"], "__typename": "Directory"}},
        })
    );
    server.stop().unwrap();
}

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

#[test]
fn graphql_core_finds_the_schema_valid() {
    let user = user();
    let mut command = user.program(env::required_path("DAGOP_TEST_PYTHON").unwrap());
    command.arg(sdk::programs().join("introspect.py"));
    check(command, &user);
}

#[test]
fn graphql_js_finds_the_schema_valid() {
    let user = user();
    let command = sdk::Sdk::Node.program(&user, "introspect").unwrap();
    check(command, &user);
}

/// What gql, below Dagger's Python SDK, sends before anything else, and what the
/// other SDKs' generators send: defaults of input values, seven levels of types.
#[test]
fn the_introspection_of_the_python_sdk_is_answered() {
    let user = user();
    let server = Server::start(&user).unwrap();
    let query = "query IntrospectionQuery { __schema { queryType { name kind } mutationType { name kind }
        subscriptionType { name kind } types { ...FullType } directives { name description locations
        args(includeDeprecated: true) { ...InputValue } } } }
      fragment FullType on __Type { kind name description
        fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue }
          type { ...TypeRef } isDeprecated deprecationReason }
        inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
        enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
        possibleTypes { ...TypeRef } }
      fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue
        isDeprecated deprecationReason }
      fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name
        ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } }";
    let data = server.query(query, &json!({})).unwrap();
    let schema = &data["__schema"];
    assert_eq!(
        schema["queryType"],
        json!({"name": "Query", "kind": "OBJECT"})
    );
    assert_eq!(
        (&schema["mutationType"], &schema["subscriptionType"]),
        (&Value::Null, &Value::Null)
    );
    let named = |list: &Value, name: &str| -> Value {
        let list = list.as_array().unwrap();
        list.iter()
            .find(|item| item["name"] == name)
            .unwrap_or(&Value::Null)
            .clone()
    };
    let container = named(&schema["types"], "Container");
    let exec = named(&container["fields"], "withExec");
    // A default makes an argument optional, and is shown.
    let expect = named(&exec["args"], "expect");
    assert_eq!(
        (&expect["defaultValue"], &expect["type"]["kind"]),
        (&json!("SUCCESS"), &json!("ENUM"))
    );
    // Internal arguments are not shown.
    assert_eq!(named(&exec["args"], "execMD"), Value::Null);
    let node = named(&schema["types"], "Node");
    let possible = node["possibleTypes"].as_array().unwrap().len();
    assert!(possible > 10, "{possible}");
    let directives = schema["directives"].as_array().unwrap().iter();
    let directives: Vec<_> = directives
        .map(|directive| directive["name"].as_str().unwrap())
        .collect();
    for known in [
        "skip",
        "include",
        "deprecated",
        "experimental",
        "cache",
        "export",
    ] {
        assert!(directives.contains(&known), "{directives:?}");
    }
    server.stop().unwrap();
}
