//! The callers in `/status` and in the metrics.

use super::describe_unread;
use crate::admin::report::{CallerJwtReport, CallerReport, CallerTokenReport, Moment, RightReport};
use crate::config::model::{Caller, CallerServices};
use crate::outbound::callers::{CallerNumber, Callers};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Exposition;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Describes the callers; `None` if the file has no `callers`.
pub(super) fn describe(snapshot: &Snapshot, now: SystemTime) -> Option<BTreeMap<String, CallerReport>> {
    let callers = snapshot.callers.as_deref()?;
    let configured = snapshot.config.callers.as_ref()?;
    let all = callers.numbered().filter_map(|(number, running)| {
        let caller = configured.get(&*running.key)?;
        Some((caller.key.clone(), describe_caller(callers, number, caller, now)))
    });
    Some(all.collect())
}

fn describe_caller(
    callers: &Callers,
    number: CallerNumber,
    caller: &Caller,
    now: SystemTime,
) -> CallerReport {
    let running = callers.get(number);
    let tokens = callers.tokens_of(number).map(|token| CallerTokenReport {
        id: token.id.to_string(),
        state: token.validity_at(now).as_str(),
        last_used_at: token.stats.last_used().map(Moment),
        last_refused_at: token.stats.last_refused().map(Moment),
        expires_at: token.expires_at.map(Moment),
    });
    CallerReport {
        tokens: tokens.collect(),
        jwt: caller
            .jwt
            .as_ref()
            .map(|jwt| CallerJwtReport { issuer: jwt.issuer.clone(), subject: jwt.subject.clone() }),
        certificate: caller.certificate.as_ref().map(|name| name.as_str().to_owned()),
        services: describe_services(&caller.services),
        credential: caller.unread.as_ref().map(describe_unread),
        in_flight: running.in_progress(),
        requests: running.stats.counts().values().sum(),
        refused: running.stats.refusals().map(|(reason, count)| (reason.as_str(), count)).collect(),
    }
}

fn describe_services(services: &CallerServices) -> BTreeMap<String, RightReport> {
    let CallerServices::Named(named) = services else {
        return BTreeMap::from([("*".to_owned(), RightReport::default())]);
    };
    let right = |(service, right): (&String, &crate::config::model::CallerRight)| {
        let report = RightReport {
            methods: right.rights.methods.iter().map(ToString::to_string).collect(),
            paths: right.rights.paths.iter().map(ToString::to_string).collect(),
            account: right.account.as_ref().map(|account| account.name.clone()),
        };
        (service.clone(), report)
    };
    named.iter().map(right).collect()
}

/// Adds the callers and their tokens to a scrape.
pub(super) fn expose<'a>(snapshot: &'a Snapshot, exposition: &mut Exposition<'a>) {
    let Some(callers) = snapshot.callers.as_deref() else { return };
    exposition.caller("", callers.unproven());
    for caller in callers.iter() {
        exposition.caller(&caller.key, &caller.stats);
    }
    for token in callers.tokens().iter() {
        let caller = &callers.get(token.caller).key;
        exposition.caller_token(caller, &token.id, &token.stats, token.expires_at);
    }
}
