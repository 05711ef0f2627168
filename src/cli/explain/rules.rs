//! The rules of a service that a request meets.

use super::report::ExplainReport;
use crate::config::model::{Rate, Rights, ServiceRules};
use serde_json::{Value, json};

impl ExplainReport {
    /// Adds what a service allows, and its limits.
    pub(super) fn rules(&mut self, rules: &ServiceRules) {
        self.allowed(&rules.allow);
        match rules.max_body {
            Some(max) => self.add("max_body", json!(max), "body", format!("{max} bytes at most")),
            None => self.only("max_body", Value::Null),
        }
        if let Some(rate) = &rules.rate_limit {
            self.rate(rate, "of all requests");
        }
        let (value, line) = match rules.max_concurrent {
            Some(count) => (json!(count), format!("{count} requests at the same time")),
            None => (Value::Null, "half of limits.connections at the same time".to_owned()),
        };
        self.add("max_concurrent", value, "at most", line);
    }

    /// Adds the methods and paths of a right.
    pub(super) fn allowed(&mut self, rights: &Rights) {
        if !rights.methods.is_empty() {
            let methods: Vec<&str> = rights.methods.iter().map(http::Method::as_str).collect();
            self.add("methods", json!(methods), "methods", methods.join(", "));
        }
        if !rights.paths.is_empty() {
            let paths: Vec<String> = rights.paths.iter().map(ToString::to_string).collect();
            self.add("paths", json!(paths), "paths", paths.join(", "));
        }
    }

    /// Adds a rate, of `what`.
    pub(super) fn rate(&mut self, rate: &Rate, what: &str) {
        let Rate { requests, per, burst } = rate;
        let value = json!({ "requests": requests, "per_ms": per.as_millis() as u64, "burst": burst });
        self.add("rate_limit", value, "rate", format!("{requests} per {per:?} {what}, {burst} at once"));
    }
}
