//! Keys that the schema does not know, and the keys that were probably meant.

use super::{At, Decoder, Step};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::schema::{self, Key, Kind, Shape};
use crate::config::tree::{NodeId, is_like_a_key};

/// Reports the key `name` of the mapping at `at`. `below` is its value.
pub(super) fn report(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    shape: &'static Shape,
    key: NodeId,
    name: &str,
    below: &At<'_>,
) {
    let span = decoder.tree.span(key);
    let error = |message: String| Finding::error("unknown_key", span, message);
    if let Some(successor) = renamed(shape, name) {
        let message = format!("{at}.{name} was renamed to `{}`", successor.name);
        let finding = Finding::error("renamed_key", span, message).label("the name of an earlier version");
        return decoder.report(finding.help(format!("write `{}`", successor.name)));
    }
    if let Some((what, cleaned)) = invisible(name) {
        let finding =
            error(format!("{at} has a key with {what} in it")).label(format!("{what} is not visible"));
        let help = match shape.key(&cleaned) {
            Some(key) => format!("type `{}` again", key.name),
            None => "delete it and type the key again".to_owned(),
        };
        return decoder.report(finding.help(help));
    }
    if decoder.is_null(below)
        && let Some((label, help)) = separator(&Kind::Map(shape), name)
    {
        hide(decoder, at, shape, key);
        return decoder.report(error(format!("{at} has a key without a value")).label(label).help(help));
    }
    // In a mapping with secrets, a key without a value may be a misplaced line of a secret.
    let stray = may_hold_secret(at, shape) && (decoder.is_null(below) || !is_like_a_key(name));
    let meant = meant(decoder, shape, name);
    let finding = if stray && meant.is_none() {
        decoder.hide(key);
        error(format!("{at} has a line that is not a key with a value"))
            .label("unknown key; its text is hidden, because it may be a secret")
    } else {
        error(format!("{at} has no key `{}`", shown(name))).label("unknown key")
    };
    let elsewhere = shape.elsewhere.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    let help = match (meant, elsewhere) {
        _ if is_of_webhook(at, name) => "it belongs below `services.NAME.webhook`".to_owned(),
        (Some(key), _) => format!("did you mean `{}`?", key.name),
        (None, Some((_, instead))) => (*instead).to_owned(),
        (None, None) => {
            let known: Vec<&str> = shape.keys().map(|key| key.name).collect();
            match known.is_empty() {
                true => "there are no keys here: write `{}`".to_owned(),
                false => decoder.known((!stray).then_some(name), &known),
            }
        }
    };
    decoder.report(finding.help(help));
}

/// Returns true for a key that only a webhook has, in a service named `webhook`: a webhook beside the services.
fn is_of_webhook(at: &At<'_>, name: &str) -> bool {
    let webhook = at.kind.shape().and_then(|service| service.key("webhook")?.kind.shape());
    at.name() == Some("webhook") && webhook.is_some_and(|webhook| webhook.key(name).is_some())
}

/// Returns the key that `name` seems to mean: the one it was renamed to, one that other products call so, or one with a
/// similar spelling.
pub(super) fn meant(decoder: &Decoder<'_>, shape: &'static Shape, name: &str) -> Option<&'static Key> {
    if let Some(successor) = renamed(shape, name) {
        return Some(successor);
    }
    let other_word = |key: &&Key| key.also.iter().any(|word| word.eq_ignore_ascii_case(name));
    if let Some(key) = shape.keys().find(other_word) {
        return Some(key);
    }
    if shape.elsewhere.iter().any(|(word, _)| word.eq_ignore_ascii_case(name)) {
        return None;
    }
    let nearest = decoder.nearest(name, shape.keys().map(|key| key.name))?;
    shape.key(nearest)
}

/// Returns the key that had this name in an earlier version.
fn renamed(shape: &'static Shape, name: &str) -> Option<&'static Key> {
    shape.keys().find(|key| key.formerly.contains(&name))
}

/// Explains plain text where a key and its value are expected: `timeout:10s`, `timeout 10s`, `timeout = 10s`. Neither
/// text quotes the value, which may be a secret.
pub(super) fn separator(kind: &Kind, text: &str) -> Option<(String, String)> {
    let shape = kind.shape()?;
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))?;
    let (word, rest) = text.split_at(end);
    let key = shape.key(word)?.name;
    let help = format!("write `{key}: VALUE`");
    Some(match rest.trim_start_matches(' ').chars().next()? {
        ':' => (format!("a space is missing after `{key}:`"), help),
        '=' => ("YAML has `:` between a key and its value, and not `=`".to_owned(), help),
        _ => (format!("a `:` is missing after `{key}`"), help),
    })
}

/// Returns the name of the first invisible character of a text, and the text without such characters.
pub(super) fn invisible(text: &str) -> Option<(String, String)> {
    let (c, name) = text.chars().find_map(|c| Some((c, scalar::invisible(c)?)))?;
    let cleaned = text.chars().filter(|c| scalar::invisible(*c).is_none()).collect();
    Some((format!("{name} (U+{:04X})", c as u32), cleaned))
}

/// Returns true if this mapping may contain a secret, even a misplaced one.
fn may_hold_secret(at: &At<'_>, shape: &Shape) -> bool {
    shape.holds_secret() || matches!(at.step, Step::Key(name) if schema::may_be_secret(name))
}

fn hide(decoder: &Decoder<'_>, at: &At<'_>, shape: &Shape, key: NodeId) {
    if may_hold_secret(at, shape) {
        decoder.hide(key);
    }
}

/// Formats a key for a message: one line of bounded length, without a possible value.
fn shown(name: &str) -> String {
    let end = if is_like_a_key(name) { name.len() } else { name.find([':', '=']).unwrap_or(name.len()) };
    let mut text: String = name[..end].chars().take(64).flat_map(char::escape_debug).collect();
    if end < name.len() || name.chars().nth(64).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::LastValues;
    use crate::config::problem::Problems;
    use crate::config::redact::Redaction;
    use crate::config::secrets::{ReadError, SecretSource, Secrets};
    use crate::config::source::Source;
    use crate::config::tree::Tree;
    use std::path::Path;

    /// A machine that must not be read from.
    struct Silent;

    impl SecretSource for Silent {
        fn env(&self, _: &str) -> Result<String, ReadError> {
            panic!("asked for a variable")
        }
        fn file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
            panic!("asked for a file")
        }
        fn fresh_file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
            panic!("asked for a file")
        }
        fn credential(&self, _: &str) -> Result<Vec<u8>, ReadError> {
            panic!("asked for a credential")
        }
    }

    const fn key(name: &'static str, kind: Kind, formerly: &'static [&'static str]) -> Key {
        Key {
            name,
            kind,
            doc: "",
            required: true,
            default: None,
            absent: None,
            with: None,
            unless: None,
            also: &[],
            formerly,
        }
    }

    static SHAPE: Shape = Shape {
        name: "shape",
        doc: "",
        example: "",
        keys: &[
            key("deadline", Kind::Duration, &["time_limit", "limit"]),
            key("passphrase", Kind::Secret, &["phrase"]),
        ],
        extends: None,
        elsewhere: &[],
    };

    static KIND: Kind = Kind::Map(&SHAPE);

    /// Returns the messages about a mapping of the shape whose every key is read.
    fn messages(text: &str) -> String {
        let sources = [Source::new("a.yaml".into(), text.to_owned())];
        let mut tree = Tree::default();
        let root = tree.read(0, &sources[0], &mut Vec::new());
        let last = LastValues::default();
        let decoder = Decoder::new(&tree, &sources, Secrets::new(&Silent, true, &last));
        let (node, kind) = (root.unwrap(), &KIND);
        let at = At { parent: None, step: Step::Root, key: None, node, kind, absent: None };
        let map = decoder.mapping(&at).unwrap();
        for name in ["deadline", "passphrase"] {
            decoder.required(&map, name);
        }
        let (mut findings, hidden) = decoder.into_findings();
        let lines = Problems::lines(&sources, &mut findings);
        let redaction = Redaction::new(&tree, &sources, &[root], &hidden, &lines);
        Problems::new(&sources, &redaction, findings).render_human(false)
    }

    #[test]
    fn a_renamed_key_is_an_error_that_names_its_successor_and_is_not_missing_as_well() {
        let messages = messages("limit: 10s\nphrase: { env: NAME }\n");
        assert_eq!(messages.matches("error: ").count(), 2, "{messages}");
        assert!(messages.contains(".limit was renamed to `deadline`"), "{messages}");
        assert!(messages.contains("the name of an earlier version; write `deadline`"), "{messages}");
        assert!(messages.contains(".phrase was renamed to `passphrase`"), "{messages}");
    }

    #[test]
    fn a_key_that_only_looks_like_a_former_one_is_unknown_and_the_successor_is_missing() {
        let messages = messages("time_limits: 10s\npassphrase: x\n");
        assert!(
            messages.contains("has no key `time_limits`") && messages.contains("has no `deadline`"),
            "{messages}"
        );
        assert!(!messages.contains("is called"), "{messages}");
    }
}
