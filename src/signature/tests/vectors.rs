//! Requests that the providers' own libraries signed, read from their files.

use crate::secret::Secret;
use crate::signature::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use serde_json::Value;
use std::path::Path;

/// A signed request that somebody else made.
#[derive(Clone)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) scheme: Scheme,
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
        scheme: Scheme::by_name(&scheme).unwrap_or_else(|| Scheme::Hmac(Box::new(recipe(&vector["verify"])))),
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

fn recipe(options: &Value) -> Recipe {
    let text = |key: &str| options[key].as_str();
    let of = |key: &str| text(key).and_then(|name| name.parse().ok());
    let known = |known: &[(&str, Algorithm)]| {
        known.iter().find(|(name, _)| Some(*name) == text("algorithm")).map(|(_, found)| *found)
    };
    let encoding = Encoding::ALL.iter().find(|(name, _)| Some(*name) == text("encoding"));
    Recipe {
        header: of("header").expect("a header"),
        form: Form::Prefixed(text("prefix").unwrap_or_default().to_owned().into()),
        algorithm: known(&Algorithm::ALL).expect("an algorithm"),
        encoding: encoding.expect("an encoding").1,
        timestamp: of("timestamp_header"),
        id: of("id_header"),
        signed: Template::parse(text("signed").unwrap_or("{body}")).expect("a template"),
    }
}

impl Vector {
    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(self.scheme.clone(), &self.secrets, Verifier::DEFAULT_TOLERANCE).expect("secrets")
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

    /// X sends JSON objects only, and what it signs otherwise is its challenge.
    pub(super) fn is_of_x(&self) -> bool {
        self.scheme == Scheme::X && !self.body.starts_with(b"{")
    }

    pub(super) fn verify(&self) -> Result<Signed, Fault> {
        self.verify_at(self.at)
    }

    /// The same with something changed.
    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// The headers that the signature needs.
    pub(super) fn needed(&self) -> Vec<HeaderName> {
        const PARTS: [&str; 6] = ["signature", "hmac", "timestamp", "gitlab-token", "svix-id", "webhook-id"];
        let needed: Vec<HeaderName> = self
            .headers
            .keys()
            .filter(|name| {
                PARTS.iter().any(|part| name.as_str().contains(part)) && *name != "x-shopify-webhook-id"
            })
            .cloned()
            .collect();
        assert!(!needed.is_empty(), "{}", self.name);
        needed
    }

    /// Signs nothing of the body: GitLab's token does not.
    pub(super) fn is_token(&self) -> bool {
        self.headers.contains_key("x-gitlab-token")
    }
}

/// A secret of the same kind that signed nothing.
pub(super) fn another(secret: &Secret) -> Secret {
    let text = secret.expose();
    Secret::new(match text {
        _ if text.starts_with("whpk_") => format!("whpk_{}", BASE64_STANDARD.encode([7; 32])),
        _ if text.starts_with("whsec_") => format!("whsec_{}", BASE64_STANDARD.encode([7; 32])),
        _ => BASE64_STANDARD.encode(format!("another than {}", text.len())),
    })
}
