//! Containers of a build: processes that run on refs without being vertices.
//!
//! A container is a set of mounts; one of them is its root. The first process is
//! its init: when it ends, the container's other processes are killed. The daemon
//! also kills all of them when any one exits with a code other than 0 (the init
//! then exits with 137), so processes that may fail need containers of their own.
//! Nothing a container does is cached.

mod process;

use proto::{gateway, pb};

use super::build::{Build, Handle};
use super::error::Error;
use super::gateway::{FileStat, Ref, Tree, chunks, collect, read_dir, stat_file};
use super::session::new_id;

pub use process::{Event, Exec, Exit, OUTPUT_BYTES_MAX, Output, Process, ProcessInput};

/// A mount of a container.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it appears; `/` for the root.
    pub destination: String,
    /// Path inside the mounted result; empty = all of it.
    pub selector: String,
    /// Whether it cannot be written to.
    pub readonly: bool,
    /// What is mounted.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub enum MountSource {
    /// A result of the build, by the id of its ref, or one of the ids in
    /// [`SolveDetail`](super::failure::SolveDetail). An empty id is an empty
    /// directory.
    Result(String),
    /// A cache mount.
    Cache(pb::CacheOpt),
    /// A file with a secret.
    Secret(pb::SecretOpt),
    /// A socket of an ssh agent.
    Ssh(pb::SshOpt),
    /// Memory.
    Tmpfs,
}

impl Mount {
    /// A writable mount of a ref; `None` is an empty directory.
    pub fn of(destination: impl Into<String>, reference: Option<&Ref>) -> Self {
        let id = reference
            .map(|reference| reference.id().to_owned())
            .unwrap_or_default();
        Self {
            destination: destination.into(),
            selector: String::new(),
            readonly: false,
            source: MountSource::Result(id),
        }
    }

    fn into_wire(self) -> pb::Mount {
        let mut wire = pb::Mount {
            dest: self.destination,
            selector: self.selector,
            readonly: self.readonly,
            ..Default::default()
        };
        let kind = match self.source {
            MountSource::Result(id) => {
                wire.result_id = id;
                pb::MountType::Bind
            }
            MountSource::Cache(cache) => {
                wire.cache_opt = Some(cache);
                pb::MountType::Cache
            }
            MountSource::Secret(secret) => {
                wire.secret_opt = Some(secret);
                pb::MountType::Secret
            }
            MountSource::Ssh(ssh) => {
                wire.ssh_opt = Some(ssh);
                pb::MountType::Ssh
            }
            MountSource::Tmpfs => pb::MountType::Tmpfs,
        };
        wire.mount_type = kind.into();
        wire
    }
}

/// A container to make.
#[derive(Debug, Clone, Default)]
pub struct NewContainer {
    /// Its mounts; one must be at `/`.
    pub mounts: Vec<Mount>,
    /// Its network.
    pub network: pb::NetMode,
    /// Its platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Which workers may run it.
    pub constraints: Option<pb::WorkerConstraints>,
    /// Additional lines of its hosts file.
    pub extra_hosts: Vec<pb::HostIp>,
    /// Its host name; empty = the daemon's default.
    pub hostname: String,
}

/// A container; dropping it kills its processes.
#[derive(Debug)]
pub struct Container {
    build: Handle,
    id: String,
    released: bool,
}

impl Build {
    /// Makes a container. Its mounts are computed now.
    pub async fn container(&self, container: NewContainer) -> Result<Container, Error> {
        let id = new_id();
        let request = self.handle.request(gateway::NewContainerRequest {
            container_id: id.clone(),
            mounts: container.mounts.into_iter().map(Mount::into_wire).collect(),
            network: container.network.into(),
            platform: container.platform,
            constraints: container.constraints,
            extra_hosts: container.extra_hosts,
            hostname: container.hostname,
        });
        // Made first: if the call is dropped half-way, the container goes too.
        let container = Container {
            build: self.handle.clone(),
            id,
            released: false,
        };
        self.handle
            .call(self.client().bridge().new_container(request))
            .await?;
        Ok(container)
    }
}

impl Container {
    /// Starts a process and waits until it runs.
    ///
    /// # Errors
    /// The daemon's reason when it cannot start.
    pub async fn exec(&self, exec: Exec) -> Result<Process, Error> {
        Process::start(self.build.clone(), &self.id, exec).await
    }

    /// Reads a file as the container sees it through mount number `mount` (in the
    /// order of [`NewContainer::mounts`]); `path` is relative to that mount.
    pub async fn read_file(&self, mount: usize, path: &str) -> Result<Vec<u8>, Error> {
        let tree = self.tree(mount)?;
        collect(
            chunks(self.build.clone(), tree, path.to_owned(), None),
            path,
        )
        .await
    }

    /// Lists a directory of a mount; see [`Container::read_file`].
    pub async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include: &str,
    ) -> Result<Vec<FileStat>, Error> {
        read_dir(&self.build, self.tree(mount)?, path, include).await
    }

    /// Looks at a path of a mount; see [`Container::read_file`].
    pub async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, Error> {
        stat_file(&self.build, self.tree(mount)?, path).await
    }

    fn tree(&self, mount: usize) -> Result<Tree, Error> {
        let index = i32::try_from(mount)
            .map_err(|_| Error::Protocol(format!("mount number {mount} is out of range")))?;
        Ok(Tree::Mount(self.id.clone(), index))
    }

    /// Kills its processes and waits until it is gone.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        match release(self.build.clone(), std::mem::take(&mut self.id)).await {
            // How a process ended is told by the process; the container is gone.
            Ok(()) | Err(Error::Exec { .. } | Error::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn release(build: Handle, id: String) -> Result<(), Error> {
    let request = build.request(gateway::ReleaseContainerRequest { container_id: id });
    let mut bridge = build.client().bridge();
    build
        .call(bridge.release_container(request))
        .await
        .map(drop)
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        // Without a runtime there is no connection either, and the daemon removes
        // the containers of a build that ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let release = release(self.build.clone(), std::mem::take(&mut self.id));
            runtime.spawn(release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_carry_only_what_their_kind_needs() {
        let secret = pb::SecretOpt {
            id: "s".into(),
            ..Default::default()
        };
        let mount = Mount {
            source: MountSource::Secret(secret),
            ..Mount::of("/run/s", None)
        };
        let wire = mount.into_wire();
        assert_eq!(wire.mount_type(), pb::MountType::Secret);
        assert!(wire.result_id.is_empty() && wire.cache_opt.is_none() && wire.ssh_opt.is_none());
        assert_eq!(
            Mount::of("/", None).into_wire().mount_type(),
            pb::MountType::Bind
        );
    }
}
