//! JSON of operations, as Go's `encoding/json` writes Go's generated types.
//!
//! Fields are named and ordered as in the `.proto` files. Zero fields are left out; a message that
//! is present stays, even if empty. Before v0.17 indexes of inputs and outputs were written always.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto::{gojson, pb};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

use super::{Profile, Unknown};
use crate::Digest;

/// A JSON value.
pub(super) enum Value {
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
    Object(Object),
}

/// A JSON object with its fields in the order they were added.
#[derive(Default)]
pub(super) struct Object {
    fields: Vec<(&'static str, Value)>,
}

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a field unless it has the zero value of its type. An object is never zero.
    pub(super) fn field(self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_zero = match &value {
            Value::Bool(value) => !value,
            Value::Number(number) => *number == 0,
            Value::Text(text) => text.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Object(_) => false,
        };
        if is_zero {
            self
        } else {
            self.always(name, value)
        }
    }

    /// Adds a field.
    pub(super) fn always(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a message if it is present.
    pub(super) fn message(self, name: &'static str, message: Option<Self>) -> Self {
        match message {
            Some(message) => self.always(name, message),
            None => self,
        }
    }

    /// Adds an index of an input or output.
    fn index(self, name: &'static str, index: i64, profile: Profile) -> Self {
        if profile.writes_zero_indexes() {
            self.always(name, index)
        } else {
            self.field(name, index)
        }
    }

    /// The JSON.
    ///
    /// # Errors
    ///
    /// If releases of this profile write it in different ways.
    pub(super) fn bytes(&self, profile: Profile) -> Result<Vec<u8>, Unknown> {
        let bytes = gojson::to_vec(self).expect("all keys are strings");
        // Go writes these two escapes since 1.22; releases before v0.17 were built with older and
        // with newer Go.
        if profile < Profile::V0_17 && escapes(&bytes).any(|escape| matches!(escape, b'b' | b'f')) {
            return Err(Unknown::Unsupported(
                "how this daemon escapes control characters".into(),
            ));
        }
        Ok(bytes)
    }

    /// The JSON as text.
    ///
    /// # Errors
    ///
    /// As [`Object::bytes`].
    pub(super) fn text(&self, profile: Profile) -> Result<String, Unknown> {
        Ok(String::from_utf8_lossy(&self.bytes(profile)?).into_owned())
    }

    /// Digest of the JSON.
    ///
    /// # Errors
    ///
    /// As [`Object::bytes`].
    pub(super) fn digest(&self, profile: Profile) -> Result<Digest, Unknown> {
        Ok(Digest::sha256(&self.bytes(profile)?))
    }
}

/// The bytes after the backslashes of a JSON text.
fn escapes(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = bytes.iter();
    std::iter::from_fn(move || {
        bytes.find(|&&byte| byte == b'\\')?;
        bytes.next().copied()
    })
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
            Self::Map(map) => serializer.collect_map(map),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

macro_rules! value_from {
    ($($type:ty => |$from:ident| $value:expr,)*) => {
        $(impl From<$type> for Value {
            fn from($from: $type) -> Self {
                $value
            }
        })*
    };
}

value_from! {
    bool => |value| Self::Bool(value),
    i32 => |number| Self::Number(number.into()),
    u32 => |number| Self::Number(number.into()),
    i64 => |number| Self::Number(number),
    &str => |text| Self::Text(text.to_owned()),
    &String => |text| Self::Text(text.clone()),
    Object => |object| Self::Object(object),
    &BTreeMap<String, String> => |map| {
        Self::Map(map.iter().map(|(key, value)| (key.clone(), value.into())).collect())
    },
    BTreeMap<String, Self> => |map| Self::Map(map),
    Vec<Self> => |list| Self::List(list),
    Vec<Object> => |list| Self::List(list.into_iter().map(Self::Object).collect()),
    &Vec<String> => |list| Self::List(list.iter().map(Self::from).collect()),
    &Vec<i32> => |list| Self::List(list.iter().copied().map(Self::from).collect()),
    &Vec<i64> => |list| Self::List(list.iter().copied().map(Self::from).collect()),
}

/// Bytes, in base64.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::Text(STANDARD.encode(bytes))
}

pub(super) fn exec(exec: &pb::ExecOp, profile: Profile) -> Object {
    let secret_env = |env: &pb::SecretEnv| {
        Object::new()
            .field("ID", &env.id)
            .field("name", &env.name)
            .field("optional", env.optional)
    };
    let device = |device: &pb::CdiDevice| {
        Object::new()
            .field("name", &device.name)
            .field("optional", device.optional)
    };
    let mounts: Vec<_> = exec
        .mounts
        .iter()
        .map(|mount| self::mount(mount, profile))
        .collect();
    Object::new()
        .message("meta", exec.meta.as_ref().map(meta))
        .field("mounts", mounts)
        .field("network", exec.network)
        .field("security", exec.security)
        .field(
            "secretenv",
            exec.secretenv.iter().map(secret_env).collect::<Vec<_>>(),
        )
        .field(
            "cdiDevices",
            exec.cdi_devices.iter().map(device).collect::<Vec<_>>(),
        )
}

fn meta(meta: &pb::Meta) -> Object {
    let proxy = |proxy: &pb::ProxyEnv| {
        Object::new()
            .field("http_proxy", &proxy.http_proxy)
            .field("https_proxy", &proxy.https_proxy)
            .field("ftp_proxy", &proxy.ftp_proxy)
            .field("no_proxy", &proxy.no_proxy)
            .field("all_proxy", &proxy.all_proxy)
    };
    let host = |host: &pb::HostIp| {
        Object::new()
            .field("Host", &host.host)
            .field("IP", &host.ip)
    };
    let ulimit = |limit: &pb::Ulimit| {
        Object::new()
            .field("Name", &limit.name)
            .field("Soft", limit.soft)
            .field("Hard", limit.hard)
    };
    Object::new()
        .field("args", &meta.args)
        .field("env", &meta.env)
        .field("cwd", &meta.cwd)
        .field("user", &meta.user)
        .message("proxy_env", meta.proxy_env.as_ref().map(proxy))
        .field(
            "extraHosts",
            meta.extra_hosts.iter().map(host).collect::<Vec<_>>(),
        )
        .field("hostname", &meta.hostname)
        .field("ulimit", meta.ulimit.iter().map(ulimit).collect::<Vec<_>>())
        .field("cgroupParent", &meta.cgroup_parent)
        .field(
            "removeMountStubsRecursive",
            meta.remove_mount_stubs_recursive,
        )
        .field("validExitCodes", &meta.valid_exit_codes)
}

fn mount(mount: &pb::Mount, profile: Profile) -> Object {
    let cache = |cache: &pb::CacheOpt| {
        Object::new()
            .field("ID", &cache.id)
            .field("sharing", cache.sharing)
    };
    let secret = |secret: &pb::SecretOpt| {
        Object::new()
            .field("ID", &secret.id)
            .field("uid", secret.uid)
            .field("gid", secret.gid)
            .field("mode", secret.mode)
            .field("optional", secret.optional)
    };
    let agent = |agent: &pb::SshOpt| {
        Object::new()
            .field("ID", &agent.id)
            .field("uid", agent.uid)
            .field("gid", agent.gid)
            .field("mode", agent.mode)
            .field("optional", agent.optional)
    };
    let tmpfs = |tmpfs: &pb::TmpfsOpt| Object::new().field("size", tmpfs.size);
    Object::new()
        .index("input", mount.input, profile)
        .field("selector", &mount.selector)
        .field("dest", &mount.dest)
        .index("output", mount.output, profile)
        .field("readonly", mount.readonly)
        .field("mountType", mount.mount_type)
        .message("TmpfsOpt", mount.tmpfs_opt.as_ref().map(tmpfs))
        .message("cacheOpt", mount.cache_opt.as_ref().map(cache))
        .message("secretOpt", mount.secret_opt.as_ref().map(secret))
        .message("SSHOpt", mount.ssh_opt.as_ref().map(agent))
        .field("resultID", &mount.result_id)
        .field("contentCache", mount.content_cache)
}

/// A copy. Clients require no capability for its newer options: a daemon that does not know one
/// neither refuses it nor has it in the key.
pub(super) fn copy(copy: &pb::FileActionCopy, profile: Profile) -> Object {
    let replaces = profile >= Profile::V0_14 && copy.always_replace_existing_dest_paths;
    let json = Object::new()
        .field("src", &copy.src)
        .field("dest", &copy.dest)
        .message("owner", owner(copy.owner.as_ref(), profile))
        .field("mode", copy.mode)
        .field("followSymlink", copy.follow_symlink)
        .field("dirCopyContents", copy.dir_copy_contents)
        .field(
            "attemptUnpackDockerCompatibility",
            copy.attempt_unpack_docker_compatibility,
        )
        .field("createDestPath", copy.create_dest_path)
        .field("allowWildcard", copy.allow_wildcard)
        .field("allowEmptyWildcard", copy.allow_empty_wildcard)
        .field("timestamp", copy.timestamp)
        .field("include_patterns", &copy.include_patterns)
        .field("exclude_patterns", &copy.exclude_patterns)
        .field("alwaysReplaceExistingDestPaths", replaces);
    let json = match profile >= Profile::V0_17 {
        true => json.field("modeStr", &copy.mode_str),
        false => json,
    };
    match profile >= Profile::V0_26 {
        true => json.field("required_paths", &copy.required_paths),
        false => json,
    }
}

pub(super) fn mkfile(mkfile: &pb::FileActionMkFile, profile: Profile) -> Object {
    Object::new()
        .field("path", &mkfile.path)
        .field("mode", mkfile.mode)
        .field("data", base64(&mkfile.data))
        .message("owner", owner(mkfile.owner.as_ref(), profile))
        .field("timestamp", mkfile.timestamp)
}

pub(super) fn mkdir(mkdir: &pb::FileActionMkDir, profile: Profile) -> Object {
    Object::new()
        .field("path", &mkdir.path)
        .field("mode", mkdir.mode)
        .field("makeParents", mkdir.make_parents)
        .message("owner", owner(mkdir.owner.as_ref(), profile))
        .field("timestamp", mkdir.timestamp)
}

pub(super) fn rm(rm: &pb::FileActionRm) -> Object {
    Object::new()
        .field("path", &rm.path)
        .field("allowNotFound", rm.allow_not_found)
        .field("allowWildcard", rm.allow_wildcard)
}

pub(super) fn symlink(symlink: &pb::FileActionSymlink, profile: Profile) -> Object {
    Object::new()
        .field("oldpath", &symlink.oldpath)
        .field("newpath", &symlink.newpath)
        .message("owner", owner(symlink.owner.as_ref(), profile))
        .field("timestamp", symlink.timestamp)
}

fn owner(owner: Option<&pb::ChownOpt>, profile: Profile) -> Option<Object> {
    let user = |user: &pb::UserOpt| self::user(user, profile);
    owner.map(|owner| {
        Object::new()
            .message("user", owner.user.as_ref().map(user))
            .message("group", owner.group.as_ref().map(user))
    })
}

/// A user or group. Go's type writes itself, with a spelling of its own; in v0.17 that was lost, and
/// Go's names of fields show, zero or not.
fn user(user: &pb::UserOpt, profile: Profile) -> Object {
    let (by_name, by_id) = match profile {
        Profile::V0_17 => ("ByName", "ByID"),
        older if older < Profile::V0_17 => ("byName", "byID"),
        _ => ("byName", "byId"),
    };
    let inner = match &user.user {
        Some(pb::user_opt::User::ByName(named)) => {
            let named =
                Object::new()
                    .field("name", &named.name)
                    .index("input", named.input, profile);
            Object::new().always(by_name, named)
        }
        Some(pb::user_opt::User::ById(id)) if profile == Profile::V0_17 => {
            Object::new().always(by_id, *id)
        }
        Some(pb::user_opt::User::ById(id)) => Object::new().field(by_id, *id),
        None => Object::new(),
    };
    Object::new().always("User", inner)
}

pub(super) fn merge(merge: &pb::MergeOp, profile: Profile) -> Object {
    let input = |input: &pb::MergeInput| Object::new().index("input", input.input, profile);
    Object::new().field("inputs", merge.inputs.iter().map(input).collect::<Vec<_>>())
}

pub(super) fn diff(diff: &pb::DiffOp, profile: Profile) -> Object {
    let side = |input: i64| Object::new().index("input", input, profile);
    Object::new()
        .message("lower", diff.lower.as_ref().map(|lower| side(lower.input)))
        .message("upper", diff.upper.as_ref().map(|upper| side(upper.input)))
}

pub(super) fn build(build: &pb::BuildOp, profile: Profile) -> Object {
    let inputs = build.inputs.iter().map(|(name, input)| {
        let input = Object::new().index("input", input.input, profile);
        (name.clone(), Value::Object(input))
    });
    Object::new()
        .index("builder", build.builder, profile)
        .field("inputs", inputs.collect::<BTreeMap<_, _>>())
        .field("attrs", &build.attrs)
}

pub(super) fn passthrough(passthrough: &pb::PassthroughOp) -> Object {
    Object::new()
        .field("id", &passthrough.id)
        .field("outputs", &passthrough.outputs)
}
