//! The Grafana dashboard and the alerts, over a Prometheus that scrapes an attache; and the page that lists the metrics.

use crate::harness::*;
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../config/grafana/attache.json");
const PAGE: &str = include_str!("../../docs/metrics.md");

/// Metrics that the dashboard leaves out.
const NOT_SHOWN: [&str; 0] = [];

const YAML: &str = "
    listen:
      outbound: 127.0.0.1:0
      webhooks: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{certificate_key}}' } }
      admin: 127.0.0.1:0
    {{more}}
    state: { dir: '{{state}}', key: { env: STATE_KEY } }
    issuers:
      fetched: { issuer: 'https://id.example', audience: attache, jwks: { url: '{{keys}}/keys' } }
      unread: { issuer: 'https://id.example', audience: attache, jwks: { file: '{{key_set}}' } }
    accounts:
      erp:
        authorization:
          oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: a,
                    client_secret: [{ env: KEY }, { env: NOT_SET }] }
      gone:
        authorization:
          oauth2: { grant: authorization_code, token_url: '{{token_url}}', client_id: a, client_secret: { env: KEY },
                    authorization_url: 'https://id.example/authorize' }
      unread: { authorization: { bearer: { env: NOT_SET } } }
    users: { bot: {} }
    caller_rules: report
    callers:
      billing:
        tokens:
          - { id: current, sha256: '{{token}}', expires_at: 2099-01-01T00:00:00Z }
          - { id: unread, value: { env: NOT_SET } }
        services: [erp]
      unread: { tokens: [{ id: current, value: { env: NOT_SET } }], services: [erp] }
    services:
      erp: { account: erp, server_url: '{{third_party}}' }
      gone: { account: gone, server_url: '{{third_party}}' }
      late: { account: { authorization: none }, server_url: '{{hangs}}', timeout: 50ms }
      broken: { account: { authorization: none }, server_url: '{{broken}}', retries: { on: [503] } }
      busy: { account: { authorization: none }, server_url: '{{busy}}' }
      unread: { account: unread, server_url: '{{third_party}}' }
      mailer:
        webhook:
          user: bot
          forward_to: '{{app}}'
          replay: { window: 1m }
          api_keys: [{ id: current, sha256: '{{sha256}}', expires_at: 2099-01-01T00:00:00Z }]
      unsigned:
        webhook:
          user: bot
          forward_to: '{{app}}'
          verify: { scheme: github, secret: { env: NOT_SET } }
          api_keys: [{ id: other, value: another-key-that-is-no-secret }]
      half:
        webhook:
          user: bot
          forward_to: '{{app}}'
          verify: { scheme: github, secrets: [{ env: KEY }, { env: NOT_SET }] }
          api_keys: [{ id: third, value: a-third-key-that-is-no-secret }]";

const KEY_SET: &str = include_str!("../config_cases/secrets/jwks.json");

/// An attache that has seen something of everything.
struct Topology {
    attache: Attache,
    key: String,
    token: String,
    calls: usize,
    client: TlsClient,
    _stubs: [Stub; 6],
    _endpoint: TokenEndpoint,
}

impl Topology {
    async fn start() -> Self {
        let keys = third_party().answers(200, KEY_SET);
        let broken = third_party().answers(503, "down");
        let busy = third_party().answers(429, "later");
        let stubs = [third_party(), third_party().hangs(), broken, busy, app(), keys];
        let endpoint = token_endpoint().issues_each_for(2, |nth| format!("{}-{nth}", secret("token")));
        let (key, [third_party, hangs, broken, busy, app, keys]) = (webhook_key(), &stubs);
        let mut setup = attache().folder("state").given("token_url", endpoint.url()).given("more", "");
        let stubs_by_name = [
            ("third_party", third_party),
            ("hangs", hangs),
            ("broken", broken),
            ("busy", busy),
            ("app", app),
            ("keys", keys),
        ];
        for (name, stub) in stubs_by_name {
            setup = setup.given(name, stub.url());
        }
        let ca = CertificateAuthority::new();
        let (certificate, certificate_key) = ca.leaf_pem("localhost");
        let setup = setup.file("certificate", &certificate).file("certificate_key", &certificate_key);
        let token = webhook_key();
        let setup = setup.file("key_set", KEY_SET).given("token", sha256_hex(&token));
        let setup = setup.given("sha256", sha256_hex(&key)).env("KEY", secret("key"));
        let mut attache = setup.env("STATE_KEY", "0123456789abcdefghijkl").with(YAML).await;
        // The last keys and the last certificate serve.
        for file in ["key_set", "certificate_key"] {
            std::fs::remove_file(attache.path_of(file)).expect("the file");
        }
        attache.give("more", "threads: 1");
        attache.reload(YAML, "needs_restart").await;
        Self { attache, key, token, calls: 0, client: TlsClient::of(&ca), _stubs: stubs, _endpoint: endpoint }
    }

    /// A little of everything.
    async fn traffic(&mut self) {
        for service in ["erp", "gone", "late", "broken", "busy", "unread", "nothing"] {
            self.attache.send(get(format!("/{service}/x")).header("X-Attache-User", "root")).await;
        }
        self.attache.send(get("/erp/x").header("X-Attache-Token", self.token.as_str())).await;
        self.calls += 1;
        let call = |body: String| post(format!("/webhooks/{}", self.key), body);
        let body = self.calls.to_string();
        let mut hook = self.client.connect(self.attache.webhooks()).await.expect("a handshake");
        let first = hook.exchange(call(body.clone())).await.expect("an answer");
        assert_eq!(first.status, 200);
        let again = hook.exchange(call(body).header("X-Forwarded-For", "::1")).await.expect("an answer");
        assert_eq!(again.status, 409);
    }
}

/// The queries of the dashboard by their panels' titles, as they stand there, and those that the variables stand for.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            queries.push((title.to_owned(), target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    let values = Regex::new(r"^label_values\((.+), (\w+)\)$").expect("a pattern");
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(query) = variable["query"]["query"].as_str() {
            let found = values.captures(query).expect("label_values(SERIES, LABEL)");
            queries.push((variable["name"].to_string(), format!("count by ({}) ({})", &found[2], &found[1])));
        }
    }
    queries
}

/// The names of metrics in a text; those of a histogram's series as the histogram's.
fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:attache|process)_[a-z0-9_]+").expect("a pattern");
    let base = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        suffix.unwrap_or(name).to_owned()
    };
    name.find_iter(text).map(|found| base(found.as_str())).collect()
}

/// The type and the labels of each metric that is exported.
fn exported(metrics: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let label = Regex::new(r#"[{,]([a-z_]+)=""#).expect("a pattern");
    let mut current = String::new();
    for line in metrics.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut current);
            found.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let labels = &mut found.get_mut(&current).expect("a type before its series").1;
            labels.extend(label.captures_iter(line).map(|found| found[1].to_owned()));
            labels.remove("le");
        }
    }
    found
}

/// The rows of the page's tables: name, type, labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = PAGE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _unit, _meaning, _] = cells[..] else { return None };
        let name = quoted(name).pop()?;
        Some((name, (kind.to_owned(), quoted(labels).into_iter().collect())))
    });
    rows.collect()
}

/// The alerts of the file: the names, the queries, and the page that each leads to.
fn alerts() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(ALERTS).expect("the alerts");
    let file: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    let groups = file["groups"].as_sequence().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().expect("rules"));
    let text = |value: &serde_yaml::Value| value.as_str().expect("a text").to_owned();
    rules
        .map(|rule| (text(&rule["alert"]), text(&rule["expr"]), text(&rule["annotations"]["runbook"])))
        .collect()
}

#[tokio::test]
async fn every_query_has_data_and_every_metric_is_shown_and_documented() {
    let mut at = Topology::start().await;
    let prometheus = Prometheus::scrape(at.attache.admin(), Path::new(ALERTS)).await;
    let mut waiting = queries();
    let runnable = |query: &str| {
        let query = query.replace("$__rate_interval", "10s");
        ["$job", "$instance", "$service"].iter().fold(query, |query, name| query.replace(name, ".*"))
    };
    let start = Instant::now();
    while !waiting.is_empty() {
        assert!(start.elapsed() < PATIENCE, "no data: {waiting:#?}");
        at.traffic().await;
        let mut empty = Vec::new();
        for (title, query) in std::mem::take(&mut waiting) {
            let values = prometheus.query(&runnable(&query)).await;
            let values = values.unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
            if !values.iter().any(|value| value.is_finite()) {
                empty.push((title, query));
            }
        }
        waiting = empty;
    }
    let rules = async || {
        let groups = prometheus.api("rules", &[]).await.expect("the rules");
        let rules = groups["groups"].as_array()?.iter().flat_map(|group| group["rules"].as_array());
        let health: Vec<String> = rules.flatten().map(|rule| rule["health"].to_string()).collect();
        (!health.is_empty() && health.iter().all(|health| health == "\"ok\"")).then_some(health.len())
    };
    assert_eq!(eventually("every alert to be evaluated", rules).await, alerts().len());

    let exported = exported(&at.attache.metrics().await.0);
    let known: BTreeSet<String> = exported.keys().cloned().collect();
    // Those that are there only sometimes are there now.
    let source = names(include_str!("../../src/telemetry/metrics/exposition.rs"));
    assert_eq!(source.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    let shown: BTreeSet<String> = queries().iter().flat_map(|(_, query)| names(query)).collect();
    let alerted: BTreeSet<String> = alerts().iter().flat_map(|(_, query, _)| names(query)).collect();
    for used in [&shown, &alerted] {
        assert_eq!(used.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    let hidden: Vec<&String> = known.difference(&shown).collect();
    assert_eq!(hidden, NOT_SHOWN, "metrics that no panel shows");
    assert_eq!(documented(), exported);
}

#[test]
fn each_alert_leads_to_its_section() {
    for (alert, _, runbook) in alerts() {
        assert_eq!(runbook, format!("docs/metrics.md#{}", alert.to_lowercase()));
        assert!(PAGE.contains(&format!("\n### {alert}\n")), "{alert} has no section");
    }
}

#[test]
fn the_dashboard_has_what_grafana_wants() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert!(dashboard["id"].is_null() && dashboard["uid"] == "attache");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "service"]);
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
        let is_row = panel["type"] == "row";
        assert!(is_row || panel["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
}
