//! The results of `--live`, for display and as problems for programs.

use crate::config::model::{OAuth2, ServerUrl};
use crate::credentials::oauth2::{Cause, Failure, Inspected};
use crate::error_chain::Chain;
use crate::issuers::FetchFailure;
use crate::jwt::key_set::KeySet;
use crate::transport::ConnectError;
use crate::transport::names::NoAddress;
use crate::transport::reach::{Reached, Unreachable};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The result for one account, service or webhook. Their order is the order of printing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct LiveFinding {
    kind: FindingSubject,
    name: String,
    severity: Option<LiveSeverity>,
    text: String,
    details: Vec<String>,
    help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindingSubject {
    Account,
    Issuer,
    Service,
    Webhook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LiveSeverity {
    Warning,
    Error,
}

impl LiveFinding {
    fn new(kind: FindingSubject, name: &str, text: String) -> Self {
        Self { kind, name: name.to_owned(), severity: None, text, details: Vec::new(), help: None }
    }

    pub(super) fn failed(kind: FindingSubject, name: &str, text: String) -> Self {
        Self { severity: Some(LiveSeverity::Error), ..Self::new(kind, name, text) }
    }

    pub(super) fn of_token(name: &str, oauth2: &OAuth2, inspected: Result<Inspected, Failure>) -> Self {
        let found = match inspected {
            Ok(found) => found,
            Err(failure) => {
                let needs_login = matches!(failure.cause, Cause::GrantGone { .. });
                let help = needs_login.then(|| oauth2.grant.remedy(name));
                return Self { help, ..Self::failed(FindingSubject::Account, name, failure.to_string()) };
            }
        };
        let mut text = if found.is_stored {
            "stored token".to_owned()
        } else {
            format!("token in {} ms", found.latency.as_millis())
        };
        // Writing to a String can't fail.
        if let Some(kind) = &found.token_type {
            let _ = write!(text, ", {kind}");
        }
        match found.expires_in {
            Some(lifetime) => {
                let _ = write!(text, ", valid for {} s", lifetime.as_secs());
            }
            None => {
                let seconds = oauth2.default_lifetime.as_secs();
                let _ = write!(text, ", lifetime not stated (default_lifetime: {seconds} s)");
            }
        }
        if let Some(scope) = &found.scope {
            let _ = write!(text, ", scopes {scope}");
        }
        let mut finding = Self::new(FindingSubject::Account, name, text);
        finding.details.extend(found.issuer.map(|issuer| format!("issuer {issuer}")));
        finding.details.extend(found.audience.iter().map(|audience| format!("audience {audience}")));
        finding.details.extend(found.expires_at.and_then(date).map(|at| format!("expires {at}")));
        let mut warnings = Vec::new();
        if !found.missing_scopes.is_empty() {
            warnings.push(format!("granted without the scopes {}", found.missing_scopes.join(" ")));
        }
        if found.second_secret {
            warnings.push("the first client_secret is refused; another one of the list does".to_owned());
        }
        if !warnings.is_empty() {
            finding.severity = Some(LiveSeverity::Warning);
            finding.text = format!("{}; {}", warnings.join("; "), finding.text);
        }
        finding
    }

    pub(super) fn of_keys(name: &str, fetched: Result<KeySet, FetchFailure>) -> Self {
        let keys = match fetched {
            Ok(keys) => keys,
            Err(failure) => {
                let text = format!("no keys: {}", Chain(&failure));
                return Self {
                    help: Some(failure.help().to_owned()),
                    ..Self::failed(FindingSubject::Issuer, name, text)
                };
            }
        };
        let count = keys.len();
        let mut finding = Self::new(
            FindingSubject::Issuer,
            name,
            format!("{count} key{}", if count == 1 { "" } else { "s" }),
        );
        if !keys.skipped().is_empty() {
            finding.severity = Some(LiveSeverity::Warning);
            finding.text.push_str("; others are not used");
            finding.details.extend(keys.skipped().iter().map(ToString::to_string));
        }
        finding
    }

    pub(super) fn of_upstream(
        kind: FindingSubject,
        name: &str,
        url: &ServerUrl,
        reached: Result<Reached, Unreachable>,
    ) -> Self {
        let authority = &url.authority;
        match reached {
            Ok(Reached { address, proxy, took, tls, certificate_until }) => {
                let mut text = format!("reached {address} in {} ms", took.as_millis());
                for more in [
                    proxy.map(|proxy| format!("through the proxy {proxy}")),
                    tls.map(str::to_owned),
                    certificate_until.map(|day| format!("certificate until {day}")),
                ] {
                    // Writing to a String can't fail.
                    let _ = more.map(|more| write!(text, ", {more}"));
                }
                Self::new(kind, name, text)
            }
            Err(error) => {
                let help = match error {
                    Unreachable::Connect(ConnectError::NoAddress(NoAddress::Denied)) => {
                        Some("`private_network: true` on the service allows it".to_owned())
                    }
                    _ => None,
                };
                Self { help, ..Self::failed(kind, name, format!("{authority}: {}", Chain(&error))) }
            }
        }
    }

    pub(in super::super) fn is_error(&self) -> bool {
        self.severity == Some(LiveSeverity::Error)
    }

    pub(in super::super) fn is_warning(&self) -> bool {
        self.severity == Some(LiveSeverity::Warning)
    }

    /// Returns one line, and indented ones for details; ends with a line break.
    pub(in super::super) fn human(&self) -> String {
        let mark = match self.severity {
            None => "",
            Some(LiveSeverity::Warning) => "warning: ",
            Some(LiveSeverity::Error) => "error: ",
        };
        let mut text = format!("{} {}: {mark}{}\n", self.kind.as_str(), self.name, self.text);
        for line in &self.details {
            text.push_str(&format!("    {line}\n"));
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("    help: {help}\n"));
        }
        text
    }

    /// Returns the finding as a problem of the file without a place, if it is one.
    pub(in super::super) fn problem(&self) -> Option<Value> {
        let severity = match self.severity? {
            LiveSeverity::Warning => "warning",
            LiveSeverity::Error => "error",
        };
        Some(json!({
            "severity": severity,
            "code": match self.kind {
                FindingSubject::Account => "live_token",
                FindingSubject::Issuer => "live_keys",
                FindingSubject::Service | FindingSubject::Webhook => "live_service",
            },
            "file": null,
            "line": null,
            "column": null,
            "message": format!("{} {}: {}", self.kind.as_str(), self.name, self.text),
            "help": self.help,
        }))
    }
}

impl FindingSubject {
    fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Issuer => "issuer",
            Self::Service => "service",
            Self::Webhook => "webhook",
        }
    }
}

/// Formats an `exp` as a date; `None` if it is out of range.
fn date(seconds: u64) -> Option<String> {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    jiff::Timestamp::try_from(at).ok().map(|at| at.to_string())
}

/// Returns the problem that the check could not be performed.
pub(in super::super) fn failure(message: &str) -> Value {
    json!({
        "severity": "error", "code": "live", "file": null, "line": null, "column": null,
        "message": message, "help": null,
    })
}

#[cfg(test)]
mod tests;
