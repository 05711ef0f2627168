//! The schema: every key of the file, declared once.
//!
//! Readers access a key through a [`Shape`] of this table, so an undeclared key cannot be read; a test fails on a key
//! that is declared and never read. The same table decides what an excerpt may show (`redact`), and the JSON Schema and
//! `docs/reference.md` are generated from it.

mod accounts;
mod callers;
mod custom;
mod forward_proxy;
mod handshake;
mod issuers;
mod json;
mod listen;
mod reference;
mod retries;
mod rights;
mod rules;
mod services;
mod signed;
mod top;
mod value_like;
mod verify;
mod webhooks;

pub use json::json_schema;
pub use reference::reference;
use top::ROOT;
pub(crate) use value_like::is_usual_variable;
pub(super) use value_like::source_hides;

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(super) struct Shape {
    /// The name in documents.
    pub(super) name: &'static str,
    /// One line of documentation.
    pub(super) doc: &'static str,
    /// A valid value in flow style, for messages.
    pub(super) example: &'static str,
    /// The keys, in the order of the documents.
    pub(super) keys: &'static [Key],
    /// A shape whose keys it includes.
    pub(super) extends: Option<&'static Shape>,
    /// Words that other products use for something that this mapping does not have, and what to do instead.
    pub(super) elsewhere: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// The spelling in the file.
    pub(super) name: &'static str,
    /// The kind of its value.
    pub(super) kind: Kind,
    /// One line of documentation.
    pub(super) doc: &'static str,
    /// True if a file without it is always invalid.
    pub(super) required: bool,
    /// The default, as the file would spell it.
    pub(super) default: Option<&'static str>,
    /// The word that has the effect of a left-out key. With it, a service or webhook rejects a value of `defaults`.
    pub(super) absent: Option<&'static str>,
    /// The key and the value with which it has effect.
    pub(super) with: Option<(&'static str, &'static str)>,
    /// The key and the value with which it has no effect.
    pub(super) unless: Option<(&'static str, &'static str)>,
    /// Other products' names for it.
    pub(super) also: &'static [&'static str],
    /// Its names in earlier versions, each of which is an error that names the successor.
    pub(super) formerly: &'static [&'static str],
}

/// The kind of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// Text that may be a secret and is never shown.
    Sensitive,
    /// A value of any JSON type, which may hold a secret and is never shown.
    Json,
    /// A value of any JSON type, which is shown.
    OpenJson,
    /// `true` or `false`.
    Bool,
    /// A whole number in this range.
    Integer(u32, u32),
    /// `500ms`, `10s`, `1m30s`.
    Duration,
    /// `64KiB`, `1MiB`.
    Size,
    /// RFC 3339.
    Time,
    /// An http or https URL.
    Url,
    /// The name of an environment variable.
    Variable,
    /// The name of a systemd credential.
    Credential,
    /// A path, relative to the file's folder.
    Path,
    /// A header name.
    Header,
    /// A request method.
    Method,
    /// A path, or the beginning of one with `*` at its end.
    PathPattern,
    /// An address or a network.
    Network,
    /// `127.0.0.1:8080` or `unix:/path`.
    Listener,
    /// 64 lowercase hexadecimal digits.
    Sha256,
    /// The name of an entry of another section.
    Reference(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A secret: a string, or its source.
    Secret,
    /// A secret of several lines: PEM, JSON.
    SecretText,
    /// No value.
    Null,
    /// A mapping with these keys.
    Map(&'static Shape),
    /// A mapping from the operator's own names.
    Names(&'static Kind),
    /// A list.
    List(&'static Kind),
    /// Any of these.
    OneOf(&'static [Kind]),
}

/// A secret's sources.
pub(super) static SECRET: Shape = Shape {
    name: "secret",
    doc: "The source of a secret. Exactly one of these.",
    example: "{ env: NAME }",
    keys: &[
        key("env", Kind::Variable, "The environment variable that holds it."),
        key("file", Kind::Path, "The file that holds it. It is watched."),
        key("credential", Kind::Credential, "The systemd credential that holds it."),
        key("literal", Kind::Sensitive, "The secret itself, if it only looks like a placeholder."),
        key("prefix", Kind::Text, "Text before the value."),
    ],
    extends: None,
    elsewhere: &[],
};

/// The whole file.
pub(super) static FILE: Kind = Kind::Map(&ROOT);

impl Shape {
    /// Returns every key, those of the shape that it extends last.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let below = self.extends.map_or(&[][..], |shape| shape.keys);
        self.keys.iter().chain(below)
    }

    /// Returns the key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// Returns true if a secret may be in the place of one of its keys: directly, or below the one key that it
    /// requires. The values below names of the operator's own, as in `set_headers`, are in no such place.
    pub(super) fn holds_secret(&self) -> bool {
        self.keys().any(|key| {
            (key.kind.is_secret() && key.kind.named().is_none())
                || (key.required && key.kind.shape().is_some_and(Self::holds_secret))
        })
    }
}

impl Kind {
    /// Returns true if a scalar of this kind is a secret.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Self::Secret | Self::SecretText | Self::Sensitive | Self::Json => true,
            Self::OneOf(kinds) => kinds.iter().any(Self::is_secret),
            Self::List(kind) | Self::Names(kind) => kind.is_secret(),
            _ => false,
        }
    }

    /// Returns true if a scalar in the place of this kind may be a secret.
    pub(super) fn holds_secret(&self) -> bool {
        match self {
            Self::Map(shape) => shape.holds_secret(),
            Self::Names(kind) | Self::List(kind) => kind.holds_secret(),
            // A plain scalar that is expected there is shown, whatever the other kinds are.
            Self::OneOf(kinds) => {
                let plain =
                    |kind: &Self| kind.is_scalar() && !kind.is_secret() && !matches!(kind, Self::Word(_));
                kinds.iter().any(Self::holds_secret) && !kinds.iter().any(plain)
            }
            _ => self.is_secret(),
        }
    }

    /// Returns true if a value of this kind may hold a secret anywhere.
    fn carries_secret(&self) -> bool {
        match self {
            Self::Map(shape) => shape.holds_secret(),
            Self::Names(kind) | Self::List(kind) => kind.carries_secret(),
            Self::OneOf(kinds) => kinds.iter().any(Self::carries_secret),
            _ => self.is_secret(),
        }
    }

    /// Returns true if a value of this kind may be a scalar.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Map(_) | Self::Names(_) | Self::List(_) | Self::Null => false,
            Self::OneOf(kinds) => kinds.iter().any(Self::is_scalar),
            _ => true,
        }
    }

    /// Returns the shape of a mapping of this kind.
    pub(super) fn shape(&self) -> Option<&'static Shape> {
        match self {
            Self::Map(shape) => Some(shape),
            Self::Secret | Self::SecretText => Some(&SECRET),
            Self::OneOf(kinds) => kinds.iter().find_map(Self::shape),
            _ => None,
        }
    }

    /// Returns the kind of the items of a list of this kind.
    pub(super) fn items(&self) -> Option<&'static Self> {
        match self {
            Self::List(kind) => Some(kind),
            Self::OneOf(kinds) => kinds.iter().find_map(Self::items),
            _ => None,
        }
    }

    /// Returns the kind of the values of a mapping from the operator's own names.
    pub(super) fn named(&self) -> Option<&'static Self> {
        match self {
            Self::Names(kind) => Some(kind),
            Self::OneOf(kinds) => kinds.iter().find_map(Self::named),
            _ => None,
        }
    }

    /// Returns true if a value of this kind may have any JSON type.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Json | Self::OpenJson => true,
            Self::OneOf(kinds) => kinds.iter().any(Self::is_json),
            _ => false,
        }
    }

    /// Returns the words that are values of this kind.
    pub(super) fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Word(words) => words,
            Self::OneOf(kinds) => {
                kinds.iter().map(Self::words).find(|words| !words.is_empty()).unwrap_or(&[])
            }
            _ => &[],
        }
    }
}

/// Returns an optional key without a default.
const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        doc,
        required: false,
        default: None,
        absent: None,
        with: None,
        unless: None,
        also: &[],
        formerly: &[],
    }
}

impl Key {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn absent(self, word: &'static str) -> Self {
        Self { absent: Some(word), ..self }
    }

    const fn with(self, key: &'static str, value: &'static str) -> Self {
        Self { with: Some((key, value)), ..self }
    }

    const fn unless(self, key: &'static str, value: &'static str) -> Self {
        Self { unless: Some((key, value)), ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

/// Returns true if a mapping with these keys names the source of a secret.
pub(super) fn is_source<'k>(mut keys: impl Iterator<Item = &'k str>) -> bool {
    keys.any(|name| name != "prefix" && SECRET.key(name).is_some())
}

/// Calls `visit` once with every shape that is reachable from the root.
pub(super) fn every_shape(visit: &mut dyn FnMut(&'static Shape)) {
    fn below(kind: &Kind, seen: &mut Vec<&'static Shape>) {
        match kind {
            Kind::Map(shape) => reach(shape, seen),
            Kind::Secret | Kind::SecretText => reach(&SECRET, seen),
            Kind::Names(kind) | Kind::List(kind) => below(kind, seen),
            Kind::OneOf(kinds) => kinds.iter().for_each(|kind| below(kind, seen)),
            _ => {}
        }
    }
    fn reach(shape: &'static Shape, seen: &mut Vec<&'static Shape>) {
        if seen.iter().any(|known| std::ptr::eq(*known, shape)) {
            return;
        }
        seen.push(shape);
        shape.keys().for_each(|key| below(&key.kind, seen));
    }
    let mut seen = Vec::new();
    reach(&ROOT, &mut seen);
    seen.into_iter().for_each(visit);
}

/// The secrecy of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Harmless,
    Secret,
}

/// Returns the schema's meaning of `name`: `Secret` if one of its keys of that name may have a secret value.
fn as_key(name: &str) -> Option<Meaning> {
    meaning(|key| key.name == name)
}

/// Returns the most restrictive meaning of the keys for which `is_meant` holds.
fn meaning(is_meant: impl Fn(&Key) -> bool) -> Option<Meaning> {
    let mut found = None;
    every_shape(&mut |shape| {
        for key in shape.keys().filter(|key| is_meant(key)) {
            let meaning = if key.kind.carries_secret() { Meaning::Secret } else { Meaning::Harmless };
            found = found.max(Some(meaning));
        }
    });
    found
}

/// Returns true if `name` is a key somewhere, and never one whose value may be secret.
pub(super) fn never_secret(name: &str) -> bool {
    as_key(name) == Some(Meaning::Harmless)
}

/// Returns true if a misplaced or misspelt key of this name may have a secret as its value: by the schema's own keys,
/// else by other products' names for them, else by typical words.
pub(super) fn may_be_secret(name: &str) -> bool {
    const WORDS: [&str; 15] = [
        "secret",
        "token",
        "password",
        "value",
        "credential",
        "key",
        "auth",
        "bearer",
        "cookie",
        "header",
        "hmac",
        "jwt",
        "pass",
        "pwd",
        "signature",
    ];
    let lower = name.to_ascii_lowercase();
    // `request: { auth: basic }` is no secret. Other products have the credential itself under this name.
    if lower == "auth" {
        return true;
    }
    let is_other_word = |key: &Key| key.also.iter().any(|word| *word == lower);
    if let Some(meaning) = as_key(&lower).or_else(|| meaning(is_other_word)) {
        return meaning == Meaning::Secret;
    }
    let is_similar = |word: &str| {
        lower.contains(word) || strsim::damerau_levenshtein(word, &lower) <= (word.len() - 1) / 2
    };
    WORDS.into_iter().any(is_similar)
}

/// Returns true if `name` is a key somewhere.
pub(super) fn is_key(name: &str) -> bool {
    let mut found = false;
    every_shape(&mut |shape| found |= shape.keys().any(|key| key.name == name));
    found
}

#[cfg(test)]
thread_local! {
    /// The keys that readers have read.
    static READ: std::cell::RefCell<std::collections::HashSet<*const Key>> = std::cell::RefCell::default();
}

/// Records that a reader reads a key.
#[cfg(test)]
pub(super) fn note_read(shape: &'static Shape, name: &str) {
    if let Some(key) = shape.key(name) {
        READ.with_borrow_mut(|read| read.insert(std::ptr::from_ref(key)));
    }
}

#[cfg(test)]
fn was_read(key: &'static Key) -> bool {
    READ.with_borrow(|read| read.contains(&std::ptr::from_ref(key)))
}

#[cfg(test)]
mod tests;
