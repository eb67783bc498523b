//! From an [`Exec`] to its vertex.

use std::collections::{HashMap, HashSet};

use proto::pb;

use super::{
    CacheSharing, ContentCache, Error, Exec, ExecOutputs, Mount, MountKind, NetMode, Output,
    SecurityMode,
};
use crate::llb::{
    caps,
    vertex::{PlatformUse, Vertex},
};

/// Variable that names the socket of the ssh agent.
const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// Index of an absent input or output.
const NONE: i64 = -1;

pub(super) fn build(mut exec: Exec) -> Result<ExecOutputs, Error> {
    let mounts = sorted_mounts(&mut exec)?;
    check(&exec, &mounts)?;
    let caps = capabilities(&exec, &mounts);

    let mut inputs = Inputs::default();
    let mut written = Vec::with_capacity(mounts.len());
    let mut targets = Vec::new();
    for mount in mounts {
        let input = mount
            .source
            .as_ref()
            .map_or(NONE, |source| inputs.index(source));
        let output = if mount.is_output() {
            targets.push(mount.target.clone());
            i64::try_from(targets.len()).map_or(NONE, |count| count - 1)
        } else {
            NONE
        };
        written.push(write_mount(mount, input, output));
    }

    let agents: Vec<pb::Mount> = exec
        .ssh_agents
        .iter()
        .enumerate()
        .map(write_agent)
        .collect();
    let first_agent = agents.first().map(|agent| agent.dest.clone());
    written.extend(exec.secrets.iter().filter_map(write_secret_file));
    written.extend(agents);

    let op = pb::ExecOp {
        secretenv: exec.secrets.iter().filter_map(write_secret_env).collect(),
        cdi_devices: std::mem::take(&mut exec.cdi_devices),
        network: exec.network.into(),
        security: exec.security.into(),
        mounts: written,
        meta: Some(pb::Meta {
            env: environment(std::mem::take(&mut exec.env), first_agent),
            args: exec.args,
            cwd: exec.directory,
            user: exec.user,
            proxy_env: exec.proxy,
            extra_hosts: exec.extra_hosts,
            hostname: exec.hostname,
            ulimit: exec.ulimits,
            cgroup_parent: exec.cgroup_parent,
            remove_mount_stubs_recursive: true,
            valid_exit_codes: exec.valid_exit_codes.unwrap_or_default(),
        }),
    };
    let constraints = exec.constraints.requiring(caps);
    let vertex = Vertex::new(
        pb::op::Op::Exec(op),
        inputs.list,
        None,
        PlatformUse::Keep,
        constraints,
    );
    let outputs = (0i64..)
        .zip(targets)
        .map(|(index, target)| (target, vertex.output(index)))
        .collect();
    Ok(ExecOutputs { outputs, vertex })
}

/// The root and all mounts, in byte order of their targets.
fn sorted_mounts(exec: &mut Exec) -> Result<Vec<Mount>, Error> {
    let mut root = Mount::bind("/", exec.root.take());
    root.readonly = exec.readonly_root;
    let mut mounts = vec![root];
    mounts.append(&mut exec.mounts);
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    if let Some(pair) = mounts
        .windows(2)
        .find(|pair| pair[0].target == pair[1].target)
    {
        return Err(Error::DuplicateTarget {
            target: pair[0].target.clone(),
        });
    }
    Ok(mounts)
}

fn check(exec: &Exec, mounts: &[Mount]) -> Result<(), Error> {
    if exec.args.is_empty() {
        return Err(Error::NoArguments);
    }
    if !exec.directory.starts_with('/') {
        return Err(Error::RelativeDirectory {
            path: exec.directory.clone(),
        });
    }
    for mount in mounts {
        if mount.target.is_empty() {
            return Err(Error::EmptyTarget);
        }
        let fail = |reason| {
            Err(Error::Option {
                what: format!("mount at {:?} of exec", mount.target),
                reason,
            })
        };
        match &mount.kind {
            MountKind::Tmpfs { .. } if mount.source.is_some() => {
                return Err(Error::TmpfsSource {
                    target: mount.target.clone(),
                });
            }
            MountKind::Tmpfs { size } if *size < 0 => return fail("its size is negative"),
            MountKind::Cache { id, .. } if id.is_empty() => return fail("its cache has no id"),
            _ => {}
        }
    }
    for secret in &exec.secrets {
        if secret
            .target
            .as_ref()
            .or(secret.env.as_ref())
            .is_none_or(String::is_empty)
        {
            return Err(Error::Option {
                what: format!("secret {:?} of exec", secret.id),
                reason: "it needs a path or a variable",
            });
        }
    }
    Ok(())
}

/// Inputs without repetition.
#[derive(Default)]
struct Inputs {
    list: Vec<Output>,
    positions: HashMap<Output, i64>,
}

impl Inputs {
    fn index(&mut self, output: &Output) -> i64 {
        *self.positions.entry(output.clone()).or_insert_with(|| {
            self.list.push(output.clone());
            i64::try_from(self.list.len()).map_or(NONE, |count| count - 1)
        })
    }
}

fn write_mount(mount: Mount, input: i64, output: i64) -> pb::Mount {
    let mut written = pb::Mount {
        input,
        selector: mount.selector,
        dest: mount.target,
        output,
        readonly: mount.readonly,
        content_cache: match mount.content_cache {
            ContentCache::Default => pb::MountContentCache::Default,
            ContentCache::On => pb::MountContentCache::On,
            ContentCache::Off => pb::MountContentCache::Off,
        }
        .into(),
        ..pb::Mount::default()
    };
    match mount.kind {
        MountKind::Bind => {}
        MountKind::Cache { id, sharing } => {
            written.mount_type = pb::MountType::Cache.into();
            let sharing = match sharing {
                CacheSharing::Shared => pb::CacheSharingOpt::Shared,
                CacheSharing::Private => pb::CacheSharingOpt::Private,
                CacheSharing::Locked => pb::CacheSharingOpt::Locked,
            };
            written.cache_opt = Some(pb::CacheOpt {
                id,
                sharing: sharing.into(),
            });
        }
        MountKind::Tmpfs { size } => {
            written.mount_type = pb::MountType::Tmpfs.into();
            written.tmpfs_opt = Some(pb::TmpfsOpt { size });
        }
    }
    written
}

/// The output of a secret or an agent is left at zero, not at "none", as BuildKit's client does.
fn write_secret_file(secret: &super::Secret) -> Option<pb::Mount> {
    let target = secret.target.clone()?;
    Some(pb::Mount {
        input: NONE,
        dest: target,
        mount_type: pb::MountType::Secret.into(),
        secret_opt: Some(pb::SecretOpt {
            id: secret.id.clone(),
            uid: secret.uid,
            gid: secret.gid,
            mode: secret.mode,
            optional: secret.optional,
        }),
        ..pb::Mount::default()
    })
}

fn write_secret_env(secret: &super::Secret) -> Option<pb::SecretEnv> {
    let name = secret.env.clone()?;
    Some(pb::SecretEnv {
        id: secret.id.clone(),
        name,
        optional: secret.optional,
    })
}

fn write_agent((position, agent): (usize, &super::SshAgent)) -> pb::Mount {
    let default = || format!("/run/buildkit/ssh_agent.{position}");
    pb::Mount {
        input: NONE,
        dest: agent.target.clone().unwrap_or_else(default),
        mount_type: pb::MountType::Ssh.into(),
        ssh_opt: Some(pb::SshOpt {
            id: agent.id.clone(),
            uid: agent.uid,
            gid: agent.gid,
            mode: agent.mode,
            optional: agent.optional,
        }),
        ..pb::Mount::default()
    }
}

/// The variables in the order of their last setting.
fn environment(settings: Vec<(String, Option<String>)>, agent: Option<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut env = Vec::with_capacity(settings.len() + 1);
    let mut has_agent = false;
    for (name, value) in settings.into_iter().rev() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(value) = value {
            has_agent |= name == SSH_AUTH_SOCK;
            env.push(format!("{name}={value}"));
        }
    }
    env.reverse();
    if let Some(agent) = agent.filter(|_| !has_agent) {
        env.push(format!("{SSH_AUTH_SOCK}={agent}"));
    }
    env
}

fn capabilities(exec: &Exec, mounts: &[Mount]) -> Vec<&'static str> {
    let mut caps = vec![caps::EXEC_META_BASE];
    let mut require = |condition: bool, cap| {
        if condition {
            caps.push(cap);
        }
    };
    require(
        exec.requires_default_path,
        caps::EXEC_META_SETS_DEFAULT_PATH,
    );
    require(exec.valid_exit_codes.is_some(), caps::EXEC_VALID_EXIT_CODE);
    require(!exec.ulimits.is_empty(), caps::EXEC_META_ULIMIT);
    require(
        exec.constraints.metadata.linux_resources.is_some(),
        caps::EXEC_META_LINUX_RESOURCES,
    );
    require(exec.network != NetMode::Unset, caps::EXEC_META_NETWORK);
    require(
        exec.security != SecurityMode::Sandbox,
        caps::EXEC_META_SECURITY,
    );
    require(exec.proxy.is_some(), caps::EXEC_META_PROXY);
    require(!exec.cdi_devices.is_empty(), caps::EXEC_META_CDI);
    require(!exec.secrets.is_empty(), caps::EXEC_MOUNT_SECRET);
    require(
        exec.secrets.iter().any(|secret| secret.env.is_some()),
        caps::EXEC_SECRET_ENV,
    );
    require(!exec.ssh_agents.is_empty(), caps::EXEC_MOUNT_SSH);
    for mount in mounts {
        require(!mount.selector.is_empty(), caps::EXEC_MOUNT_SELECTOR);
        require(
            mount.content_cache != ContentCache::Default,
            caps::EXEC_MOUNT_CONTENT_CACHE,
        );
        match mount.kind {
            MountKind::Cache { .. } => {
                require(true, caps::EXEC_MOUNT_CACHE);
                require(true, caps::EXEC_MOUNT_CACHE_SHARING);
            }
            MountKind::Tmpfs { size } => {
                require(true, caps::EXEC_MOUNT_TMPFS);
                require(size > 0, caps::EXEC_MOUNT_TMPFS_SIZE);
            }
            MountKind::Bind => require(mount.source.is_some(), caps::EXEC_MOUNT_BIND),
        }
    }
    caps
}
