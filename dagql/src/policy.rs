//! Who shares a result, and for how long: cache policies, and the scope they record in a call.
//!
//! A policy never overwrites a digest. It adds [`ImplicitInput`]s to the call: named texts such as
//! `client=3f…` that are part of the ID and therefore of the key, and that anyone can read back.
//! Loading an ID uses the inputs it carries and asks no policy again.
//!
//! Besides the field's own policy, any field of a query may carry
//! `@cache(scope: CLIENT | SESSION | CALL, ttl: "1h", key: "text")`, which adds inputs to that one
//! call; where both name the same input, the directive wins.
//!
//! | policy | recorded input |
//! |---|---|
//! | Default, Never | none |
//! | PerClient, PerSession, PerSchema | `client`, `session`, `schema` |
//! | PerCall | `call` = random text |
//! | Ttl | `ttl` = seconds |
//! | AsRequested | `call` if the argument is true, else `client` |
//! | Custom | what the hook says |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Args, Error, FieldDef, ImplicitInput, Object, Scope, Session};

/// Shortest time to live; anything below is refused.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// Longest time to live, as Dagger's: seven days.
pub const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest `key` text of the `@cache` directive, in bytes.
pub const SCOPE_KEY_BYTES_MAX: usize = 1024;

/// Computes the implicit inputs of a call from its receiver and arguments.
pub type ScopeHook =
    Arc<dyn Fn(&Session, &Object, &Args) -> Result<Vec<ImplicitInput>, Error> + Send + Sync>;

/// How the results of a field are cached.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum CachePolicy {
    /// By the call alone: every session shares the result.
    #[default]
    Default,
    /// Shared by the calls of one client.
    PerClient,
    /// Shared by the calls of one session.
    PerSession,
    /// Runs at every call; the result can be loaded by its ID afterwards.
    PerCall,
    /// Shared while the schema is the same.
    PerSchema,
    /// Per call when the named Boolean argument (Dagger's `noCache`) is true, else per client.
    AsRequested(&'static str),
    /// Shared by everybody until the duration has passed; survives a restart of the engine.
    Ttl(Duration),
    /// The inputs that a hook computes.
    Custom(ScopeHook),
    /// Never stored and never shared, not even between simultaneous calls.
    Never,
}

impl fmt::Debug for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("Default"),
            Self::PerClient => f.write_str("PerClient"),
            Self::PerSession => f.write_str("PerSession"),
            Self::PerCall => f.write_str("PerCall"),
            Self::PerSchema => f.write_str("PerSchema"),
            Self::AsRequested(arg) => write!(f, "AsRequested({arg})"),
            Self::Ttl(ttl) => write!(f, "Ttl({ttl:?})"),
            Self::Custom(_) => f.write_str("Custom"),
            Self::Never => f.write_str("Never"),
        }
    }
}

/// What `@cache` on one field of a query asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CacheDirective {
    pub(crate) scope: Option<Scope>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) key: Option<Arc<str>>,
}

/// The implicit inputs of a new call, from the field's policy and the query's directive.
pub(crate) fn implicit_inputs(
    session: &Session,
    field: &FieldDef,
    receiver: &Object,
    args: &Args,
    directive: Option<&CacheDirective>,
) -> Result<Vec<ImplicitInput>, Error> {
    let mut inputs = match &field.policy {
        CachePolicy::Default | CachePolicy::Never => Vec::new(),
        CachePolicy::PerClient => vec![scoped(session, Scope::Client)?],
        CachePolicy::PerSession => vec![scoped(session, Scope::Session)?],
        CachePolicy::PerCall => vec![scoped(session, Scope::Call)?],
        CachePolicy::PerSchema => vec![scoped(session, Scope::Schema)?],
        CachePolicy::AsRequested(name) if args.bool(name)? => vec![scoped(session, Scope::Call)?],
        CachePolicy::AsRequested(_) => vec![scoped(session, Scope::Client)?],
        CachePolicy::Ttl(ttl) => vec![ttl_input(*ttl)?],
        CachePolicy::Custom(hook) => hook(session, receiver, args)?,
    };
    if let Some(directive) = directive {
        if let Some(scope) = directive.scope {
            inputs.push(scoped(session, scope)?);
        }
        if let Some(ttl) = directive.ttl {
            inputs.push(ttl_input(ttl)?);
        }
        if let Some(key) = &directive.key {
            inputs.push(ImplicitInput::scoped(Scope::Key, Arc::clone(key)));
        }
    }
    Ok(inputs)
}

/// The value that one of the common scopes has in this session.
fn scoped(session: &Session, scope: Scope) -> Result<ImplicitInput, Error> {
    let value: Arc<str> = match scope {
        Scope::Client => session.client_id().into(),
        Scope::Session => session.session_id().into(),
        Scope::Call => random_text()?,
        Scope::Schema => session.schema().digest().as_str().into(),
        Scope::Ttl | Scope::Key => {
            return Err(Error::internal(format!("{scope} is not a scope by itself")));
        }
    };
    if value.is_empty() {
        return Err(Error::internal(format!(
            "the call is cached per {scope}, but this session has no {scope} ID"
        )));
    }
    Ok(ImplicitInput::scoped(scope, value))
}

fn ttl_input(ttl: Duration) -> Result<ImplicitInput, Error> {
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(Error::input(format!(
            "a time to live must be between 1s and 168h, not {ttl:?}"
        )));
    }
    Ok(ImplicitInput::scoped(Scope::Ttl, ttl.as_secs().to_string()))
}

/// The time to live that a call's recorded inputs ask for.
pub(crate) fn recorded_ttl(inputs: &[ImplicitInput]) -> Result<Option<Duration>, Error> {
    let Some(input) = inputs
        .iter()
        .find(|input| input.scope() == Some(Scope::Ttl))
    else {
        return Ok(None);
    };
    let ttl = input.value().parse().map(Duration::from_secs).ok();
    match ttl.filter(|ttl| (TTL_MIN..=TTL_MAX).contains(ttl)) {
        Some(ttl) => Ok(Some(ttl)),
        None => Err(Error::input(format!(
            "the ID asks for a time to live of `{}` seconds, which is not between 1 and 604800",
            input.value()
        ))),
    }
}

/// 128 random bits in hex: the value of `call` inputs and of storage keys that nothing repeats.
pub(crate) fn random_text() -> Result<Arc<str>, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
    Ok(hex::encode(bytes).into())
}

/// Parses `90s`, `15m`, `1h`, `7d` or a sum such as `1h30m`.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse_ttl(text: &str) -> Result<Duration, String> {
    let malformed =
        || format!("`{text}` is not a duration: write for example 90s, 15m, 1h30m or 7d");
    let mut seconds: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| malformed())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            _ => return Err(malformed()),
        };
        seconds = count
            .checked_mul(unit)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(malformed)?;
        rest = &rest[digits + 1..];
    }
    let ttl = Duration::from_secs(seconds);
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(format!("`{text}` is not between 1s and 7d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(parse_ttl("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_ttl("7d"), Ok(TTL_MAX));
        for bad in [
            "",
            "1",
            "h",
            "1h 30m",
            "1.5h",
            "99999999999999999999s",
            "-1h",
            "1w",
        ] {
            let error = parse_ttl(bad).expect_err(bad);
            assert!(error.contains("is not a duration"), "{bad}: {error}");
        }
        for out in ["0s", "8d"] {
            let error = parse_ttl(out).expect_err(out);
            assert!(error.contains("between"), "{out}: {error}");
        }
    }

    #[test]
    fn a_recorded_ttl_is_checked_because_ids_come_from_outside() {
        let input = |text: &str| [ImplicitInput::scoped(Scope::Ttl, text)];
        assert_eq!(
            recorded_ttl(&input("60")).expect("valid"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(recorded_ttl(&[]).expect("valid"), None);
        for bad in ["0", "604801", "x", "-1"] {
            assert!(recorded_ttl(&input(bad)).is_err(), "{bad}");
        }
    }
}
