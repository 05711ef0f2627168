//! Digests that tell whether two OAuth2 accounts would get the same token, or have the same grant.

use super::custom;
use super::redact::KnownSecrets;
use crate::config::model::{
    Assertion, ClientAuth, CustomGrant, CustomParams, CustomResponse, Grant, OAuth2, Param, PresentedToken,
    ProxyRules, SignedAssertion,
};
use crate::secret::{Secret, sha256};
use zeroize::Zeroizing;

/// A digest over every field that shapes the token, secrets included: as long as it stays the same, a reload keeps
/// the [`TokenSource`](super::TokenSource) and its token. Never show it: it would confirm a guessed secret.
pub fn identity(config: &OAuth2) -> [u8; 32] {
    let mut fields = IdentityFields(Zeroizing::new(Vec::with_capacity(512)));
    let OAuth2 {
        grant,
        token_url,
        client_id,
        client_auth,
        tls,
        proxy,
        scopes,
        scope_separator,
        bearer_token_type,
        token_params,
        token_headers,
        // These say what is done with the token, or with its refusal.
        header: _,
        prefix: _,
        default_lifetime: _,
        token_timeout: _,
        retry_on: _,
        login_required_on: _,
    } = config;
    fields.grant(grant);
    fields.push(token_url.as_str());
    fields.optional(client_id.as_deref());
    fields.client_auth(client_auth);
    fields.optional(tls.identity.as_ref().map(Secret::expose));
    let roots = tls.ca.as_ref().map_or(&[][..], |ca| &ca.certificates);
    fields.count(roots.len());
    for root in roots {
        fields.bytes(root);
    }
    // The client of a source has its proxy. A token that came another way is still good, and is inherited.
    fields.proxy(proxy.rules.as_deref());
    fields.count(scopes.len());
    for scope in scopes {
        fields.push(scope);
    }
    fields.push(bearer_token_type.as_str());
    fields.push(scope_separator);
    fields.params(token_params);
    fields.count(token_headers.len());
    for (name, value) in token_headers {
        fields.push(name.as_str());
        fields.bytes(value.as_bytes());
    }
    sha256(&fields.0)
}

/// Returns a digest of the fields that say which token is meant, whatever proves the client: processes that share a
/// store share a token if this is the same. Secrets that may rotate, time-outs and header names are not part of it.
pub(super) fn token_identity(config: &OAuth2) -> [u8; 32] {
    let mut fields = IdentityFields(Zeroizing::new(Vec::with_capacity(256)));
    fields.push("token");
    fields.push(config.grant.as_str());
    fields.push(config.token_url.as_str());
    fields.optional(config.client_id.as_deref());
    fields.count(config.scopes.len());
    config.scopes.iter().for_each(|scope| fields.push(scope));
    fields.push(config.bearer_token_type.as_str());
    fields.params(&config.token_params);
    fields.count(config.token_headers.len());
    for (name, value) in &config.token_headers {
        fields.push(name.as_str());
        fields.bytes(value.as_bytes());
    }
    if let Grant::Custom(custom) = &config.grant {
        fields.custom(custom);
    }
    sha256(&fields.0)
}

/// Returns a digest of the fields that prove to the endpoint who asks: grant, client and `token_url`. A refused password
/// is refused as long as this is the same, whatever else changes.
pub(super) fn proof_identity(config: &OAuth2) -> [u8; 32] {
    let mut fields = IdentityFields(Zeroizing::new(Vec::with_capacity(256)));
    fields.push("proof");
    fields.grant(&config.grant);
    fields.push(config.token_url.as_str());
    fields.optional(config.client_id.as_deref());
    fields.client_auth(&config.client_auth);
    sha256(&fields.0)
}

/// Returns the digest to which an account's refresh token is bound: one obtained for anything else is not this
/// account's. The client's secret is not part of it: it may rotate while the grant goes on.
pub(super) fn grant_identity(account: &str, config: &OAuth2) -> [u8; 32] {
    let mut fields = IdentityFields(Zeroizing::new(Vec::with_capacity(256)));
    fields.push("refresh token");
    // Two people may sign in to one client; a first token is one account's, whatever that is called.
    let account = if matches!(config.grant, Grant::RefreshToken { .. }) { "" } else { account };
    fields.push(account);
    fields.push(config.grant.as_str());
    fields.push(config.token_url.as_str());
    fields.optional(config.client_id.as_deref());
    match &config.grant {
        Grant::RefreshToken { refresh_token } => fields.push(refresh_token.expose()),
        // Other scopes need another consent; their order doesn't.
        _ => {
            let mut scopes: Vec<&str> = config.scopes.iter().map(String::as_str).collect();
            scopes.sort_unstable();
            scopes.dedup();
            fields.count(scopes.len());
            scopes.into_iter().for_each(|scope| fields.push(scope));
        }
    }
    sha256(&fields.0)
}

/// Each field after its length, so that no two lists of fields run together into the same bytes.
struct IdentityFields(Zeroizing<Vec<u8>>);

impl IdentityFields {
    fn push(&mut self, field: &str) {
        self.bytes(field.as_bytes());
    }

    fn bytes(&mut self, field: &[u8]) {
        self.count(field.len());
        self.0.extend_from_slice(field);
    }

    fn optional(&mut self, field: Option<&str>) {
        self.count(usize::from(field.is_some()));
        self.push(field.unwrap_or_default());
    }

    fn secrets(&mut self, secrets: &[Secret]) {
        self.count(secrets.len());
        for secret in secrets {
            self.push(secret.expose());
        }
    }

    fn proxy(&mut self, rules: Option<&ProxyRules>) {
        self.count(usize::from(rules.is_some()));
        let Some(ProxyRules { http, https, from_environment: _, no_proxy, unread: _ }) = rules else {
            return;
        };
        for proxy in [http, https] {
            self.optional(proxy.as_ref().map(|proxy| proxy.url.authority.as_str()));
            let value = proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref());
            self.bytes(value.map_or(&[], |value| value.as_bytes()));
        }
        self.push(&format!("{no_proxy:?}"));
    }

    fn params(&mut self, params: &[(String, Param)]) {
        self.count(params.len());
        for (name, value) in params {
            self.push(name);
            self.push(value.expose());
        }
    }

    fn grant(&mut self, grant: &Grant) {
        self.push(grant.as_str());
        match grant {
            Grant::ClientCredentials => {}
            Grant::Password { username, password } => {
                self.push(username.expose());
                self.push(password.expose());
            }
            Grant::RefreshToken { refresh_token } => self.push(refresh_token.expose()),
            // These settings are for `attache login` only and shape no token.
            Grant::AuthorizationCode { .. } | Grant::DeviceCode { .. } => {}
            Grant::JwtBearer(assertion) => self.assertion(assertion),
            Grant::TokenExchange { subject_token, subject_token_type, actor, requested_token_type } => {
                self.presented(subject_token);
                self.push(subject_token_type);
                self.count(usize::from(actor.is_some()));
                if let Some((token, kind)) = actor {
                    self.presented(token);
                    self.push(kind);
                }
                self.optional(requested_token_type.as_deref());
            }
            Grant::Custom(custom) => self.custom(custom),
        }
    }

    fn custom(&mut self, custom: &CustomGrant) {
        let CustomGrant { method, params, headers, assertion, response } = custom;
        self.push(method.as_str());
        match params {
            CustomParams::Query(params) | CustomParams::Form(params) => {
                self.push(if matches!(custom.params, CustomParams::Query(_)) { "query" } else { "form" });
                self.params(params);
            }
            CustomParams::Json(params) => {
                self.push("json");
                self.push(&custom::json(params, &mut KnownSecrets::default()));
            }
        }
        self.count(headers.len());
        for (name, value) in headers {
            self.push(name.as_str());
            self.bytes(value.as_bytes());
        }
        self.count(usize::from(assertion.is_some()));
        assertion.iter().for_each(|assertion| self.assertion(assertion));
        let CustomResponse { token, expires_in, expires_at, error } = response;
        self.push(token);
        self.push(expires_in);
        self.optional(expires_at.as_deref());
        self.push(error);
    }

    fn client_auth(&mut self, auth: &ClientAuth) {
        self.push(match auth {
            ClientAuth::None => "none",
            ClientAuth::Basic(_) => "basic",
            ClientAuth::BasicRaw(_) => "basic_raw",
            ClientAuth::Post(_) => "post",
            ClientAuth::ClientSecretJwt { .. } => "client_secret_jwt",
            ClientAuth::PrivateKeyJwt(_) => "private_key_jwt",
        });
        self.secrets(auth.secrets());
        match auth {
            ClientAuth::ClientSecretJwt { audience, .. } => self.push(audience),
            ClientAuth::PrivateKeyJwt(assertion) => self.assertion(assertion),
            ClientAuth::None | ClientAuth::Basic(_) | ClientAuth::BasicRaw(_) | ClientAuth::Post(_) => {}
        }
    }

    fn presented(&mut self, token: &PresentedToken) {
        match token {
            PresentedToken::Fixed(secret) => {
                self.push("fixed");
                self.push(secret.expose());
            }
            PresentedToken::File(path) => {
                self.push("file");
                self.bytes(path.as_os_str().as_encoded_bytes());
            }
        }
    }

    fn assertion(&mut self, assertion: &Assertion) {
        match assertion {
            Assertion::Presented(token) => self.presented(token),
            Assertion::Signed(signed) => {
                let SignedAssertion {
                    key,
                    key_id,
                    certificate_sha256,
                    issuer,
                    subject,
                    audience,
                    lifetime,
                    claims,
                    scope_claim,
                } = &**signed;
                self.push("signed");
                self.push(key.algorithm().as_str());
                self.bytes(&key.digest());
                self.optional(key_id.as_deref());
                self.bytes(certificate_sha256.as_ref().map_or(&[][..], |digest| digest));
                self.optional(issuer.as_deref());
                self.optional(subject.as_deref());
                self.optional(audience.as_deref());
                self.bytes(&lifetime.as_nanos().to_le_bytes());
                self.count(claims.len());
                for (name, value) in claims {
                    self.push(name);
                    self.push(&value.to_string());
                }
                self.count(usize::from(*scope_claim));
            }
        }
    }

    fn count(&mut self, n: usize) {
        self.0.extend_from_slice(&(n as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;
    use crate::config::model::{BearerTokenType, CaBundle, JsonParam};
    use crate::header_name::FieldName;
    use http::{HeaderValue, Method};

    #[test]
    fn how_a_token_is_sent_and_waited_for_is_no_part_of_it() {
        let mut config = stub::config("https://idp.example/token");
        let before = identity(&config);
        config.header = FieldName::from_static("X-Token");
        config.prefix = String::new();
        config.default_lifetime *= 2;
        config.token_timeout *= 2;
        assert_eq!(identity(&config), before);
    }

    #[test]
    fn processes_share_a_token_though_a_secret_rotates() {
        let config = stub::config("https://idp.example/token");
        let same: [fn(&mut OAuth2); 3] = [
            |c| c.client_auth = ClientAuth::Post(vec![Secret::new("rotated")]),
            |c| c.prefix = String::new(),
            |c| c.token_timeout *= 2,
        ];
        let other: [fn(&mut OAuth2); 5] = [
            |c| c.token_url.set_path("/other"),
            |c| c.client_id = None,
            |c| c.scopes = vec!["a".into()],
            |c| c.token_params = vec![("audience".into(), "b".into())],
            |c| c.bearer_token_type = BearerTokenType::IdToken,
        ];
        let changed = |change: fn(&mut OAuth2)| {
            let mut config = config.clone();
            change(&mut config);
            token_identity(&config)
        };
        assert!(same.into_iter().all(|change| changed(change) == token_identity(&config)));
        assert!(other.into_iter().all(|change| changed(change) != token_identity(&config)));
    }

    #[test]
    fn every_field_counts() {
        let password = |username: &str, password: &str| Grant::Password {
            username: Secret::new(username),
            password: Secret::new(password),
        };
        let signed = |change: fn(&mut SignedAssertion)| {
            let mut assertion = stub::signed_assertion();
            change(&mut assertion);
            Assertion::Signed(Box::new(assertion))
        };
        let custom = |change: fn(&mut CustomGrant)| {
            let mut grant = CustomGrant {
                method: Method::POST,
                params: CustomParams::Form(Vec::new()),
                headers: Vec::new(),
                assertion: None,
                response: CustomResponse::default(),
            };
            change(&mut grant);
            Grant::Custom(Box::new(grant))
        };
        let exchange = |subject: PresentedToken| Grant::TokenExchange {
            subject_token: subject,
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
            actor: None,
            requested_token_type: None,
        };
        let changes: [&dyn Fn(&mut OAuth2); 48] = [
            &|_| (),
            &|c| c.grant = password("a", "bc"),
            &|c| c.grant = password("ab", "c"),
            &|c| c.grant = Grant::RefreshToken { refresh_token: Secret::new("a") },
            &|c| c.grant = Grant::RefreshToken { refresh_token: Secret::new("b") },
            &|c| c.grant = exchange(PresentedToken::Fixed(Secret::new("/a"))),
            &|c| c.grant = exchange(PresentedToken::File("/a".into())),
            &|c| c.grant = Grant::JwtBearer(signed(|_| ())),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.key_id = Some("1".into()))),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.certificate_sha256 = Some([1; 32]))),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.issuer = None)),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.subject = Some("x".into()))),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.audience = None)),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.lifetime *= 2)),
            &|c| c.grant = Grant::JwtBearer(signed(|a| drop(a.claims.insert("a".into(), 7.into())))),
            &|c| c.grant = Grant::JwtBearer(signed(|a| drop(a.claims.insert("a".into(), "7".into())))),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.scope_claim = true)),
            &|c| c.grant = Grant::JwtBearer(signed(|a| a.key = stub::other_signing_key())),
            &|c| c.grant = custom(|_| ()),
            &|c| c.grant = custom(|g| g.method = Method::GET),
            &|c| c.grant = custom(|g| g.params = CustomParams::Query(Vec::new())),
            &|c| c.grant = custom(|g| g.params = CustomParams::Json(Vec::new())),
            &|c| {
                c.grant =
                    custom(|g| g.params = CustomParams::Json(vec![("a".into(), JsonParam::Value(1.into()))]))
            },
            &|c| c.grant = custom(|g| g.params = CustomParams::Form(vec![("a".into(), "b".into())])),
            &|c| {
                c.grant = custom(|g| {
                    g.headers = vec![(FieldName::from_static("X"), HeaderValue::from_static("y"))];
                });
            },
            &|c| c.grant = custom(|g| g.response.token.push('x')),
            &|c| c.grant = custom(|g| g.response.expires_in.push('x')),
            &|c| c.grant = custom(|g| g.response.expires_at = Some("/x".into())),
            &|c| c.grant = custom(|g| g.response.error.push('x')),
            &|c| c.token_url.set_path("/other"),
            &|c| c.client_id = Some("other".into()),
            &|c| c.client_id = None,
            &|c| c.client_auth = ClientAuth::Basic(vec![Secret::new("rotated")]),
            &|c| c.client_auth = ClientAuth::Basic(vec![Secret::new("rotated"), Secret::new("old")]),
            &|c| c.client_auth = ClientAuth::BasicRaw(vec![Secret::new("client-s3cret")]),
            &|c| c.client_auth = ClientAuth::Post(vec![Secret::new("client-s3cret")]),
            &|c| c.client_auth = ClientAuth::PrivateKeyJwt(signed(|_| ())),
            &|c| c.client_auth = ClientAuth::None,
            &|c| c.tls.identity = Some(Secret::new("certificate")),
            &|c| c.tls.ca = Some(CaBundle { path: "a".into(), certificates: vec![vec![1]] }),
            &|c| c.scopes = vec!["a".into(), "b".into()],
            &|c| c.scopes = vec!["ab".into()],
            &|c| c.scope_separator = ",".into(),
            &|c| c.token_params = vec![("a".into(), Secret::new("c").into())],
            &|c| c.bearer_token_type = BearerTokenType::IdToken,
            &|c| c.token_params = vec![("a".into(), "b".into())],
            &|c| c.token_params = vec![("a".into(), "b".into()), ("a".into(), "b".into())],
            &|c| c.token_headers = vec![(FieldName::from_static("x"), HeaderValue::from_static("y"))],
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
