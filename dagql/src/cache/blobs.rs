//! A second small API for tests of the cache: things with a content, made in many ways.
//!
//! ```graphql
//! { blob(name: "a", content: "c") { grow(by: "x") { size } } }
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::digest::scheme::Scheme;
use crate::{
    Arg, Cache, CachePolicy, Cx, Digest, Error, Field, Object, ObjectData, ObjectType, Schema,
    Server, Unobserved, Value,
};

/// The object of the API.
pub(super) struct Blob {
    name: String,
    content: Option<String>,
    bound: bool,
    _alive: Arc<()>,
}

impl ObjectData for Blob {
    fn type_name(&self) -> &str {
        "Blob"
    }

    fn content_digest(&self) -> Option<Digest> {
        Some(content(self.content.as_ref()?))
    }

    fn session_bound(&self) -> bool {
        self.bound
    }
}

/// The digest of a content.
pub(super) fn content(text: &str) -> Digest {
    Scheme::Blake3.rules().strings("blob", &[text])
}

/// What the resolvers of one test share.
#[derive(Default)]
pub(super) struct Bench {
    runs: Mutex<BTreeMap<String, usize>>,
    alive: Arc<()>,
}

impl Bench {
    fn ran(&self, what: &str) -> usize {
        let mut runs = self.runs.lock().expect("no panic holds it");
        let count = runs.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// How often the resolvers of a field ran.
    pub(super) fn runs(&self, what: &str) -> usize {
        let runs = self.runs.lock().expect("no panic holds it");
        runs.get(what).copied().unwrap_or(0)
    }

    /// Blobs that are alive.
    pub(super) fn live(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    fn blob(&self, name: String, content: Option<String>, bound: bool) -> Blob {
        Blob {
            name,
            content,
            bound,
            _alive: Arc::clone(&self.alive),
        }
    }
}

/// A field whose runs are counted.
fn counted<F>(
    bench: &Arc<Bench>,
    field: Field,
    resolve: impl Fn(Arc<Bench>, Cx, Object, crate::Args) -> F + Send + Sync + 'static,
) -> Field
where
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let (bench, name) = (Arc::clone(bench), field.name.to_string());
    field.resolve(move |cx, this, args| {
        bench.ran(&name);
        resolve(Arc::clone(&bench), cx, this, args)
    })
}

/// Makes a blob from the field's arguments.
fn roots(bench: &Arc<Bench>) -> Vec<Field> {
    let make = |name: &str, policy| {
        let field = Field::new(name, "Blob!")
            .arg(Arg::new("name", "String!").default("n"))
            .arg(Arg::new("content", "String"))
            .arg(Arg::new("bound", "Boolean!").default(false))
            .cache(policy);
        counted(bench, field, |bench, cx, _, args| async move {
            let content = args.str_opt("content")?.map(str::to_owned);
            let name = args.str("name")?.to_owned();
            Ok(cx
                .object(bench.blob(name, content, args.bool("bound")?))
                .into())
        })
    };
    // Its content depends on when it runs.
    let dice = counted(
        bench,
        Field::new("dice", "Blob!").cache(CachePolicy::PerSession),
        {
            |bench, cx, _, _| async move {
                let content = format!("side {}", bench.runs("dice"));
                Ok(cx
                    .object(bench.blob("dice".to_owned(), Some(content), false))
                    .into())
            }
        },
    );
    vec![
        make("blob", CachePolicy::Default),
        make("clientBlob", CachePolicy::PerClient),
        make("callBlob", CachePolicy::PerCall),
        make("neverBlob", CachePolicy::Never),
        make(
            "ttlBlob",
            CachePolicy::Ttl(std::time::Duration::from_secs(60)),
        ),
        dice,
    ]
}

fn fields(bench: &Arc<Bench>) -> Vec<Field> {
    let grow = Field::new("grow", "Blob!").arg(Arg::new("by", "String!"));
    let unsteady = Field::new("unsteady", "Blob!");
    let merge = Field::new("merge", "Blob!").arg(Arg::new("other", "BlobID!"));
    let weigh = Field::new("weigh", "String!").arg(Arg::new("other", "BlobID!"));
    vec![
        counted(
            bench,
            Field::new("size", "String!"),
            |_, _, this, _| async move { Ok(this.data::<Blob>()?.name.clone().into()) },
        ),
        counted(bench, grow, |bench, cx, this, args| async move {
            let data = this.data::<Blob>()?;
            let by = args.str("by")?;
            Ok(cx
                .object(bench.blob(format!("{}{by}", data.name), None, data.bound))
                .into())
        }),
        // Has no content of its own, and another one each time it runs.
        counted(bench, unsteady, |bench, cx, this, _| async move {
            let data = this.data::<Blob>()?;
            let content = format!("run {}", bench.runs("unsteady"));
            Ok(cx
                .object(bench.blob(data.name.clone(), Some(content), data.bound))
                .into())
        }),
        counted(bench, merge, |bench, cx, this, args| async move {
            let other = cx.load_data::<Blob>(args.id("other")?).await?;
            let data = this.data::<Blob>()?;
            let name = format!("{}+{}", data.name, other.name);
            Ok(cx
                .object(bench.blob(name, None, data.bound || other.bound))
                .into())
        }),
        counted(bench, weigh, |_, cx, this, args| async move {
            let other = cx.load_data::<Blob>(args.id("other")?).await?;
            Ok(format!("{}-{}", this.data::<Blob>()?.name, other.name).into())
        }),
        counted(
            bench,
            Field::new("noop", "Blob!"),
            |_, cx, this, _| async move { Ok(cx.same_as(&this).into()) },
        ),
        counted(
            bench,
            Field::new("grown", "Blob!"),
            |_, cx, this, _| async move { cx.select(&this, "grow", [("by", "x".into())]).await },
        ),
        counted(
            bench,
            Field::new("self", "BlobID!"),
            |_, _, this, _| async move { Ok(Value::Id(this.require_id()?.clone())) },
        ),
        counted(
            bench,
            Field::new("parts", "[Blob!]!"),
            |bench, cx, this, _| async move {
                let name = this.data::<Blob>()?.name.clone();
                cx.objects(["1", "2"].map(|part| bench.blob(format!("{name}{part}"), None, false)))
            },
        ),
        counted(
            bench,
            Field::new("learn", "Boolean!")
                .arg(Arg::new("content", "String!"))
                .cache(CachePolicy::Never),
            |_, cx, this, args| async move {
                cx.learn_content(&this, &content(args.str("content")?));
                Ok(true.into())
            },
        ),
    ]
}

/// The API.
fn schema(bench: &Arc<Bench>) -> Schema {
    let mut builder = Schema::builder();
    for root in roots(bench) {
        builder.query(root);
    }
    let blob = ObjectType::new("Blob");
    builder.object(fields(bench).into_iter().fold(blob, ObjectType::field));
    builder.build().expect("the test schema is valid")
}

/// A server of the API.
pub(super) fn server(bench: &Arc<Bench>, cache: Cache) -> Server {
    Server::new(schema(bench), cache, Arc::new(Unobserved))
}
