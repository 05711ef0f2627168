//! The JSON Schema (draft-07) of the table, for editors.

use super::rules::rules;
use super::top::ROOT;
use super::{Key, Kind, SECRET, Shape, every_shape};
use crate::header_name::{PROXY_FAMILY, framing_names};
use serde_json::{Map, Value, json};

/// The lists that may have no items.
const MAY_BE_EMPTY: [&str; 4] = ["api_keys", "retry_on", "scopes", "trusted_proxies"];

/// Returns the JSON Schema of the file.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    every_shape(&mut |shape| {
        definitions.insert(shape.name.to_owned(), object(shape));
    });
    let mut root = match definitions.remove(ROOT.name) {
        Some(Value::Object(root)) => root,
        _ => Map::new(),
    };
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("attache's configuration"));
    root.insert("patternProperties".to_owned(), json!({ "^x-": {} }));
    root.insert("definitions".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

fn object(shape: &'static Shape) -> Value {
    let properties: Map<String, Value> =
        shape.keys().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object = json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let required: Vec<&str> = shape.keys().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if let Value::Object(object) = &mut object {
        object.extend(rules(shape));
    }
    object
}

fn property(key: &Key) -> Value {
    let fewest = usize::from(!MAY_BE_EMPTY.contains(&key.name));
    let mut property = kind(&key.kind, fewest);
    if let Some(word) = key.absent {
        property = json!({ "anyOf": [property, { "const": word }] });
    }
    if let Value::Object(property) = &mut property {
        // Draft-07 ignores keywords beside a `$ref`.
        if let Some(reference) = property.remove("$ref") {
            property.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        }
        let with = key.with.map_or(String::new(), |(key, value)| format!("With `{key}: {value}`. "));
        let unless = key.unless.map_or(String::new(), |(key, value)| format!("Not with `{key}: {value}`. "));
        property.insert("description".to_owned(), json!(format!("{with}{unless}{}", key.doc)));
        let default = key.default.and_then(|text| serde_yaml::from_str::<Value>(text).ok());
        property.extend(default.map(|default| ("default".to_owned(), default)));
    }
    property
}

/// A number or `true` is accepted where text is expected.
fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

/// Returns the schema of a kind; `fewest` is the minimum number of items of a list.
fn kind(of: &Kind, fewest: usize) -> Value {
    match of {
        Kind::Text | Kind::Sensitive | Kind::Variable | Kind::Credential => text(),
        Kind::Json | Kind::OpenJson => json!({}),
        Kind::Secret | Kind::SecretText => {
            json!({ "anyOf": [with(text(), json!({ "minLength": 1 })), reference(&SECRET)] })
        }
        Kind::Word(words) => {
            let numbers =
                words.iter().filter_map(|word| word.parse::<u32>().ok()).map(|number| json!(number));
            let all: Vec<Value> = words.iter().map(|word| json!(word)).chain(numbers).collect();
            json!({ "enum": all })
        }
        Kind::Null => json!({ "type": "null" }),
        Kind::Map(shape) => reference(shape),
        Kind::Names(values) => {
            let mut names = json!({ "type": "object", "additionalProperties": kind(values, 1) });
            // Names of accounts, users and services. Other names belong to a provider.
            if values.shape().is_some_and(|shape| !std::ptr::eq(shape, &SECRET)) {
                names["propertyNames"] = pattern(
                    "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
                    "a name has letters, digits, `.`, `_` and `-`",
                );
            }
            names
        }
        Kind::List(items) => json!({ "type": "array", "items": kind(items, 1), "minItems": fewest }),
        Kind::OneOf(kinds) => {
            json!({ "anyOf": kinds.iter().map(|one| kind(one, fewest)).collect::<Vec<_>>() })
        }
        Kind::Bool
        | Kind::Integer(..)
        | Kind::Duration
        | Kind::Size
        | Kind::Time
        | Kind::Url
        | Kind::Path
        | Kind::Header
        | Kind::Method
        | Kind::PathPattern
        | Kind::Network
        | Kind::Listener
        | Kind::Sha256
        | Kind::Reference(_) => scalar(of),
    }
}

/// Returns the schema of a scalar of this kind, as far as a pattern can express it.
fn scalar(of: &Kind) -> Value {
    match of {
        Kind::Path | Kind::Reference(_) => json!({ "type": "string", "minLength": 1 }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Duration => {
            pattern("^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "write it like 500ms, 10s or 1m30s")
        }
        Kind::Size => {
            let size = pattern("^[0-9]+(B|KiB|MiB|GiB)?$", "write it like 64KiB or 1MiB");
            with(size, json!({ "type": ["string", "integer"], "minimum": 0 }))
        }
        Kind::Time => {
            pattern("^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:", "write it like 2026-12-31T00:00:00Z")
        }
        Kind::Url => pattern(
            "^[hH][tT][tT][pP][sS]?://[^/?#@\\\\\\s]+([/?][^#\\s]*)?$",
            "write it like https://api.example.com/v3, without user, password and fragment",
        ),
        Kind::Header => pattern(
            &format!("^(?!{})[!#$%&'*+.^_`|~0-9A-Za-z-]+$", framing()),
            "this is not a header name, or one that belongs to the connection",
        ),
        Kind::Method => pattern("^[!#$%&'*+.^_`|~0-9A-Z-]+$", "write it like POST"),
        Kind::PathPattern => pattern("^([*]|/[^*?#;\\\\\\s]*[*]?)$", "write it like /contacts* or /orders/1"),
        Kind::Network => {
            pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", "write it like 203.0.113.0/24 or 192.0.2.1")
        }
        Kind::Listener => pattern(
            "^(unix:.+|([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5})$",
            "write it like 127.0.0.1:8080 or unix:/path",
        ),
        Kind::Sha256 => {
            let hash = pattern("^[0-9a-f]{64}$", "a SHA-256 is 64 lowercase hexadecimal digits");
            with(hash, json!({ "type": ["string", "number"] }))
        }
        _ => Value::Bool(true),
    }
}

/// Returns text with a pattern. Editors show `message` if it does not match; other programs ignore the keyword.
fn pattern(pattern: &str, message: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "patternErrorMessage": message })
}

/// Returns `schema` with these keywords, which replace its own.
fn with(mut schema: Value, keywords: Value) -> Value {
    if let (Value::Object(schema), Value::Object(keywords)) = (&mut schema, keywords) {
        schema.extend(keywords);
    }
    schema
}

/// Returns a pattern for the names that frame a message, in every spelling. Patterns of draft-07 have no flags.
fn framing() -> String {
    let any_case = |c: char| match c {
        'a'..='z' => format!("[{c}{}]", c.to_ascii_uppercase()),
        '-' => "[^0-9A-Za-z]+".to_owned(),
        other => other.to_string(),
    };
    let any_spelling = |name: &str| name.chars().map(any_case).collect::<String>();
    let family = any_spelling(PROXY_FAMILY) + ".+";
    let names: Vec<String> = framing_names().map(any_spelling).chain([family]).collect();
    format!("[^0-9A-Za-z]*({})[^0-9A-Za-z]*$", names.join("|"))
}

fn reference(shape: &Shape) -> Value {
    json!({ "$ref": format!("#/definitions/{}", shape.name) })
}
