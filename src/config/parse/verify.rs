//! `webhook.verify`: the required signature.

mod fetched;
mod fit;
mod parts;
mod replay;

use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::{Distinct, Use};
use crate::config::model::{Issuer, Verify};
use crate::config::parse::Named;
use crate::config::problem::Finding;
use crate::config::secrets::{Failure, PlainText};
use crate::config::tree::View;
use crate::secret::Secret;
use crate::signature::{KeySource, Scheme, Verifier};
pub(super) use replay::replay;

/// The current secret, the previous one, and some to spare: each costs a pass over the body.
const MAX_SECRETS: usize = 8;

/// Maximum length of PayPal's webhook id.
const MAX_WEBHOOK_ID: usize = 64;

/// Reads `verify`. `names` has the headers that are removed from a call before it is checked: those that attache sets
/// for the receiver, and the one that holds the key.
pub(super) fn verify(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    (public_url, issuers): (bool, &Named<Issuer>),
    names: &mut Distinct<'_>,
) -> Option<Verify> {
    let map = decoder.mapping(at)?;
    let schemes = || format!("{}; `custom` is for all other providers", decoder.known(None, Scheme::NAMES));
    let help = map.get("scheme").is_none().then(schemes);
    let scheme =
        decoder.required_or(&map, "scheme", help.as_deref()).and_then(|at| scheme(decoder, &map, &at));
    let needs = fetched::needs(decoder, &map, scheme.as_ref(), issuers);
    let brought = brought(decoder, &map);
    let source = scheme.as_ref().map(Scheme::key_source);
    let secrets = match (&scheme, source, &brought) {
        (Some(scheme), Some(KeySource::PublicKey), _) => public_keys(decoder, &map, scheme),
        (Some(scheme), Some(KeySource::Issuer | KeySource::Topics), _) => {
            fetched::no_secrets(decoder, &map, scheme)
        }
        (_, _, Given::Value(())) => Some(Vec::new()),
        (_, _, Given::Invalid) => None,
        (None, ..) if ["topics", "issuer"].into_iter().any(|key| map.get(key).is_some()) => None,
        (scheme, _, Given::Absent) => secrets(decoder, &map, scheme.as_ref()),
    };
    let tolerance = map.get("tolerance").map(|at| (decoder.duration(&at, false), at));
    let verify_token = map.get("verify_token").map(|at| (decoder.secret(&at, PlainText::WARN), at));
    let webhook_id = map.get("webhook_id").map(|at| (webhook_id(decoder, &at), at));
    let scheme = scheme?;
    let (tolerance_at, token_at) =
        (tolerance.as_ref().map(|(_, at)| at), verify_token.as_ref().map(|(_, at)| at));
    if !have_use(decoder, &scheme, tolerance_at, token_at)
        || !is_webhook_id_right(decoder, &map, &scheme, webhook_id.as_ref().map(|(_, at)| at))
        || !are_distinct(decoder, &map, &scheme, names)
    {
        return None;
    }
    if scheme.has_url() && !public_url {
        let message = format!("{} needs `public_url`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        return decoder.reject(
            finding.label("the scheme signs the URL").help("set `public_url` at the top of the file"),
        );
    }
    let (needs, secrets) = (needs?, secrets?);
    let tolerance = match tolerance {
        Some((tolerance, _)) => tolerance?,
        None => scheme.default_tolerance(),
    };
    let verify_token = match verify_token {
        Some((token, _)) => Some(token?),
        None => None,
    };
    // Each secret was checked against the scheme.
    let verifier = Verifier::new(scheme, &secrets, tolerance).ok()?;
    let verifier = match webhook_id {
        Some((id, _)) => verifier.with_webhook_id(id?),
        None => verifier,
    };
    let verifier = needs.apply(verifier);
    Some(Verify { verifier, verify_token, is_brought: brought == Given::Value(()) })
}

/// Reports a tolerance or a token that the scheme has no use for.
fn have_use(
    decoder: &Decoder<'_>,
    scheme: &Scheme,
    tolerance: Option<&At<'_>>,
    verify_token: Option<&At<'_>>,
) -> bool {
    if let Some(at) = tolerance.filter(|_| !scheme.has_timestamp()) {
        let help = "the scheme signs no time, so an old request is accepted like a new one; `replay` refuses \
                    duplicates";
        let what = format!("`scheme: {}`", scheme.as_str());
        decoder.no_use(at, &what, "there is no signed time to compare", help);
        return false;
    }
    if let Some(at) = verify_token.filter(|_| *scheme != Scheme::Meta) {
        decoder.no_use(at, "this scheme", "only Meta sends one", "remove it, or use `scheme: meta`");
        return false;
    }
    true
}

/// Reads the id of a webhook, which becomes a part of the signed text.
fn webhook_id<'t>(decoder: &Decoder<'t>, at: &At<'_>) -> Option<&'t str> {
    let id = decoder.string(at)?;
    let fine = id.len() <= MAX_WEBHOOK_ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fine {
        return Some(id);
    }
    let message = format!("{at} is not the id of a webhook");
    let finding = Finding::error("invalid_value", decoder.place(at), message);
    decoder.reject(finding.label("an id has letters, digits and `-`"))
}

fn is_webhook_id_right(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    scheme: &Scheme,
    given: Option<&At<'_>>,
) -> bool {
    match (scheme.needs_webhook_id(), given) {
        (true, None) => {
            let help = "the provider shows it beside the webhook, and it is a part of what is signed";
            decoder.required_or(map, "webhook_id", Some(help)).is_some()
        }
        (false, Some(at)) => {
            decoder.no_use(at, "this scheme", "only PayPal signs one", "remove it, or use `scheme: paypal`");
            false
        }
        _ => true,
    }
}

/// Reports the headers of the scheme that have another use.
fn are_distinct(decoder: &Decoder<'_>, map: &Map<'_>, scheme: &Scheme, names: &mut Distinct<'_>) -> bool {
    if let Scheme::Custom(custom) = scheme {
        return fit::are_distinct(decoder, map, custom, names);
    }
    let mut fine = true;
    if let Some(at) = map.get("scheme") {
        for name in scheme.headers() {
            let (key, place) = (format!("{name} of {at}"), Some(decoder.place(&at)));
            fine &= names.check(decoder, &Use { name, key, place });
        }
    }
    fine
}

/// Reads `secret: { handshake: true }`: the provider brings the secret.
fn brought(decoder: &Decoder<'_>, map: &Map<'_>) -> Given<()> {
    let Some(at) = map.get("secret") else { return Given::Absent };
    let Some(source) = decoder.secret_source(&at) else { return Given::Absent };
    let Some(handshake) = source.get("handshake") else { return Given::Absent };
    if let Some(second) = map.get("secrets") {
        let message = format!("{} has both `secret` and `secrets`", map.at);
        let finding = Finding::error("conflicting_keys", decoder.key(&second), message);
        return decoder.reject::<()>(finding.label("the provider brings the only secret")).into();
    }
    if source.len() > 1 {
        let message = format!("{at} has more than one source");
        let finding = Finding::error("conflicting_keys", decoder.key(&handshake), message);
        return decoder.reject::<()>(finding.label("the provider brings the only secret")).into();
    }
    match decoder.bool(&handshake) {
        Some(true) => Given::Value(()),
        Some(false) => {
            let message = format!("{at} has no source of the secret");
            let finding = Finding::error("missing_key", decoder.place(&handshake), message);
            let help = "write `{ handshake: true }`, or another source such as `{ env: NAME }`";
            decoder.reject::<()>(finding.label("no handshake brings it").help(help)).into()
        }
        None => {
            // It may be the secret itself.
            decoder.hide(handshake.node);
            Given::Invalid
        }
    }
}

/// Reads `secret` or `secrets`: one secret or a list, under either name.
fn secrets(decoder: &Decoder<'_>, map: &Map<'_>, scheme: Option<&Scheme>) -> Option<Vec<Secret>> {
    if let (Some(at), Some(scheme)) = (map.get("public_key"), scheme) {
        let (label, help) = if scheme.takes_whpk() {
            (
                "the scheme has one key for both kinds",
                "move it to `secret`, which takes `whsec_…` and `whpk_…`",
            )
        } else {
            (
                "the scheme signs with a secret",
                "the provider's secret stands under `secret`; others know a public key, and could sign with it",
            )
        };
        decoder.no_use(&at, "this scheme", label, help);
        return None;
    }
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
        // The scheme, which is missing, decides which of the two is needed.
        (None, None) if scheme.is_none() && map.get("public_key").is_some() => return None,
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

/// Reads `public_key`: one or a list, each in the file or in a file of its own.
fn public_keys(decoder: &Decoder<'_>, map: &Map<'_>, scheme: &Scheme) -> Option<Vec<Secret>> {
    if let Some(at) = map.get("secret").or_else(|| map.get("secrets")) {
        let label = "the scheme has no secret: a public key verifies its signatures";
        decoder.no_use(&at, "this scheme", label, "use `public_key`");
        return None;
    }
    let help = "the provider publishes it: `public_key: { file: PATH }`, or the key itself";
    let at = decoder.required_or(map, "public_key", Some(help))?;
    let items: Vec<At<'_>> = match decoder.tree.view(at.node) {
        View::Sequence(_) => decoder.sequence(&at)?.collect(),
        _ => vec![at],
    };
    if items.is_empty() {
        return decoder.empty(&at);
    }
    let (mut keys, mut fine) = (Vec::new(), items.len() <= MAX_SECRETS);
    if !fine {
        let message = format!("{at} has more than {MAX_SECRETS} entries");
        let finding = Finding::error("out_of_range", decoder.key(&at), message);
        decoder.report(finding.label("too many").help("remove the oldest"));
    }
    for item in items {
        let accept = |text: &str| {
            let key = Secret::new(text);
            let failure = |fault: crate::signature::SecretFault| {
                let message = format!("{item} is not a public key of this scheme");
                Failure::malformed("invalid_key", message, fault.to_string(), None)
            };
            scheme.fits(&key).map_err(failure).map(|()| key)
        };
        match decoder.secret_text_as(&item, PlainText::Fine, &accept) {
            Given::Value(key) => keys.push(key),
            Given::Absent => {}
            Given::Invalid => fine = false,
        }
    }
    if keys.is_empty() && fine {
        decoder.or_block(Given::Absent, || ());
    }
    fine.then_some(keys)
}

fn scheme(decoder: &Decoder<'_>, map: &Map<'_>, at: &At<'_>) -> Option<Scheme> {
    let name = decoder.string(at)?;
    if name == "hmac" || name == "custom" {
        return parts::parts(decoder, map, name).map(|parts| Scheme::Custom(Box::new(parts)));
    }
    let Some(scheme) = Scheme::by_name(name) else {
        let message = format!("{at} is not a known scheme");
        let finding = Finding::error("unknown_value", decoder.place(at), message).label("unknown scheme");
        let help = decoder
            .suggest(name, Scheme::NAMES.iter().copied())
            .unwrap_or_else(|| decoder.known(Some(name), Scheme::NAMES));
        return decoder.reject(finding.help(help));
    };
    let mut fine = true;
    for at in parts::KEYS.into_iter().filter_map(|key| map.get(key)) {
        let help = "remove it, or use `scheme: custom`";
        decoder.no_use(&at, &format!("`scheme: {name}`"), "the scheme defines this", help);
        fine = false;
    }
    fine.then_some(scheme)
}

#[cfg(test)]
mod tests;
