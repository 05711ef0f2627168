//! The settings of a service's connections.

use super::report::Report;
use crate::config::model::Outbound;
use serde_json::json;

impl Report {
    /// Adds the settings that the service has.
    pub(super) fn transport(&mut self, outbound: &Outbound) {
        if let Some(limit) = outbound.connect_timeout {
            let line = format!("{limit:?} for one connection");
            self.add("connect_timeout_ms", json!(limit.as_millis() as u64), "connecting", line);
        }
        let tls = &outbound.tls;
        if let Some(ca) = &tls.ca {
            self.add("tls_ca", json!(ca.path), "trusts", ca.path.display().to_string());
        }
        if let Some(name) = &tls.server_name {
            self.add("tls_server_name", json!(name), "TLS name", name.clone());
        }
        if outbound.server_url.tls {
            let shows = tls.identity.is_some();
            self.only("tls_client_certificate", json!(shows));
            if shows {
                self.line("shows", "a client certificate".to_owned());
            }
        }
    }
}
