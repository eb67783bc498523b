//! A small API for this crate's tests: texts that are built by calls, with every run counted.
//!
//! ```graphql
//! { text(value: "a") { append(with: "b") { value } } }
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::digest::scheme::Scheme;
use crate::{
    Arg, Cache, CachePolicy, CallInfo, Digest, EnumType, Error, Field, Finished, InputType,
    InterfaceType, Literal, ObjectData, ObjectType, Observer, Outcome, Request, Response,
    ScalarType, Schema, SchemaBuilder, Server, Session, SessionOptions, Value,
};

/// Longest text; long chains of calls would otherwise build long values.
const TEXT_BYTES_MAX: usize = 64;

/// An object of the test API.
pub(crate) struct Text {
    pub(crate) value: String,
    /// Counts live objects.
    _alive: Option<Arc<()>>,
}

impl ObjectData for Text {
    fn type_name(&self) -> &str {
        "Text"
    }

    /// Unknown for a text that may have been cut off.
    fn content_digest(&self) -> Option<Digest> {
        let whole = self.value.len() < TEXT_BYTES_MAX;
        whole.then(|| Scheme::Blake3.rules().strings("text", &[&self.value]))
    }
}

/// A second type with a common interface.
struct Number(i64);

impl ObjectData for Number {
    fn type_name(&self) -> &str {
        "Number"
    }
}

/// What the resolvers of one test share.
#[derive(Default)]
pub(crate) struct Lab {
    runs: Mutex<BTreeMap<String, usize>>,
    /// Resolvers of `wait` take a permit each.
    pub(crate) gate: Option<Semaphore>,
    /// Told when a resolver of `wait` begins.
    pub(crate) begun: Notify,
    /// Cloned into every text.
    pub(crate) alive: Arc<()>,
    /// Calls and how they ended.
    log: Mutex<Vec<(String, Outcome)>>,
}

impl Lab {
    /// A lab whose `wait` fields block until a permit is added.
    pub(crate) fn gated() -> Arc<Self> {
        Arc::new(Self {
            gate: Some(Semaphore::new(0)),
            ..Self::default()
        })
    }

    pub(crate) fn open_gate(&self) {
        if let Some(gate) = &self.gate {
            gate.add_permits(1);
        }
    }

    fn ran(&self, what: impl Into<String>) -> usize {
        let mut runs = self.runs.lock().expect("no panic holds it");
        let count = runs.entry(what.into()).or_default();
        *count += 1;
        *count
    }

    /// How often a resolver ran.
    pub(crate) fn runs(&self, what: &str) -> usize {
        let runs = self.runs.lock().expect("no panic holds it");
        runs.get(what).copied().unwrap_or(0)
    }

    /// Outcomes of the calls named `what`.
    pub(crate) fn outcomes(&self, what: &str) -> Vec<Outcome> {
        let log = self.log.lock().expect("no panic holds it");
        let of = log.iter().filter(|(name, _)| name == what);
        of.map(|(_, outcome)| *outcome).collect()
    }

    /// Live texts.
    pub(crate) fn live(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    pub(crate) fn text(&self, value: impl Into<String>) -> Text {
        Text {
            value: value.into(),
            _alive: Some(Arc::clone(&self.alive)),
        }
    }
}

/// Writes what an observer is told into the lab.
pub(crate) struct Log(pub(crate) Arc<Lab>);

impl Observer for Log {
    fn call_finished(&self, call: &CallInfo, finished: &Finished<'_>) {
        let mut log = self.0.log.lock().expect("no panic holds it");
        log.push((call.id.field().to_owned(), finished.outcome));
    }
}

/// The test API.
pub(crate) fn schema(lab: &Arc<Lab>) -> Schema {
    builder(lab).build().expect("the test schema is valid")
}

pub(crate) fn builder(lab: &Arc<Lab>) -> SchemaBuilder {
    let mut builder = Schema::builder();
    roots(&mut builder, lab);
    waiting(&mut builder, lab);
    texts(&mut builder, lab);
    inputs(&mut builder);
    builder.interface(
        InterfaceType::new("Named")
            .field(Field::new("label", "String!"))
            .field(Field::new("scaled", "Int!").arg(Arg::new("by", "Int").default(2_i64))),
    );
    builder.object(
        ObjectType::new("Number")
            .implements("Named")
            .field(
                Field::new("value", "Int!")
                    .resolve(|_, this, _| async move { Ok(this.data::<Number>()?.0) }),
            )
            .field(
                Field::new("label", "String!").resolve(|_, this, _| async move {
                    Ok(format!("number {}", this.data::<Number>()?.0))
                }),
            )
            .field(
                Field::new("scaled", "Int!")
                    .arg(Arg::new("by", "Int").default(2_i64))
                    .resolve(|_, this, args| async move {
                        Ok(this.data::<Number>()?.0 * args.int("by")?)
                    }),
            ),
    );
    builder
}

fn roots(builder: &mut SchemaBuilder, lab: &Arc<Lab>) {
    let at = Arc::clone(lab);
    let text = move |policy: CachePolicy, name: &'static str| {
        let lab = Arc::clone(&at);
        Field::new(name, "Text!")
            .arg(Arg::new("value", "String!").default("x"))
            .arg(Arg::new("fresh", "Boolean").default(false))
            .cache(policy)
            .resolve(move |cx, _, args| {
                let lab = Arc::clone(&lab);
                async move {
                    lab.ran(name);
                    Ok(cx.object(lab.text(args.str("value")?)))
                }
            })
    };
    builder
        .query(text(CachePolicy::Default, "text"))
        .query(text(CachePolicy::PerClient, "clientText"))
        .query(text(CachePolicy::PerSession, "sessionText"))
        .query(text(CachePolicy::PerCall, "callText"))
        .query(text(CachePolicy::PerSchema, "schemaText"))
        .query(text(CachePolicy::AsRequested("fresh"), "requestedText"))
        .query(text(CachePolicy::Never, "neverText"))
        .query(text(CachePolicy::Ttl(Duration::from_secs(60)), "ttlText"));
    let at = Arc::clone(lab);
    builder.query(
        Field::new("texts", "[Text!]!")
            .arg(Arg::new("count", "Int!"))
            .resolve(move |cx, _, args| {
                let lab = Arc::clone(&at);
                async move {
                    lab.ran("texts");
                    let count = args.int("count")?;
                    cx.objects((0..count).map(|at| lab.text(format!("t{at}"))))
                }
            }),
    );
    builder.query(Field::new("nothing", "Text").resolve(|_, _, _| async { Ok(Value::Null) }));
    builder.query(Field::new("broken", "Text!").resolve(|_, _, _| async { Ok(Value::Null) }));
    builder.query(
        Field::new("named", "[Named!]!").resolve(|cx, _, _| async move {
            let text = cx.select(&cx.root(), "text", []).await?;
            let number = cx.select(&cx.root(), "number", []).await?;
            Ok(Value::list([text, number]))
        }),
    );
    builder.query(
        Field::new("number", "Number!").resolve(|cx, _, _| async move { Ok(cx.object(Number(7))) }),
    );
    let at = Arc::clone(lab);
    builder.query(
        Field::new("secret", "Text!")
            .arg(Arg::new("plaintext", "String!").sensitive())
            .cache(CachePolicy::PerCall)
            .resolve(move |cx, _, args| {
                let lab = Arc::clone(&at);
                async move { Ok(cx.object(lab.text(args.str("plaintext")?.len().to_string()))) }
            }),
    );
}

/// Fields that wait, fail and misbehave.
fn waiting(builder: &mut SchemaBuilder, lab: &Arc<Lab>) {
    let at = Arc::clone(lab);
    builder.query(
        Field::new("wait", "String!")
            .arg(Arg::new("name", "String").default("w"))
            .resolve(move |_, _, args| {
                let lab = Arc::clone(&at);
                async move {
                    let name = args.str("name")?.to_owned();
                    lab.ran(format!("wait {name}"));
                    lab.begun.notify_one();
                    let stopped = scopeguard(Arc::clone(&lab), format!("stopped {name}"));
                    if let Some(gate) = &lab.gate {
                        let permit = gate.acquire().await;
                        permit.map_err(Error::resolver)?.forget();
                    }
                    std::mem::forget(stopped);
                    lab.ran(format!("done {name}"));
                    Ok(name)
                }
            }),
    );
    let at = Arc::clone(lab);
    builder.query(Field::new("flaky", "String!").resolve(move |_, _, _| {
        let count = at.ran("flaky");
        async move {
            match count {
                1 => Err(Error::resolver(std::io::Error::other("first time"))
                    .with_extension("exitCode", 3)),
                _ => Ok("better"),
            }
        }
    }));
    builder.query(
        Field::new("panic", "String!").resolve(|_, _, _| async move {
            if true {
                panic!("boom");
            }
            Ok(String::new())
        }),
    );
    builder.query(
        Field::new("itself", "String!")
            .resolve(|cx, _, _| async move { cx.select(&cx.root(), "itself", []).await }),
    );
    builder.query(
        Field::new("deeper", "String!")
            .cache(CachePolicy::PerCall)
            .resolve(|cx, _, _| async move { cx.select(&cx.root(), "deeper", []).await }),
    );
    for (name, other) in [("tick", "tock"), ("tock", "tick")] {
        builder.query(
            Field::new(name, "String!").resolve(move |cx, _, _| async move {
                // Both are running before either asks for the other.
                tokio::task::yield_now().await;
                cx.select(&cx.root(), other, []).await
            }),
        );
    }
}

/// Runs when a resolver's future is dropped before its end.
fn scopeguard(lab: Arc<Lab>, what: String) -> impl Drop {
    struct Guard(Arc<Lab>, String);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.ran(std::mem::take(&mut self.1));
        }
    }
    Guard(lab, what)
}

fn texts(builder: &mut SchemaBuilder, lab: &Arc<Lab>) {
    let (append, join, fail) = (Arc::clone(lab), Arc::clone(lab), Arc::clone(lab));
    builder.object(
        ObjectType::new("Text")
            .doc("A text.\n\nWith \"\"\" in its documentation.")
            .implements("Named")
            .field(
                Field::new("value", "String!")
                    .resolve(|_, this, _| async move { Ok(this.data::<Text>()?.value.clone()) }),
            )
            .field(
                Field::new("label", "String!").resolve(|_, this, _| async move {
                    Ok(format!("text {}", this.data::<Text>()?.value))
                }),
            )
            .field(
                Field::new("scaled", "Int!")
                    .arg(Arg::new("by", "Int").default(2_i64))
                    .resolve(|_, this, args| async move {
                        let length = i64::try_from(this.data::<Text>()?.value.len());
                        Ok(length.map_err(Error::resolver)? * args.int("by")?)
                    }),
            )
            .field(Field::new("sync", "TextID!").resolve(|_, this, _| async move { Ok(this) }))
            .field(
                Field::new("append", "Text!")
                    .arg(Arg::new("with", "String!"))
                    .arg(Arg::new("times", "Int").default(1_i64))
                    .resolve(move |cx, this, args| {
                        let lab = Arc::clone(&append);
                        async move {
                            lab.ran("append");
                            let with = args.str("with")?.repeat(args.int("times")? as usize);
                            let value = format!("{}{with}", this.data::<Text>()?.value);
                            let value = value.chars().rev().take(TEXT_BYTES_MAX);
                            let value = value.collect::<Vec<_>>();
                            Ok(cx.object(lab.text(value.into_iter().rev().collect::<String>())))
                        }
                    }),
            )
            .field(
                Field::new("join", "Text!")
                    .arg(Arg::new("others", "[TextID!]!"))
                    .resolve(move |cx, this, args| {
                        let lab = Arc::clone(&join);
                        async move {
                            let mut value = this.data::<Text>()?.value.clone();
                            for id in args.ids("others")? {
                                value.push_str(&cx.load_data::<Text>(&id).await?.value);
                            }
                            Ok(cx.object(lab.text(value)))
                        }
                    }),
            )
            .field(
                Field::new("upper", "Text!").resolve(|cx, this, _| async move {
                    // Returns an object that another call made, under that call's ID.
                    let value = this.data::<Text>()?.value.to_uppercase();
                    cx.select(&cx.root(), "text", [("value", Literal::from(value))])
                        .await
                }),
            )
            .field(Field::new("fail", "Text!").resolve(move |_, this, _| {
                let lab = Arc::clone(&fail);
                async move {
                    lab.ran("fail");
                    let value = this.data::<Text>()?.value.clone();
                    Err::<Value, _>(Error::resolver(std::io::Error::other(format!(
                        "no {value}"
                    ))))
                }
            })),
    );
}

/// Fields that show what their arguments became.
fn inputs(builder: &mut SchemaBuilder) {
    builder
        .enumeration(
            EnumType::new("Color")
                .member("RED", "Like a tomato.")
                .member("GREEN", "")
                .deprecated("use RED")
                .alias("Crimson", "RED"),
        )
        .input(
            InputType::new("Port")
                .field(Arg::new("backend", "Int!"))
                .field(Arg::new("frontend", "Int"))
                .field(Arg::new("color", "Color!").default("GREEN")),
        )
        .scalar(
            ScalarType::new("Lower").coerce(|text| match text.is_ascii() {
                true => Ok(text.to_lowercase()),
                false => Err("only ASCII".to_owned()),
            }),
        );
    let mut echo = Field::new("echo", "String!");
    for (name, ty) in [
        ("int", "Int"),
        ("float", "Float"),
        ("bool", "Boolean"),
        ("string", "String"),
        ("color", "Color"),
        ("ports", "[Port!]"),
        ("strings", "[String!]"),
        ("lower", "Lower"),
        ("id", "TextID"),
        ("any", "ID"),
    ] {
        echo = echo.arg(Arg::new(name, ty));
    }
    builder.query(echo.arg(Arg::new("hidden", "String").internal()).resolve(
        |_, _, args| async move {
            let given: Vec<String> = args
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            Ok(given.join(" "))
        },
    ));
    builder.query(
        Field::new("internalField", "String!")
            .internal()
            .resolve(|_, _, _| async { Ok("seen") }),
    );
}

/// A server over a fresh cache that keeps only what sessions own.
pub(crate) fn server(lab: &Arc<Lab>) -> Server {
    server_with(lab, Cache::in_memory().with_budget(0))
}

/// One server for all cases of a property: validating a schema takes longer than a case.
pub(crate) fn shared_server() -> &'static Server {
    static SERVER: std::sync::OnceLock<Server> = std::sync::OnceLock::new();
    SERVER.get_or_init(|| server(&Arc::new(Lab::default())))
}

pub(crate) fn server_with(lab: &Arc<Lab>, cache: Cache) -> Server {
    Server::new(schema(lab), cache, Arc::new(Log(Arc::clone(lab))))
}

/// A session whose client has the session's name.
pub(crate) fn session(server: &Server, name: &str) -> Arc<Session> {
    server.session(SessionOptions::new(
        name,
        format!("{name}-client"),
        Arc::new(()),
    ))
}

pub(crate) async fn run(session: &Arc<Session>, query: &str) -> Response {
    session
        .execute(Request::new(query), CancellationToken::new())
        .await
}

/// The data of a query that must succeed.
pub(crate) async fn data(session: &Arc<Session>, query: &str) -> serde_json::Value {
    run(session, query).await.json().expect(query)
}

/// The errors of a query that must fail, as `line:column message`.
pub(crate) async fn errors(session: &Arc<Session>, query: &str) -> Vec<String> {
    let response = run(session, query).await;
    assert!(response.data.is_none(), "{query} succeeded");
    let shown = response.errors.iter().map(|error| {
        let at = error.locations().first();
        let at = at.map_or_else(|| "-".to_owned(), ToString::to_string);
        format!("{at} {}", error.message())
    });
    shown.collect()
}
