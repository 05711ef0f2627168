//! `webhook.replay`: the treatment of duplicate deliveries.

use super::parts::headers;
use crate::config::decode::{At, Decoder};
use crate::config::header::{Distinct, Use};
use crate::config::model::Replay;
use crate::config::parse::optional;
use crate::config::problem::Finding;
use crate::header_name::alike;
use crate::signature::Verifier;
use http::{HeaderName, StatusCode};
use std::time::Duration;

const DEFAULT_WINDOW: Duration = Duration::from_secs(600);

/// Reads `replay`. It must remember a request for as long as its signature is valid. `removed` has the headers that are
/// removed from a call before.
pub(in crate::config::parse) fn replay(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    verifier: Option<&Verifier>,
    removed: &Distinct<'_>,
) -> Option<Replay> {
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
    let distinguish_by =
        optional(map.get("distinguish_by"), |at| distinguish_by(decoder, at, verifier, removed));
    let distinguish_by = distinguish_by.checked().ok();
    if let (Some(verifier), None) = (verifier, map.get("distinguish_by")) {
        needs_no_header(decoder, at, verifier)?;
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
    Some(Replay { window, answer: answer?, distinguish_by: distinguish_by?.unwrap_or_default() })
}

/// Reports a scheme whose signature does not tell events apart: two of them with the same body would be taken for one.
fn needs_no_header(decoder: &Decoder<'_>, at: &At<'_>, verifier: &Verifier) -> Option<()> {
    let [first, others @ ..] = verifier.unsigned_event_headers() else { return Some(()) };
    let message = format!("{at} would take different events for one");
    let scheme = verifier.scheme().as_str();
    let also = match others {
        [] => String::new(),
        others => format!("; the provider also sends {}", others.join(", ")),
    };
    let finding = Finding::error("indistinct_deliveries", decoder.key(at), message);
    decoder.reject(
        finding
            .label(format!("`scheme: {scheme}` signs neither the type nor the id of an event"))
            .help(format!("add a header that tells them apart: `distinguish_by: [{first}]`{also}")),
    )
}

/// Reads `distinguish_by`. A scheme that signs an id needs none, and a header that any client can change would weaken it.
fn distinguish_by(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    verifier: Option<&Verifier>,
    removed: &Distinct<'_>,
) -> Option<Vec<HeaderName>> {
    let names = headers(decoder, at)?;
    let place = Some(decoder.place(at));
    let is_there =
        |name: &HeaderName| removed.check(decoder, &Use { name: name.clone(), key: at.to_string(), place });
    if !names.iter().all(is_there) {
        return None;
    }
    if let Some(verifier) = verifier.filter(|verifier| verifier.signs_id()) {
        let message = format!("{at} has no effect");
        let label = format!("`scheme: {}` signs the id of each delivery", verifier.scheme().as_str());
        return decoder.reject(
            Finding::error("conflicting_keys", decoder.key(at), message).label(label).help("remove it"),
        );
    }
    let read = verifier.map(|verifier| verifier.scheme().headers()).unwrap_or_default();
    if let Some(name) = names.iter().find(|name| read.iter().any(|read| alike(read.as_str(), name.as_str())))
    {
        let message = format!("{at} names a header of the signature");
        let finding = Finding::error("conflicting_keys", decoder.key(at), message);
        return decoder.reject(
            finding
                .label(format!(
                    "`verify` reads `{name}`, which does not tell two events with the same body apart"
                ))
                .help("name the header in which the provider sends the id of the event"),
        );
    }
    Some(names)
}
