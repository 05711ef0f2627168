//! The settings of a service's connections.

use super::report::ExplainReport;
use crate::config::model::{Outbound, Retries, RetryOn};
use http::Method;
use serde_json::json;

impl ExplainReport {
    /// Adds the settings that the service has.
    pub(super) fn transport(&mut self, outbound: &Outbound) {
        if let Some(limit) = outbound.connect_timeout {
            let line = format!("{limit:?} for one connection");
            self.add("connect_timeout_ms", json!(limit.as_millis() as u64), "connecting", line);
        }
        if let Some(proxy) = outbound.proxy.for_server(&outbound.server_url) {
            let how = if outbound.server_url.tls { "CONNECT" } else { "absolute form" };
            self.add(
                "proxy",
                json!(proxy.url.authority),
                "through",
                format!("{} ({how})", proxy.url.authority),
            );
        }
        if outbound.proxy.may_be_of_environment(&outbound.server_url) {
            self.only("proxy_from_environment", json!(true));
            self.line("through", "the proxy of attache's own environment, which is not read here".to_owned());
        }
        if let Some(Retries { attempts, on, methods }) = &outbound.retries {
            let on: Vec<&str> = on.iter().map(RetryOn::as_str).collect();
            let named =
                methods.as_ref().map(|methods| methods.iter().map(Method::as_str).collect::<Vec<_>>());
            let of =
                named.as_ref().map_or_else(|| "idempotent requests".to_owned(), |names| names.join(", "));
            let line = format!("{attempts} attempts of {of}, after {}", on.join(", "));
            let value = json!({ "attempts": attempts, "on": on, "methods": named });
            self.add("retries", value, "retries", line);
        }
        let tls = &outbound.tls;
        if let Some(ca) = &tls.ca {
            self.add("tls_ca", json!(ca.path), "trusts", ca.path.display().to_string());
        }
        if let Some(name) = &tls.server_name {
            self.add("tls_server_name", json!(name), "TLS name", name.clone());
        }
        if outbound.server_url.tls {
            self.only("tls_client_certificate", json!(tls.is_mutual));
            if tls.is_mutual {
                self.line("shows", "a client certificate".to_owned());
            }
        }
    }
}
