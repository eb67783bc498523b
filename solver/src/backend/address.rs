//! Where a daemon is: the grammar of addresses, and nothing about connecting.
//!
//! | form | reaches |
//! |---|---|
//! | `unix:///run/buildkit/buildkitd.sock` | a socket of buildkitd |
//! | `tcp://host:port` | buildkitd over TCP, with TLS when certificates are configured |
//! | `docker-container://NAME[?context=C]` | buildkitd in a container, through `docker exec` |
//! | `podman-container://NAME` | the same through `podman exec` |
//! | `nerdctl-container://NAME[?namespace=N]` | the same through `nerdctl exec` |
//! | `kube-pod://POD[?context=C&namespace=N&container=K]` | buildkitd in a pod, through `kubectl exec` |
//! | `ssh://[user@]host[:port][/socket]` | buildkitd on another machine, through `ssh` |
//! | `docker+unix:///var/run/docker.sock` | the BuildKit inside Docker Engine |
//! | `docker+tcp://host:port`, `docker+ssh://[user@]host[:port]` | the same, elsewhere |
//!
//! Every mistake is reported with the byte of the address at which it was found.
//! Names and hosts that reach a command line may not start with `-`, so that an
//! address can never be read as an option of `ssh` or `docker`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest address that is read, in bytes. Real ones are under 300.
pub const ADDRESS_BYTES_MAX: usize = 4096;

/// Longest path of a unix socket, in bytes: `sun_path` less its terminating zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where a daemon listens and which protocol opens the conversation there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// buildkitd itself: HTTP/2 with prior knowledge from the first byte.
    BuildKit(Endpoint),
    /// Docker Engine: an HTTP/1.1 upgrade leads to the same gRPC services.
    Docker(Endpoint),
}

/// A byte stream to a daemon, not yet opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port. The host of an IPv6 address is kept without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// The standard input and output of a process.
    Helper(Helper),
}

/// A program whose standard input and output are a connection to a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Helper {
    /// `docker exec -i NAME buildctl dial-stdio`.
    DockerContainer {
        /// Container name or id.
        name: String,
        /// Docker context to use.
        context: Option<String>,
    },
    /// `podman exec -i NAME buildctl dial-stdio`.
    PodmanContainer {
        /// Container name or id.
        name: String,
    },
    /// `nerdctl exec -i NAME buildctl dial-stdio`.
    NerdctlContainer {
        /// Container name or id.
        name: String,
        /// containerd namespace to use.
        namespace: Option<String>,
    },
    /// `kubectl exec -i POD -- buildctl dial-stdio`.
    KubePod {
        /// Pod name.
        pod: String,
        /// Context of the kubeconfig; empty = current.
        context: String,
        /// Namespace; empty = that of the context.
        namespace: String,
        /// Container in the pod; empty = the default one.
        container: String,
    },
    /// `ssh host …`, running `buildctl dial-stdio` there (or, for a Docker
    /// address, `docker system dial-stdio`).
    Ssh {
        /// Login name.
        user: Option<String>,
        /// Host name, address, or alias of the ssh configuration.
        host: String,
        /// Port.
        port: Option<u16>,
        /// Socket of buildkitd on that host, when it is not the default one.
        socket: Option<String>,
    },
}

/// An address that cannot be read: the text, the byte at which it fails, why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {text:?}, byte {at}: {reason}")]
pub struct AddressError {
    /// The address as given (cut to [`ADDRESS_BYTES_MAX`]).
    pub text: String,
    /// Offset of the offending part, in bytes from the start.
    pub at: usize,
    /// What is wrong there and what is expected.
    pub reason: String,
}

/// A part of an address together with its offset, so that errors are located.
#[derive(Clone, Copy)]
struct Part<'a> {
    whole: &'a str,
    text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    fn error(self, reason: impl Into<String>) -> AddressError {
        AddressError {
            text: self.whole.to_owned(),
            at: self.at,
            reason: reason.into(),
        }
    }

    fn sub(self, text: &'a str, offset: usize) -> Self {
        Part {
            whole: self.whole,
            text,
            at: self.at + offset,
        }
    }

    /// Splits at the first `separator`; the second part starts after it.
    fn split(self, separator: char) -> (Self, Option<Self>) {
        match self.text.split_once(separator) {
            Some((left, right)) => (
                self.sub(left, 0),
                Some(self.sub(right, left.len() + separator.len_utf8())),
            ),
            None => (self, None),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            let cut = text.floor_char_boundary(ADDRESS_BYTES_MAX);
            return Err(AddressError {
                text: text[..cut].to_owned(),
                at: cut,
                reason: format!("longer than {ADDRESS_BYTES_MAX} bytes"),
            });
        }
        let whole = Part {
            whole: text,
            text,
            at: 0,
        };
        if let Some(at) = text.find(|c: char| c.is_control()) {
            return Err(whole.sub("", at).error("contains a control character"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(whole.error("no scheme; expected for example unix:///run/buildkit/buildkitd.sock or tcp://host:1234"));
        };
        let rest = whole.sub(rest, scheme.len() + "://".len());
        let helper = |helper| Ok(Self::BuildKit(Endpoint::Helper(helper)));
        match scheme {
            "unix" => Ok(Self::BuildKit(unix(rest)?)),
            "tcp" => Ok(Self::BuildKit(tcp(rest)?)),
            "docker-container" => helper(docker_container(rest)?),
            "podman-container" => helper(podman_container(rest)?),
            "nerdctl-container" => helper(nerdctl_container(rest)?),
            "kube-pod" => helper(kube_pod(rest)?),
            "ssh" => helper(ssh(rest, true)?),
            "docker+unix" => Ok(Self::Docker(unix(rest)?)),
            "docker+tcp" => Ok(Self::Docker(tcp(rest)?)),
            "docker+ssh" => Ok(Self::Docker(Endpoint::Helper(ssh(rest, false)?))),
            "npipe" => Err(whole.error("named pipes exist on Windows only")),
            other => Err(whole.error(format!(
                "unknown scheme {other:?}; known are unix, tcp, ssh, docker-container, podman-container, nerdctl-container, kube-pod, docker+unix, docker+tcp and docker+ssh"
            ))),
        }
    }
}

impl Address {
    /// The address of a Docker Engine from the value of `DOCKER_HOST`, which
    /// names the same endpoints without the `docker+` in front.
    pub fn from_docker_host(text: &str) -> Result<Self, AddressError> {
        let prefixed = format!("docker+{text}");
        prefixed.parse().map_err(|error: AddressError| {
            let prefix = "docker+".len();
            AddressError {
                text: text.to_owned(),
                at: error.at.saturating_sub(prefix),
                reason: if error.at == 0 {
                    "expected unix:///path, tcp://host:port or ssh://[user@]host".to_owned()
                } else {
                    error.reason
                },
            }
        })
    }

    /// The stream behind this address.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::BuildKit(endpoint) | Self::Docker(endpoint) => endpoint,
        }
    }

    /// Whether this is a Docker Engine, reached by HTTP upgrade.
    pub fn is_docker(&self) -> bool {
        matches!(self, Self::Docker(_))
    }

    /// The HTTP/2 `:authority`: a host where there is one, else `localhost`.
    pub(crate) fn authority(&self) -> String {
        match self.endpoint() {
            Endpoint::Tcp { host, port } => host_port(host, *port),
            Endpoint::Unix(_) | Endpoint::Helper(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_docker() {
            f.write_str("docker+")?;
        }
        match self.endpoint() {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port } => write!(f, "tcp://{}", host_port(host, *port)),
            Endpoint::Helper(helper) => helper.fmt(f),
        }
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DockerContainer { name, context } => {
                write!(f, "docker-container://{name}")?;
                query(f, &[("context", context.as_deref().unwrap_or_default())])
            }
            Self::PodmanContainer { name } => write!(f, "podman-container://{name}"),
            Self::NerdctlContainer { name, namespace } => {
                write!(f, "nerdctl-container://{name}")?;
                query(
                    f,
                    &[("namespace", namespace.as_deref().unwrap_or_default())],
                )
            }
            Self::KubePod {
                pod,
                context,
                namespace,
                container,
            } => {
                write!(f, "kube-pod://{pod}")?;
                query(
                    f,
                    &[
                        ("context", context),
                        ("namespace", namespace),
                        ("container", container),
                    ],
                )
            }
            Self::Ssh {
                user,
                host,
                port,
                socket,
            } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match port {
                    Some(port) => f.write_str(&host_port(host, *port))?,
                    None if host.contains(':') => write!(f, "[{host}]")?,
                    None => f.write_str(host)?,
                }
                f.write_str(socket.as_deref().unwrap_or_default())
            }
        }
    }
}

fn query(f: &mut fmt::Formatter<'_>, pairs: &[(&str, &str)]) -> fmt::Result {
    let mut separator = '?';
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        write!(f, "{separator}{key}={}", percent_encode(value))?;
        separator = '&';
    }
    Ok(())
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn unix(rest: Part<'_>) -> Result<Endpoint, AddressError> {
    if !rest.text.starts_with('/') {
        return Err(rest.error(
            "the path of a socket must be absolute, as in unix:///run/buildkit/buildkitd.sock",
        ));
    }
    if rest.text.len() > UNIX_PATH_BYTES_MAX {
        return Err(rest.error(format!(
            "the path of a socket may have {UNIX_PATH_BYTES_MAX} bytes, this one has {}",
            rest.text.len()
        )));
    }
    Ok(Endpoint::Unix(PathBuf::from(rest.text)))
}

fn tcp(rest: Part<'_>) -> Result<Endpoint, AddressError> {
    let (authority, tail) = rest.split('/');
    if let Some(tail) = tail.filter(|tail| !tail.text.is_empty()) {
        return Err(tail.error("a tcp address has no path"));
    }
    let (host, port) = host_and_port(authority)?;
    let Some(port) = port else {
        return Err(authority.error("no port; expected tcp://host:port"));
    };
    Ok(Endpoint::Tcp { host, port })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(part: Part<'_>) -> Result<(String, Option<u16>), AddressError> {
    let (host, port) = if let Some(inner) = part.text.strip_prefix('[') {
        let Some((host, after)) = inner.split_once(']') else {
            return Err(part.error("no ] after the IPv6 address"));
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(part.sub(host, 1).error("not an IPv6 address"));
        }
        let at = host.len() + 2;
        match after.strip_prefix(':') {
            Some(port) => (part.sub(host, 1), Some(part.sub(port, at + 1))),
            None if after.is_empty() => (part.sub(host, 1), None),
            None => return Err(part.sub(after, at).error("expected :port")),
        }
    } else {
        let (host, port) = part.split(':');
        if port.is_some_and(|port| port.text.contains(':')) {
            return Err(part.error("an IPv6 address stands in brackets, as in [::1]:1234"));
        }
        (host, port)
    };
    let host = argument(host, "host")?;
    if let Some(at) = host.find(|c: char| c.is_whitespace() || "?#@\\".contains(c)) {
        return Err(part.sub("", at).error("not a character of a host"));
    }
    let port = match port {
        None => None,
        Some(port) => match port.text.parse::<u16>() {
            Ok(0) | Err(_) => {
                return Err(port.error(format!("{:?} is not a port (1 to 65535)", port.text)));
            }
            Ok(number) => Some(number),
        },
    };
    Ok((host, port))
}

fn docker_container(rest: Part<'_>) -> Result<Helper, AddressError> {
    let (name, [context]) = name_and_query(rest, ["context"])?;
    Ok(Helper::DockerContainer {
        name,
        context: none_if_empty(context),
    })
}

fn podman_container(rest: Part<'_>) -> Result<Helper, AddressError> {
    let (name, []) = name_and_query(rest, [])?;
    Ok(Helper::PodmanContainer { name })
}

fn nerdctl_container(rest: Part<'_>) -> Result<Helper, AddressError> {
    let (name, [namespace]) = name_and_query(rest, ["namespace"])?;
    Ok(Helper::NerdctlContainer {
        name,
        namespace: none_if_empty(namespace),
    })
}

fn kube_pod(rest: Part<'_>) -> Result<Helper, AddressError> {
    let (pod, [context, namespace, container]) =
        name_and_query(rest, ["context", "namespace", "container"])?;
    Ok(Helper::KubePod {
        pod,
        context,
        namespace,
        container,
    })
}

fn ssh(rest: Part<'_>, socket_allowed: bool) -> Result<Helper, AddressError> {
    if let Some(at) = rest.text.find(['?', '#']) {
        return Err(rest.sub("", at).error("an ssh address has no query"));
    }
    let (authority, tail) = rest.split('/');
    let (user, host) = match authority.text.rsplit_once('@') {
        Some((user, host)) => {
            let part = authority.sub(user, 0);
            if let Some(at) = user.find(':') {
                return Err(part
                    .sub("", at)
                    .error("a password cannot be given; use a key or an agent"));
            }
            (
                Some(argument(part, "user")?),
                authority.sub(host, user.len() + 1),
            )
        }
        None => (None, authority),
    };
    let (host, port) = host_and_port(host)?;
    let socket = match tail.filter(|tail| !tail.text.is_empty()) {
        Some(tail) if !socket_allowed => {
            return Err(tail.error("a docker+ssh address has no path"));
        }
        Some(tail) => Some(format!("/{}", tail.text)),
        None => None,
    };
    Ok(Helper::Ssh {
        user,
        host,
        port,
        socket,
    })
}

/// `NAME[?key=value&…]` with the given keys, each at most once; absent = empty.
fn name_and_query<const N: usize>(
    rest: Part<'_>,
    keys: [&str; N],
) -> Result<(String, [String; N]), AddressError> {
    let (name, query) = rest.split('?');
    if let Some(at) = name.text.find('/') {
        return Err(name.sub("", at).error("a name has no slash"));
    }
    let name = argument(name, "name")?;
    let mut values: [Option<String>; N] = [const { None }; N];
    let mut next = query.filter(|query| !query.text.is_empty());
    while let Some(part) = next {
        let (pair, rest) = part.split('&');
        next = rest;
        let (key, value) = pair.split('=');
        let Some(slot) = keys.iter().position(|known| *known == key.text) else {
            let known = if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            };
            return Err(key.error(format!(
                "unknown parameter {:?}; known here: {known}",
                key.text
            )));
        };
        if values[slot].is_some() {
            return Err(key.error(format!("parameter {:?} is given twice", key.text)));
        }
        let value = value.ok_or_else(|| key.error("a parameter needs a value, as in key=value"))?;
        values[slot] = Some(percent_decode(value)?);
    }
    Ok((name, values.map(Option::unwrap_or_default)))
}

/// A part that becomes one word of a command line.
fn argument(part: Part<'_>, what: &str) -> Result<String, AddressError> {
    if part.text.is_empty() {
        return Err(part.error(format!("the {what} is empty")));
    }
    if part.text.starts_with('-') {
        return Err(part.error(format!("the {what} may not start with a dash")));
    }
    Ok(part.text.to_owned())
}

fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn percent_decode(part: Part<'_>) -> Result<String, AddressError> {
    let bytes = part.text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'%' {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        let mut byte = [0];
        let digits = bytes.get(i + 1..i + 3).unwrap_or_default();
        hex::decode_to_slice(digits, &mut byte).map_err(|_| {
            part.sub("", i)
                .error("% must be followed by two hexadecimal digits")
        })?;
        out.push(byte[0]);
        i += 3;
    }
    String::from_utf8(out).map_err(|_| part.error("not UTF-8 after decoding"))
}

fn percent_encode(text: &str) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests;
