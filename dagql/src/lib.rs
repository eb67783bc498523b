//! dagql: a GraphQL API whose objects are immutable and named by the calls that made them.
//!
//! This crate knows types, queries, IDs and results. It does not know containers, BuildKit, or what
//! an object is made of.
//!
//! # From text to answer
//! ```text
//! query text, variables
//!   -> query    parse, check against the schema; located errors              (query.rs)
//!   -> exec     walk selections: siblings in parallel, one call at a time    (exec.rs)
//!   -> coerce   argument text -> literals of the schema's types              (coerce.rs)
//!   -> call     receiver + field + arguments + scope = call ID -> call key   (call.rs, policy.rs)
//!   -> cache    hit, join a running call, or run the resolver                (cache.rs)
//!   -> value    plain values, or objects: an ID and data                     (value.rs)
//! ```
//! An [`Id`] is both name and recipe: [`Cx::load`] replays it where its result is not cached.
//!
//! # The parts
//! - [`Schema`] is built at run time with [`Schema::builder`]; every [`Field`] says how it is
//!   cached ([`CachePolicy`]) and what computes it.
//! - [`Cache`] is shared by all sessions of an engine; a [`Session`] owns the results it used.
//! - [`Observer`] is told of every call; progress displays and ledgers hang there.
//! - [`Server`] holds the three together.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use dagql::{Arg, Cache, Field, ObjectData, ObjectType, Request, Schema, Server, SessionOptions, Unobserved};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Greeting(String);
//!
//! impl ObjectData for Greeting {
//!     fn type_name(&self) -> &str {
//!         "Greeting"
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = Schema::builder();
//! builder.query(
//!     Field::new("greet", "Greeting!")
//!         .arg(Arg::new("name", "String!").default("world"))
//!         .resolve(|cx, _root, args| async move {
//!             Ok(cx.object(Greeting(format!("hello, {}", args.str("name")?))))
//!         }),
//! );
//! builder.object(
//!     ObjectType::new("Greeting").field(
//!         Field::new("text", "String!")
//!             .resolve(|_cx, this, _args| async move { Ok(this.data::<Greeting>()?.0.clone()) }),
//!     ),
//! );
//!
//! let server = Server::new(builder.build()?, Cache::in_memory(), Arc::new(Unobserved));
//! let session = server.session(SessionOptions::new("session", "client", Arc::new(())));
//! let response = session
//!     .execute(Request::new("{ greet { text } }"), CancellationToken::new())
//!     .await;
//! assert_eq!(response.json()?["greet"]["text"], "hello, world");
//! # Ok(())
//! # }
//! ```

mod args;
mod cache;
mod call;
mod coerce;
mod cx;
pub mod digest;
mod error;
mod exec;
pub mod id;
mod literal;
mod observer;
mod path;
mod policy;
mod portable;
mod query;
mod request;
mod schema;
mod server;
mod session;
mod sync;
#[cfg(all(test, not(feature = "shuttle")))]
mod testing;
mod typeref;
mod value;
mod view;
pub mod wire;

pub use args::Args;
pub use cache::{
    BUDGET_DEFAULT, Cache, CacheStats, LeaseStats, Row, RowError, Rows, SqliteRows,
    VALUE_BYTES_MAX, ValueLimits, ValueStats, ValueStore, lease_stats, prune_values, value_stats,
};
pub use call::CALL_NESTING_MAX;
pub use cx::{CallInfo, Cx};
pub use digest::scheme;
pub use digest::{Digest, DigestError};
pub use error::{Error, Extensions, Kind, Location, PathSegment};
pub use exec::{ANSWER_BYTES_MAX, ANSWER_NODES_MAX, SELECTIONS_MAX, STEPS_MAX};
pub use id::{Argument, Call, Id, ImplicitInput, Scope, Term};
pub use literal::{LITERAL_DEPTH_MAX, Literal, LiteralError};
pub use observer::{Finished, Observer, Outcome, Unobserved};
pub use path::ResponsePath;
pub use policy::{CachePolicy, SCOPE_KEY_BYTES_MAX, ScopeHook, TTL_MAX, TTL_MIN, parse_ttl};
pub use portable::Sighting;
pub use query::operation_names;
pub use query::{DEFINITIONS_MAX, DOCUMENT_BYTES_MAX, INTROSPECTIONS_MAX, QUERY_DEPTH_MAX};
pub use request::{Request, Response};
pub(crate) use schema::FieldDef;
pub use schema::{
    Arg, EnumType, Field, InputType, InterfaceType, ObjectType, ScalarType, Schema, SchemaBuilder,
    SchemaError,
};
pub use server::Server;
pub use session::{Session, SessionOptions};
pub use typeref::{NAME_BYTES_MAX, TYPE_DEPTH_MAX, TypeRef, TypeRefError, is_name};
pub use value::{OBJECT_WEIGHT, Object, ObjectData, Value};
pub use view::{View, Visible};
