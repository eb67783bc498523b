//! `Debug` for the messages that carry plaintext: it shows sizes, never values, so that a message
//! in a log or an error cannot give a secret away.

use std::fmt;

use crate::{
    filesync::{CredentialsResponse, FetchTokenResponse},
    secrets::GetSecretResponse,
};

impl fmt::Debug for GetSecretResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetSecretResponse")
            .field("data.len", &self.data.len())
            .finish()
    }
}

impl fmt::Debug for CredentialsResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsResponse")
            .field("username.is_empty", &self.username.is_empty())
            .field("secret.is_empty", &self.secret.is_empty())
            .finish()
    }
}

impl fmt::Debug for FetchTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchTokenResponse")
            .field("token.is_empty", &self.token.is_empty())
            .field("expires_in", &self.expires_in)
            .field("issued_at", &self.issued_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_plaintext() {
        let secret = GetSecretResponse {
            data: "hunter2".into(),
        };
        let login = CredentialsResponse {
            username: "hunter2".into(),
            secret: "hunter2".into(),
        };
        let token = FetchTokenResponse {
            token: "hunter2".into(),
            expires_in: 60,
            issued_at: 0,
        };
        for text in [
            format!("{secret:?}"),
            format!("{login:?}"),
            format!("{token:?}"),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
