//! Finds a daemon when the user named none.
//!
//! An address that somebody chose (an argument, `BUILDKIT_HOST`) is used alone:
//! if it does not answer, building on some other daemon would be a surprise. With
//! no such choice the usual places are tried in order: the socket of buildkitd,
//! that of a rootless buildkitd, Docker Engine. The environment is not read here;
//! the caller passes the values.

use std::path::PathBuf;

use super::address::{Address, AddressError, Endpoint};
use super::client::{Client, ConnectOptions};
use super::error::{Attempt, Error};

/// Where buildkitd listens by default.
pub const DEFAULT_SOCKET: &str = "/run/buildkit/buildkitd.sock";

/// Where a rootless buildkitd listens, below `XDG_RUNTIME_DIR`.
const ROOTLESS_SOCKET: &str = "buildkit/buildkitd.sock";

/// Where Docker Engine listens by default.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// What is known about where a daemon could be. Empty strings count as absent.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Address the user gave for this run.
    pub explicit: Option<String>,
    /// Value of `BUILDKIT_HOST`.
    pub buildkit_host: Option<String>,
    /// Value of `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// Value of `DOCKER_HOST`.
    pub docker_host: Option<String>,
}

/// An address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it came from, for messages.
    pub origin: &'static str,
    /// The address, or why its text is none.
    pub address: Result<Address, AddressError>,
}

/// The addresses to try, in order.
pub fn candidates(hints: &Hints) -> Vec<Candidate> {
    if let Some(text) = given(&hints.explicit) {
        return vec![Candidate {
            origin: "given address",
            address: text.parse(),
        }];
    }
    if let Some(text) = given(&hints.buildkit_host) {
        return vec![Candidate {
            origin: "BUILDKIT_HOST",
            address: text.parse(),
        }];
    }
    let socket = |path: PathBuf| Ok(Address::BuildKit(Endpoint::Unix(path)));
    let mut found = vec![Candidate {
        origin: "default",
        address: socket(DEFAULT_SOCKET.into()),
    }];
    if let Some(dir) = hints
        .xdg_runtime_dir
        .as_ref()
        .filter(|dir| dir.is_absolute())
    {
        found.push(Candidate {
            origin: "rootless",
            address: socket(dir.join(ROOTLESS_SOCKET)),
        });
    }
    found.push(match given(&hints.docker_host) {
        Some(text) => Candidate {
            origin: "DOCKER_HOST",
            address: Address::from_docker_host(text),
        },
        None => Candidate {
            origin: "Docker Engine",
            address: Ok(Address::Docker(Endpoint::Unix(DOCKER_SOCKET.into()))),
        },
    });
    found
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// Connects to the first candidate that answers.
///
/// # Errors
/// [`Error::Unreachable`] with one line per candidate. A TLS file that cannot be
/// read ends the search, because it would fail every candidate that uses it.
pub async fn connect_first(hints: &Hints, options: &ConnectOptions) -> Result<Client, Error> {
    connect_any(candidates(hints), options).await
}

/// Connects to the first of `candidates` that answers; errors as [`connect_first`].
pub async fn connect_any(
    candidates: Vec<Candidate>,
    options: &ConnectOptions,
) -> Result<Client, Error> {
    let mut tried = Vec::new();
    for Candidate { origin, address } in candidates {
        let origin = origin.to_owned();
        let address = match address {
            Ok(address) => address,
            Err(error) => {
                let reason = format!("byte {}: {}", error.at, error.reason);
                tried.push(Attempt {
                    origin,
                    address: error.text,
                    reason,
                });
                continue;
            }
        };
        match Client::connect(&address, options).await {
            Ok(client) => return Ok(client),
            Err(Error::Unreachable { tried: attempts }) => {
                tried.extend(attempts.into_iter().map(|attempt| Attempt {
                    origin: origin.clone(),
                    ..attempt
                }));
            }
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => tried.push(Attempt {
                origin,
                address: address.to_string(),
                reason: error.to_string(),
            }),
        }
    }
    Err(Error::Unreachable { tried })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(hints: &Hints) -> Vec<String> {
        let text = |c: Candidate| format!("{} {}", c.origin, c.address.expect("valid"));
        candidates(hints).into_iter().map(text).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_usual_places_in_order() {
        assert_eq!(
            texts(&Hints {
                xdg_runtime_dir: Some("/run/user/7".into()),
                ..Hints::default()
            }),
            [
                "default unix:///run/buildkit/buildkitd.sock",
                "rootless unix:///run/user/7/buildkit/buildkitd.sock",
                "Docker Engine docker+unix:///var/run/docker.sock",
            ]
        );
        assert_eq!(
            texts(&Hints {
                docker_host: some("tcp://h:2375"),
                ..Hints::default()
            }),
            [
                "default unix:///run/buildkit/buildkitd.sock",
                "DOCKER_HOST docker+tcp://h:2375"
            ]
        );
    }

    #[test]
    fn a_choice_stands_alone() {
        let hints = Hints {
            explicit: some("tcp://a:1"),
            buildkit_host: some("tcp://b:1"),
            docker_host: some("tcp://c:1"),
            ..Hints::default()
        };
        assert_eq!(texts(&hints), ["given address tcp://a:1"]);
        let hints = Hints {
            explicit: some("  "),
            ..hints
        };
        assert_eq!(texts(&hints), ["BUILDKIT_HOST tcp://b:1"]);
    }

    #[tokio::test]
    async fn the_error_has_a_line_for_every_attempt() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let hints = Hints {
            docker_host: some("bogus"),
            xdg_runtime_dir: Some(dir.path().to_owned()),
            ..Hints::default()
        };
        // Without the default socket, which may exist on the machine that runs this test.
        let places = candidates(&hints).split_off(1);
        let error = connect_any(places, &ConnectOptions::default())
            .await
            .expect_err("nothing there");
        let rootless = dir.path().join("buildkit/buildkitd.sock");
        assert_eq!(
            error.to_string(),
            format!(
                "no BuildKit daemon answered\n  unix://{} (rootless): there is no such socket\n  \
                 bogus (DOCKER_HOST): byte 0: expected unix:///path, tcp://host:port or ssh://[user@]host",
                rootless.display()
            )
        );
    }

    #[tokio::test]
    async fn a_bad_given_address_is_the_whole_error() {
        let hints = Hints {
            explicit: some("tcp://h"),
            ..Hints::default()
        };
        let error = connect_first(&hints, &ConnectOptions::default())
            .await
            .expect_err("no port");
        assert_eq!(
            error.to_string(),
            "no BuildKit daemon answered\n  tcp://h (given address): byte 6: no port; expected tcp://host:port"
        );
    }
}
