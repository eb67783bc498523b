//! The messages of `callpbv1`, as they are written.
//!
//! Reading does not go through these types (see `wire/reader.rs` for why), but tests read with them
//! to check the reader, and build hostile IDs from them.

/// A graph of calls. On the wire a map is a list of key and value, so the sorted list *is* the
/// deterministic map.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dag {
    #[prost(string, tag = "1")]
    pub(super) root_digest: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) calls_by_digest: Vec<Entry>,
}

/// One entry of the map of calls.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Call>,
}

/// One call. Tags 5 and 6 were used by older versions, 13 by a newer one; all three are skipped
/// when read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Call {
    #[prost(string, tag = "1")]
    pub(super) receiver_digest: String,
    #[prost(message, optional, tag = "2")]
    pub(super) ty: Option<Type>,
    #[prost(string, tag = "3")]
    pub(super) field: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) args: Vec<Argument>,
    #[prost(int64, tag = "7")]
    pub(super) nth: i64,
    #[prost(message, optional, tag = "8")]
    pub(super) module: Option<Module>,
    #[prost(string, tag = "9")]
    pub(super) digest: String,
    #[prost(string, tag = "10")]
    pub(super) view: String,
    #[prost(bool, tag = "11")]
    pub(super) is_custom_digest: bool,
    /// Only in the second version of Dagger's rules.
    #[prost(string, tag = "12")]
    pub(super) content_digest: String,
    /// Only under our own rules, ascending by name.
    #[prost(message, repeated, tag = "100")]
    pub(super) implicit_inputs: Vec<ImplicitInput>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImplicitInput {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Module {
    #[prost(string, tag = "1")]
    pub(super) call_digest: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) source: String,
    #[prost(string, tag = "4")]
    pub(super) pin: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Argument {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Literal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Literal {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub(super) value: Option<Value>,
}

/// The kinds of literal; a member is written even when it is zero or empty.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(string, tag = "1")]
    CallDigest(String),
    #[prost(bool, tag = "2")]
    Null(bool),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(string, tag = "4")]
    Enum(String),
    #[prost(int64, tag = "5")]
    Int(i64),
    #[prost(double, tag = "6")]
    Float(f64),
    #[prost(string, tag = "7")]
    String(String),
    #[prost(message, tag = "8")]
    List(List),
    #[prost(message, tag = "9")]
    Object(Object),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Literal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Object {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Argument>,
}

/// A level of a type: a name, or a list of `elem`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Type {
    #[prost(string, tag = "1")]
    pub(super) named_type: String,
    #[prost(message, optional, boxed, tag = "2")]
    pub(super) elem: Option<Box<Self>>,
    #[prost(bool, tag = "3")]
    pub(super) non_null: bool,
}
