//! Dependencies between the keys of one mapping, as far as draft-07 can express them.
//!
//! The readers check the same and more, with better messages. A rule must refuse nothing that a reader accepts.

use super::Shape;
use serde_json::{Map, Value, json};

/// Keys that a value of a key requires: the shape, the key, its value, and the required keys.
const NEEDED: [(&str, &str, &str, &[&str]); 8] = [
    ("oauth2", "grant", "client_credentials", &["token_url", "client_id"]),
    ("oauth2", "grant", "password", &["token_url", "client_id", "username", "password"]),
    ("oauth2", "grant", "refresh_token", &["token_url", "client_id", "refresh_token"]),
    ("oauth2", "grant", "authorization_code", &["token_url", "client_id", "authorization_url"]),
    ("oauth2", "grant", "device_code", &["token_url", "client_id", "device_authorization_url"]),
    // A service account contains its token URL, and an assertion or a token may be enough to identify the client.
    ("oauth2", "grant", "jwt_bearer", &["assertion"]),
    ("oauth2", "grant", "token_exchange", &["token_url", "subject_token"]),
    ("oauth2", "grant", "custom", &["token_url"]),
];

/// Returns the keywords for the object of `shape`.
pub(super) fn rules(shape: &'static Shape) -> Map<String, Value> {
    let mut rules = match shape.name {
        "secret" => exactly_one(shape.keys().map(|key| key.name).filter(|name| *name != "prefix")),
        "authorization" => json!({
            "minProperties": 1,
            "anyOf": [{ "maxProperties": 1 }, { "maxProperties": 2, "required": ["headers"] }],
        }),
        "verify.secret" => exactly_one(shape.keys().map(|key| key.name).filter(|name| *name != "prefix")),
        "handshake" => json!({ "minProperties": 1, "maxProperties": 1 }),
        "key_in" => json!({ "minProperties": 1, "maxProperties": 1 }),
        "api_key" | "token" => exactly_one(["sha256", "value"].into_iter()),
        "jwt" => json!({ "required": ["key"] }),
        "assertion" => exactly_one(["key", "token"].into_iter()),
        "client_assertion" => json!({ "not": { "required": ["key", "token"] } }),
        "service" => service(shape),
        "jwks" => jwks(),
        "oauth2.tls" => json!({
            "minProperties": 1,
            "dependencies": { "client_certificate": ["client_key"], "client_key": ["client_certificate"] },
        }),
        "verify" => exactly_one(["secret", "secrets", "public_key", "topics", "issuer"].into_iter()),
        _ => json!({}),
    };
    let conditions = conditions(shape);
    if !conditions.is_empty() {
        rules["allOf"] = json!(conditions);
    }
    match rules {
        Value::Object(rules) => rules,
        _ => Map::new(),
    }
}

/// Returns the keys that each value of a key requires, and those that have no effect with another value.
fn conditions(shape: &'static Shape) -> Vec<Value> {
    let needed = NEEDED.iter().filter(|(name, ..)| *name == shape.name);
    let mut values: Vec<(&str, &str)> = needed.map(|(_, key, value, _)| (*key, *value)).collect();
    for with in shape.keys().filter_map(|key| key.with) {
        if !values.contains(&with) {
            values.push(with);
        }
    }
    let condition = |(key, value)| {
        let needed =
            NEEDED.iter().find(|(name, of, word, _)| (*name, *of, *word) == (shape.name, key, value));
        let refused: Map<String, Value> = shape
            .keys()
            .filter(|other| other.with == Some((key, value)))
            .map(|other| (other.name.to_owned(), Value::Bool(false)))
            .collect();
        let excluded: Map<String, Value> = shape
            .keys()
            .filter(|other| other.unless == Some((key, value)))
            .map(|other| (other.name.to_owned(), Value::Bool(false)))
            .collect();
        let mut then = json!({ "required": needed.map_or(&[][..], |(.., needed)| needed) });
        if !excluded.is_empty() {
            then["properties"] = Value::Object(excluded);
        }
        json!({
            "if": { "properties": { key: { "const": value } }, "required": [key] },
            "then": then,
            "else": { "properties": refused },
        })
    };
    values.into_iter().map(condition).collect()
}

fn exactly_one(names: impl Iterator<Item = &'static str>) -> Value {
    json!({ "oneOf": names.map(|name| json!({ "required": [name] })).collect::<Vec<_>>() })
}

fn jwks() -> Value {
    let mut rules = exactly_one(["url", "file"].into_iter());
    rules["dependencies"] = json!({ "ca": ["url"], "token": ["url"] });
    rules
}

fn service(shape: &'static Shape) -> Value {
    let mut dependencies = Map::new();
    // Settings for requests to the service have no effect for a webhook.
    for key in shape.extends.into_iter().flat_map(Shape::keys) {
        dependencies.insert(key.name.to_owned(), json!(["server_url"]));
    }
    dependencies.insert("server_url".to_owned(), json!(["account"]));
    json!({
        "anyOf": [{ "required": ["server_url"] }, { "required": ["webhook"] }],
        "dependencies": dependencies,
    })
}
