//! Whether two OAuth2 accounts would get the same token.

use crate::config::model::{BearerTokenType, ClientAuth, Grant, OAuth2};
use crate::secret::sha256;
use zeroize::Zeroizing;

/// A digest over every field that shapes the token, secrets included: as long as it stays the same, a reload keeps
/// the [`TokenSource`](super::TokenSource) and its token. Never show it: it would confirm a guessed secret.
pub fn identity(config: &OAuth2) -> [u8; 32] {
    let mut fields = Fields(Zeroizing::new(Vec::with_capacity(512)));
    let OAuth2 {
        grant,
        token_url,
        client_id,
        client_secret,
        client_auth,
        scopes,
        bearer_token_type,
        token_params,
    } = config;
    match grant {
        Grant::ClientCredentials => fields.push("client_credentials"),
        Grant::Password { username, password } => {
            fields.push("password");
            fields.push(username.expose());
            fields.push(password.expose());
        }
    }
    fields.push(token_url.as_str());
    fields.push(client_id);
    fields.push(client_secret.expose());
    fields.push(match client_auth {
        ClientAuth::Basic => "basic",
        ClientAuth::Post => "post",
    });
    fields.count(scopes.len());
    for scope in scopes {
        fields.push(scope);
    }
    fields.push(match bearer_token_type {
        BearerTokenType::AccessToken => "access_token",
        BearerTokenType::IdToken => "id_token",
    });
    fields.count(token_params.len());
    for (name, value) in token_params {
        fields.push(name);
        fields.push(value);
    }
    sha256(&fields.0)
}

/// Each field after its length, so that no two lists of fields run together into the same bytes.
struct Fields(Zeroizing<Vec<u8>>);

impl Fields {
    fn push(&mut self, field: &str) {
        self.count(field.len());
        self.0.extend_from_slice(field.as_bytes());
    }

    fn count(&mut self, n: usize) {
        self.0.extend_from_slice(&(n as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn every_field_counts() {
        let password = |username: &str, password: &str| Grant::Password {
            username: Secret::new(username),
            password: Secret::new(password),
        };
        let changes: [&dyn Fn(&mut OAuth2); 12] = [
            &|_| (),
            &|c| c.grant = password("a", "bc"),
            &|c| c.grant = password("ab", "c"),
            &|c| c.token_url.set_path("/other"),
            &|c| c.client_id.push('x'),
            &|c| c.client_secret = Secret::new("rotated"),
            &|c| c.client_auth = ClientAuth::Post,
            &|c| c.scopes = vec!["a".into(), "b".into()],
            &|c| c.scopes = vec!["ab".into()],
            &|c| c.bearer_token_type = BearerTokenType::IdToken,
            &|c| c.token_params = vec![("a".into(), "b".into())],
            &|c| c.token_params = vec![("a".into(), "b".into()), ("a".into(), "b".into())],
        ];
        let mut seen = std::collections::HashSet::new();
        for change in changes {
            let mut config = stub::config("http://127.0.0.1:1/token");
            change(&mut config);
            assert_eq!(identity(&config), identity(&config.clone()));
            assert!(seen.insert(identity(&config)));
        }
    }
}
