//! Callers: their proofs, and their rights.

use super::{Named, credential_place, keys, limits, optional, redaction, refer, rights, service_rules, urls};
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{
    Account, ApiKey, Authorization, Caller, CallerJwt, CallerRight, CallerRules, CallerServices, Issuer,
    Listen, Service,
};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::source::Span;
use crate::config::tree::View;
use crate::x509::San;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

const WORDS: keys::Words = keys::Words {
    owner: "caller",
    one: "token",
    other: "token of a caller",
    duplicate: "duplicate_token",
    command: "`attache keys new --caller NAME`",
    is_sent_in_header: true,
};

/// The parts of the file that a caller refers to.
pub(super) struct Context<'a> {
    pub(super) accounts: &'a Named<Account>,
    pub(super) services: &'a Named<Service>,
    pub(super) issuers: &'a Named<Issuer>,
    /// True if `listen.outbound` verifies client certificates.
    pub(super) has_client_ca: bool,
}

/// The proofs of the callers so far: one proof leads to one caller.
pub(super) struct Proofs {
    tokens: keys::Seen,
    subjects: HashMap<CallerJwt, Span>,
    certificates: HashMap<San, Span>,
}

impl Proofs {
    /// Returns none yet. A provider has the key of its webhook, and a token of `listen.admin` opens the status page, so
    /// no token may be one.
    pub(super) fn after(other_keys: keys::Seen) -> Self {
        Self { tokens: other_keys, subjects: HashMap::new(), certificates: HashMap::new() }
    }
}

/// Reads a caller.
pub(super) fn caller(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    key: &str,
    context: &Context<'_>,
    proofs: &mut Proofs,
) -> Option<Caller> {
    let map = decoder.mapping(at)?;
    let (tokens, unread) = decoder
        .secrets
        .owned(at.to_string(), || optional(map.get("tokens"), |at| tokens(decoder, at, proofs)));
    let jwt = optional(map.get("jwt"), |at| jwt(decoder, at, context, proofs));
    let certificate = optional(map.get("certificate"), |at| certificate(decoder, at, context, proofs));
    let services = decoder.required(&map, "services").and_then(|at| rights(decoder, &at, context));
    let rate_limit = optional(map.get("rate_limit"), |at| limits::rate(decoder, at));
    let max_concurrent = optional(map.get("max_concurrent"), |at| decoder.integer(at));
    let mut caller = Caller {
        key: key.to_owned(),
        tokens: tokens.or(Vec::new())?,
        jwt: jwt.checked().ok()?,
        certificate: certificate.checked().ok()?,
        services: services?,
        rate_limit: rate_limit.checked().ok()?,
        max_concurrent: max_concurrent.checked().ok()?.and_then(NonZeroU32::new),
        unread,
    };
    let is_unprovable = caller.is_unprovable();
    if let Some(unread) = &mut caller.unread {
        // Another proof serves meanwhile, or none does.
        unread.blocks |= is_unprovable;
    } else if is_unprovable {
        let message = format!("{at} has no proof, so no request is this caller's");
        let finding = Finding::warning("caller_without_proof", decoder.key(at), message);
        let help = "`attache keys new --caller NAME` makes a token";
        decoder.report(finding.label("`tokens`, `jwt` and `certificate` are missing").help(help));
    }
    Some(caller)
}

fn tokens(decoder: &Decoder<'_>, at: &At<'_>, proofs: &mut Proofs) -> Option<Vec<ApiKey>> {
    keys::keys(decoder, at, &WORDS, &mut proofs.tokens).map(|list| list.keys)
}

fn jwt(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>, proofs: &mut Proofs) -> Option<CallerJwt> {
    let map = decoder.mapping(at)?;
    let issuer = decoder
        .required(&map, "issuer")
        .and_then(|at| refer(decoder, &at, "issuer", context.issuers, "define it under `issuers`"));
    let subject = decoder.required(&map, "subject").and_then(|at| decoder.string(&at).map(str::to_owned));
    let jwt = CallerJwt { issuer: issuer?.key.clone(), subject: subject? };
    let place = decoder.key(at);
    match proofs.subjects.insert(jwt.clone(), place) {
        None => Some(jwt),
        Some(first) => {
            let message = format!("{at} is already the proof of another caller");
            let finding = Finding::error("duplicate_proof", place, message);
            decoder.reject(finding.label("the same issuer and subject").secondary(first, "first used here"))
        }
    }
}

fn certificate(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    context: &Context<'_>,
    proofs: &mut Proofs,
) -> Option<San> {
    let map = decoder.mapping(at)?;
    if !context.has_client_ca {
        let message = format!("{at} needs `listen.outbound.tls.client_ca`");
        let finding = Finding::error("missing_key", decoder.key(at), message);
        decoder.report(finding.label("without it no client certificate is verified").help(
            "write `listen: { outbound: { address: …, tls: { certificate: …, key: …, client_ca: … } } }`",
        ));
    }
    let san_at = decoder.required(&map, "san")?;
    let san = decoder.parsed(&san_at, "invalid_name", "a subject alternative name", scalar::san)?;
    let place = decoder.place(&san_at);
    match proofs.certificates.insert(san.clone(), place) {
        None => context.has_client_ca.then_some(san),
        Some(first) => {
            let message = format!("{san_at} is already the proof of another caller");
            let finding = Finding::error("duplicate_proof", place, message);
            decoder.reject(finding.label("used again here").secondary(first, "first used here"))
        }
    }
}

/// Reads `services`: a list, `"*"`, or a mapping from names to rights.
fn rights(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>) -> Option<CallerServices> {
    match decoder.tree.view(at.node) {
        View::Scalar { text: "*", .. } => Some(CallerServices::All),
        View::Scalar { .. } if !decoder.is_null(at) => {
            decoder.wrong_type(at, "a list of services, `\"*\"`, or a mapping from services to rights")
        }
        View::Sequence(_) => {
            let mut named = BTreeMap::new();
            let mut fine = true;
            for item in decoder.sequence(at)? {
                match service(decoder, &item, context) {
                    Some(name) => {
                        fine &=
                            named.insert(name, CallerRight::default()).is_none() || repeated(decoder, &item)
                    }
                    None => fine = false,
                }
            }
            if named.is_empty() && fine {
                decoder.empty(at)
            } else {
                fine.then_some(CallerServices::Named(named))
            }
        }
        _ => {
            let map = decoder.names(at)?;
            if map.len() == 0 {
                return decoder.empty(at);
            }
            let read = |(name, at): (&str, At<'_>)| {
                let service = named_service(decoder, &at, decoder.key(&at), name, context);
                let right = right(decoder, &at, name, context);
                Some((service?, right?))
            };
            let all: Vec<Option<(String, CallerRight)>> = map.entries().map(read).collect();
            all.into_iter().collect::<Option<BTreeMap<_, _>>>().map(CallerServices::Named)
        }
    }
}

fn repeated(decoder: &Decoder<'_>, at: &At<'_>) -> bool {
    let finding = Finding::error("duplicate_key", decoder.place(at), format!("{at} is in the list already"));
    decoder.report(finding.label("listed again here").help("remove it"));
    false
}

/// Reads the name of a service with a `server_url`.
fn service(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>) -> Option<String> {
    let name = decoder.string(at)?;
    if name == "*" {
        let finding = Finding::error("wrong_type", decoder.place(at), format!("{at} is no service"));
        return decoder.reject(finding.label("`*` stands alone").help("write `services: \"*\"`"));
    }
    named_service(decoder, at, decoder.place(at), name, context)
}

fn named_service(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    place: Span,
    name: &str,
    context: &Context<'_>,
) -> Option<String> {
    match context.services.entries.get(name) {
        Some(None) => None,
        Some(Some(service)) if service.outbound.is_some() => Some(name.to_owned()),
        Some(Some(_)) => {
            let finding = Finding::error("unknown_service", place, format!("{at} has no `server_url`"));
            decoder.reject(
                finding
                    .label("a caller can't use a service that has only a webhook")
                    .help("remove it, or add `server_url` to the service"),
            )
        }
        None if context.services.is_unreadable => None,
        None => {
            let message = format!("{at} refers to an unknown service");
            let help = decoder
                .suggest(name, context.services.entries.keys().map(String::as_str))
                .unwrap_or_else(|| "define it under `services`".to_owned());
            let finding = Finding::error("unknown_service", place, message);
            decoder.reject(finding.label("no such service").help(help))
        }
    }
}

fn right(decoder: &Decoder<'_>, at: &At<'_>, service: &str, context: &Context<'_>) -> Option<CallerRight> {
    if decoder.is_null(at) {
        return Some(CallerRight::default());
    }
    let map = decoder.mapping(at)?;
    let rights = rights::rights(decoder, &map);
    let account = optional(map.get("account"), |at| account(decoder, at, service, context));
    Some(CallerRight { rights: rights?, account: account.checked().ok()? })
}

/// Reads the account that opens the service for one caller. It has to fit the service as the service's own has.
fn account(decoder: &Decoder<'_>, at: &At<'_>, service: &str, context: &Context<'_>) -> Option<Arc<Account>> {
    let account = refer(decoder, at, "account", context.accounts, "define it under `accounts`")?;
    let service = context.services.entries.get(service).and_then(Option::as_ref);
    if let Some(outbound) = service.and_then(|service| service.outbound.as_ref())
        && account.authorization != Authorization::None
        && !outbound.allow_plaintext
        && !urls::is_private(&outbound.server_url)
    {
        let message = format!("{at} would be sent over http, where it can be overheard");
        let finding = Finding::error("plaintext_credential", decoder.place(at), message);
        return decoder.reject(
            finding
                .label("the service's `server_url` is http")
                .help("`allow_plaintext: true` on the service would allow it"),
        );
    }
    if let Some(outbound) = service.and_then(|service| service.outbound.as_ref()) {
        credential_place::check(decoder, at, &outbound.server_url, &account)?;
        service_rules::check_account(decoder, at, &outbound.rules, &account)?;
        redaction::check_account(decoder, at, outbound.redact_responses, &account)?;
    }
    Some(account)
}

/// Reads `caller_rules`, which needs callers, and for `report` a listener that only this machine reaches.
pub(super) fn rules(
    decoder: &Decoder<'_>,
    root: &Map<'_>,
    listen: Option<&Listen>,
    anonymous: bool,
) -> CallerRules {
    const RULES: [(&str, CallerRules); 2] =
        [("enforce", CallerRules::Enforce), ("report", CallerRules::Report)];
    let has_callers = root.get("callers").is_some() || decoder.is_misspelt(root, "callers");
    let Some(at) = root.get("caller_rules") else { return CallerRules::default() };
    let rules = decoder.one_of(&at, &RULES).unwrap_or_default();
    if !has_callers {
        let help = "add `callers`, or remove it";
        decoder.no_use(&at, "no `callers`", "there are no rules to apply", help);
    }
    if let Some(listen) = listen
        && rules == CallerRules::Report
        && !anonymous
        && !listen.outbound.address.stays_on_this_machine()
    {
        let message = format!(
            "{at} lets every client use every credential, and listen.outbound is reachable from other machines"
        );
        decoder.report(
            Finding::error("anonymous_callers", decoder.place(&at), message)
                .label("refuses nothing")
                .help("set `enforce`, or also `allow_anonymous_callers: true`"),
        );
    }
    rules
}
