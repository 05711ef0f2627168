//! The handshake of a webhook in `attache verify`: its secret, and a remark if the request is a question.

use super::request::Captured;
use crate::config::model::{Config, Handshake};
use crate::handshake_secrets;
use crate::signature::Verifier;
use crate::state::FileStore;
use crate::webhook::handshake::{Headers, Question, Responder};

/// Returns the verifier with the secret that the provider brought.
pub(super) fn with_kept_secret(
    config: &Config,
    service: &str,
    verifier: &Verifier,
) -> Result<Verifier, String> {
    let waits =
        || format!("services.{service}.webhook waits for the provider's handshake: there is no secret yet");
    let (_, handshake) = config.brought_secrets().find(|(name, _)| *name == service).ok_or_else(waits)?;
    let state = config.state.as_ref().filter(|state| state.dir.exists()).ok_or_else(waits)?;
    let store = FileStore::open(&state.dir, &state.keys).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let kept = runtime.block_on(handshake_secrets::kept(&store, service, handshake));
    let (secret, _) = kept.map_err(|error| error.to_string())?.ok_or_else(waits)?;
    verifier.with_secrets(&[secret]).map_err(|(_, fault)| {
        format!("the secret that the provider brought is not one of this scheme: {fault}")
    })
}

/// Returns a remark about a request that is a question of the handshake.
pub(super) fn remark(handshake: &Handshake, captured: &Captured, passes: bool) -> Option<String> {
    let query = captured.target.iter().position(|&b| b == b'?').map_or(&[][..], |at| &captured.target[at..]);
    let question = Question { method: &captured.method, query, headers: Headers::Cleaned(&captured.headers) };
    let responder = Responder::new(handshake, None);
    // The answer itself may be as sensitive as a signature.
    let sign = |_: &[u8]| Some(Vec::new());
    let unsigned =
        responder.at_head(&question, &sign).or_else(|| responder.in_body(&question, &captured.body));
    let signed = || responder.in_signed_body(&question, &captured.body, &sign);
    let name = handshake.as_str();
    if unsigned.is_some() {
        return Some(format!("It is a question of the handshake `{name}`, which needs no signature."));
    }
    signed().map(|_| match passes {
        true => format!("It is a question of the handshake `{name}`, which attache answers."),
        false => format!("It is a question of the handshake `{name}`, which needs a valid signature."),
    })
}
