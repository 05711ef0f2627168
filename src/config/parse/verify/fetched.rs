//! The values in place of a secret for schemes whose key has to be fetched: the token of an issuer, or the topics of SNS.

use crate::config::decode::{At, Decoder, Map};
use crate::config::model::Issuer;
use crate::config::parse::{Named, refer};
use crate::config::problem::Finding;
use crate::config::tree::View;
use crate::secret::Secret;
use crate::signature::sns::{Topic, TopicFault};
use crate::signature::{KeySource, RequiredToken, Scheme, Verifier};
use serde_json::Value;

/// Maximum number of topics of one webhook.
const MAX_TOPICS: usize = 256;

/// The values that a verifier needs beside secrets.
pub(super) enum Needs {
    Nothing,
    Token(RequiredToken),
    Topics(Vec<Topic>),
}

impl Needs {
    pub(super) fn apply(self, verifier: Verifier) -> Verifier {
        match self {
            Self::Nothing => verifier,
            Self::Token(required) => verifier.with_token(required),
            Self::Topics(topics) => verifier.with_topics(topics),
        }
    }
}

/// Reports secrets and public keys beside a scheme that has none.
pub(super) fn no_secrets(decoder: &Decoder<'_>, map: &Map<'_>, scheme: &Scheme) -> Option<Vec<Secret>> {
    let help = match scheme.key_source() {
        KeySource::Topics => {
            "remove it: the key is a certificate of Amazon, and `topics` says whose messages pass"
        }
        _ => "remove it: the keys are those of the `issuer`",
    };
    let mut fine = true;
    for at in ["secret", "secrets", "public_key"].into_iter().filter_map(|key| map.get(key)) {
        decoder.no_use(&at, "this scheme", "the scheme has no secret", help);
        fine = false;
    }
    fine.then(Vec::new)
}

/// Reads `topics`, or `issuer` and `claims`, and reports those that the scheme has no use for.
pub(super) fn needs(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    scheme: Option<&Scheme>,
    issuers: &Named<Issuer>,
) -> Option<Needs> {
    let topics = map.get("topics").map(|at| topics(decoder, &at));
    let issuer =
        map.get("issuer").map(|at| refer(decoder, &at, "issuer", issuers, "define it under `issuers`"));
    let named = issuer.as_ref().and_then(Option::as_deref);
    let given = map.get("claims").map(|at| claims(decoder, &at, scheme, named));
    let source = scheme.map(Scheme::key_source);
    let mut fine = true;
    let mut no_use = |key: &'static str, label: &str, help: &str| {
        if let Some(at) = map.get(key).filter(|_| scheme.is_some()) {
            decoder.no_use(&at, "this scheme", label, help);
            fine = false;
        }
    };
    if source != Some(KeySource::Topics) {
        no_use("topics", "only SNS has topics", "remove it, or use `scheme: sns`");
    }
    if source != Some(KeySource::Issuer) {
        let (label, help) = ("the scheme shows no token of an issuer", "remove it, or set `algorithm: jwt`");
        no_use("issuer", label, help);
        no_use("claims", label, help);
    }
    if !fine {
        return None;
    }
    match source? {
        KeySource::Topics => {
            let help = "list the ARNs of your topics: SNS signs the messages of every AWS account";
            match topics {
                Some(topics) => topics.map(Needs::Topics),
                None => decoder.required_or(map, "topics", Some(help)).and(None),
            }
        }
        KeySource::Issuer => {
            let help = "the name of an entry of `issuers`, whose keys verify the token";
            let issuer = match issuer {
                Some(issuer) => issuer,
                None => decoder.required_or(map, "issuer", Some(help)).and(None),
            };
            let claims = required_claims(decoder, map, scheme?, given);
            Some(Needs::Token(RequiredToken { issuer: issuer?.key.clone(), claims: claims? }))
        }
        KeySource::Secret | KeySource::PublicKey => Some(Needs::Nothing),
    }
}

fn topics(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<Topic>> {
    let items: Vec<At<'_>> = match decoder.tree.view(at.node) {
        View::Sequence(_) => decoder.sequence(at)?.collect(),
        _ => vec![*at],
    };
    if items.is_empty() {
        return decoder.empty(at);
    }
    if items.len() > MAX_TOPICS {
        let finding = Finding::error(
            "out_of_range",
            decoder.key(at),
            format!("{at} has more than {MAX_TOPICS} entries"),
        );
        return decoder.reject(finding.label("too many").help("divide them among several webhooks"));
    }
    let topic = |at: &At<'_>| {
        let text = decoder.string(at)?;
        let fault = match Topic::parse(text) {
            Ok(topic) => return Some(topic),
            Err(fault) => fault,
        };
        let message = match fault {
            TopicFault::Isolated(_) => format!("{at} is a topic that attache can't reach"),
            _ => format!("{at} is not the ARN of a topic"),
        };
        let finding = Finding::error("invalid_value", decoder.place(at), message);
        decoder.reject(finding.label(fault.to_string()))
    };
    let all: Vec<Option<Topic>> = items.iter().map(topic).collect();
    all.into_iter().collect()
}

/// Reads `claims`: their names, and the values that a token must have. A value that no good token has is refused.
fn claims(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    scheme: Option<&Scheme>,
    issuer: Option<&Issuer>,
) -> Option<serde_json::Map<String, Value>> {
    let entries = decoder.names(at)?;
    let always = scheme.map_or(&[][..], |scheme| scheme.claims().1);
    let read = |(name, at): (&str, At<'_>)| {
        let value = decoder.json(&at)?;
        if let Some((label, help)) = unmatched(name, &value, always, issuer) {
            let message = format!("{at} can't be required of a token");
            let finding = Finding::error("invalid_value", decoder.key(&at), message);
            return decoder.reject(finding.label(label).help(help));
        }
        Some((name.to_owned(), value))
    };
    let all: Vec<_> = entries.entries().map(read).collect();
    all.into_iter().collect()
}

/// Returns why no token passes with this value of the claim, or only one, and the remedy.
fn unmatched(
    name: &str,
    value: &Value,
    always: &[&str],
    issuer: Option<&Issuer>,
) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "iss" => ("it is compared with `issuer` of the issuer already", "remove it"),
        "exp" | "nbf" | "iat" => ("attache compares the times of each token with its clock", "remove it"),
        "jti" => ("it is another one in each token", "remove it"),
        "aud" => {
            let audiences = &issuer?.audiences;
            let is_one =
                |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|a| a == text));
            let passes = match value {
                Value::Array(list) => list.iter().all(Value::is_string) && list.iter().any(is_one),
                value => is_one(value),
            };
            if passes {
                return None;
            }
            (
                "a token for another audience than those of the issuer is refused",
                "add it to `audience` of the issuer",
            )
        }
        name if always.contains(&name) && *value != Value::Bool(true) => {
            ("the scheme accepts a token only if this is `true`", "remove it")
        }
        _ => return None,
    })
}

/// Adds the claims that the scheme requires.
fn required_claims(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    scheme: &Scheme,
    given: Option<Option<serde_json::Map<String, Value>>>,
) -> Option<serde_json::Map<String, Value>> {
    let mut claims = given.unwrap_or_else(|| Some(serde_json::Map::new()))?;
    let (needed, always) = scheme.claims();
    if let Some(name) = needed.iter().find(|name| !claims.contains_key(**name)) {
        let message = format!("{} needs `claims` with `{name}`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        let label = format!("the issuer signs tokens for all its customers, and `{name}` says whose one is");
        return decoder.reject(finding.label(label).help(format!("add `claims: {{ {name}: … }}`")));
    }
    for name in always {
        claims.entry(*name).or_insert(true.into());
    }
    Some(claims)
}
