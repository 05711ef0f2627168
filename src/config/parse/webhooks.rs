//! Webhooks: their keys, users and receivers.

use super::accounts::plain_text_of;
use super::handshake::{self, BroughtSecrets};
use super::headers::headers;
use super::services::Context;
use super::{Named, keys, limits, loops, optional, refer, rights, urls, verify};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::{
    ApiKey, Handshake, Issuer, KeyIn, Rate, Refusals, Replay, UnreadSecret, User, Verify, Webhook,
    WebhookDefaults,
};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use crate::error_code::ErrorCode;
use crate::header_name::{FieldName, alike, is_own};
use crate::signature::Verifier;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// State that the webhooks of a file share.
pub(super) struct All<'a> {
    /// A key must lead to one webhook, and be nothing else.
    seen_keys: keys::Seen,
    /// True if the file sets `public_url`.
    public_url: bool,
    /// The issuers of the file.
    issuers: &'a Named<Issuer>,
    /// The headers that attache sets for receivers.
    names: &'a Distinct<'a>,
    /// The unreadable key of `identity.assertion`, if any.
    assertion: Option<UnreadSecret>,
    /// The store for secrets that providers bring.
    brought: BroughtSecrets,
}

impl<'a> All<'a> {
    pub(super) fn new(
        public_url: bool,
        issuers: &'a Named<Issuer>,
        names: &'a Distinct<'a>,
        assertion: Option<UnreadSecret>,
        brought: BroughtSecrets,
    ) -> Self {
        Self { seen_keys: keys::Seen::default(), public_url, issuers, names, assertion, brought }
    }

    /// Takes the keys that are of another kind.
    pub(super) fn after(self, seen_keys: keys::Seen) -> Self {
        Self { seen_keys, ..self }
    }

    /// Returns the keys of all webhooks, and those from before.
    pub(super) fn into_seen_keys(self) -> keys::Seen {
        self.seen_keys
    }
}

pub(super) fn webhook(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    context: &Context<'_>,
    all: &mut All<'_>,
) -> Option<Webhook> {
    let read = || decoder.inheriting(at, context.webhook_defaults, || read(decoder, at, context, all));
    let (webhook, unread) = decoder.secrets.owned(at.to_string(), read);
    let mut webhook = webhook?;
    let brings_secret = webhook.handshake.as_ref().is_some_and(Handshake::brings_secret);
    let sealed_with = all.brought.sealed_with.as_ref().filter(|_| brings_secret);
    let unread = UnreadSecret::worse(unread.as_ref(), all.assertion.as_ref());
    webhook.unread = UnreadSecret::worse(unread, sealed_with).cloned();
    if webhook.unread.as_ref().is_some_and(|unread| unread.blocks) {
        // They may be placeholders.
        webhook.handshake = None;
        webhook.set_headers = [].into();
    }
    Some(webhook)
}

fn read(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>, all: &mut All<'_>) -> Option<Webhook> {
    let map = decoder.mapping(at)?.with_defaults(context.webhook_defaults);
    let forward_to = decoder.required(&map, "forward_to").and_then(|at| {
        let url = urls::bare_url(decoder, &at)?;
        loops::check(decoder, &at, &url, context.listeners.webhooks.as_ref());
        Some(url)
    });
    let api_keys = decoder.required(&map, "api_keys").and_then(|at| api_keys(decoder, &at, all));
    decoder.required(&map, "user");
    let settings = settings(decoder, &map, context, all);
    let (verifier, is_secret_brought) = match settings.verify.checked().ok()? {
        Some(verify) => (Some(verify.verifier), verify.is_brought),
        None => (None, false),
    };
    let default = Webhook::new(settings.user.value()?, forward_to?, api_keys?);
    Some(Webhook {
        methods: settings.methods.or(default.methods)?,
        max_body: settings.max_body.unwrap_or(default.max_body),
        timeout: settings.timeout.unwrap_or(default.timeout),
        key_in: settings.key_in.or(default.key_in)?,
        allow_from: settings.allow_from.or(default.allow_from)?,
        rate_limit: settings.rate_limit.checked().ok()?,
        max_concurrent: settings.max_concurrent.checked().ok()?.and_then(NonZeroU32::new),
        set_headers: settings.set_headers.or(Vec::new())?.into(),
        verify: verifier,
        is_secret_brought,
        handshake: settings.handshake.checked().ok()?,
        replay: settings.replay.checked().ok()?,
        refusals: settings.refusals.or(default.refusals)?,
        ..default
    })
}

/// The values of `defaults.webhook`.
struct Settings {
    user: Given<Arc<User>>,
    methods: Given<Vec<Method>>,
    max_body: Option<u64>,
    timeout: Option<Duration>,
    key_in: Given<KeyIn>,
    allow_from: Given<Vec<IpNet>>,
    rate_limit: Given<Rate>,
    max_concurrent: Given<u32>,
    set_headers: Given<Vec<(FieldName, HeaderValue)>>,
    verify: Given<Verify>,
    handshake: Given<Handshake>,
    replay: Given<Replay>,
    refusals: Given<Refusals>,
}

fn settings(decoder: &Decoder<'_>, map: &Map<'_>, context: &Context<'_>, all: &All<'_>) -> Settings {
    let mut names = Distinct::below(all.names);
    let key_in = optional(map.get("key_in"), |at| key_in(decoder, at, &mut names));
    // Those that are removed from a call before `verify`, `handshake` and `replay` read it. They may share theirs.
    let removed = names.clone();
    let surroundings = (all.public_url, all.issuers);
    let verify = optional(map.get("verify"), |at| verify::verify(decoder, at, surroundings, &mut names));
    let handshake = handshake::handshake(decoder, map, &verify, (&all.brought, &removed));
    let verifier = verify.as_ref().value().map(|verify| &verify.verifier);
    let replay = optional(map.get("replay"), |at| verify::replay(decoder, at, verifier, &removed));
    let told_apart_by = replay.as_ref().value().map_or(&[][..], |replay| &replay.distinguish_by);
    let asked_by = handshake.as_ref().value().map_or(&[][..], Handshake::headers);
    let read = (verifier, asked_by, told_apart_by);
    let set_headers = optional(map.get("set_headers"), |at| set_headers(decoder, at, read, &mut names));
    Settings {
        user: optional(map.get("user"), |at| {
            refer(decoder, at, "user", context.users, "define it under `users`")
        }),
        methods: optional(map.get("methods"), |at| rights::methods(decoder, at)),
        max_body: map
            .get("max_body")
            .and_then(|at| decoder.parsed(&at, "invalid_size", "a size", scalar::size)),
        timeout: map.get("timeout").and_then(|at| decoder.duration(&at, false)),
        key_in,
        allow_from: optional(map.get("allow_from"), |at| limits::networks(decoder, at)),
        rate_limit: optional(map.get("rate_limit"), |at| limits::rate(decoder, at)),
        max_concurrent: optional(map.get("max_concurrent"), |at| decoder.integer(at)),
        set_headers,
        verify,
        handshake,
        replay,
        refusals: optional(map.get("refusals"), |at| refusals(decoder, at)),
    }
}

/// Returns the defaults of a webhook that is not there yet. Reports their problems, even if no webhook uses them.
pub(super) fn check_defaults(
    decoder: &Decoder<'_>,
    defaults: &Map<'_>,
    context: &Context<'_>,
    all: &All<'_>,
) -> WebhookDefaults {
    let settings = settings(decoder, defaults, context, all);
    WebhookDefaults {
        key_in: settings.key_in.value().unwrap_or_default(),
        is_signed: defaults.get("verify").is_some(),
        methods: settings.methods.value().unwrap_or_default(),
        allow_from: settings.allow_from.value().unwrap_or_default(),
        distinguish_by: settings.replay.value().map(|replay| replay.distinguish_by).unwrap_or_default(),
    }
}

/// Reads `path`, `{header: NAME}` or `{query: NAME}`.
fn key_in(decoder: &Decoder<'_>, at: &At<'_>, names: &mut Distinct<'_>) -> Option<KeyIn> {
    if let View::Scalar { text: "path", .. } = decoder.tree.view(at.node) {
        return Some(KeyIn::Path);
    }
    let map = decoder.mapping(at)?;
    match (map.get("header"), map.get("query")) {
        (Some(header), None) => {
            let name = Purpose::Received.read(decoder, &header)?.into_header_name();
            let place = Some(decoder.place(&header));
            let fine = names.add(decoder, Use { name: name.clone(), key: header.to_string(), place });
            fine.then_some(KeyIn::Header(name))
        }
        (None, Some(query)) => decoder.string(&query).map(|name| KeyIn::Query(name.to_owned())),
        _ => {
            let finding =
                Finding::error("conflicting_keys", decoder.place(at), format!("{at} has to be one place"));
            decoder.reject(finding.label("set one of `header` and `query`, or remove `key_in` for the path"))
        }
    }
}

/// Reads `set_headers`. A header that `verify` or `replay` reads is refused: the client's is dropped before that.
fn set_headers(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    (verifier, asked_by, told_apart_by): (Option<&Verifier>, &[&str], &[HeaderName]),
    names: &mut Distinct<'_>,
) -> Option<Vec<(FieldName, HeaderValue)>> {
    let read = verifier.map(|verifier| verifier.scheme().headers()).unwrap_or_default();
    let refused = |name: &str| {
        if is_own(name) {
            return Some(("attache states the identity of a call itself", Some("choose another name")));
        }
        let is_among = |names: &[HeaderName]| names.iter().any(|other| alike(other.as_str(), name));
        let reader = if is_among(&read) {
            "`verify` reads this header of the call"
        } else if asked_by.iter().any(|other| alike(other, name)) {
            "`handshake` reads this header of the call"
        } else if is_among(told_apart_by) {
            "`replay` tells deliveries apart by this header of the call"
        } else {
            return None;
        };
        Some((reader, Some("choose another name")))
    };
    let set = headers(decoder, at, Purpose::Told, plain_text_of, refused)?;
    let entries: Vec<_> = decoder.names(at)?.entries().collect();
    for (name, _) in &set {
        // The first: a second one in another spelling was refused above.
        if let Some((_, at)) = entries.iter().find(|(text, _)| *name == **text) {
            let place = Some(decoder.key(at));
            names.add(decoder, Use { name: name.as_header_name().clone(), key: at.to_string(), place });
        }
    }
    Some(set)
}

/// The codes whose status a provider may require to be different.
const REFUSABLE: [ErrorCode; 6] = [
    ErrorCode::SignatureInvalid,
    ErrorCode::UserInactive,
    ErrorCode::RequestDenied,
    ErrorCode::RateLimited,
    ErrorCode::MethodDenied,
    ErrorCode::RequestTooLarge,
];

fn refusals(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Refusals> {
    let map = decoder.mapping(at)?;
    let bodiless = map.get("body").map_or(Some(false), |at| decoder.bool(&at).map(|body| !body));
    let mut statuses = Vec::new();
    if let Some(at) = map.get("statuses") {
        for (name, at) in decoder.mapping(&at)?.known_entries() {
            let Some(code) = REFUSABLE.iter().find(|code| code.as_str() == name) else { continue };
            let status = decoder.status(&at)?;
            if status.is_redirection() {
                let message = format!("{at} would redirect the client");
                let finding = Finding::error("out_of_range", decoder.place(&at), message);
                return decoder.reject(finding.label("must be 200 to 299 or 400 to 599"));
            }
            statuses.push((*code, status));
        }
    }
    Some(Refusals { statuses, bodiless: bodiless? })
}

const WORDS: keys::Words = keys::Words {
    owner: "service",
    one: "key",
    other: "webhook key",
    duplicate: "duplicate_api_key",
    command: "`attache keys new`",
    is_sent_in_header: false,
};

fn api_keys(decoder: &Decoder<'_>, at: &At<'_>, webhooks: &mut All<'_>) -> Option<Vec<ApiKey>> {
    let keys::List { keys, has_unread } = keys::keys(decoder, at, &WORDS, &mut webhooks.seen_keys)?;
    if keys.is_empty() && has_unread {
        decoder.secrets.block();
    } else if keys.is_empty() {
        // A valid first step: `attache keys new` reads the file, and prints the first key.
        let finding = Finding::warning("no_api_keys", decoder.key(at), format!("{at} is empty"));
        decoder.report(
            finding
                .label("every call is answered with 404")
                .help("`attache keys new --service NAME` makes a key"),
        );
    }
    Some(keys)
}
