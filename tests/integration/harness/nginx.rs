//! nginx as a TLS upstream. Its own log shows what it received.

use super::attache::Output;
use super::eventually;
use super::peer::{bare, end, peers, program};
use super::tls::CertificateAuthority;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running nginx: one process, in the foreground.
pub(crate) struct Nginx {
    folder: TempDir,
    child: Child,
    stderr: Output,
    authority: String,
}

impl Nginx {
    /// Starts nginx at `localhost`, with a certificate of `ca` for `name`.
    pub(crate) async fn start(ca: &CertificateAuthority, name: &str) -> Self {
        let nginx = program("nginx");
        // nginx can't choose a port itself, and another program may take the free port first.
        for _ in 0..5 {
            let mut started = Self::at(&nginx, free_port(), ca, name);
            let pid = started.folder.path().join("nginx.pid");
            // It writes the file as soon as it listens.
            let listens = async || match started.child.try_wait() {
                Ok(None) => pid.exists().then_some(true),
                _ended => Some(false),
            };
            if eventually("nginx to listen", listens).await {
                return started;
            }
            started.stderr.end();
            let said = started.stderr.text();
            assert!(said.contains("Address already in use"), "nginx ended:\n{said}");
        }
        panic!("five free ports were taken by other programs before nginx bound them");
    }

    fn at(nginx: &Path, port: u16, ca: &CertificateAuthority, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = ca.leaf_pem(name);
        let template = std::fs::read_to_string(peers().join("nginx/nginx.conf.in")).expect("the template");
        let within = |name: &str| folder.path().join(name).display().to_string();
        let config = template
            .replace("@PORT@", &port.to_string())
            .replace("@CERT@", &within("server.pem"))
            .replace("@KEY@", &within("server.key"))
            .replace("@LOG@", &within("access.log"))
            .replace("@DIR@", &folder.path().display().to_string());
        for (file, content) in [("server.pem", certificate), ("server.key", key), ("nginx.conf", config)] {
            std::fs::write(folder.path().join(file), content).expect("write a file");
        }
        let mut command = bare(nginx);
        command
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start nginx");
        let stderr = Output::read(child.stderr.take().expect("stderr"));
        Self { folder, child, stderr, authority: format!("localhost:{port}") }
    }

    /// Returns host and port as in the URL.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.authority)
    }

    /// Returns the uploaded content.
    pub(crate) fn file(&self, path: &str) -> Vec<u8> {
        let path = self.folder.path().join(path.trim_start_matches('/'));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns what it has received so far: one log line per request.
    pub(crate) fn received(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        lines.map(parse).collect()
    }

    /// Waits for the only `N` requests: it writes its log after it has answered.
    pub(crate) async fn requests<const N: usize>(&self) -> [Value; N] {
        let all = async || Some(self.received()).filter(|received| received.len() >= N);
        let all = eventually("nginx's log", all).await;
        all.try_into().unwrap_or_else(|all: Vec<Value>| panic!("{N} requests, not {all:#?}"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child, Duration::ZERO);
        self.stderr.end();
        if std::thread::panicking() {
            println!("--- nginx's stderr\n{}", self.stderr.text());
            println!("--- nginx's log\n{:#?}", self.received());
        }
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    listener.local_addr().expect("an address").port()
}
