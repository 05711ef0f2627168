//! The caller of an outbound request: its proof, what it may do, and the fields that stay here.

use super::record::{Record, warn_of_caller};
use crate::config::model::Rights;
use crate::header_name::same;
use crate::message::Field;
use crate::message::authorization::is_token68_byte;
use crate::message::request::RequestHead;
use crate::outbound::callers::{
    self, Admitted, CallerNumber, Callers, Decision, LastProof, NewerKeys, Proven, Shown, Unproven, proof,
};
use crate::outbound::{Call, SHORTEST_KEY};
use crate::plan::{Plan, Refusal};
use crate::route::{Route, overrides};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::CallerRefusal;
use crate::x509::PeerCertificate;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The proof of its caller that a request shows. No `Debug`: the text is a credential.
pub(super) struct CallerProof {
    pub(super) outcome: Result<Proven, Unproven>,
    /// The text of the field that counts.
    pub(super) text: Option<Bytes>,
}

/// Reads the proof of a request, whose connection had the proof `last`. `None` if the file has no callers.
pub(super) fn authenticate(
    head: &RequestHead,
    record: &Record,
    certificate: Option<&PeerCertificate>,
    last: &mut LastProof,
) -> Option<CallerProof> {
    let Snapshot { callers: Some(callers), issuers, .. } = &*record.snapshot else { return None };
    let certificate = certificate.map(PeerCertificate::sans);
    let proof = proof::shown(&head.fields, head.absolute);
    let text = proof.as_ref().ok().and_then(Option::as_ref).map(|proof| match &proof.text {
        Cow::Borrowed(text) => head.fields.share(text),
        Cow::Owned(text) => text.clone().into(),
    });
    let shown = Shown { proof, certificate, now: record.time };
    Some(CallerProof { outcome: callers.authenticate(issuers, shown, last), text })
}

/// Maximum time for which a request waits for the keys of an issuer.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// Returns the time from arrival for which a request may wait for the keys of an issuer. Its deadline is the service's,
/// which the target names.
pub(super) fn patience(head: &RequestHead, record: &Record) -> Duration {
    let call =
        Call { method: &head.method, target: &head.target, fields: &head.fields, absolute: head.absolute };
    let located = record.snapshot.routes.locate(&call);
    located.map_or(MAX_PATIENCE, |located| located.route.timeout.min(MAX_PATIENCE))
}

impl CallerProof {
    /// Takes the keys of an issuer that may make the proof valid.
    pub(super) fn take_newer_keys(&mut self) -> Option<NewerKeys> {
        self.outcome.as_mut().err()?.newer_keys.take()
    }
}

/// Decides what to do with a request on a listener with callers, holds it to its caller's limits, and counts it.
pub(super) fn plan(
    callers: &Callers,
    call: &Call<'_>,
    record: &mut Record,
    proof: &CallerProof,
) -> Result<Plan, Refusal> {
    let snapshot = Arc::clone(&record.snapshot);
    let proven = note_proof(callers, record, proof);
    let Decision { caller, lacks, admitted, plan } = callers.decide(&snapshot.routes, call, proven);
    let caller = caller.map(|number| callers.get(number));
    record.lacks = lacks;
    if let (Some(reason), Some(caller)) = (lacks, caller) {
        caller.stats.refused(reason);
    }
    let Some(Admitted { service, right }) = admitted else { return plan };
    if lacks.is_some() {
        warn_of_caller(callers, record, service);
    }
    let Some(caller) = caller else { return plan };
    match caller.begin_at(|| crate::proxy::uptime(record.arrived)) {
        Ok(permit) => record.caller_permit = Some(permit),
        Err((reason, wait)) => {
            caller.stats.refused(reason);
            let refusal = callers::refusal(reason).of(service);
            return Err(refusal.retry_after(wait.unwrap_or_default()));
        }
    }
    note_use(callers, record);
    caller.count(service, right);
    plan
}

/// Returns the route with the account that opens the service for the proven caller, if it is not the service's own.
pub(super) fn route<'a>(
    snapshot: &'a Snapshot,
    proof: &CallerProof,
    service: &str,
) -> Option<&'a Arc<Route>> {
    let callers = snapshot.callers.as_deref()?;
    callers.get(proof.outcome.as_ref().ok()?.caller).right(service)?.route()
}

/// Records whose proof the request shows. A refused one is counted.
fn note_proof(
    callers: &Callers,
    record: &mut Record,
    proof: &CallerProof,
) -> Result<CallerNumber, CallerRefusal> {
    let unproven = match &proof.outcome {
        Ok(proven) => {
            (record.caller, record.caller_token) = (Some(proven.caller), proven.token);
            return Ok(proven.caller);
        }
        Err(unproven) => unproven,
    };
    let stats = match unproven.token.map(|number| callers.tokens().get(number)) {
        // A caller's token that is not valid now. Only log and metrics show whose it is.
        Some(token) => {
            (record.caller, record.caller_token) = (Some(token.caller), unproven.token);
            token.stats.refused_at(record.time);
            &callers.get(token.caller).stats
        }
        None => callers.unproven(),
    };
    stats.refused(unproven.reason);
    Err(unproven.reason)
}

fn note_use(callers: &Callers, record: &Record) {
    if let Some(number) = record.caller_token {
        callers.tokens().get(number).stats.used_at(record.time);
    }
}

/// The fields of a caller's request that are not forwarded: those that hold a proof of any caller, and where the caller's
/// methods or paths are restricted, those that could state another one.
pub(super) struct Withheld<'a> {
    snapshot: &'a Snapshot,
    callers: &'a Callers,
    /// The text that proves the caller.
    text: Option<&'a [u8]>,
    rights: Option<&'a Rights>,
}

impl<'a> Withheld<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        record: &Record,
        proof: Option<&'a CallerProof>,
        route: &Route,
    ) -> Option<Self> {
        let (callers, proof) = (snapshot.callers.as_deref()?, proof?);
        let proven = proof.outcome.as_ref().ok();
        // An unknown `Authorization` may be the client's own for the provider.
        let text = proof.text.as_deref().filter(|_| proven.is_some_and(|proven| proven.by_field));
        let restricted = record.caller.filter(|_| callers.enforces() && proven.is_some());
        let rights = restricted.and_then(|caller| callers.get(caller).right(&route.service)?.rights());
        Some(Self { snapshot, callers, text, rights })
    }

    pub(super) fn has(&self, field: &Field<'_>) -> bool {
        let is_override = |rights: &Rights| overrides(rights).any(|folded| same(field.name_str(), folded));
        self.callers.holds_proof(&self.snapshot.issuers, field, self.text)
            || self.rights.is_some_and(is_override)
    }
}

/// The text in place of a token in a path.
const TOKEN: &[u8] = b"{token}";

/// Returns a path as the access log may show it: without the text that the request shows as its proof, and without a
/// token of any caller. A word as long as a token costs a hash.
pub(super) fn log_path(path: &[u8], record: &Record) -> Vec<u8> {
    if path.len() < SHORTEST_KEY || record.snapshot.callers.is_none() {
        return path.to_vec();
    }
    let is_proof = |word: &[u8]| word.len() >= SHORTEST_KEY && record.holds_credential(word);
    let mut shown = Vec::with_capacity(path.len());
    for word in path.split_inclusive(|b| !is_token68_byte(*b) || *b == b'/') {
        let (text, end) = match word.split_last() {
            Some((end, text)) if !is_token68_byte(*end) || *end == b'/' => (text, std::slice::from_ref(end)),
            _ => (word, &[][..]),
        };
        shown.extend_from_slice(if is_proof(text) { TOKEN } else { text });
        shown.extend_from_slice(end);
    }
    shown
}

/// Returns the reason for the access log of a request that lacks a proof or a right and was forwarded all the same.
pub(super) fn reported(lacks: Option<CallerRefusal>) -> Option<&'static str> {
    lacks.map(CallerRefusal::as_str)
}
