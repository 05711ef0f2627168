//! `attache explain`: the plan that a request would get, or the refusal, made by the code that serves requests; or why a
//! request failed, by its id.
//!
//! The head is written and parsed, the snapshot built from the file, and the decision made as in `attache run`. Nothing is
//! sent, and no secret is asked for.

mod listener;
mod report;
mod request_id;
mod rules;
mod transport;

use super::file;
use super::status::{AdminAddress, AdminProof};
use super::stdout;
use crate::config::Mode;
use crate::config::model::{Config, ListenAddr};
use crate::credentials::oauth2::{TokenClient, Tokens};
use crate::message::request::{self, RequestHead};
use crate::outbound;
use crate::outbound::callers::{self, CallerNumber, LastProof, Shown, proof};
use crate::plan::{Plan, Refusal, Reply};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{CallerRefusal, Direction, WebhookRefusal};
use crate::transport::Transport;
use crate::webhook::address::Client;
use crate::webhook::admission::{self, Admission, Call, Refused, Stopped};
use crate::webhook::keys::KeyNumber;
use report::ExplainReport;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The arguments of `attache explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache explain GET http://127.0.0.1:8080/mailer/messages
  attache explain POST /mailer/messages --format json
  attache explain --caller billing GET /erp/contacts
  attache explain POST https://hooks.example.com/webhooks/whk_…
  attache explain POST /webhooks/mailer --header 'X-Api-Key: whk_…' --client 203.0.113.7
  attache explain --request 01a2186d-a00b-712f-89c8-9b85b0a839be
  kubectl logs deploy/attache | attache explain --request 01a2186d-a00b-712f-89c8-9b85b0a839be --log -

Exit status: 0 for a request that is passed on or answered, or whose id is found; 1 for one that is refused; 2 if it can't
be told.")]
pub struct ExplainArgs {
    /// The request's method
    #[arg(required_unless_present = "request")]
    method: Option<String>,
    /// Its URL, or the path and query alone. `/webhooks/…` is a webhook call, unless the address is that of listen.outbound
    #[arg(required_unless_present = "request")]
    url: Option<String>,
    /// A header of the request, as `NAME: VALUE`; may be repeated
    #[arg(long = "header", value_name = "HEADER", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The caller that sends the request, as if it had proved itself [default: what its headers prove]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// The address that the request comes from [default: one that allow_from has]
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Why a request failed: the id in X-Attache-Request-Id and in the body of its answer
    #[arg(long, value_name = "ID", conflicts_with_all = ["method", "url", "headers", "client", "caller"])]
    request: Option<String>,
    /// The access log in which the id is looked for; `-` is standard input [default: the file of log.access, then the last
    /// failures of the running attache]
    #[arg(long, value_name = "PATH", requires = "request")]
    log: Option<PathBuf>,
    /// The admin listener that is asked: HOST:PORT, https://HOST:PORT or unix:/path [default: listen.admin of the file, else
    /// 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", requires = "request", conflicts_with = "log", value_parser = AdminAddress::parse)]
    admin: Option<AdminAddress>,
    #[command(flatten)]
    proof: AdminProof,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = ExplainFormat::Human)]
    format: ExplainFormat,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExplainFormat {
    /// Lines for people
    Human,
    /// One JSON object
    Json,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("not of the form `NAME: VALUE`")?;
    let value = value.trim();
    let is_clean = |text: &str| !text.contains(['\r', '\n', '\0']);
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) if is_clean(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not a header field".to_owned()),
    }
}

/// Explains; returns the exit status.
pub fn run(args: &ExplainArgs, path: Option<&Path>) -> i32 {
    if let Some(id) = &args.request {
        return request_id::run(id, args, path);
    }
    let config = match file::require(path, Mode::Offline) {
        Ok(config) => config,
        Err(_) => return 2,
    };
    let explained = ExplainedRequest::new(args, &config).and_then(|asked| {
        let snapshot = snapshot(*config)?;
        let asked = asked.sent_by(args.caller.as_deref(), &snapshot)?;
        let decision = asked.decide(&snapshot, SystemTime::now());
        Ok((
            ExplainReport::new(&asked, &snapshot, &decision),
            i32::from(matches!(decision, Explained::Refusal(_))),
        ))
    });
    match explained {
        Ok((report, status)) => print(&report, args.format, status),
        Err(problem) => {
            eprintln!("error: {problem}");
            2
        }
    }
}

/// Prints the report. Returns `status`, or that of a failed write.
fn print(report: &ExplainReport, format: ExplainFormat, status: i32) -> i32 {
    let text = match format {
        ExplainFormat::Human => report.human(),
        ExplainFormat::Json => format!("{:#}\n", report.json()),
    };
    match stdout::write(text.as_bytes()) {
        0 => status,
        failed => failed,
    }
}

/// The request in question.
struct ExplainedRequest {
    direction: Direction,
    method: String,
    /// Path and query.
    target: String,
    /// The host of the URL, if it has one.
    authority: Option<String>,
    head: Vec<u8>,
    client: Option<IpAddr>,
    /// The caller that is taken as proved.
    caller: Option<CallerNumber>,
}

/// The outcome of a request.
enum Explained {
    Outbound(Plan, Option<Sender>),
    Webhook(KeyNumber, Plan),
    Reply(KeyNumber, Reply),
    Refusal(Box<ExplainedRefusal>),
}

/// The sender of an outbound request, where the file has callers.
struct Sender {
    /// The key of the caller; `None` if none is proved.
    caller: Option<String>,
    /// The missing proof or right that `caller_rules: report` lets through.
    lacks: Option<CallerRefusal>,
}

/// A refusal, with what the access log would know of it.
struct ExplainedRefusal {
    refusal: Refusal,
    key: Option<KeyNumber>,
    reason: Option<WebhookRefusal>,
    caller: Option<CallerNumber>,
}

impl From<Refusal> for Explained {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(Box::new(ExplainedRefusal { refusal, key: None, reason: None, caller: None }))
    }
}

impl ExplainedRequest {
    fn new(args: &ExplainArgs, config: &Config) -> Result<Self, String> {
        let method = args.method.as_deref().unwrap_or_default();
        Self::of(method, args.url.as_deref().unwrap_or_default(), &args.headers, args.client, config)
    }

    fn of(
        method: &str,
        url: &str,
        headers: &[(String, String)],
        client: Option<IpAddr>,
        config: &Config,
    ) -> Result<Self, String> {
        let (authority, target) = split(url)?;
        let public = config.public_url.as_deref().and_then(|public| url.strip_prefix(public));
        let target = public.filter(|rest| rest.starts_with('/')).unwrap_or(target);
        let is_at = |address: &ListenAddr| match address {
            ListenAddr::Tcp(address) => authority == Some(&address.to_string()),
            ListenAddr::Unix(_) => false,
        };
        let direction = if is_at(&config.listen.outbound.address) {
            Direction::Outbound
        } else if is_at(&config.listen.webhooks.address) || target.starts_with("/webhooks/") {
            Direction::Webhook
        } else {
            Direction::Outbound
        };
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", authority.unwrap_or("attache"));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let (method, target) = (method.to_owned(), target.to_owned());
        let authority = authority.map(str::to_owned);
        Ok(Self { direction, method, target, authority, head: head.into_bytes(), client, caller: None })
    }

    fn decide(&self, snapshot: &Snapshot, now: SystemTime) -> Explained {
        let head = match request::parse(self.head.clone().into()) {
            Ok(head) => head,
            Err(bad) => return Refusal::from(bad.error).into(),
        };
        match self.direction {
            Direction::Outbound => {
                // With `http_proxy`, the URL of a service is one that a client of the proxy asks for.
                let absolute = self.authority.as_ref().is_some_and(|host| snapshot.routes.proxies(host));
                let call = outbound::Call {
                    method: &head.method,
                    target: &head.target,
                    fields: &head.fields,
                    absolute,
                };
                self.outbound(snapshot, &head, &call, now)
            }
            Direction::Webhook => match self.call(snapshot, &head, now) {
                Ok((admission, plan)) => Explained::Webhook(admission.key(), plan),
                Err(Stopped::Replied(key, reply)) => Explained::Reply(key, reply),
                Err(Stopped::Refused(refused)) => {
                    let Refused { refusal, key, known_key, reason, .. } = *refused;
                    Explained::Refusal(Box::new(ExplainedRefusal {
                        refusal,
                        key: key.or(known_key),
                        reason: Some(reason),
                        caller: None,
                    }))
                }
            },
        }
    }

    /// Decides about an outbound request as `attache run` would, without counting it.
    fn outbound(
        &self,
        snapshot: &Snapshot,
        head: &RequestHead,
        call: &outbound::Call<'_>,
        now: SystemTime,
    ) -> Explained {
        let Some(callers) = &snapshot.callers else {
            return match snapshot.routes.plan(call) {
                Ok(plan) => Explained::Outbound(plan, None),
                Err(refusal) => refusal.into(),
            };
        };
        let proven = match self.caller {
            Some(caller) => Ok(caller),
            None => {
                let proof = proof::shown(&head.fields, call.absolute);
                let shown = Shown { proof, certificate: None, now };
                let proven = callers.authenticate(&snapshot.issuers, shown, &mut LastProof::default());
                proven.map(|proven| proven.caller)
            }
        };
        let proven = proven.map_err(|unproven| unproven.reason);
        let callers::Decision { caller, lacks, plan, .. } = callers.decide(&snapshot.routes, call, proven);
        match plan {
            Ok(plan) => {
                let caller = caller.map(|caller| callers.get(caller).key.to_string());
                Explained::Outbound(plan, Some(Sender { caller, lacks }))
            }
            Err(refusal) => {
                Explained::Refusal(Box::new(ExplainedRefusal { refusal, key: None, reason: None, caller }))
            }
        }
    }

    /// Takes the caller of that name as proved.
    fn sent_by(self, caller: Option<&str>, snapshot: &Snapshot) -> Result<Self, String> {
        let Some(name) = caller else { return Ok(self) };
        let Some(callers) = &snapshot.callers else { return Err("the file has no `callers`".to_owned()) };
        let unknown = || match file::nearest(name, callers.iter().map(|caller| &*caller.key)) {
            Some(known) => format!("there is no caller `{name}`; did you mean `{known}`?"),
            None => format!("there is no caller `{name}`"),
        };
        Ok(Self { caller: Some(callers.named(name).ok_or_else(unknown)?), ..self })
    }

    fn call(
        &self,
        snapshot: &Snapshot,
        head: &RequestHead,
        now: SystemTime,
    ) -> Result<(Admission, Plan), Stopped> {
        let plan = |address| {
            let client = Client { address, https: true, forwarded: false };
            let (method, target, fields) = (&head.method, &head.target, &head.fields);
            let (body, websocket) = (head.body, head.websocket);
            let uptime = Duration::ZERO;
            let call = Call { method, target, fields, body, websocket, client, now, uptime };
            admission::open(&snapshot.webhooks(), &call)
        };
        match plan(self.client) {
            // No address was given, so one that may call stands in.
            Err(Stopped::Refused(refused))
                if refused.reason == WebhookRefusal::Address && self.client.is_none() =>
            {
                let allowed = refused.key.map(|key| &snapshot.keys.get(key).endpoint().allow_from);
                let address = allowed.and_then(|networks| networks.first()).map(|network| network.addr());
                plan(address)
            }
            decided => decided,
        }
    }
}

/// The authority of a URL, and its path and query as they are written.
fn split(url: &str) -> Result<(Option<&str>, &str), String> {
    if url.starts_with('/') || url == "*" {
        return Ok((None, url));
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme));
    let Some(scheme) = scheme else {
        return Err("the URL begins with neither `http://`, `https://` nor `/`".to_owned());
    };
    let rest = &url[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let target = if rest[end..].is_empty() { "/" } else { &rest[end..] };
    Ok((Some(&rest[..end]), target))
}

/// The snapshot that `attache run` would serve, without secrets.
fn snapshot(config: Config) -> Result<Snapshot, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let _entered = runtime.enter();
    let transport = Arc::new(Transport::new(1));
    let tokens = Tokens::new(TokenClient::new(&transport), runtime.handle().clone());
    let connections = config.max_connections.map_or(usize::MAX, usize::from);
    Ok(Snapshot::build(config, None, &tokens, &transport, connections))
}

/// The path as the access log would show it: without a key.
fn log_path(asked: &ExplainedRequest, snapshot: &Snapshot, decision: &Explained) -> String {
    let target = asked.target.as_bytes();
    let path = match (asked.direction, decision) {
        (Direction::Outbound, Explained::Refusal(denied)) => {
            outbound::log_path(target, denied.refusal.service.is_some()).to_vec()
        }
        (Direction::Outbound, _) => outbound::log_path(target, true).to_vec(),
        (Direction::Webhook, decision) => {
            let key = match decision {
                Explained::Webhook(key, _) | Explained::Reply(key, _) => Some(*key),
                Explained::Refusal(denied) => denied.key,
                Explained::Outbound(..) => None,
            };
            let endpoint = key.map(|key| &**snapshot.keys.get(key).endpoint());
            let head = request::parse(asked.head.clone().into()).ok();
            let shown = endpoint.zip(head.as_ref());
            let key = shown
                .and_then(|(endpoint, head)| crate::webhook::key_text(target, &head.fields, Some(endpoint)));
            crate::webhook::log_path(&snapshot.keys, target, endpoint, key.as_deref())
        }
    };
    String::from_utf8_lossy(&path).into_owned()
}

#[cfg(test)]
mod tests;
