//! HAProxy between attache and a server.

use super::attache::Output;
use super::eventually;
use super::nginx::free_port;
use super::peer::{bare, end, peers, program};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running HAProxy: one process, in the foreground.
pub(crate) struct Haproxy {
    _folder: TempDir,
    child: Child,
    stderr: Output,
    port: u16,
}

impl Haproxy {
    /// Starts HAProxy in front of the server at `backend`.
    pub(crate) async fn start(backend: SocketAddr) -> Self {
        let template = std::fs::read_to_string(peers().join("haproxy/haproxy.cfg.in")).expect("the template");
        // It cannot choose a port itself, and another program may take the free port first.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            let path = folder.path().join("haproxy.cfg");
            let config =
                template.replace("@PORT@", &port.to_string()).replace("@BACKEND@", &backend.to_string());
            std::fs::write(&path, config).expect("write a file");
            let mut command = bare(&program("haproxy"));
            command.args(["-db", "-f"]).arg(&path);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("start HAProxy");
            let stderr = Output::read(child.stderr.take().expect("stderr"));
            let mut started = Self { _folder: folder, child, stderr, port };
            let listens = async || match started.child.try_wait() {
                Ok(None) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
                _ended => Some(false),
            };
            if eventually("HAProxy to listen", listens).await {
                return started;
            }
            started.stderr.end();
            let said = started.stderr.text();
            assert!(said.contains("cannot bind socket"), "HAProxy ended:\n{said}");
        }
        panic!("five free ports were taken by other programs before HAProxy bound them");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        end(&mut self.child, Duration::ZERO);
        self.stderr.end();
        if std::thread::panicking() {
            println!("--- HAProxy's stderr\n{}", self.stderr.text());
        }
    }
}
