//! `webhook.verify` and `webhook.replay`: the required signature, and the treatment of duplicates.

use super::optional;
use crate::config::decode::{At, Decoder, Map, list};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::Replay;
use crate::config::problem::Finding;
use crate::config::secrets::{Failure, PlainText};
use crate::header_name::FieldName;
use crate::secret::Secret;
use crate::signature::{Algorithm, Encoding, Form, Recipe, Scheme, Template, TemplateFault, Verifier};
use http::{HeaderName, StatusCode};
use std::time::Duration;

/// The current secret, the previous one, and some to spare: each costs a pass over the body.
const MAX_SECRETS: usize = 8;

const DEFAULT_WINDOW: Duration = Duration::from_secs(600);

/// Keys that only the generic scheme has.
const HMAC: [&str; 7] =
    ["header", "algorithm", "encoding", "prefix", "signed", "timestamp_header", "id_header"];

/// Its keys whose value is a header name.
const OF_HMAC: [&str; 3] = ["header", "timestamp_header", "id_header"];

/// The values of `verify`.
pub(super) struct Verify {
    pub(super) verifier: Verifier,
    pub(super) verify_token: Option<Secret>,
}

/// Reads `verify`. `names` has the headers that are removed from a call before it is checked: those that attache sets
/// for the receiver, and the one that holds the key.
pub(super) fn verify(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    public_url: bool,
    names: &mut Distinct<'_>,
) -> Option<Verify> {
    let map = decoder.mapping(at)?;
    let schemes = || format!("one of {}; `hmac` is for all other providers", list(&Scheme::names()));
    let help = map.get("scheme").is_none().then(schemes);
    let scheme =
        decoder.required_or(&map, "scheme", help.as_deref()).and_then(|at| scheme(decoder, &map, &at));
    let secrets = secrets(decoder, &map, scheme.as_ref());
    let tolerance = map.get("tolerance").map(|at| (decoder.duration(&at, false), at));
    let verify_token = map.get("verify_token").map(|at| (decoder.secret(&at, PlainText::WARN), at));
    let scheme = scheme?;
    if let Some((_, at)) = &tolerance
        && !scheme.has_timestamp()
    {
        let help = "the scheme signs no time, so an old request is accepted like a new one; `replay` refuses \
                    duplicates";
        decoder.no_use(
            at,
            &format!("`scheme: {}`", scheme.as_str()),
            "there is no signed time to compare",
            help,
        );
        return None;
    }
    if let Some((_, at)) = &verify_token
        && scheme != Scheme::Meta
    {
        decoder.no_use(at, "this scheme", "only Meta sends one", "remove it, or use `scheme: meta`");
        return None;
    }
    if !are_distinct(decoder, &map, &scheme, names) {
        return None;
    }
    if scheme.has_url() && !public_url {
        let message = format!("{} needs `public_url`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        return decoder.reject(
            finding.label("the scheme signs the URL").help("set `public_url` at the top of the file"),
        );
    }
    let secrets = secrets?;
    let tolerance = match tolerance {
        Some((tolerance, _)) => tolerance?,
        None => Verifier::DEFAULT_TOLERANCE,
    };
    let verify_token = match verify_token {
        Some((token, _)) => Some(token?),
        None => None,
    };
    // Each secret was checked against the scheme.
    let verifier = Verifier::new(scheme, &secrets, tolerance).ok()?;
    Some(Verify { verifier, verify_token })
}

/// Reports the headers of the scheme that have another use.
fn are_distinct(decoder: &Decoder<'_>, map: &Map<'_>, scheme: &Scheme, names: &mut Distinct<'_>) -> bool {
    let mut fine = true;
    if let Scheme::Hmac(recipe) = scheme {
        if let Some(at) = map.get("signed") {
            for name in recipe.signed.headers() {
                let (key, place) = (format!("{name} of {at}"), Some(decoder.place(&at)));
                fine &= names.check(decoder, &Use { name: name.clone(), key, place });
            }
        }
        let given = [Some(&recipe.header), recipe.timestamp.as_ref(), recipe.id.as_ref()];
        for (key, name) in OF_HMAC.into_iter().zip(given) {
            if let (Some(at), Some(name)) = (map.get(key), name) {
                let (key, place) = (at.to_string(), Some(decoder.place(&at)));
                fine &= names.add(decoder, Use { name: name.clone(), key, place });
            }
        }
    } else if let Some(at) = map.get("scheme") {
        for name in scheme.headers() {
            let (key, place) = (format!("{name} of {at}"), Some(decoder.place(&at)));
            fine &= names.check(decoder, &Use { name, key, place });
        }
    }
    fine
}

/// Reads `secret` or `secrets`: one secret or a list, under either name.
fn secrets(decoder: &Decoder<'_>, map: &Map<'_>, scheme: Option<&Scheme>) -> Option<Vec<Secret>> {
    let at = match (map.get("secret"), map.get("secrets")) {
        (Some(at), None) | (None, Some(at)) => at,
        (Some(_), Some(second)) => {
            let message = format!("{} has both `secret` and `secrets`", map.at);
            let finding = Finding::error("conflicting_keys", decoder.key(&second), message);
            return decoder.reject(finding.label("set only one of them; a list may be given under either"));
        }
        (None, None) if decoder.is_misspelt(map, "secret") || decoder.is_misspelt(map, "secrets") => {
            return None;
        }
        (None, None) => {
            let help = "the provider shows it where the webhook is set up: `secret: { env: NAME }`";
            return decoder.required_or(map, "secret", Some(help)).and(None);
        }
    };
    let secrets =
        decoder.secrets(&at, MAX_SECRETS, |at, secret| match scheme.map(|scheme| scheme.fits(secret)) {
            Some(Err(fault)) => {
                let message = format!("{at} is not a secret of this scheme");
                Err(Failure::malformed("invalid_secret", message, fault.to_string(), None))
            }
            Some(Ok(())) | None => Ok(()),
        })?;
    Some(secrets.into_iter().map(|(secret, _)| secret).collect())
}

fn scheme(decoder: &Decoder<'_>, map: &Map<'_>, at: &At<'_>) -> Option<Scheme> {
    let name = decoder.string(at)?;
    if name == "hmac" {
        return recipe(decoder, map).map(|recipe| Scheme::Hmac(Box::new(recipe)));
    }
    let Some(scheme) = Scheme::by_name(name) else {
        let names = Scheme::names();
        let message = format!("{at} is not a known scheme");
        let finding = Finding::error("unknown_value", decoder.place(at), message).label("unknown scheme");
        let help = decoder
            .suggest(name, names.iter().copied())
            .unwrap_or_else(|| format!("known here: {}", list(&names)));
        return decoder.reject(finding.help(help));
    };
    let mut fine = true;
    for key in HMAC {
        if let Some(at) = map.get(key) {
            let help = "remove it, or use `scheme: hmac`";
            decoder.no_use(&at, &format!("`scheme: {name}`"), "the scheme defines this", help);
            fine = false;
        }
    }
    fine.then_some(scheme)
}

fn recipe(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Recipe> {
    let name = |at: At<'_>| Purpose::Received.read(decoder, &at).map(FieldName::into_header_name);
    let named = |key| optional(map.get(key), |at| name(*at)).checked().ok();
    let header = decoder.required(map, "header").and_then(name);
    let timestamp = named("timestamp_header");
    let id = named("id_header");
    let algorithm =
        map.get("algorithm").map_or(Some(Algorithm::Sha256), |at| decoder.one_of(&at, &Algorithm::ALL));
    let encoding = map.get("encoding").map_or(Some(Encoding::Hex), |at| decoder.one_of(&at, &Encoding::ALL));
    let prefix = map.get("prefix").map_or(Some(""), |at| decoder.string_or_empty(&at));
    let signed = match map.get("signed") {
        Some(at) => template(decoder, &at),
        None => Template::parse("{body}").ok(),
    };
    let (timestamp, id, signed) = (timestamp?, id?, signed?);
    let fine = [
        agree(decoder, map, "timestamp_header", "{timestamp}", timestamp.as_ref(), signed.has_timestamp()),
        agree(decoder, map, "id_header", "{id}", id.as_ref(), signed.has_id()),
    ];
    if fine.contains(&false) {
        return None;
    }
    Some(Recipe {
        header: header?,
        form: Form::Prefixed(prefix?.to_owned().into()),
        algorithm: algorithm?,
        encoding: encoding?,
        timestamp,
        id,
        signed,
    })
}

/// Checks that a time or an id is signed, since an unsigned one proves nothing, and that a signed one has a header.
fn agree(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    key: &'static str,
    placeholder: &str,
    header: Option<&HeaderName>,
    signed: bool,
) -> bool {
    let at = match (header, signed) {
        (Some(_), false) => map.get(key),
        (None, true) => map.get("signed"),
        _ => return true,
    };
    if let Some(at) = at {
        let (message, label) = match header {
            Some(_) => {
                (format!("{at} is not signed"), format!("`signed` does not have `{placeholder}` in it"))
            }
            None => (
                format!("{at} contains `{placeholder}`, for which no header is configured"),
                format!("`{key}` is missing, which names the header"),
            ),
        };
        let finding = Finding::error("conflicting_keys", decoder.key(&at), message).label(label);
        decoder.report(match header {
            Some(_) => finding.help("a client could change an unsigned value"),
            None => finding,
        });
    }
    false
}

fn template(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Template> {
    let text = decoder.string(at)?;
    let template = Template::parse(text)
        .map_err(|fault| {
            let finding =
                Finding::error("invalid_template", decoder.place(at), format!("{at} is not a template"));
            let finding = finding.label(fault.to_string());
            decoder.report(match fault {
                TemplateFault::Unknown => finding.help(format!("known here: {}", Template::PLACEHOLDERS)),
                _ => finding,
            });
        })
        .ok()?;
    let refused =
        template.headers().find_map(|name| Some((name, Purpose::Signed.allow(name.as_str()).err()?)));
    if let Some((name, why)) = refused {
        let message = format!("{at} signs {name}, which can't be read from a call");
        return decoder.reject(Finding::error("invalid_header", decoder.place(at), message).label(why));
    }
    Some(template)
}

/// Reads `replay`. It must remember a request for as long as its signature is valid.
pub(super) fn replay(decoder: &Decoder<'_>, at: &At<'_>, verifier: Option<&Verifier>) -> Option<Replay> {
    const ANSWERS: [(&str, StatusCode); 2] = [("409", StatusCode::CONFLICT), ("200", StatusCode::OK)];
    let map = decoder.mapping(at)?;
    if let Some(scheme) = verifier.map(Verifier::scheme).filter(|scheme| scheme.repeats_itself()) {
        let message = format!("{at} would drop deliveries that are not duplicates");
        let finding = Finding::error("conflicting_keys", decoder.key(at), message);
        return decoder.reject(
            finding
                .label(format!("the notifications of `scheme: {}` are often identical", scheme.as_str()))
                .help("remove it: such a notification only states that something changed"),
        );
    }
    let window = map.get("window").map(|at| (decoder.duration(&at, false), at));
    let answer = map.get("answer").map_or(Some(StatusCode::CONFLICT), |at| decoder.one_of(&at, &ANSWERS));
    let needed = verifier.and_then(Verifier::tolerance).map(|tolerance| 2 * tolerance);
    let place = window.as_ref().map_or_else(|| decoder.key(at), |(_, at)| decoder.place(at));
    let window = match window {
        Some((window, _)) => window?,
        None => DEFAULT_WINDOW,
    };
    if let Some(needed) = needed.filter(|needed| window < *needed) {
        let message = format!("{at} forgets requests whose signature is still valid");
        let finding = Finding::warning("short_window", place, message);
        decoder.report(
            finding
                .label(format!(
                    "a signature is valid for {}s, the tolerance in both directions",
                    needed.as_secs()
                ))
                .help("make the window at least as long, or `verify.tolerance` shorter"),
        );
    }
    Some(Replay { window, answer: answer? })
}
