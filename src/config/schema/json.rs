//! The table as a JSON Schema, draft-07: what editors understand.

use super::top::ROOT;
use super::{Key, Kind, SECRET, Shape, every_shape};
use serde_json::{Map, Value, json};

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
    if std::ptr::eq(shape, &SECRET) {
        let sources = shape.keys().filter(|key| key.name != "prefix");
        object["oneOf"] = sources.map(|key| json!({ "required": [key.name] })).collect();
    }
    object
}

fn property(key: &Key) -> Value {
    let mut property = kind(&key.kind);
    if let Value::Object(property) = &mut property {
        // Draft-07 ignores what stands beside a `$ref`.
        if let Some(reference) = property.remove("$ref") {
            property.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        }
        property.insert("description".to_owned(), json!(key.doc));
        let default = key.default.and_then(|text| serde_yaml::from_str::<Value>(text).ok());
        property.extend(default.map(|default| ("default".to_owned(), default)));
    }
    property
}

fn kind(of: &Kind) -> Value {
    // A number or `true` is taken where text is expected.
    let text = json!({ "type": ["string", "number", "boolean"] });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match of {
        Kind::Text | Kind::Sensitive => text,
        Kind::Path | Kind::Reference(_) => json!({ "type": "string", "minLength": 1 }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Duration => pattern("^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"),
        Kind::Size => {
            json!({ "type": ["string", "integer"], "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$", "minimum": 0 })
        }
        Kind::Time => pattern("^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:"),
        Kind::Url => pattern("^[hH][tT][tT][pP][sS]?://[^/?#@\\\\\\s]+([/?][^#\\s]*)?$"),
        Kind::Header => pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        Kind::Method => pattern("^[!#$%&'*+.^_`|~0-9A-Z-]+$"),
        Kind::Network => pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
        Kind::Listener => pattern("^(unix:.+|([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5})$"),
        Kind::Sha256 => json!({ "type": ["string", "number"], "pattern": "^[0-9a-f]{64}$" }),
        Kind::Word(words) => {
            let numbers =
                words.iter().filter_map(|word| word.parse::<u32>().ok()).map(|number| json!(number));
            let all: Vec<Value> = words.iter().map(|word| json!(word)).chain(numbers).collect();
            json!({ "enum": all })
        }
        Kind::Secret | Kind::SecretText => json!({ "anyOf": [text, reference(&SECRET)] }),
        Kind::Null => json!({ "type": "null" }),
        Kind::Map(shape) => reference(shape),
        Kind::Names(values) => json!({ "type": "object", "additionalProperties": kind(values) }),
        Kind::List(items) => json!({ "type": "array", "items": kind(items) }),
        Kind::OneOf(kinds) => json!({ "anyOf": kinds.iter().map(kind).collect::<Vec<_>>() }),
    }
}

fn reference(shape: &Shape) -> Value {
    json!({ "$ref": format!("#/definitions/{}", shape.name) })
}
