//! The generator of `docs/reference.md`.

use super::{Key, Kind, SECRET, Shape, every_shape};
use std::fmt::Write as _;

const HEAD: &str = "\
# Reference of the file

<!-- Written by `attache schema --format markdown`. A test keeps it equal. -->

Every key, by the mapping in which it stands. `attache schema` prints the same as a JSON Schema for editors.

Durations are `500ms`, `10s`, `1m30s`, `2h`; sizes `64KiB`, `1MiB`. Paths are relative to the folder of the file. Times are
RFC 3339: `2026-12-31T00:00:00Z`. A key in **bold** is required.
";

/// Returns the reference page, in Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    every_shape(&mut |shape| section(&mut page, shape));
    page
}

fn section(page: &mut String, shape: &'static Shape) {
    let _ = write!(page, "\n## {}\n\n{}\n", shape.name, shape.doc);
    if shape.name != "file" {
        let _ = write!(page, "\nExample: `{}`\n", shape.example);
    }
    page.push_str("\n| key | value | default | |\n| --- | --- | --- | --- |\n");
    for key in shape.keys() {
        row(page, key);
    }
}

fn row(page: &mut String, key: &Key) {
    let name = if key.required { format!("**`{}`**", key.name) } else { format!("`{}`", key.name) };
    let default = key.default.map_or(String::new(), |default| format!("`{default}`"));
    let with = key.with.map_or(String::new(), |(key, value)| format!("With `{key}: {value}`. "));
    let doc = format!("{with}{}", key.doc.replace('|', "\\|"));
    let _ = writeln!(page, "| {name} | {} | {default} | {doc} |", value(&key.kind));
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Sensitive => "text".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer(from, to) if from == to => format!("`{from}`"),
        Kind::Integer(from, to) => format!("{from} to {to}"),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Time => "time".to_owned(),
        Kind::Url => "URL".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Header => "header name".to_owned(),
        Kind::Method => "method".to_owned(),
        Kind::Network => "address or network".to_owned(),
        Kind::Listener => "`ADDRESS:PORT` or `unix:/path`".to_owned(),
        Kind::Sha256 => "64 hexadecimal digits".to_owned(),
        Kind::Reference(section) => format!("a name under `{section}`"),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Secret => link("secret", &SECRET),
        Kind::SecretText => link("secret of several lines", &SECRET),
        Kind::Null => "nothing".to_owned(),
        Kind::Map(shape) => link(shape.name, shape),
        Kind::Names(kind) => format!("NAME: {}", value(kind)),
        Kind::List(kind) => format!("list of {}", value(kind)),
        Kind::OneOf(kinds) => kinds.iter().map(value).collect::<Vec<_>>().join(", or "),
    }
}

fn link(text: &str, shape: &Shape) -> String {
    format!("[{text}](#{})", shape.name.replace('.', ""))
}
