//! `webhook.replay`: the treatment of duplicate deliveries.

use crate::config::decode::{At, Decoder};
use crate::config::model::Replay;
use crate::config::problem::Finding;
use crate::signature::Verifier;
use http::StatusCode;
use std::time::Duration;

const DEFAULT_WINDOW: Duration = Duration::from_secs(600);

/// Reads `replay`. It must remember a request for as long as its signature is valid.
pub(in crate::config::parse) fn replay(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    verifier: Option<&Verifier>,
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
