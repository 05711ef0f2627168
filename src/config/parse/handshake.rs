//! `webhook.handshake`: the provider's question that attache answers.

use super::optional;
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::{Distinct, Use};
use crate::config::model::{Handshake, UnreadSecret, Verify};
use crate::config::problem::Finding;
use crate::config::scalar::{self, Invalid};
use crate::config::secrets::PlainText;
use crate::config::tree::View;
use http::HeaderName;
use std::cell::Cell;

/// Maximum length of a topic or an origin: both arrive in the head of a request.
const MAX_TEXT: usize = 2048;

/// The requirements of secrets that providers bring on the whole file.
pub(super) struct BroughtSecrets {
    /// True if the file configures the store, or if its absence was reported.
    is_kept: Cell<bool>,
    /// The unreadable key of the store, if any.
    pub(super) sealed_with: Option<UnreadSecret>,
}

impl BroughtSecrets {
    pub(super) fn new(is_kept: bool, sealed_with: Option<UnreadSecret>) -> Self {
        Self { is_kept: Cell::new(is_kept), sealed_with }
    }

    /// Reports that there is no store for a secret. Reported once: one `state` solves it for all.
    fn need(&self, decoder: &Decoder<'_>, at: &At<'_>) {
        if self.is_kept.replace(true) {
            return;
        }
        let message = format!("{at} brings a secret to keep, and there is no `state.key` to seal it with");
        let finding = Finding::error("missing_key", decoder.place(at), message);
        decoder.report(finding.label("the provider sends its secret once, so it must survive a restart").help(
            "write at the top level `state: { key: { file: PATH } }`, with a key from `openssl rand -base64 32`",
        ));
    }
}

/// Reads `handshake`, or takes the one that `verify` implies, and checks that the two fit together. `removed` has the
/// headers that are removed from a call before.
pub(super) fn handshake(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    verify: &Given<Verify>,
    (secrets, removed): (&BroughtSecrets, &Distinct<'_>),
) -> Given<Handshake> {
    let given = optional(map.get("handshake"), |at| read(decoder, at));
    if given.is_invalid() || verify.is_invalid() {
        return Given::Invalid;
    }
    let verify = verify.as_ref().value();
    if has_idle_token(decoder, map, verify) {
        return Given::Invalid;
    }
    let chosen = match given {
        Given::Value(Some(handshake)) => Some(handshake),
        Given::Value(None) => None,
        _ => verify.and_then(implied),
    };
    match (chosen, map.get("handshake").or_else(|| map.get("verify"))) {
        (Some(handshake), Some(at)) => {
            let fits =
                fits(decoder, map, &at, &handshake, verify) && is_there(decoder, &at, &handshake, removed);
            if handshake.brings_secret() {
                let of_verify =
                    (at.name() == Some("verify")).then(|| below(decoder, &at, "secret")).flatten();
                secrets.need(decoder, of_verify.as_ref().unwrap_or(&at));
            }
            if fits { Given::Value(handshake) } else { Given::Invalid }
        }
        (Some(_), None) => Given::Invalid,
        (None, _) if verify.is_some_and(|verify| verify.is_brought) => {
            no_one_brings(decoder, map);
            Given::Invalid
        }
        (None, _) => Given::Absent,
    }
}

/// Returns the handshake that goes with the scheme of `verify`.
fn implied(verify: &Verify) -> Option<Handshake> {
    let handshake = Handshake::by_name(verify.verifier.scheme().handshake()?)?;
    match handshake {
        Handshake::Meta { .. } => Some(Handshake::Meta { verify_token: verify.verify_token.clone() }),
        handshake if handshake.brings_secret() && !verify.is_brought => None,
        handshake => Some(handshake),
    }
}

/// Reports a `verify_token` of `verify` beside a `handshake`, which is answered without it.
fn has_idle_token(decoder: &Decoder<'_>, map: &Map<'_>, verify: Option<&Verify>) -> bool {
    let (Some(verify), Some(at), true) = (verify, map.get("verify"), map.get("handshake").is_some()) else {
        return false;
    };
    if verify.verify_token.is_none() {
        return false;
    }
    let Some(at) = below(decoder, &at, "verify_token") else { return true };
    let message = format!("{at} has no effect with `handshake`");
    let finding = Finding::error("conflicting_keys", decoder.key(&at), message);
    decoder.report(
        finding
            .label("the token is a part of the handshake")
            .help("write `handshake: { meta: { verify_token: … } }` instead"),
    );
    true
}

/// Checks that the webhook has what its handshake needs.
fn fits(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    at: &At<'_>,
    handshake: &Handshake,
    verify: Option<&Verify>,
) -> bool {
    let name = handshake.as_str();
    if verify.is_some_and(|verify| verify.is_brought) && !handshake.brings_secret() {
        no_one_brings(decoder, map);
        return false;
    }
    if handshake.answers_with_secret()
        && verify.is_none_or(|verify| verify.verifier.scheme().as_str() != name)
    {
        let message = format!("{at} needs `verify` with `scheme: {name}`");
        let finding = Finding::error("missing_key", decoder.place(at), message);
        let label = "the answer is computed with the secret of that scheme";
        decoder.report(finding.label(label).help(format!(
            "write `verify: {{ scheme: {name}, secret: {{ env: NAME }} }}` beside it; another scheme could not tell its \
             deliveries from such an answer"
        )));
        return false;
    }
    if *handshake == Handshake::Sns && verify.is_none_or(|verify| verify.verifier.topics().is_none()) {
        let message = format!("{at} needs `verify` with `scheme: sns`");
        let finding = Finding::error("missing_key", decoder.place(at), message);
        let label = "its `topics` say which subscriptions are wanted";
        decoder.report(finding.label(label).help("write `verify: { scheme: sns, topics: [ARN] }` beside it"));
        return false;
    }
    if handshake.is_signed() && verify.is_none() {
        let message = format!("{at} needs `verify`");
        let finding = Finding::error("missing_key", decoder.place(at), message);
        decoder.report(
            finding
                .label("the provider signs its question, which is answered only once its signature is valid")
                .help("write `verify` beside it, or let the receiver answer: `handshake: none`"),
        );
        return false;
    }
    true
}

/// Reports a header by which the question is told from a delivery, and that has another use.
fn is_there(decoder: &Decoder<'_>, at: &At<'_>, handshake: &Handshake, removed: &Distinct<'_>) -> bool {
    handshake.headers().iter().all(|name| {
        let (key, place) = (format!("{name} of {at}"), Some(decoder.key(at)));
        removed.check(decoder, &Use { name: HeaderName::from_static(name), key, place })
    })
}

/// Reports a `secret: { handshake: true }` without a handshake that brings one.
fn no_one_brings(decoder: &Decoder<'_>, map: &Map<'_>) {
    let Some(at) = map.get("verify") else { return };
    let Some(at) = below(decoder, &at, "secret") else { return };
    let message = format!("{at} comes by the handshake, and no handshake brings one");
    let finding = Finding::error("conflicting_keys", decoder.key(&at), message);
    decoder.report(
        finding
            .label("`secret: { handshake: true }` waits for it")
            .help("`handshake: asana` and `handshake: notion` bring a secret"),
    );
}

/// Returns the place of a key of `verify`, which has been read.
fn below<'a>(decoder: &'a Decoder<'_>, verify: &'a At<'a>, key: &'static str) -> Option<At<'a>> {
    decoder.names(verify)?.own(key)
}

/// Reads a name, or a name with its settings. The inner `None` is the word `none`.
#[expect(clippy::option_option, reason = "`none` and invalid differ")]
fn read(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Option<Handshake>> {
    if let View::Scalar { .. } = decoder.tree.view(at.node) {
        return by_name(decoder, at);
    }
    let map = decoder.mapping(at)?;
    let entries: Vec<_> = map.known_entries().collect();
    match entries.as_slice() {
        [(name, settings)] if map.len() == 1 => with_settings(decoder, name, settings).map(Some),
        [] if map.len() > 0 => None,
        _ => {
            let message = format!("{at} has to be one handshake");
            let finding = Finding::error("conflicting_keys", decoder.place(at), message);
            decoder.reject(
                finding
                    .label("exactly one")
                    .help("write it like `{ meta: { verify_token: { env: NAME } } }`"),
            )
        }
    }
}

#[expect(clippy::option_option, reason = "`none` and invalid differ")]
fn by_name(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Option<Handshake>> {
    let name = decoder.string(at)?;
    match Handshake::by_name(name) {
        Some(Handshake::Websub { .. }) => {
            let message = format!("{at} has no `topics`");
            let finding = Finding::error("missing_key", decoder.place(at), message);
            decoder.reject(
                finding
                    .label("which subscriptions are wanted is not known")
                    .help("write it like `{ websub: { topics: [https://blog.example/feed] } }`"),
            )
        }
        Some(handshake) => Some(Some(handshake)),
        None if name == "none" => Some(None),
        None => {
            let message = format!("{at} is not a known handshake");
            let finding =
                Finding::error("unknown_value", decoder.place(at), message).label("unknown handshake");
            let words = Handshake::WORDS;
            let help = decoder
                .suggest(name, words.iter().copied())
                .unwrap_or_else(|| decoder.known(Some(name), words));
            decoder.reject(finding.help(help))
        }
    }
}

fn with_settings(decoder: &Decoder<'_>, name: &str, at: &At<'_>) -> Option<Handshake> {
    let map = decoder.mapping(at)?;
    let token = || match map.get("verify_token") {
        Some(at) => decoder.secret(&at, PlainText::WARN).map(Some),
        None => Some(None),
    };
    Some(match Handshake::by_name(name)? {
        Handshake::Meta { .. } => Handshake::Meta { verify_token: token()? },
        Handshake::Websub { .. } => {
            let topics =
                decoder.required(&map, "topics").and_then(|at| texts(decoder, &at, "a topic", scalar::topic));
            let verify_token = token();
            Handshake::Websub { topics: topics?, verify_token: verify_token? }
        }
        Handshake::Cloudevents { .. } => {
            let origins = optional(map.get("origins"), |at| texts(decoder, at, "an origin", scalar::origin));
            Handshake::Cloudevents { origins: origins.or(Vec::new())? }
        }
        plain => plain,
    })
}

/// Reads a list of texts that arrive in the head of a request.
fn texts(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    what: &str,
    parse: fn(&str) -> Result<String, Invalid>,
) -> Option<Vec<String>> {
    let items: Vec<At<'_>> = decoder.sequence(at)?.collect();
    if items.is_empty() {
        return decoder.empty(at);
    }
    let visible = |text: &str| {
        if text.len() <= MAX_TEXT && text.bytes().all(|b| b.is_ascii_graphic()) {
            return parse(text);
        }
        Err(Invalid { label: "visible ASCII characters only, at most 2048", help: None })
    };
    let texts: Vec<Option<String>> =
        items.iter().map(|at| decoder.parsed(at, "invalid_value", what, visible)).collect();
    texts.into_iter().collect()
}
