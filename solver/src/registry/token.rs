//! From a 401 to a header that lets us in.
//!
//! | challenge | credentials | what is sent |
//! |---|---|---|
//! | `Basic` | user and password | these, to the registry |
//! | `Bearer realm, service, scope` | user and password | GET realm with Basic; then its token |
//! | the same | identity token | POST realm as OAuth2 `refresh_token`; then its token |
//! | the same | none | GET realm; then its token, of an anonymous user |

use ::http::header::WWW_AUTHENTICATE;
use ::http::{HeaderMap, Method, StatusCode};
use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::http::{self, Outgoing, scheme_of};
use super::{ANSWER_BYTES_MAX, Error, Repository};
use crate::backend::session::Credentials;

/// Longest challenge that is looked at, in bytes.
const CHALLENGE_BYTES_MAX: usize = 8 << 10;

/// Names us to token servers.
const CLIENT_ID: &str = "dagop";

/// A `Bearer` challenge.
#[derive(Debug, PartialEq, Eq)]
struct Bearer {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer(Bearer),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Repository {
    /// The header that a challenge asks for; none if it takes credentials that nobody has.
    pub(super) async fn authorize(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<SecretString>, Error> {
        let Some(challenge) = challenge(headers) else {
            return Err(self.denied("it names no way to authenticate that is known here"));
        };
        let credentials = self.auth.credentials(&self.registry).await;
        let credentials = credentials.map_err(|reason| self.denied(&reason))?;
        match (challenge, credentials) {
            (Challenge::Basic, Some(own)) if !own.username.is_empty() => Ok(Some(basic(&own))),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer(bearer), own) => self.token(bearer, own.as_ref()).await.map(Some),
        }
    }

    /// A bearer token for pulling, as the header that carries it.
    async fn token(
        &self,
        bearer: Bearer,
        credentials: Option<&Credentials>,
    ) -> Result<SecretString, Error> {
        if credentials.is_some() && self.is_encrypted() && scheme_of(&bearer.realm) != Some("https")
        {
            return Err(self.denied("its token server would be sent credentials without TLS"));
        }
        let scope = bearer.scope;
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(
            bearer
                .service
                .as_deref()
                .map(|service| ("service", service)),
        );
        let identity = credentials.filter(|own| own.username.is_empty());
        let (method, url, form, authorization) = match identity {
            Some(identity) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", CLIENT_ID),
                    ("refresh_token", identity.secret.expose_secret()),
                ]);
                let form = SecretString::from(encoded(&fields));
                (Method::POST, bearer.realm, Some(form), None)
            }
            None => {
                let join = if bearer.realm.contains('?') { '&' } else { '?' };
                let url = format!("{}{join}{}", bearer.realm, encoded(&fields));
                (Method::GET, url, None, credentials.map(basic))
            }
        };
        let outgoing = Outgoing {
            method: &method,
            url: &url,
            accept: "application/json",
            authorization: authorization.as_ref(),
            form: form.as_ref(),
        };
        let response = self.connections.send(&self.registry, &outgoing).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let with = match credentials {
                Some(_) => "refuses these credentials",
                None => "gives no token without credentials",
            };
            let status = status.as_u16();
            return Err(self.denied(&format!("its token server {with} ({status})")));
        }
        let unusable = |reason: String| self.malformed("the token server's answer", reason);
        let body = http::body(response, ANSWER_BYTES_MAX).await;
        // What the parser says could quote the token.
        let answer = serde_json::from_slice::<Answer>(&body.map_err(&unusable)?);
        let answer = answer.map_err(|_| unusable("it is no JSON object".to_owned()))?;
        let token = match answer.token.is_empty() {
            true => answer.access_token,
            false => answer.token,
        };
        if token.is_empty() {
            return Err(unusable("it has no token".to_owned()));
        }
        Ok(format!("Bearer {token}").into())
    }

    fn is_encrypted(&self) -> bool {
        self.base.starts_with("https://")
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(fields).finish()
}

fn basic(credentials: &Credentials) -> SecretString {
    let pair = format!(
        "{}:{}",
        credentials.username,
        credentials.secret.expose_secret()
    );
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}").into()
}

/// The challenge to answer: a bearer token where the registry gives one.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().unwrap_or_default();
        if text.len() > CHALLENGE_BYTES_MAX {
            continue;
        }
        for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
            let value = |name: &str| {
                let params = challenge.params.iter();
                let mut named = params.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                named.next().map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = value("realm")?;
                return Some(Challenge::Bearer(Bearer {
                    realm,
                    service: value("service"),
                    scope: value("scope"),
                }));
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = r#"Bearer realm="https://a/token",service="reg",scope="repository:x:pull""#;
        let expected = Challenge::Bearer(Bearer {
            realm: "https://a/token".into(),
            service: Some("reg".into()),
            scope: Some("repository:x:pull".into()),
        });
        let basic = r#"Basic realm="reg""#;
        assert_eq!(read(&[basic, bearer]).as_ref(), Some(&expected));
        assert_eq!(read(&[&format!("{basic}, {bearer}")]), Some(expected));
        assert_eq!(read(&[basic]), Some(Challenge::Basic));
        assert_eq!(read(&["Negotiate"]), None);
        assert_eq!(read(&["Bearer service=\"reg\""]), None);
        assert_eq!(read(&[]), None);
    }
}
