//! The output of `attache explain`: the same facts for people and for programs. No secret is among them.

use super::{Explained, ExplainedRefusal, ExplainedRequest, Sender, listener, log_path};
use crate::config::effective::printable;
use crate::config::model::{
    Account, Authorization, Config, Outbound, Rate, RedactionScope, ServerUrl, Webhook,
};
use crate::error_code::ErrorCode;
use crate::header_name::{CGI_PROXY, CLIENT_ADDRESS, FieldName};
use crate::outbound::callers::{Right, RunningCaller};
use crate::plan::Plan;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::WebhookRefusal;
use crate::telemetry::remedies;
use crate::webhook::keys::KeyNumber;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Stands for the value of a secret.
const REDACTED: &str = "[redacted]";

/// Facts, in the order in which they are printed.
#[derive(Default)]
pub(super) struct ExplainReport {
    facts: Vec<Fact>,
}

struct Fact {
    /// For programs; `None`: only people are told.
    member: Option<(&'static str, Value)>,
    /// For people; `None`: only programs are told.
    line: Option<(&'static str, String)>,
}

impl ExplainReport {
    pub(super) fn new(asked: &ExplainedRequest, snapshot: &Snapshot, decision: &Explained) -> Self {
        let mut report = Self::default();
        let outcome = match decision {
            Explained::Outbound(..) | Explained::Webhook(..) => "forwarded",
            Explained::Reply(..) => "answered",
            Explained::Refusal(_) => "refused",
        };
        let path = log_path(asked, snapshot, decision);
        let direction = asked.direction.as_str();
        report.add("outcome", json!(outcome), "request", format!("{} {path}: {outcome}", asked.method));
        report.add("direction", json!(direction), "direction", direction.to_owned());
        report.only("method", json!(asked.method));
        report.only("path", json!(path));
        match decision {
            Explained::Outbound(plan, sender) => {
                report.sender(snapshot, sender.as_ref(), plan);
                report.outbound(asked, snapshot, sender.as_ref(), plan);
            }
            Explained::Webhook(key, plan) => report.webhook(asked, snapshot, *key, plan),
            Explained::Reply(key, reply) => {
                report.identity(snapshot, *key);
                let text = format!("attache answers the provider's question itself ({})", reply.content_type);
                report.add("content_type", json!(reply.content_type), "answer", text);
            }
            Explained::Refusal(denied) => report.refusal(asked, snapshot, denied),
        }
        report
    }

    pub(super) fn add(&mut self, key: &'static str, value: Value, label: &'static str, line: String) {
        self.facts.push(Fact { member: Some((key, value)), line: Some((label, line)) });
    }

    pub(super) fn only(&mut self, key: &'static str, value: Value) {
        self.facts.push(Fact { member: Some((key, value)), line: None });
    }

    pub(super) fn line(&mut self, label: &'static str, line: String) {
        self.facts.push(Fact { member: None, line: Some((label, line)) });
    }

    fn outbound(
        &mut self,
        asked: &ExplainedRequest,
        snapshot: &Snapshot,
        sender: Option<&Sender>,
        plan: &Plan,
    ) {
        let (config, route) = (&snapshot.config, &plan.route);
        let Some(service) = config.services.get(&route.service) else { return };
        let Some(outbound) = &service.outbound else { return };
        self.add("service", json!(service.key), "service", named(&service.key, service.name.as_deref()));
        let form = plan.form.as_str();
        self.add("named_by", json!(form), "named by", form.to_owned());
        let named = route.account.as_ref().filter(|name| **name != outbound.account.name);
        let account = named.and_then(|name| config.accounts.get(name)).unwrap_or(&outbound.account);
        let kind = kind(account);
        let value = json!({ "name": account.name, "authorization": kind });
        self.add("account", value, "account", format!("{} ({kind})", account.name));
        self.upstream(asked, &outbound.server_url, plan);
        self.deadline(route.timeout, route.idle_timeout);
        self.transport(outbound);
        let (status, text) = match &route.timeout_response {
            Some(response) => (response.status.as_u16(), "timeout_response"),
            None => (ErrorCode::ServiceTimeout.status(), route.timeout_message.as_str()),
        };
        let value = json!({ "status": status, "text": text });
        self.add("on_timeout", value, "on time-out", format!("{status} {}", printable(text)));
        self.only("rewrite_links", json!(route.rewrite_links));
        if !route.rewrite_links {
            self.line("links", "stay as they are".to_owned());
        }
        if let Some(scope) = outbound.redact_responses {
            let parts = match scope {
                RedactionScope::Headers => "header fields",
                RedactionScope::Body => "header fields and bodies of text",
            };
            self.add("redacted", json!(parts), "redacted", format!("copies of the credential in {parts}"));
        }
        self.rules(&outbound.rules);
        let dropped = [&route.replaced[..], &overrides(snapshot, sender, plan)].concat();
        self.headers(added_outbound(config, outbound, account), &dropped);
        if let Authorization::Query { name, .. } = &account.authorization {
            let line = format!("{name}={REDACTED}, instead of every parameter of that name");
            self.add("query", json!([{ "name": name, "value": REDACTED }]), "query", line);
        }
    }

    /// The caller of a request, and its rights on the service.
    fn sender(&mut self, snapshot: &Snapshot, sender: Option<&Sender>, plan: &Plan) {
        let (Some(callers), Some(sender)) = (&snapshot.callers, sender) else { return };
        let name = sender.caller.as_deref();
        self.add("caller", json!(name), "caller", name.unwrap_or("none").to_owned());
        if let Some(lacks) = sender.lacks {
            let line = format!("{} (caller_rules: report lets it through)", lacks.as_str());
            self.add("lacks", json!(lacks.as_str()), "lacks", line);
        }
        if let Some(number) = name.and_then(|name| callers.named(name)) {
            self.rights(callers.get(number), &plan.route.service);
            self.limits_of(snapshot, callers.get(number));
        }
    }

    /// The rights of a caller on a service.
    fn rights(&mut self, caller: &RunningCaller, service: &str) {
        if let Some(rights) = caller.right(service).and_then(Right::rights) {
            let methods: Vec<&str> = rights.methods.iter().map(http::Method::as_str).collect();
            let paths: Vec<String> = rights.paths.iter().map(ToString::to_string).collect();
            let all = |list: &str| if list.is_empty() { "all".to_owned() } else { list.to_owned() };
            let line = format!("methods: {}; paths: {}", all(&methods.join(", ")), all(&paths.join(", ")));
            self.add("caller_rights", json!({ "methods": methods, "paths": paths }), "rights", line);
        }
    }

    /// The limits of a caller.
    fn limits_of(&mut self, snapshot: &Snapshot, caller: &RunningCaller) {
        let Some(configured) = snapshot.config.callers.as_ref().and_then(|all| all.get(&*caller.key)) else {
            return;
        };
        if let Some(Rate { requests, per, burst }) = &configured.rate_limit {
            let value = json!({ "requests": requests, "per_ms": per.as_millis() as u64, "burst": burst });
            self.add(
                "caller_rate_limit",
                value,
                "its rate",
                format!("{requests} per {per:?}, {burst} at once"),
            );
        }
        if let Some(most) = configured.max_concurrent {
            self.add("caller_max_concurrent", json!(most), "its limit", format!("{most} requests at a time"));
        }
    }

    fn webhook(&mut self, asked: &ExplainedRequest, snapshot: &Snapshot, key: KeyNumber, plan: &Plan) {
        let config = &snapshot.config;
        self.identity(snapshot, key);
        let service = config.services.get(&plan.route.service);
        let Some(webhook) = service.and_then(|service| service.webhook.as_ref()) else { return };
        self.upstream(asked, &webhook.forward_to, plan);
        self.deadline(plan.route.timeout, plan.route.idle_timeout);
        self.limits(webhook);
        if snapshot.keys.get(key).endpoint().reads_body() || webhook.handshake.is_some() {
            let line = format!("the bodies of all webhooks use {} bytes at most", config.buffered);
            self.add("buffered", json!(config.buffered), "read ahead", line);
        }
        let misleading = CLIENT_ADDRESS.iter().chain([&CGI_PROXY]).map(|name| (*name).to_owned());
        let token = webhook.verify.as_ref().and_then(|verifier| verifier.scheme().token_header());
        let token = token.map(|name| name.as_str().to_owned());
        let own = plan.route.replaced.iter().cloned();
        let dropped: Vec<String> = own.chain(token).chain(misleading).collect();
        self.headers(added_webhook(snapshot, webhook, key), &dropped);
    }

    /// The service, user and key of a webhook call.
    fn identity(&mut self, snapshot: &Snapshot, key: KeyNumber) {
        let key = snapshot.keys.get(key);
        let service = snapshot.config.services.get(key.service());
        let name = service.and_then(|service| service.name.as_deref());
        self.add("service", json!(key.service()), "service", named(key.service(), name));
        let user = &key.endpoint().user;
        self.add("user", json!(user.key), "user", named(&user.key, user.name.as_deref()));
        self.add("key_id", json!(key.id()), "key", key.id().to_owned());
    }

    fn upstream(&mut self, asked: &ExplainedRequest, url: &ServerUrl, plan: &Plan) {
        let scheme = if url.tls { "https" } else { "http" };
        let target = String::from_utf8_lossy(&plan.target);
        let url = format!("{scheme}://{}{target}", url.authority);
        self.add("upstream", json!(url), "sent to", format!("{} {url}", asked.method));
    }

    fn deadline(&mut self, timeout: Duration, idle: Duration) {
        let line = format!("{timeout:?} to the response headers, then {idle:?} of silence at most");
        self.add("timeout_ms", json!(timeout.as_millis() as u64), "deadline", line);
        self.only("idle_timeout_ms", json!(idle.as_millis() as u64));
    }

    fn limits(&mut self, webhook: &Webhook) {
        let methods: Vec<&str> = webhook.methods.iter().map(http::Method::as_str).collect();
        self.add("methods", json!(methods), "methods", methods.join(", "));
        self.add("max_body", json!(webhook.max_body), "body", format!("{} bytes at most", webhook.max_body));
        if let Some(rate) = &webhook.rate_limit {
            self.rate(rate, "with one key");
        }
        if let Some(count) = webhook.max_concurrent {
            self.add("max_concurrent", json!(count), "at most", format!("{count} calls at the same time"));
        }
        let networks: Vec<String> = webhook.allow_from.iter().map(ToString::to_string).collect();
        if !networks.is_empty() {
            self.add("allow_from", json!(networks), "from", networks.join(", "));
        }
        if let Some(verifier) = &webhook.verify {
            let scheme = verifier.scheme().as_str();
            let whose = match (verifier.token(), verifier.topics()) {
                (Some(token), _) => format!("{scheme} of the issuer `{}`", token.issuer),
                (None, Some([topic])) => format!("{scheme} of the topic {}", topic.as_str()),
                (None, Some(topics)) => format!("{scheme} of {} topics", topics.len()),
                (None, None) => scheme.to_owned(),
            };
            let line = format!("{whose}; checked when the body is there (`attache verify` explains it)");
            self.add("verify", json!(scheme), "signature", line);
        }
        if let Some(handshake) = &webhook.handshake {
            let name = handshake.as_str();
            self.add("handshake", json!(name), "handshake", format!("{name}; attache answers it"));
        }
        if let Some(replay) = &webhook.replay {
            let (window, answer) = (replay.window, replay.answer.as_u16());
            let names: Vec<&str> = replay.distinguish_by.iter().map(http::HeaderName::as_str).collect();
            let mut value = json!({ "window_ms": window.as_millis() as u64, "answer": answer });
            let mut line = format!("{answer} within {window:?} of the first delivery");
            if !names.is_empty() {
                line.push_str(&format!("; told apart by {}", names.join(", ")));
                value["distinguish_by"] = json!(names);
            }
            self.add("replay", value, "repeated", line);
        }
    }

    fn headers(&mut self, added: Vec<(String, String)>, replaced: &[String]) {
        let lines: Vec<String> = added.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let added: Vec<Value> =
            added.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        if !lines.is_empty() {
            self.add("headers_added", json!(added), "added", lines.join("\n"));
        }
        let own = ["x-attache-*", "x-forwarded-*", "forwarded", "hop-by-hop"];
        let dropped: Vec<&str> = replaced.iter().map(String::as_str).chain(own).collect();
        let line = format!("the client's {}", dropped.join(", "));
        self.add("headers_dropped", json!(dropped), "dropped", line);
    }

    fn refusal(&mut self, asked: &ExplainedRequest, snapshot: &Snapshot, denied: &ExplainedRefusal) {
        let refusal = &denied.refusal;
        if let Some(key) = denied.key {
            self.identity(snapshot, key);
        }
        self.restrictions(snapshot, denied);
        let status = refusal.status().as_u16();
        self.add("status", json!(status), "status", status.to_string());
        self.add("code", json!(refusal.code.as_str()), "code", refusal.code.as_str().to_owned());
        let proxy_status = refusal.proxy_status.unwrap_or(refusal.code.proxy_status());
        let reason = refusal.reason.as_deref().unwrap_or(proxy_status);
        self.add("reason", json!(reason), "reason", reason.to_owned());
        self.add("detail", json!(refusal.detail), "answer", refusal.detail.clone().into_owned());
        if let Some(allow) = &refusal.allow {
            self.add("allow", json!(allow), "Allow", allow.to_string());
        }
        if let Some(cause) = cause(asked, snapshot, denied) {
            self.add("cause", json!(cause), "because", cause);
        }
        let is_unknown = matches!(refusal.code, ErrorCode::ServiceUnknown | ErrorCode::WebhookUnknown);
        if let Some(other) = listener::other(asked, &snapshot.config).filter(|_| is_unknown) {
            let other = printable(&other);
            self.add("listener", json!(other), "listener", other);
        }
        if let Some(remedy) = remedies::find(Some(refusal.code.as_str()), reason) {
            self.add("action", json!(remedy.action), "what to do", remedy.action.to_owned());
        }
    }

    /// The caller of a refused request, its rights, and what the service allows.
    fn restrictions(&mut self, snapshot: &Snapshot, denied: &ExplainedRefusal) {
        let service = denied.refusal.service.as_deref();
        let caller = snapshot.callers.as_ref().zip(denied.caller).map(|(all, number)| all.get(number));
        if let Some(caller) = caller {
            self.add("caller", json!(caller.key), "caller", caller.key.to_string());
        }
        let Some(service) = service.filter(|_| denied.key.is_none()) else { return };
        let configured = snapshot.config.services.get(service);
        let name = configured.and_then(|service| service.name.as_deref());
        self.add("service", json!(service), "service", named(service, name));
        if let Some(caller) = caller {
            self.rights(caller, service);
        }
        let is_of_service = matches!(denied.refusal.code, ErrorCode::RequestDenied | ErrorCode::MethodDenied);
        let outbound = configured.and_then(|service| service.outbound.as_ref());
        if let Some(outbound) = outbound.filter(|_| is_of_service) {
            self.allowed(&outbound.rules.allow);
        }
    }

    pub(super) fn json(&self) -> Value {
        let members = self.facts.iter().filter_map(|fact| fact.member.clone());
        Value::Object(members.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
    }

    pub(super) fn human(&self) -> String {
        let mut out = String::new();
        for (label, text) in self.facts.iter().filter_map(|fact| fact.line.as_ref()) {
            for (line, label) in text.lines().zip(std::iter::once(*label).chain(std::iter::repeat(""))) {
                // A method or path comes from the command line or from a log, which anyone may have written to.
                out.push_str(format!("{label:<12}{}", printable(line)).trim_end());
                out.push('\n');
            }
        }
        out
    }
}

/// The cause that the answer leaves out, because the client must not learn it.
fn cause(asked: &ExplainedRequest, snapshot: &Snapshot, denied: &ExplainedRefusal) -> Option<String> {
    let key = denied.key.map(|key| snapshot.keys.get(key));
    let until = key.and_then(|key| key.expires_at()).and_then(|at| jiff::Timestamp::try_from(at).ok());
    Some(match denied.reason? {
        WebhookRefusal::Expired => match until {
            Some(until) => format!("the key has expired, at {until}"),
            None => "the key has expired".to_owned(),
        },
        WebhookRefusal::NotYetValid => "the key's not_before has not come".to_owned(),
        WebhookRefusal::Disabled => "the key is disabled".to_owned(),
        WebhookRefusal::Address => match asked.client {
            Some(client) => format!("allow_from has no network with {client}"),
            None => "allow_from has no network of the client".to_owned(),
        },
        WebhookRefusal::UnknownKey => {
            let mut services = snapshot.config.services.values();
            let by_value = services.any(|service| {
                service.webhook.iter().flat_map(|webhook| &webhook.api_keys).any(|key| key.value.is_some())
            });
            let note = if by_value {
                "; keys given by `value` are secrets, which are not asked for here"
            } else {
                ""
            };
            format!("no webhook has this key, or not in this place{note}")
        }
        _ => return None,
    })
}

fn named(key: &str, name: Option<&str>) -> String {
    name.map_or_else(|| key.to_owned(), |name| format!("{key} ({})", printable(name)))
}

fn kind(account: &Account) -> String {
    match &account.authorization {
        Authorization::None => "none".to_owned(),
        Authorization::Unavailable => "its secret can't be read".to_owned(),
        Authorization::Headers(_) => "header".to_owned(),
        Authorization::Query { .. } => "query".to_owned(),
        Authorization::Path(_) => "path".to_owned(),
        Authorization::Jwt(_) => "jwt".to_owned(),
        Authorization::OAuth2(oauth2) => format!("oauth2, {}", oauth2.grant.as_str()),
    }
}

/// A name as it is sent.
fn spelling(name: &FieldName) -> String {
    String::from_utf8_lossy(name.spelling()).into_owned()
}

fn added_outbound(config: &Config, outbound: &Outbound, account: &Account) -> Vec<(String, String)> {
    let set = outbound.rules.set_headers.iter();
    let mut added: Vec<_> = set.map(|(name, _)| (spelling(name), REDACTED.to_owned())).collect();
    match &account.authorization {
        Authorization::Headers(headers) => {
            added.extend(headers.iter().map(|(name, _)| (spelling(name), REDACTED.to_owned())));
        }
        Authorization::Jwt(jwt) => {
            added.push((spelling(&jwt.header), format!("{}{REDACTED}", jwt.prefix)));
        }
        Authorization::OAuth2(oauth2) => {
            added.push((spelling(&oauth2.header), format!("{}{REDACTED}", oauth2.prefix)));
        }
        Authorization::None
        | Authorization::Query { .. }
        | Authorization::Path(_)
        | Authorization::Unavailable => {}
    }
    added.extend(account.headers.iter().map(|(name, _)| (spelling(name), REDACTED.to_owned())));
    if outbound.redact_responses == Some(RedactionScope::Body) {
        added.push(("Accept-Encoding".to_owned(), "identity".to_owned()));
    }
    if config.via {
        added.push(("Via".to_owned(), "1.1 attache".to_owned()));
    }
    added
}

fn added_webhook(snapshot: &Snapshot, webhook: &Webhook, key: KeyNumber) -> Vec<(String, String)> {
    let (names, key) = (&snapshot.config.identity_headers, snapshot.keys.get(key));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let own = |name: &FieldName, value: &str| (spelling(name), value.to_owned());
    let mut added = vec![
        own(&names.user, &key.endpoint().user.key),
        own(&names.service, key.service()),
        own(&names.key_id, key.id()),
        pair("X-Request-Id", "(the request's id)"),
        pair("X-Forwarded-For", "(the client's address)"),
        pair("X-Forwarded-Proto", "(http or https)"),
        pair("X-Forwarded-Host", snapshot.config.public_host().unwrap_or("(the host that was called)")),
        pair("Via", "1.1 attache"),
    ];
    if let Some(signer) = &snapshot.assertion {
        added.push(own(signer.header(), "(a signed assertion)"));
    }
    added.extend(webhook.set_headers.iter().map(|(name, _)| (spelling(name), REDACTED.to_owned())));
    added
}

/// Returns the headers that could state another method or path than the caller's right has, but for those that are dropped
/// on the route for every client.
fn overrides(snapshot: &Snapshot, sender: Option<&Sender>, plan: &Plan) -> Vec<String> {
    let route = &plan.route;
    let enforced = snapshot.callers.as_deref().filter(|callers| callers.enforces());
    let right = enforced.zip(sender).and_then(|(callers, sender)| {
        callers.get(callers.named(sender.caller.as_deref()?)?).right(&route.service)
    });
    let all = right.into_iter().flat_map(Right::overrides);
    all.filter(|name| !route.replaced.iter().any(|own| own == name)).map(str::to_owned).collect()
}
