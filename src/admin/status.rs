//! What `/status` and `/metrics` say of the snapshot in effect. No secret, no key: key ids stand for keys.

use crate::config::model::{Account, Service, UnreadSecret, Validity};
use crate::credentials::oauth2::TokenState;
use crate::credentials::{Credential, TokenResult};
use crate::error_code::ErrorCode;
use crate::snapshot::Snapshot;
use crate::telemetry::failures::FailureRow;
use crate::telemetry::metrics::{AccountRow, Direction, Exposition, Phase, ServiceStats, Totals};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment as RFC 3339, in UTC, to the millisecond.
pub fn rfc3339(time: SystemTime) -> String {
    let rounded = jiff::Timestamp::try_from(time).and_then(|time| time.round(jiff::Unit::Millisecond));
    rounded.map(|time| time.to_string()).unwrap_or_default()
}

/// `services`, `accounts`, `users`, `webhooks` of `/status`. `minute` is the last that [`ServiceStats::mark`] was told of.
pub fn describe(snapshot: &Snapshot, now: SystemTime, minute: u64) -> Value {
    let config = &snapshot.config;
    let outbound = snapshot.routes.iter().map(|route| (&*route.service, Direction::Outbound, &route.stats));
    let endpoints = snapshot.keys.endpoints().iter();
    let webhooks = endpoints.map(|endpoint| (endpoint.service(), Direction::Webhook, &endpoint.route.stats));
    let mut statistics: HashMap<&str, Vec<Directed<'_>>> = HashMap::new();
    for (service, direction, stats) in outbound.chain(webhooks) {
        statistics.entry(service).or_default().push((direction, stats));
    }
    let services: serde_json::Map<String, Value> = config
        .services
        .values()
        .map(|service| {
            let statistics = statistics.get(&*service.key).map(Vec::as_slice).unwrap_or_default();
            (service.key.clone(), describe_service(service, statistics, minute))
        })
        .collect();
    let accounts: serde_json::Map<String, Value> = config
        .all_accounts()
        .map(|account| {
            let mut row = describe_account(snapshot, account, now);
            row["credential"] = account.unread.as_ref().map(describe_unread).into();
            (account.name.clone(), row)
        })
        .collect();
    let users: serde_json::Map<String, Value> = config
        .users
        .values()
        .map(|user| (user.key.clone(), json!({ "name": user.name, "active": user.active })))
        .collect();
    let mut webhooks: Vec<(&str, &str, Value)> = snapshot
        .keys
        .iter()
        .map(|key| {
            let endpoint = key.endpoint();
            let state = match key.validity_at(now) {
                Validity::Valid if endpoint.route.unavailable.is_some() => {
                    ErrorCode::CredentialUnavailable.as_str()
                }
                Validity::Valid if !endpoint.user.active => "user_inactive",
                validity => validity.as_str(),
            };
            let row = json!({
                "service": key.service(),
                "key_id": key.id(),
                "user": endpoint.user.key,
                "state": state,
                "verify": endpoint.verifier.as_ref().map(|verifier| verifier.scheme().as_str()),
                "last_used_at": key.stats().last_used().map(rfc3339),
                "last_refused_at": key.stats().last_refused().map(rfc3339),
                "expires_at": key.expires_at().map(rfc3339),
            });
            (key.service(), key.id(), row)
        })
        .collect();
    webhooks.sort_by_key(|(service, key, _)| (*service, *key));
    let webhooks: Vec<Value> = webhooks.into_iter().map(|(_, _, row)| row).collect();
    json!({ "services": services, "accounts": accounts, "users": users, "webhooks": webhooks })
}

/// The statistics of one direction of a service.
type Directed<'a> = (Direction, &'a Arc<ServiceStats>);

fn describe_service(service: &Service, statistics: &[Directed<'_>], minute: u64) -> Value {
    // The path of a server URL may be a secret.
    let outbound = service.outbound.as_ref().map(|outbound| {
        let url = &outbound.server_url;
        json!({
            "server": format!("{}://{}", if url.tls { "https" } else { "http" }, url.authority),
            "account": outbound.account.name,
            "timeout_ms": outbound.timeout.as_millis() as u64,
        })
    });
    let in_flight: i64 = statistics.iter().map(|(_, stats)| stats.in_flight()).sum();
    let recent: Vec<Totals> = statistics.iter().map(|(_, stats)| stats.recent(minute)).collect();
    let errors = statistics.iter().filter_map(|(direction, stats)| Some((direction, stats.last_error()?)));
    let last = errors.max_by_key(|(_, error)| error.at).map(|(direction, error)| {
        json!({
            "at": rfc3339(error.at),
            "direction": direction.as_str(),
            "code": error.code.as_str(),
            "reason": error.reason,
            "request_id": error.request_id,
        })
    });
    json!({
        "name": service.name,
        "outbound": outbound,
        "webhook": service.webhook.is_some(),
        "credential": service.unread().map(describe_unread),
        "in_flight": in_flight,
        "last_5_minutes": {
            "requests": recent.iter().map(|totals| totals.requests).sum::<u64>(),
            "errors": recent.iter().map(|totals| totals.errors).sum::<u64>(),
        },
        "last_error": last,
    })
}

/// `failures` of `/status`, in the order of the rows.
pub fn describe_failures(rows: &[FailureRow]) -> Value {
    let row = |row: &FailureRow| {
        let failure = &row.failure;
        json!({
            "at": rfc3339(failure.at),
            "direction": failure.direction.as_str(),
            "service": failure.service,
            "account": failure.account,
            "key_id": failure.key_id,
            "status": failure.status,
            "code": failure.code.map(ErrorCode::as_str),
            "reason": failure.reason,
            "phase": failure.phase.map(Phase::as_str),
            "duration_ms": failure.duration.as_millis() as u64,
            "upstream": failure.upstream,
            "client": failure.client,
            "request_id": failure.request_id,
            "count": row.count,
            "first_at": rfc3339(row.first_at),
        })
    };
    rows.iter().map(row).collect()
}

/// A secret that can't be read.
fn describe_unread(unread: &UnreadSecret) -> Value {
    json!({ "state": unread.state(), "reason": unread.fault.as_str(), "at": unread.place })
}

fn describe_account(snapshot: &Snapshot, account: &Account, now: SystemTime) -> Value {
    let credential = snapshot.accounts.get(&account.name).map(|running| &*running.credential);
    match credential {
        Some(Credential::OAuth2(source)) => {
            let status = source.status(Instant::now().into());
            let last = status.last.as_ref().map(|last| {
                json!({
                    "result": last.result.as_str(),
                    "reason": last.reason,
                    "at": rfc3339(last.at),
                    "duration_ms": last.took.map(|took| took.as_millis() as u64),
                })
            });
            let expires_in = status.expires_at.map(|at| at.duration_since(now).unwrap_or_default().as_secs());
            json!({
                "authorization": "oauth2",
                "token": {
                    "state": status.state.as_str(),
                    "expires_at": status.expires_at.map(rfc3339),
                    "expires_in_seconds": expires_in,
                    "refused": source.stats().refused(),
                    "generation": status.generation,
                    "requests": status.requests,
                    "last_request": last,
                },
            })
        }
        Some(Credential::Headers(_)) => json!({ "authorization": "header" }),
        Some(Credential::Query(_)) => json!({ "authorization": "query" }),
        Some(Credential::Unavailable) => json!({ "authorization": "unavailable" }),
        Some(Credential::None) | None => json!({ "authorization": "none" }),
    }
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
    for (name, account) in &snapshot.accounts {
        if let Credential::OAuth2(source) = &*account.credential {
            let stats = source.stats();
            let status = source.status(Instant::now().into());
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
    for key in snapshot.keys.iter() {
        exposition.key(key.service(), key.id(), key.stats(), key.expires_at());
    }
    for endpoint in snapshot.keys.endpoints() {
        if let Some((_, deliveries)) = &endpoint.replay {
            exposition.deliveries(endpoint.service(), deliveries.len(), deliveries.forgotten_early());
        }
    }
    for account in snapshot.config.unread_accounts().into_keys() {
        exposition.unavailable("account", account);
    }
    for service in snapshot.config.unread_services().into_keys() {
        exposition.unavailable("service", service);
    }
    exposition.config_hash(&snapshot.config.hash);
}
