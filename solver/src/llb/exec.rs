//! Processes: a command, its environment, and what is mounted where.
//!
//! Mounts are written in byte order of their targets, secrets and ssh agents after them. Each
//! mount that the process can change, except caches and temporary file systems, is an output of
//! the vertex; outputs are counted in the same order.

mod marshal;
mod mount;

pub use self::mount::{CacheSharing, ContentCache, Mount, MountKind, Secret, SshAgent};
use super::{Constraints, Error, NetMode, Output, SecurityMode};
use proto::pb::{CdiDevice, HostIp, ProxyEnv, Ulimit};

/// A process to run. [`Exec::build`] makes the vertex.
#[derive(Debug, Clone)]
pub struct Exec {
    root: Option<Output>,
    readonly_root: bool,
    args: Vec<String>,
    /// In order of setting; `None` unsets.
    env: Vec<(String, Option<String>)>,
    directory: String,
    user: String,
    hostname: String,
    cgroup_parent: String,
    proxy: Option<ProxyEnv>,
    extra_hosts: Vec<HostIp>,
    ulimits: Vec<Ulimit>,
    valid_exit_codes: Option<Vec<i32>>,
    network: NetMode,
    security: SecurityMode,
    cdi_devices: Vec<CdiDevice>,
    mounts: Vec<Mount>,
    secrets: Vec<Secret>,
    ssh_agents: Vec<SshAgent>,
    requires_default_path: bool,
    constraints: Constraints,
}

/// The results of an exec: one for each mount that it can change.
#[derive(Debug, Clone)]
pub struct ExecOutputs {
    /// In order of the outputs, with their targets.
    outputs: Vec<(String, Output)>,
    vertex: std::sync::Arc<super::Vertex>,
}

impl ExecOutputs {
    /// The root after the run; `None` if it was mounted read-only.
    #[must_use]
    pub fn root(&self) -> Option<&Output> {
        self.mount("/")
    }

    /// The mount at this target after the run; `None` if the run could not change it.
    #[must_use]
    pub fn mount(&self, target: &str) -> Option<&Output> {
        self.outputs
            .iter()
            .find(|(at, _)| at == target)
            .map(|(_, output)| output)
    }

    /// All results with their targets, in order of their index.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Output)> {
        self.outputs
            .iter()
            .map(|(target, output)| (target.as_str(), output))
    }

    /// The vertex. An exec without any output can still be run, as an input of none.
    #[must_use]
    pub fn vertex(&self) -> &std::sync::Arc<super::Vertex> {
        &self.vertex
    }
}

impl Exec {
    /// A process in the file system `root`, in the directory `/`, as root.
    #[must_use]
    pub fn new<A: Into<String>>(root: Option<Output>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            root,
            readonly_root: false,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            directory: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            cgroup_parent: String::new(),
            proxy: None,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            valid_exit_codes: None,
            network: NetMode::Unset,
            security: SecurityMode::Sandbox,
            cdi_devices: Vec::new(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            ssh_agents: Vec::new(),
            requires_default_path: false,
            constraints: Constraints::default(),
        }
    }

    /// Mounts the root read-only. The vertex then has no output for it.
    #[must_use]
    pub fn readonly_root(mut self, readonly: bool) -> Self {
        self.readonly_root = readonly;
        self
    }

    /// Sets a variable. Setting it again moves it to the end.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable that was set before.
    #[must_use]
    pub fn unset_env(mut self, name: impl Into<String>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Requires a daemon that sets `PATH` where the environment has none. All since v0.10 do;
    /// clients that ask the daemon for its capabilities write this requirement.
    #[must_use]
    pub fn require_default_path(mut self) -> Self {
        self.requires_default_path = true;
        self
    }

    /// Sets the working directory, an absolute path. It is created if it does not exist.
    #[must_use]
    pub fn directory(mut self, path: impl Into<String>) -> Self {
        self.directory = path.into();
        self
    }

    /// Sets the user, `user[:group]`, names or numbers.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets the host name.
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// Sets the parent control group.
    #[must_use]
    pub fn cgroup_parent(mut self, parent: impl Into<String>) -> Self {
        self.cgroup_parent = parent.into();
        self
    }

    /// Sets the proxy variables of the process, outside of its cache key.
    #[must_use]
    pub fn proxy(mut self, proxy: ProxyEnv) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Adds a line to `/etc/hosts`. The address is outside of the cache key.
    #[must_use]
    pub fn extra_host(mut self, host: impl Into<String>, address: std::net::IpAddr) -> Self {
        self.extra_hosts.push(HostIp {
            host: host.into(),
            ip: address.to_string(),
        });
        self
    }

    /// Adds a resource limit.
    #[must_use]
    pub fn ulimit(mut self, name: impl Into<String>, soft: i64, hard: i64) -> Self {
        self.ulimits.push(Ulimit {
            name: name.into(),
            soft,
            hard,
        });
        self
    }

    /// Sets which exit codes are a success, in place of zero only.
    #[must_use]
    pub fn valid_exit_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.valid_exit_codes = Some(codes.into_iter().collect());
        self
    }

    /// Sets the network. `Host` needs the entitlement `network.host`.
    #[must_use]
    pub fn network(mut self, mode: NetMode) -> Self {
        self.network = mode;
        self
    }

    /// Sets the sandbox. `Insecure` needs the entitlement `security.insecure`.
    #[must_use]
    pub fn security(mut self, mode: SecurityMode) -> Self {
        self.security = mode;
        self
    }

    /// Adds a device by its Container Device Interface name.
    #[must_use]
    pub fn cdi_device(mut self, name: impl Into<String>, optional: bool) -> Self {
        self.cdi_devices.push(CdiDevice {
            name: name.into(),
            optional,
        });
        self
    }

    /// Adds a mount.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds a secret.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Adds an ssh agent. The first one becomes `SSH_AUTH_SOCK`, unless that is set.
    #[must_use]
    pub fn ssh_agent(mut self, agent: SshAgent) -> Self {
        self.ssh_agents.push(agent);
        self
    }

    /// Sets platform, name and so on.
    #[must_use]
    pub fn constraints(mut self, constraints: Constraints) -> Self {
        self.constraints = constraints;
        self
    }

    /// Makes the vertex.
    ///
    /// # Errors
    ///
    /// Without arguments, for a relative directory, for two mounts at one place, and for a
    /// temporary file system with a source.
    pub fn build(self) -> Result<ExecOutputs, Error> {
        marshal::build(self)
    }
}

#[cfg(test)]
mod tests;
