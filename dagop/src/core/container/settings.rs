//! Fields of `Container` that read and change the image config.

use dagql::{Arg, Cx, Field, Literal, Object, ObjectType};

use super::Container;
use super::config::variable;
use crate::core::records::{NameValue, Port};
use crate::core::secret::Secret;
use crate::core::{load, object, this};
use crate::error::Error;

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    ports(labels(commands(place(environment(ty)))))
}

fn expand_arg() -> Arg {
    Arg::new("expand", "Boolean!")
        .doc("Replace $NAME and ${NAME} by the container's variables.")
        .default(false)
}

/// Changes the receiver's data.
fn change(
    cx: &Cx,
    this_: &Object,
    change: impl FnOnce(&Container) -> Result<Container, dagql::Error>,
) -> Result<Object, dagql::Error> {
    let next = change(&*this::<Container>(this_)?)?;
    object(cx, next)
}

fn environment(ty: ObjectType) -> ObjectType {
    let name = || Arg::new("name", "String!").doc("The variable's name (e.g. \"HOST\").");
    ty.field(
        Field::new("withEnvVariable", "Container!")
            .doc("This container with an environment variable.")
            .arg(name())
            .arg(Arg::new("value", "String!").doc("Its value."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let name = variable_name(args.str("name")?)?;
                    let value = c.expand(args.str("value")?, args.bool("expand")?)?;
                    let mut next = c.configure(|config| config.set_env(name, &value));
                    next.secret_env = without(&c.secret_env, name);
                    Ok(next)
                })
            }),
    )
    .field(
        Field::new("withoutEnvVariable", "Container!")
            .doc("This container without an environment variable.")
            .arg(name())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let name = args.str("name")?;
                    Ok(c.configure(|config| config.unset_env(name)))
                })
            }),
    )
    .field(
        Field::new("envVariable", "String")
            .doc("The value of an environment variable.")
            .arg(name())
            .resolve(async |_, this_, args| {
                let container = this::<Container>(&this_)?;
                Ok(container.config.env(args.str("name")?).map(str::to_owned))
            }),
    )
    .field(
        Field::new("envVariables", "[EnvVariable!]!")
            .doc("All environment variables; those from secrets are not among them.")
            .resolve(async |cx, this_, _| {
                let container = this::<Container>(&this_)?;
                let pairs = container.config.env.iter().map(|entry| {
                    let name = variable(entry);
                    (name, entry.get(name.len() + 1..).unwrap_or_default())
                });
                records(&cx, "EnvVariable", pairs)
            }),
    )
    .field(
        Field::new("withSecretVariable", "Container!")
            .doc("This container with an environment variable whose value is a secret.")
            .arg(name())
            .arg(Arg::new("secret", "SecretID!").doc("The secret."))
            .resolve(async |cx, this_, args| {
                let secret = load::<Secret>(&cx, args.id("secret")?).await?;
                change(&cx, &this_, |c| {
                    let name = variable_name(args.str("name")?)?;
                    let mut next = c.configure(|config| config.unset_env(name));
                    let mut variables = without(&c.secret_env, name).to_vec();
                    variables.push((name.to_owned(), secret.llb_id.clone()));
                    next.secret_env = variables.into();
                    Ok(next)
                })
            }),
    )
    .field(
        Field::new("withoutSecretVariable", "Container!")
            .doc("This container without a variable that comes from a secret.")
            .arg(name())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let secret_env = without(&c.secret_env, args.str("name")?);
                    Ok(Container {
                        secret_env,
                        ..c.clone()
                    })
                })
            }),
    )
}

fn variable_name(name: &str) -> Result<&str, Error> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Error::input(format!(
            "{name:?} is not a name of a variable"
        )));
    }
    Ok(name)
}

fn without(variables: &[(String, String)], name: &str) -> std::sync::Arc<[(String, String)]> {
    variables
        .iter()
        .filter(|(variable, _)| variable != name)
        .cloned()
        .collect()
}

fn records<'a>(
    cx: &Cx,
    ty: &'static str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<dagql::Value, dagql::Error> {
    cx.objects(pairs.map(|(name, value)| NameValue {
        ty,
        name: name.into(),
        value: value.into(),
    }))
}

fn place(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withWorkdir", "Container!")
            .doc("This container with a working directory.")
            .arg(Arg::new("path", "String!").doc("The directory (e.g. \"/app\")."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let text = c.expand(args.str("path")?, args.bool("expand")?)?;
                    let workdir = c.absolute(&text)?;
                    Ok(c.configure(|config| config.workdir = workdir))
                })
            }),
    )
    .field(
        Field::new("withoutWorkdir", "Container!")
            .doc("This container without a working directory: that is `/`.")
            .resolve(async |cx, this_, _| {
                change(&cx, &this_, |c| {
                    Ok(c.configure(|config| config.workdir.clear()))
                })
            }),
    )
    .field(
        Field::new("workdir", "String!")
            .doc("The working directory.")
            .resolve(async |_, this_, _| Ok(this::<Container>(&this_)?.config.workdir.clone())),
    )
    .field(
        Field::new("withUser", "Container!")
            .doc("This container with another user.")
            .arg(Arg::new("name", "String!").doc("The user: user[:group], names or numbers."))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let user = args.str("name")?.to_owned();
                    Ok(c.configure(|config| config.user = user))
                })
            }),
    )
    .field(
        Field::new("withoutUser", "Container!")
            .doc("This container with root as user.")
            .resolve(async |cx, this_, _| {
                change(&cx, &this_, |c| {
                    Ok(c.configure(|config| config.user.clear()))
                })
            }),
    )
    .field(
        Field::new("user", "String!")
            .doc("The user.")
            .resolve(async |_, this_, _| Ok(this::<Container>(&this_)?.config.user.clone())),
    )
}

fn commands(ty: ObjectType) -> ObjectType {
    let keep = || {
        Arg::new("keepDefaultArgs", "Boolean!")
            .doc("Keep the default arguments, which belong to the old entrypoint.")
            .default(false)
    };
    ty.field(
        Field::new("withEntrypoint", "Container!")
            .doc("This container with an entrypoint.")
            .arg(Arg::new("args", "[String!]!").doc("The command (e.g. [\"go\", \"run\"])."))
            .arg(keep())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let (entrypoint, keep) = (args.strings("args")?, args.bool("keepDefaultArgs")?);
                    Ok(c.configure(|config| {
                        config.entrypoint = entrypoint;
                        if !keep {
                            config.cmd.clear();
                        }
                    }))
                })
            }),
    )
    .field(
        Field::new("withoutEntrypoint", "Container!")
            .doc("This container without an entrypoint.")
            .arg(keep())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let keep = args.bool("keepDefaultArgs")?;
                    Ok(c.configure(|config| {
                        config.entrypoint.clear();
                        if !keep {
                            config.cmd.clear();
                        }
                    }))
                })
            }),
    )
    .field(
        Field::new("entrypoint", "[String!]!")
            .doc("The entrypoint.")
            .resolve(async |_, this_, _| Ok(this::<Container>(&this_)?.config.entrypoint.clone())),
    )
    .field(
        Field::new("withDefaultArgs", "Container!")
            .doc("This container with default arguments.")
            .arg(Arg::new("args", "[String!]!").doc("The arguments (e.g. [\"-v\"])."))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let cmd = args.strings("args")?;
                    Ok(c.configure(|config| config.cmd = cmd))
                })
            }),
    )
    .field(
        Field::new("withoutDefaultArgs", "Container!")
            .doc("This container without default arguments.")
            .resolve(async |cx, this_, _| {
                change(
                    &cx,
                    &this_,
                    |c| Ok(c.configure(|config| config.cmd.clear())),
                )
            }),
    )
    .field(
        Field::new("defaultArgs", "[String!]!")
            .doc("The default arguments.")
            .resolve(async |_, this_, _| Ok(this::<Container>(&this_)?.config.cmd.clone())),
    )
}

fn labels(ty: ObjectType) -> ObjectType {
    let name = || Arg::new("name", "String!").doc("The label's name.");
    ty.field(
        Field::new("withLabel", "Container!")
            .doc("This container with a label.")
            .arg(name())
            .arg(Arg::new("value", "String!").doc("Its value."))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let (name, value) = (args.str("name")?, args.str("value")?);
                    Ok(c.configure(|config| {
                        config.labels.insert(name.to_owned(), value.to_owned());
                    }))
                })
            }),
    )
    .field(
        Field::new("withoutLabel", "Container!")
            .doc("This container without a label.")
            .arg(name())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let name = args.str("name")?;
                    Ok(c.configure(|config| {
                        config.labels.remove(name);
                    }))
                })
            }),
    )
    .field(
        Field::new("label", "String")
            .doc("The value of a label.")
            .arg(name())
            .resolve(async |_, this_, args| {
                let container = this::<Container>(&this_)?;
                Ok(container.config.labels.get(args.str("name")?).cloned())
            }),
    )
    .field(
        Field::new("labels", "[Label!]!")
            .doc("All labels.")
            .resolve(async |cx, this_, _| {
                let container = this::<Container>(&this_)?;
                let pairs = container
                    .config
                    .labels
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()));
                records(&cx, "Label", pairs)
            }),
    )
}

fn ports(ty: ObjectType) -> ObjectType {
    let port = || Arg::new("port", "Int!").doc("The port's number (e.g. 8080).");
    let protocol = || {
        Arg::new("protocol", "NetworkProtocol!")
            .doc("Its protocol.")
            .default(Literal::enumeration("TCP"))
    };
    ty.field(
        Field::new("withExposedPort", "Container!")
            .doc("This container with a port it listens on.")
            .arg(port())
            .arg(protocol())
            .arg(Arg::new("description", "String").doc("What it is for."))
            .arg(
                Arg::new("experimentalSkipHealthcheck", "Boolean!")
                    .doc("Do not check that something listens.")
                    .default(false),
            )
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let port = Port {
                        port: port_number(args.int("port")?)?,
                        protocol: protocol_name(args.str("protocol")?),
                        description: args.str_opt("description")?.map(str::to_owned),
                        skip_healthcheck: args.bool("experimentalSkipHealthcheck")?,
                    };
                    Ok(with_port(c, port))
                })
            }),
    )
    .field(
        Field::new("withoutExposedPort", "Container!")
            .doc("This container without a port.")
            .arg(port())
            .arg(protocol())
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, |c| {
                    let number = port_number(args.int("port")?)?;
                    Ok(without_port(
                        c,
                        number,
                        protocol_name(args.str("protocol")?),
                    ))
                })
            }),
    )
    .field(
        Field::new("exposedPorts", "[Port!]!")
            .doc("The ports it listens on.")
            .resolve(async |cx, this_, _| {
                let container = this::<Container>(&this_)?;
                cx.objects(listed_ports(&container))
            }),
    )
}

fn port_number(port: i64) -> Result<u16, Error> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Error::input(format!("port {port} is not between 1 and 65535")))
}

fn protocol_name(name: &str) -> &'static str {
    if name == "UDP" { "UDP" } else { "TCP" }
}

fn config_port(port: u16, protocol: &str) -> String {
    format!("{port}/{}", protocol.to_lowercase())
}

fn without_port(c: &Container, number: u16, protocol: &'static str) -> Container {
    let mut next = c.configure(|config| {
        config.exposed_ports.remove(&config_port(number, protocol));
    });
    let other = |p: &&Port| (p.port, p.protocol) != (number, protocol);
    next.ports = c.ports.iter().filter(other).cloned().collect();
    next
}

fn with_port(c: &Container, port: Port) -> Container {
    let mut next = without_port(c, port.port, port.protocol).configure(|config| {
        config
            .exposed_ports
            .insert(config_port(port.port, port.protocol));
    });
    let mut ports = next.ports.to_vec();
    ports.push(port);
    next.ports = ports.into();
    next
}

/// Ports of the image config, with what calls said about them.
fn listed_ports(c: &Container) -> Vec<Port> {
    let known = |text: &str| -> Option<Port> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol_name(&protocol.to_uppercase());
        let number = number.parse().ok()?;
        let said = c
            .ports
            .iter()
            .find(|p| (p.port, p.protocol) == (number, protocol));
        Some(said.cloned().unwrap_or(Port {
            port: number,
            protocol,
            description: None,
            skip_healthcheck: false,
        }))
    };
    c.config
        .exposed_ports
        .iter()
        .filter_map(|text| known(text))
        .collect()
}
