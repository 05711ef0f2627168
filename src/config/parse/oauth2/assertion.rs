//! Assertions: signed by attache with a key, or by another program.
//!
//! The key of a grant's assertion may be a Google service account's JSON, which contains values that otherwise have
//! their own keys. Values of the file take precedence over those of the JSON.

use super::grant::Account;
use super::key::{Material, ServiceAccount, cannot_sign, material};
use super::request;
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::{Assertion, SelfSigned, SignedAssertion};
use crate::config::parse::{optional, tls};
use crate::config::problem::Finding;
use crate::jwt::{Algorithm, SigningKey};
use crate::secret::sha256;
use serde_json::Value;
use std::time::Duration;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
    ("Ed25519", Algorithm::Ed25519),
];

/// Claims that attache sets itself.
const OURS: [&str; 7] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"];

/// Label and help for a further claim with one of these names.
const CLAIM: (&str, &str) =
    ("not a further claim", "set `issuer`, `subject`, `audience`, `lifetime` or `scopes` instead");

/// The token URL according to the key of an assertion.
pub(super) enum FromKey {
    /// The key has none: the file must set it.
    Nothing,
    /// The `token_uri` of a service account.
    TokenUrl(String),
    /// Unknown: the key was not read, or is invalid, which was reported.
    Unknown,
}

/// Reads `assertion`: the grant itself (RFC 7523 section 2.1).
pub(super) fn bearer(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    account: &Account<'_>,
) -> (Option<Assertion>, FromKey) {
    let Some(map) = decoder.mapping(at) else { return (None, FromKey::Unknown) };
    let key = match source(decoder, &map) {
        Some(Source::Key(key)) => key,
        Some(Source::Token(token)) => {
            return (decoder.presented(&token).map(Assertion::Presented), FromKey::Nothing);
        }
        None => return (None, FromKey::Unknown),
    };
    let material = material(decoder, &key, true);
    let from_key = match &material {
        Some(Material::Pem(_)) => FromKey::Nothing,
        Some(Material::ServiceAccount(ServiceAccount { token_uri: Some(uri), .. })) => {
            FromKey::TokenUrl(uri.clone())
        }
        Some(Material::ServiceAccount(_)) => FromKey::Nothing,
        Some(Material::Placeholder) | None => FromKey::Unknown,
    };
    let text = |key| map.get(key).map(|at| decoder.string(&at).map(str::to_owned));
    let (issuer, subject, audience) = (text("issuer"), text("subject"), text("audience"));
    let service_account = match &material {
        Some(Material::ServiceAccount(found)) => Some(found),
        _ => None,
    };
    let unread = matches!(material, Some(Material::Placeholder));
    let issuer = issuer.unwrap_or_else(|| match (service_account, account.client_id) {
        (Some(found), _) => Some(found.client_email.clone()),
        (None, Given::Value(client_id)) => Some(client_id.to_owned()),
        (None, Given::Invalid) => None,
        (None, Given::Absent) if unread => Some(String::new()),
        (None, Given::Absent) if account.nameless && material.is_some() => {
            let help = "the token endpoint identifies the key by it; or set the account's `client_id`";
            decoder.required_or(&map, "issuer", Some(help)).and(None)
        }
        (None, Given::Absent) => None,
    });
    let subject = subject.unwrap_or_else(|| issuer.clone());
    let audience = audience.unwrap_or_else(|| match (service_account, account.token_url) {
        (Some(ServiceAccount { token_uri: Some(uri), .. }), _) => Some(uri.clone()),
        (_, Given::Value(token_url)) => Some(token_url.to_owned()),
        (_, Given::Invalid) => None,
        // The token URL is missing.
        (_, Given::Absent) => unread.then(String::new),
    });
    let mut ours = OURS.to_vec();
    ours.extend(service_account.map(|_| "scope"));
    let claims = claims(decoder, &map, &ours);
    let scope_claim = service_account.is_some();
    let known_id = service_account.and_then(|found| found.private_key_id.clone());
    let signed = signed(decoder, &map, &key, material);
    let assertion = || {
        let signed = signed?;
        Some(SignedAssertion {
            key_id: signed.key_id.or(known_id),
            issuer: Some(issuer?),
            subject: Some(subject?),
            audience: Some(audience?),
            claims: claims?,
            scope_claim,
            key: signed.key,
            certificate_sha256: signed.certificate_sha256,
            lifetime: signed.lifetime,
        })
    };
    (assertion().map(|assertion| Assertion::Signed(Box::new(assertion))), from_key)
}

/// Reads `client_assertion`, which authenticates the client (RFC 7523 section 2.2): unless the file says otherwise, its
/// issuer and subject are the client, its audience the token endpoint.
pub(super) fn client(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    id: Option<&str>,
    token_url: Option<&str>,
) -> Option<Assertion> {
    let map = decoder.mapping(at)?;
    let key = match source(decoder, &map)? {
        Source::Key(key) => key,
        Source::Token(token) => return decoder.presented(&token).map(Assertion::Presented),
    };
    let material = material(decoder, &key, false);
    let text = |key, default| map.get(key).map_or(default, |at| decoder.string(&at)).map(str::to_owned);
    let (issuer, subject, audience) = (text("issuer", id), text("subject", id), text("audience", token_url));
    let claims = claims(decoder, &map, &OURS);
    let signed = signed(decoder, &map, &key, material)?;
    Some(Assertion::Signed(Box::new(SignedAssertion {
        key: signed.key,
        key_id: signed.key_id,
        certificate_sha256: signed.certificate_sha256,
        issuer: Some(issuer?),
        subject: Some(subject?),
        audience: Some(audience?),
        lifetime: signed.lifetime,
        claims: claims?,
        scope_claim: false,
    })))
}

fn claims(decoder: &Decoder<'_>, map: &Map<'_>, ours: &[&str]) -> Option<serde_json::Map<String, Value>> {
    map.get("claims")
        .map_or_else(|| Some(Default::default()), |at| request::claims(decoder, &at, ours, CLAIM))
}

/// Reads `jwt`: a token for the service itself.
pub(in crate::config::parse) fn jwt(decoder: &Decoder<'_>, at: &At<'_>) -> Option<SelfSigned> {
    let map = decoder.mapping(at)?;
    let (header, prefix) = (request::header(decoder, &map), request::prefix(decoder, &map));
    let key = decoder.required_or(&map, "key", Some("write `key: { file: PATH }`"))?;
    let assertion = without_defaults(decoder, &map, &key);
    Some(SelfSigned { assertion: assertion?, header: header?, prefix: prefix? })
}

/// Reads `assertion` of a custom grant: a token for the endpoint.
pub(super) fn bare(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Assertion> {
    let map = decoder.mapping(at)?;
    match source(decoder, &map)? {
        Source::Key(key) => {
            without_defaults(decoder, &map, &key).map(|signed| Assertion::Signed(Box::new(signed)))
        }
        Source::Token(token) => decoder.presented(&token).map(Assertion::Presented),
    }
}

/// Reads a token that has only the claims that the file sets.
fn without_defaults(decoder: &Decoder<'_>, map: &Map<'_>, key: &At<'_>) -> Option<SignedAssertion> {
    let material = material(decoder, key, false);
    let text = |key| optional(map.get(key), |at| decoder.string(at).map(str::to_owned)).checked();
    let (issuer, subject, audience) = (text("issuer"), text("subject"), text("audience"));
    let claims = claims(decoder, map, &OURS);
    let signed = signed(decoder, map, key, material)?;
    Some(SignedAssertion {
        key: signed.key,
        key_id: signed.key_id,
        certificate_sha256: signed.certificate_sha256,
        issuer: issuer.ok()?,
        subject: subject.ok()?,
        audience: audience.ok()?,
        lifetime: signed.lifetime,
        claims: claims?,
        scope_claim: false,
    })
}

/// Reads `client_assertion` if the client's secret signs.
pub(super) fn audience_only(decoder: &Decoder<'_>, at: &At<'_>) -> Option<String> {
    let map = decoder.mapping(at)?;
    for (_, at) in map.known_entries().filter(|(name, _)| *name != "audience") {
        let help = "remove it, or use `client_auth: private_key_jwt`";
        decoder.no_use(&at, "`client_auth: client_secret_jwt`", "the client's secret signs", help);
    }
    decoder.required(&map, "audience").and_then(|at| decoder.string(&at)).map(str::to_owned)
}

enum Source<'a> {
    Key(At<'a>),
    Token(At<'a>),
}

/// Reads exactly one of `key` and `token`; a token excludes the keys for signing one.
fn source<'a>(decoder: &Decoder<'_>, map: &Map<'a>) -> Option<Source<'a>> {
    match (map.get("key"), map.get("token")) {
        (Some(key), None) => Some(Source::Key(key)),
        (None, Some(token)) => {
            for (name, at) in map.known_entries().filter(|(name, _)| *name != "token") {
                let help = format!("remove `{name}`, or set a `key` to sign with");
                decoder.no_use(&at, "a `token`", "the token is signed by another program", &help);
            }
            Some(Source::Token(token))
        }
        (Some(_), Some(token)) => {
            let message = format!("{} has both `key` and `token`", map.at);
            let finding = Finding::error("conflicting_keys", decoder.key(&token), message);
            decoder.reject(finding.label("set only one of them"))
        }
        (None, None) => {
            let help = "give a `key` to sign with, or a `token` that another program signs";
            decoder.required_or(map, "key", Some(help)).and(None)
        }
    }
}

/// The keys that every signed token has.
struct Signed {
    key: SigningKey,
    key_id: Option<String>,
    certificate_sha256: Option<[u8; 32]>,
    lifetime: Duration,
}

fn signed(decoder: &Decoder<'_>, map: &Map<'_>, at: &At<'_>, material: Option<Material>) -> Option<Signed> {
    let algorithm = optional(map.get("algorithm"), |at| decoder.one_of(at, &ALGORITHMS));
    let key_id = optional(map.get("key_id"), |at| decoder.string(at).map(str::to_owned));
    let certificate = map.get("certificate").map(|at| (tls::certificate(decoder, &at), at));
    let lifetime = match map.get("lifetime") {
        Some(at) => lifetime(decoder, &at),
        None => Some(DEFAULT_LIFETIME),
    };
    let algorithm = algorithm.checked().ok()?;
    let pem = match material? {
        Material::Placeholder => None,
        Material::Pem(pem) => Some(pem),
        Material::ServiceAccount(found) => Some(found.private_key),
    };
    let key = match &pem {
        Some(pem) => SigningKey::from_pem(pem.expose(), algorithm),
        None => SigningKey::placeholder(),
    };
    let key = match key {
        Ok(key) => key,
        Err(error) => return decoder.reject(cannot_sign(at, error).finding(decoder.place(at))),
    };
    let certificate = match certificate {
        Some((found, certificate_at)) => {
            let found = found.checked().ok()?;
            if let (Some(der), Some(pem)) = (&found, &pem)
                && tls::is_of_another(der, pem.expose())
            {
                let message = format!("{certificate_at} is not the certificate of its key");
                let place = decoder.place(&certificate_at);
                let finding = Finding::error("invalid_certificate", place, message);
                return decoder.reject(
                    finding
                        .label("the first certificate in this file is of another key")
                        .secondary(decoder.place(at), "the key"),
                );
            }
            found
        }
        None => None,
    };
    Some(Signed {
        key,
        key_id: key_id.checked().ok()?,
        certificate_sha256: certificate.map(|der| sha256(&der)),
        lifetime: lifetime?,
    })
}

fn lifetime(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Duration> {
    let lifetime = decoder.duration(at, false)?;
    // Times in a token are whole seconds.
    if (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) {
        return Some(lifetime);
    }
    let finding = Finding::error("out_of_range", decoder.place(at), format!("{at} is out of range"));
    decoder.reject(finding.label("must be from `1s` to `1h`"))
}
