//! Requests that the providers' own libraries signed, read from their files.

use super::keys::OTHER_KEYS;
use crate::secret::Secret;
use crate::signature::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use serde_json::Value;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// A request that another program signed.
#[derive(Clone)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) scheme: Scheme,
    pub(super) webhook_id: Option<String>,
    pub(super) secrets: Vec<Secret>,
    pub(super) method: String,
    pub(super) public_url: String,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) at: SystemTime,
}

pub(super) fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder).expect("the vectors") {
        let path = file.expect("a file").path();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        let vectors = file["vectors"].as_array().expect("vectors");
        all.extend(vectors.iter().map(|vector| read(&path.display().to_string(), vector)));
    }
    assert!(all.len() >= 120, "{} vectors", all.len());
    let (of_x, all): (Vec<Vector>, Vec<Vector>) = all.into_iter().partition(Vector::is_of_x);
    assert!(of_x.len() == 4 && of_x.iter().all(|vector| matches!(vector.verify(), Err(Fault::Content(_)))));
    all
}

fn read(file: &str, vector: &Value) -> Vector {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let decode = |value: &Value| BASE64_STANDARD.decode(text(value)).expect("base64");
    let (scheme, body) = (text(&vector["scheme"]), &vector["body"]);
    let url = text(&vector["url"]);
    let (origin, target) = url.split_at(8 + url[8..].find('/').expect("a path"));
    let mut headers = HeaderMap::new();
    for header in vector["headers"].as_array().expect("headers") {
        headers.append(
            text(&header[0]).parse::<HeaderName>().expect("a name"),
            HeaderValue::from_str(&text(&header[1])).expect("a value"),
        );
    }
    Vector {
        name: format!("{file}: {scheme} {}", text(&vector["name"])),
        scheme: Scheme::by_name(&scheme).unwrap_or_else(|| custom(&vector["verify"])),
        webhook_id: vector["webhook_id"].as_str().map(str::to_owned),
        secrets: vector["secrets"]
            .as_array()
            .expect("secrets")
            .iter()
            .map(|s| Secret::new(text(s)))
            .collect(),
        method: text(&vector["method"]),
        public_url: origin.to_owned(),
        target: target.to_owned(),
        headers,
        body: match body.get("repeat_base64") {
            Some(part) => decode(part).repeat(body["times"].as_u64().expect("times") as usize),
            None => decode(&body["base64"]),
        },
        at: UNIX_EPOCH + Duration::from_secs(vector["at"].as_u64().expect("a time")),
    }
}

/// Returns an HMAC with these options, which are those of the file.
pub(super) fn custom(options: &Value) -> Scheme {
    let text = |key: &str| options[key].as_str();
    let of = |key: &str| text(key).and_then(|name| name.parse().ok()).map(Field::Header);
    let algorithm = Algorithm::ALL.iter().find(|(name, _)| Some(*name) == text("algorithm"));
    let encoding = Encoding::ALL.iter().find(|(name, _)| Some(*name) == text("encoding"));
    let header = text("header").expect("a header").parse().expect("a name");
    let form = Form::Prefixed(text("prefix").unwrap_or_default().to_owned().into());
    Scheme::Custom(Box::new(Parts {
        place: Place {
            signature: SignatureAt::Headers(vec![header], form),
            encoding: encoding.map_or(Encoding::Hex, |(_, found)| *found),
            time: of("timestamp_header").map(|field| (field, TimeFormat::Seconds)),
            id: of("id_header"),
            require: Vec::new(),
        },
        secret: SecretEncoding::Raw,
        signed: Template::parse(text("signed").unwrap_or("{body}"), TimeFormat::Seconds).expect("a template"),
        algorithm: algorithm.map_or(Algorithm::Sha256, |(_, found)| *found),
    }))
}

impl Vector {
    pub(super) fn verifier(&self) -> Verifier {
        let verifier = Verifier::new(self.scheme.clone(), &self.secrets, self.scheme.default_tolerance());
        let verifier = verifier.unwrap_or_else(|fault| panic!("{}: {fault:?}", self.name));
        verifier.with_webhook_id(self.webhook_id.as_deref().unwrap_or_default())
    }

    pub(super) fn delivery(&self) -> Delivery<'_> {
        Delivery {
            method: &self.method,
            target: self.target.as_bytes(),
            public_url: Some(&self.public_url),
            headers: &self.headers,
            body: &self.body,
        }
    }

    pub(super) fn verify_at(&self, now: SystemTime) -> Result<Signed, Fault> {
        self.verifier().verify_at(&self.delivery(), now, &mut Trace::off())
    }

    /// Returns true for a text that X would sign only as a challenge: its deliveries are JSON objects.
    pub(super) fn is_of_x(&self) -> bool {
        self.scheme == Scheme::X && !self.body.starts_with(b"{")
    }

    pub(super) fn verify(&self) -> Result<Signed, Fault> {
        self.verify_at(self.at)
    }

    /// Returns the same with a change.
    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// Returns the headers that the signature needs: of several ways to sign, those of the one that was sent.
    pub(super) fn needed(&self) -> Vec<HeaderName> {
        let signature = |parts: &Parts| match &parts.place.signature {
            SignatureAt::Headers(names, _) => names.iter().any(|name| self.headers.contains_key(name)),
            SignatureAt::Member(_) => true,
        };
        let ways = self.scheme.ways();
        let sent = ways.iter().find(|parts| signature(parts)).expect("a signature");
        let needed: Vec<HeaderName> =
            sent.headers().filter(|name| self.headers.contains_key(*name)).cloned().collect();
        assert!(!needed.is_empty() || self.is_in_body(), "{}", self.name);
        needed
    }

    /// Returns true if the signature is in the body.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.scheme.ways()[0].place.signature, SignatureAt::Member(_))
    }

    /// Returns true if the scheme signs the URL.
    pub(super) fn signs_url(&self) -> bool {
        let sample = self.with(|v| v.target.push('x'));
        sample.verify().is_err()
    }

    /// Returns true if parts of the body are not signed.
    pub(super) fn is_partial(&self) -> bool {
        self.scheme.ways().iter().any(|parts| !parts.signed.covers_body())
    }

    /// Returns true if a part of the body may change unseen. PayPal's CRC-32 sees an accident.
    pub(super) fn has_unsigned_body(&self) -> bool {
        self.is_partial() && self.scheme != Scheme::Paypal
    }

    /// Returns true if the call holds the secret itself, and signs nothing.
    pub(super) fn is_token(&self) -> bool {
        self.headers.contains_key("x-gitlab-token")
            || self.scheme.ways().iter().all(|parts| parts.algorithm == Algorithm::Token)
    }
}

/// Returns a secret of the same kind that signed nothing.
pub(super) fn another(secret: &Secret) -> Secret {
    let text = secret.expose();
    // Another public key, of the same kind.
    for (own, other) in OTHER_KEYS {
        if text == own {
            return Secret::new(other);
        }
    }
    Secret::new(match text {
        _ if text.starts_with("whpk_") => format!("whpk_{}", BASE64_STANDARD.encode([7; 32])),
        _ if text.starts_with("v1,whsec_") => format!("v1,whsec_{}", BASE64_STANDARD.encode([7; 32])),
        _ if text.bytes().all(|b| b.is_ascii_hexdigit()) => "07".repeat(32),
        _ if text.starts_with("whsec_") => format!("whsec_{}", BASE64_STANDARD.encode([7; 32])),
        _ => BASE64_STANDARD.encode(format!("another than {}", text.len())),
    })
}
