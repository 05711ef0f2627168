//! The snapshot in effect as `/status`, the status page and `/metrics` show it. No secret, no key: key ids stand for keys.

mod callers;

use super::report::{
    AccountReport, EndpointReport, ErrorReport, FailureReport, FetchFailureReport, HandshakeReport,
    IssuerReport, KeyReport, ListenerReport, Moment, OutboundReport, ServiceReport, SnapshotReport,
    TokenReport, TokenRequestReport, Totals, UnreadReport, UserReport,
};
use crate::config::model::{Account, Config, Issuer, Jwks, ServerUrl, Service, UnreadSecret, Validity};
use crate::credentials::oauth2::{Now, TokenSource, TokenState};
use crate::credentials::{Credential, TokenResult};
use crate::error_code::ErrorCode;
use crate::snapshot::Snapshot;
use crate::telemetry::failures::FailureRow;
use crate::telemetry::metrics::{AccountRow, Direction, Exposition, IssuerRow, Phase, ServiceStats};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Describes the services, accounts, users and webhooks.
pub fn describe(snapshot: &Snapshot, now: SystemTime) -> SnapshotReport {
    let config = &snapshot.config;
    let webhooks: HashMap<&str, &Arc<ServiceStats>> = snapshot
        .keys
        .endpoints()
        .iter()
        .map(|endpoint| (endpoint.service(), &endpoint.route.stats))
        .collect();
    let services = config.services.values().map(|service| {
        let outbound = snapshot.routes.get(&service.key).map(|route| &route.stats);
        let webhook = webhooks.get(&*service.key).copied();
        (service.key.clone(), describe_service(service, outbound, webhook))
    });
    let mut accounts = BTreeMap::new();
    for account in config.all_accounts() {
        if !accounts.contains_key(&account.name) {
            accounts.insert(account.name.clone(), describe_account(snapshot, account, now));
        }
    }
    let users = config
        .users
        .values()
        .map(|user| (user.key.clone(), UserReport { name: user.name.clone(), active: user.active }));
    SnapshotReport {
        services: services.collect(),
        accounts,
        issuers: config
            .issuers
            .values()
            .map(|issuer| (issuer.key.clone(), describe_issuer(snapshot, issuer)))
            .collect(),
        users: users.collect(),
        webhooks: describe_keys(snapshot, now),
        callers: callers::describe(snapshot, now),
        caller_rules: snapshot.callers.as_ref().map(|callers| callers.rules().as_str()),
        endpoints: describe_endpoints(snapshot),
        listeners: describe_listeners(config),
    }
}

/// Describes the listeners with TLS.
fn describe_listeners(config: &Config) -> BTreeMap<&'static str, ListenerReport> {
    let all = config.listen.all().into_iter();
    let with_tls = all.filter_map(|(name, listener)| {
        let tls = listener.tls.as_ref()?;
        let report = ListenerReport {
            certificate_expires_at: tls.not_after.map(Moment),
            client_certificates: tls.client_ca.is_some(),
            credential: tls.unread.as_ref().map(describe_unread),
        };
        Some((name, report))
    });
    with_tls.collect()
}

fn describe_service(
    service: &Service,
    outbound: Option<&Arc<ServiceStats>>,
    webhook: Option<&Arc<ServiceStats>>,
) -> ServiceReport {
    let mut report = ServiceReport {
        name: service.name.clone(),
        outbound: service.outbound.as_ref().map(|configured| OutboundReport {
            server: origin(&configured.server_url),
            account: configured.account.name.clone(),
            timeout_ms: configured.timeout.as_millis() as u64,
            stats: outbound.cloned().unwrap_or_default(),
        }),
        webhook: service.webhook.is_some(),
        credential: service.unread().map(describe_unread),
        in_flight: 0,
        last_5_minutes: Totals::default(),
        last_error: None,
    };
    let directions = [(Direction::Outbound, outbound), (Direction::Webhook, webhook)];
    for (direction, stats) in
        directions.into_iter().filter_map(|(direction, stats)| Some((direction, stats?)))
    {
        let total = stats.activity().total();
        report.in_flight += stats.in_flight();
        report.last_5_minutes.requests += total.requests();
        report.last_5_minutes.errors += u64::from(total.errors);
        let last = describe_last_error(direction, stats);
        if last.as_ref().map(|error| error.at) >= report.last_error.as_ref().map(|error| error.at) {
            report.last_error = last;
        }
    }
    report
}

/// Returns the last failure of one direction of a service.
pub(super) fn describe_last_error(direction: Direction, stats: &ServiceStats) -> Option<ErrorReport> {
    stats.last_error().map(|error| ErrorReport {
        at: Moment(error.at),
        direction: direction.as_str(),
        code: error.code.as_str(),
        reason: error.reason.map(|reason| reason.into_owned()),
        request_id: error.request_id.into(),
    })
}

/// Describes failures, in the order of the rows.
pub fn describe_failures(rows: &[FailureRow]) -> Vec<FailureReport> {
    let row = |row: &FailureRow| {
        let failure = &row.failure;
        FailureReport {
            at: Moment(failure.at),
            direction: failure.direction.as_str(),
            service: failure.service.clone(),
            account: failure.account.clone(),
            caller: failure.caller.clone(),
            key_id: failure.key_id.clone(),
            status: failure.status,
            code: failure.code.map(ErrorCode::as_str),
            reason: failure.reason.clone(),
            phase: failure.phase.map(Phase::as_str),
            duration_ms: failure.duration.as_millis() as u64,
            upstream: failure.upstream,
            client: failure.client,
            request_id: failure.request_id.clone(),
            count: row.count,
            first_at: Moment(row.first_at),
        }
    };
    rows.iter().map(row).collect()
}

/// The path of a server URL may be a secret.
fn origin(url: &ServerUrl) -> String {
    format!("{}://{}", if url.tls { "https" } else { "http" }, url.authority)
}

fn describe_unread(unread: &UnreadSecret) -> UnreadReport {
    UnreadReport { state: unread.state(), reason: unread.fault.as_str(), at: unread.place.clone() }
}

fn describe_account(snapshot: &Snapshot, account: &Account, now: SystemTime) -> AccountReport {
    let credential = snapshot.accounts.get(&account.name).map(|running| &*running.credential);
    let (authorization, token) = match credential {
        Some(Credential::OAuth2(token)) => ("oauth2", Some(describe_token(&token.source, now))),
        Some(Credential::Headers(_)) => ("header", None),
        Some(Credential::Query(_)) => ("query", None),
        Some(Credential::Path(_)) => ("path", None),
        Some(Credential::Jwt(_)) => ("jwt", None),
        Some(Credential::Unavailable) => ("unavailable", None),
        Some(Credential::None) | None => ("none", None),
    };
    AccountReport { authorization, token, credential: account.unread.as_ref().map(describe_unread) }
}

fn describe_token(source: &TokenSource, now: SystemTime) -> TokenReport {
    let status = source.status(Now::system());
    let expires_in = status.expires_at.map(|at| at.duration_since(now).unwrap_or_default().as_secs());
    TokenReport {
        state: status.state.as_str(),
        expires_at: status.expires_at.map(Moment),
        expires_in_seconds: expires_in,
        refused: source.stats().refused(),
        generation: status.generation,
        requests: status.requests,
        last_request: status.last.map(|last| TokenRequestReport {
            result: last.result.as_str(),
            reason: last.reason,
            at: Moment(last.at),
            duration_ms: last.took.map(|took| took.as_millis() as u64),
        }),
    }
}

fn describe_issuer(snapshot: &Snapshot, configured: &Issuer) -> IssuerReport {
    let running = snapshot.issuers.get(&configured.key);
    let status = running.and_then(|running| Some(running.status()?.0)).unwrap_or_default();
    IssuerReport {
        issuer: configured.issuer.clone(),
        jwks_url: match &configured.jwks {
            Jwks::Url(source) => Some(source.shown()),
            Jwks::File { .. } | Jwks::Unavailable => None,
        },
        keys: running.map_or(0, |running| running.count_keys()),
        fetched_at: status.fetched_at.map(Moment),
        last_failure: status.failure.map(|(at, reason)| FetchFailureReport { at: Moment(at), reason }),
        credential: configured.unread.as_ref().map(describe_unread),
    }
}

fn describe_keys(snapshot: &Snapshot, now: SystemTime) -> Vec<KeyReport> {
    let keys = snapshot.keys.iter().map(|key| {
        let endpoint = key.endpoint();
        let state = match key.validity_at(now) {
            Validity::Valid if endpoint.route.unavailable.is_some() => {
                ErrorCode::CredentialUnavailable.as_str()
            }
            Validity::Valid if !endpoint.user.active => "user_inactive",
            Validity::Valid => endpoint.lacks_secret().unwrap_or(Validity::Valid.as_str()),
            validity => validity.as_str(),
        };
        KeyReport {
            service: key.service().to_owned(),
            key_id: key.id().to_owned(),
            user: endpoint.user.key.clone(),
            state,
            verify: endpoint.verifier.as_ref().map(|verifier| verifier.scheme().as_str()),
            handshake: endpoint.responder.as_ref().map(|responder| {
                let brought = endpoint.brought.as_ref().map(|brought| brought.status());
                HandshakeReport {
                    name: responder.as_str(),
                    secret: brought.as_ref().map(|status| status.state),
                    since: brought.as_ref().and_then(|status| status.since).map(Moment),
                    ignored: brought.map_or(0, |status| status.ignored),
                }
            }),
            last_used_at: key.stats().last_used().map(Moment),
            last_refused_at: key.stats().last_refused().map(Moment),
            expires_at: key.expires_at().map(Moment),
        }
    });
    let mut keys: Vec<KeyReport> = keys.collect();
    keys.sort_by(|a, b| (&a.service, &a.key_id).cmp(&(&b.service, &b.key_id)));
    keys
}

fn describe_endpoints(snapshot: &Snapshot) -> BTreeMap<String, EndpointReport> {
    let config = &snapshot.config;
    let base = config.public_url.as_deref().unwrap_or_default();
    let endpoints = snapshot.keys.endpoints().iter().filter_map(|endpoint| {
        let webhook = config.services.get(endpoint.service())?.webhook.as_ref()?;
        let report = EndpointReport {
            user: endpoint.user.key.clone(),
            url: webhook.key_in.url(base, endpoint.service(), "{key}"),
            receiver: origin(&webhook.forward_to),
            stats: Arc::clone(&endpoint.route.stats),
        };
        Some((endpoint.service().to_owned(), report))
    });
    endpoints.collect()
}

/// Adds everything the snapshot knows to a scrape.
pub fn expose<'a>(snapshot: &'a Snapshot, exposition: &mut Exposition<'a>) {
    for direction in [Direction::Outbound, Direction::Webhook] {
        exposition.service(direction, "", snapshot.unmatched(direction));
    }
    for route in snapshot.routes.iter() {
        exposition.service(Direction::Outbound, &route.service, &route.stats);
    }
    for endpoint in snapshot.keys.endpoints() {
        exposition.service(Direction::Webhook, endpoint.service(), &endpoint.route.stats);
    }
    expose_accounts(snapshot, exposition);
    for issuer in snapshot.issuers.iter() {
        let status = issuer.status();
        exposition.issuer(IssuerRow {
            issuer: issuer.key(),
            keys: issuer.count_keys(),
            fetches: status.as_ref().map(|(_, stats)| (stats.succeeded(), stats.failed())),
            fetched_at: status.and_then(|(status, _)| status.fetched_at),
        });
    }
    for key in snapshot.keys.iter() {
        exposition.key(key.service(), key.id(), key.stats(), key.expires_at());
    }
    callers::expose(snapshot, exposition);
    for endpoint in snapshot.keys.endpoints() {
        if let Some((_, deliveries)) = &endpoint.replay {
            exposition.deliveries(endpoint.service(), deliveries.len(), deliveries.forgotten_early());
        }
    }
    expose_unavailable(snapshot, exposition);
    for (name, listener) in snapshot.config.listen.all() {
        if let Some(not_after) = listener.tls.as_ref().and_then(|tls| tls.not_after) {
            exposition.certificate(name, not_after);
        }
    }
    exposition.config_hash(&snapshot.config.hash);
}

fn expose_accounts<'a>(snapshot: &'a Snapshot, exposition: &mut Exposition<'a>) {
    for (name, account) in &snapshot.accounts {
        if let Credential::OAuth2(token) = &*account.credential {
            let source = &token.source;
            let stats = source.stats();
            let status = source.status(Now::system());
            exposition.account(AccountRow {
                account: name,
                requests: TokenResult::ALL.map(|result| (result.as_str(), stats.requests(result))).into(),
                refused: stats.refused(),
                generation: status.generation,
                needs_login: status.state == TokenState::NeedsLogin,
                expiry: stats.expiry_timestamp_seconds().map(|s| UNIX_EPOCH + Duration::from_secs_f64(s)),
                duration: stats.durations(),
            });
        }
    }
}

/// Adds the accounts, issuers, callers, services and listeners with an unreadable secret.
fn expose_unavailable<'a>(snapshot: &'a Snapshot, exposition: &mut Exposition<'a>) {
    for (account, unread) in snapshot.config.unread_accounts() {
        exposition.unavailable("account", account, !unread.blocks);
    }
    for (issuer, unread) in snapshot.config.unread_issuers() {
        exposition.unavailable("issuer", issuer, !unread.blocks);
    }
    for (caller, unread) in snapshot.config.unread_callers() {
        exposition.unavailable("caller", caller, !unread.blocks);
    }
    for (service, unread) in snapshot.config.unread_services() {
        exposition.unavailable("service", service, !unread.blocks);
    }
    // One that has not come yet is no fault: its provider brings it once the webhook is served.
    for endpoint in snapshot.keys.endpoints().iter().filter(|endpoint| endpoint.has_unusable_secret()) {
        exposition.unavailable("service", endpoint.service(), false);
    }
    for (listener, unread) in snapshot.config.unread_listeners() {
        exposition.unavailable("listener", listener, !unread.blocks);
    }
}
