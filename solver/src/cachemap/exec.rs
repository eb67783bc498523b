//! Cache map of an exec.
//!
//! Each input that is mounted has a selector: the hash of the selected paths of all its mounts, in
//! order, joined by zero bytes; a plain root is the hash of `/`. Content is hashed where a change
//! outside of the selected paths cannot reach the result, except for the root, where it would cost
//! too much: the mount has no output, or is read-only, or mounts the whole input.
//!
//! In v0.12 only mounts that select a path have a selector, and an input is hashed unless one of its
//! mounts has an output and is writable or the root.

use proto::pb;

use super::{
    CacheMap, ContentSelector, Facts, InputMap, Profile, Unknown, content,
    json::{self, Object},
};
use crate::{
    Digest,
    llb::{paths, platform},
};

/// Target, and selected path, of the root.
const ROOT: &str = "/";

/// Index of an absent input or output.
const NONE: i64 = -1;

pub(super) fn map(
    exec: &pb::ExecOp,
    op: &pb::Op,
    profile: Profile,
    facts: &Facts,
) -> Result<CacheMap, Unknown> {
    Ok(CacheMap {
        digest: json(exec, op, profile, facts)?.digest(profile)?,
        inputs: inputs(exec, op.inputs.len(), profile)?,
    })
}

/// What the digest is of.
pub(super) fn json(
    exec: &pb::ExecOp,
    op: &pb::Op,
    profile: Profile,
    facts: &Facts,
) -> Result<Object, Unknown> {
    let platform = op.platform.as_ref().or(facts.platform.as_ref());
    let platform = platform.ok_or(Unknown::Platform)?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(Unknown::Platform);
    }
    let platform = platform::normalize(platform);
    let json = Object::new()
        .always("Type", "buildkit.exec.v0")
        .always("Exec", json::exec(&keyed(exec, profile), profile))
        .always("OS", &platform.os)
        .always("Arch", &platform.architecture)
        .field("Variant", &platform.variant);
    Ok(match profile.knows_os_versions() {
        false => json,
        true => json
            .field("OSVersion", &platform.os_version)
            .field("OSFeatures", &platform.os_features),
    })
}

/// The operation without what does not change its result.
fn keyed(exec: &pb::ExecOp, profile: Profile) -> pb::ExecOp {
    let mut exec = exec.clone();
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut exec.mounts {
        mount.selector.clear();
        if let Some(cache) = &mut mount.cache_opt
            && profile >= Profile::V0_13
            && !is_default_cache(cache, &mount.dest)
        {
            *cache = pb::CacheOpt::default();
        }
    }
    if let [mount] = &exec.mounts[..]
        && is_plain_root(mount)
    {
        exec.mounts.clear();
    }
    exec
}

/// A cache that is named like a Dockerfile names one by default, `target` or `namespace/target`,
/// keeps its name in the key.
fn is_default_cache(cache: &pb::CacheOpt, target: &str) -> bool {
    let namespaced = cache
        .id
        .split_once('/')
        .is_some_and(|(_, rest)| rest == target);
    cache.sharing == pb::CacheSharingOpt::Shared as i32 && (cache.id == target || namespaced)
}

fn is_plain_root(mount: &pb::Mount) -> bool {
    mount.dest == ROOT
        && !mount.readonly
        && mount.mount_type == pb::MountType::Bind as i32
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

/// What is known of an input after looking at its mounts so far.
#[derive(Default)]
struct Dependency {
    selectors: Vec<String>,
    by_content: bool,
}

/// The same in v0.12.
#[derive(Default)]
struct OldDependency {
    selectors: Vec<String>,
    not_by_content: bool,
}

fn inputs(exec: &pb::ExecOp, count: usize, profile: Profile) -> Result<Vec<InputMap>, Unknown> {
    if profile < Profile::V0_13 {
        return old_inputs(exec, count);
    }
    let mut dependencies: Vec<Dependency> = (0..count).map(|_| Dependency::default()).collect();
    for mount in &exec.mounts {
        let has_no_input = matches!(
            mount.mount_type(),
            pb::MountType::Secret | pb::MountType::Ssh | pb::MountType::Tmpfs
        );
        if has_no_input || mount.input == NONE {
            continue;
        }
        let dependency = of_mount(&mut dependencies, mount)?;
        let selector = paths::absolute(ROOT, &mount.selector);
        // The last mount of an input decides.
        dependency.by_content = by_content(mount, &selector)?;
        dependency.selectors.push(selector);
    }
    Ok(dependencies.into_iter().map(Dependency::into_map).collect())
}

fn old_inputs(exec: &pb::ExecOp, count: usize) -> Result<Vec<InputMap>, Unknown> {
    let mut dependencies: Vec<OldDependency> =
        (0..count).map(|_| OldDependency::default()).collect();
    for mount in exec.mounts.iter().filter(|mount| mount.input != NONE) {
        let dependency = of_mount(&mut dependencies, mount)?;
        if !mount.selector.is_empty() {
            let selector = paths::absolute(ROOT, &mount.selector);
            dependency.selectors.push(selector);
        }
        let is_kept = !mount.readonly || mount.dest == ROOT;
        dependency.not_by_content |= is_kept && mount.output != NONE;
    }
    let maps = dependencies.into_iter().map(OldDependency::into_map);
    Ok(maps.collect())
}

/// What belongs to the input of a mount.
fn of_mount<'d, T>(dependencies: &'d mut [T], mount: &pb::Mount) -> Result<&'d mut T, Unknown> {
    usize::try_from(mount.input)
        .ok()
        .and_then(|input| dependencies.get_mut(input))
        .ok_or_else(|| Unknown::Invalid(format!("a mount has the input {}", mount.input)))
}

fn by_content(mount: &pb::Mount, selector: &str) -> Result<bool, Unknown> {
    let is_sound = mount.output == NONE || mount.readonly || selector == ROOT;
    match mount.content_cache() {
        pb::MountContentCache::Off => Ok(false),
        pb::MountContentCache::On if is_sound => Ok(true),
        pb::MountContentCache::On => Err(Unknown::Invalid(format!(
            "the mount at {:?} cannot be keyed by its content",
            mount.dest
        ))),
        pb::MountContentCache::Default => Ok(is_sound && mount.dest != ROOT),
    }
}

impl Dependency {
    fn into_map(self) -> InputMap {
        if self.selectors.is_empty() {
            return InputMap::default();
        }
        let selector = Some(selector(&self.selectors));
        let content = self.by_content.then(|| {
            let paths = content::without_nested(self.selectors);
            if paths.iter().any(|path| path == ROOT) {
                return Vec::new();
            }
            followed(paths)
        });
        InputMap { selector, content }
    }
}

impl OldDependency {
    fn into_map(self) -> InputMap {
        InputMap {
            selector: (!self.selectors.is_empty()).then(|| selector(&self.selectors)),
            content: (!self.not_by_content)
                .then(|| followed(content::without_nested(self.selectors))),
        }
    }
}

fn selector(paths: &[String]) -> Digest {
    Digest::sha256(paths.join("\0").as_bytes())
}

/// Paths as content is hashed; none are the whole tree.
fn followed(paths: Vec<String>) -> Vec<ContentSelector> {
    let paths = paths.into_iter();
    paths
        .map(|path| ContentSelector::path(path, true))
        .collect()
}
