//! What the keys of one mapping have to do with each other, as far as draft-07 can say it.
//!
//! The readers check the same and more, with better messages. A rule must refuse nothing that a reader takes.

use super::Shape;
use serde_json::{Map, Value, json};

/// The grants of `oauth2`: the keys that each needs, and those that it may have besides. Under another grant both are
/// refused.
const GRANTS: [(&str, &[&str], &[&str]); 7] = [
    ("client_credentials", &[], &[]),
    ("password", &["username", "password"], &[]),
    ("refresh_token", &["refresh_token"], &[]),
    ("authorization_code", &["authorization_url"], &["redirect_url", "authorization_params"]),
    ("device_code", &["device_authorization_url"], &[]),
    ("jwt_bearer", &["assertion"], &[]),
    (
        "token_exchange",
        &["subject_token"],
        &["subject_token_type", "actor_token", "actor_token_type", "requested_token_type"],
    ),
];

/// The keys of `verify` that only `scheme: hmac` has.
const HMAC: [&str; 7] =
    ["header", "algorithm", "encoding", "prefix", "signed", "timestamp_header", "id_header"];

/// Returns the keywords for the object of `shape`.
pub(super) fn rules(shape: &'static Shape) -> Map<String, Value> {
    let rules = match shape.name {
        "secret" => exactly_one(shape.keys().map(|key| key.name).filter(|name| *name != "prefix")),
        "authorization" | "key_in" => json!({ "minProperties": 1, "maxProperties": 1 }),
        "api_key" => exactly_one(["sha256", "value"].into_iter()),
        "assertion" => exactly_one(["key", "token"].into_iter()),
        "client_assertion" => json!({ "not": { "required": ["key", "token"] } }),
        "service" => service(shape),
        "oauth2" => oauth2(),
        "oauth2.tls" => json!({
            "minProperties": 1,
            "dependencies": { "client_certificate": ["client_key"], "client_key": ["client_certificate"] },
        }),
        "verify" => verify(),
        _ => Value::Null,
    };
    match rules {
        Value::Object(rules) => rules,
        _ => Map::new(),
    }
}

fn exactly_one(names: impl Iterator<Item = &'static str>) -> Value {
    json!({ "oneOf": names.map(|name| json!({ "required": [name] })).collect::<Vec<_>>() })
}

fn service(shape: &'static Shape) -> Value {
    let mut dependencies = Map::new();
    // Settings of requests to the service mean nothing to a webhook.
    for key in shape.extends.into_iter().flat_map(Shape::keys) {
        dependencies.insert(key.name.to_owned(), json!(["server_url"]));
    }
    dependencies.insert("server_url".to_owned(), json!(["account"]));
    json!({
        "anyOf": [{ "required": ["server_url"] }, { "required": ["webhook"] }],
        "dependencies": dependencies,
    })
}

fn verify() -> Value {
    let mut rules = exactly_one(["secret", "secrets"].into_iter());
    rules["if"] = equals("scheme", "hmac");
    rules["then"] = json!({ "required": ["header"] });
    rules["else"] = json!({ "properties": refused(HMAC.into_iter()) });
    rules
}

fn oauth2() -> Value {
    let grants = GRANTS.iter().map(|(grant, needed, other)| {
        let mut required: Vec<&str> = needed.to_vec();
        // A service account brings its token URL, and an assertion or a token may be all that says who the client is.
        if *grant != "jwt_bearer" {
            required.push("token_url");
        }
        if !["jwt_bearer", "token_exchange"].contains(grant) {
            required.push("client_id");
        }
        json!({
            "if": equals("grant", grant),
            "then": { "required": required },
            "else": { "properties": refused(needed.iter().chain(*other).copied()) },
        })
    });
    json!({ "allOf": grants.collect::<Vec<_>>() })
}

/// True where the key has this value.
fn equals(key: &str, value: &str) -> Value {
    json!({ "properties": { key: { "const": value } }, "required": [key] })
}

fn refused(names: impl Iterator<Item = &'static str>) -> Map<String, Value> {
    names.map(|name| (name.to_owned(), Value::Bool(false))).collect()
}
