//! Prometheus, which scrapes an attache.

use super::attache::Output;
use super::client::{get, send};
use super::peer::{bare, end, program};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use url::form_urlencoded;

/// A running Prometheus. Its job is `attache`.
pub(crate) struct Prometheus {
    _folder: TempDir,
    child: Child,
    stderr: Output,
    address: SocketAddr,
}

impl Prometheus {
    /// Scrapes `target` twice a second, and evaluates the rules of the file once a second.
    pub(crate) async fn scrape(target: SocketAddr, rules: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s }}
rule_files: ['{}']
scrape_configs: [{{ job_name: attache, static_configs: [{{ targets: ['{target}'] }}] }}]
",
            rules.display()
        );
        let path = folder.path().join("prometheus.yaml");
        std::fs::write(&path, config).expect("write a file");
        let mut command = bare(&program("prometheus"));
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start Prometheus");
        let stderr = Output::read(child.stderr.take().expect("stderr"));
        let line = stderr.line("its address", |line| line.contains("msg=\"Listening on\"")).await;
        let address = line.rsplit("address=").next().and_then(|address| address.trim().parse().ok());
        Self { _folder: folder, child, stderr, address: address.expect("an address") }
    }

    /// The `data` of an answer of its API.
    ///
    /// # Errors
    ///
    /// Returns the answer. Fails with its objection to the question.
    pub(crate) async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = send(self.address, get(format!("/api/v1/{path}?{query}"))).await;
        if answer.status == 503 {
            // It is not ready yet.
            return Ok(Value::Null);
        }
        let mut answer = answer.json();
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(answer.to_string()) }
    }

    /// The values of the series that a query leads to.
    ///
    /// # Errors
    ///
    /// Returns the values. Fails with its objection to the query.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<f64>, String> {
        let data = self.api("query", &[("query", query)]).await?;
        let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
        let value = |series: &Value| series["value"][1].as_str().and_then(|value| value.parse().ok());
        Ok(series.iter().filter_map(value).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        end(&mut self.child, Duration::ZERO);
        self.stderr.end();
        if std::thread::panicking() {
            println!("--- Prometheus's stderr\n{}", self.stderr.text());
        }
    }
}
