//! squid as a forward proxy. Its own log shows what it was asked for.

use super::attache::Output;
use super::eventually;
use super::peer::{bare, end, program};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running squid: one process, in the foreground, which resolves names by a file of its own.
pub(crate) struct Squid {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Squid {
    /// Starts squid. It knows these names as names of this host, and lets everybody in, or the user `attache` with
    /// `password`.
    pub(crate) async fn start(names: &[&str], password: Option<&str>) -> Self {
        let squid = program("squid");
        // squid can't choose a port itself, and another program may take the free port first.
        for _ in 0..5 {
            let mut started = Self::at(&squid, names, password);
            let address = (Ipv4Addr::LOCALHOST, started.port);
            let listens = async || match started.child.try_wait() {
                Ok(None) => TcpStream::connect(address).is_ok().then_some(true),
                _ended => Some(false),
            };
            if eventually("squid to listen", listens).await {
                return started;
            }
        }
        panic!("squid did not start");
    }

    fn at(squid: &Path, names: &[&str], password: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let within = |name: &str| folder.path().join(name).display().to_string();
        let hosts: String = names.iter().map(|name| format!("127.0.0.1 {name}\n")).collect();
        let rules = match password {
            None => "http_access allow all\n".to_owned(),
            Some(password) => {
                let script = format!(
                    "#!/bin/sh\nwhile read user pass; do\n[ \"$user $pass\" = 'attache {password}' ] && echo OK || echo ERR\ndone\n"
                );
                std::fs::write(within("check"), script).expect("write a file");
                format!(
                    "auth_param basic program /bin/sh {}\nacl known proxy_auth REQUIRED\nhttp_access allow known\n\
                     http_access deny all\n",
                    within("check")
                )
            }
        };
        let config = format!(
            "http_port 127.0.0.1:{port}\n{rules}hosts_file {}\naccess_log stdio:{}\ncache_log {}\ncache deny all\n\
             pid_filename none\ncoredump_dir {}\nshutdown_lifetime 0 seconds\nvisible_hostname squid\nnetdb_filename none\n",
            within("hosts"),
            within("access.log"),
            within("cache.log"),
            folder.path().display(),
        );
        for (file, content) in [("hosts", hosts), ("squid.conf", config), ("access.log", String::new())] {
            std::fs::write(folder.path().join(file), content).expect("write a file");
        }
        // squid gives up root.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("permissions");
        for file in ["access.log", "hosts", "squid.conf"] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(folder.path().join(file), open).expect("permissions");
        }
        let mut command = bare(squid);
        command.arg("-N").arg("-f").arg(folder.path().join("squid.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start squid");
        drop(Output::read(child.stderr.take().expect("stderr")));
        Self { folder, child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns what it was asked for: one line per request or tunnel that has ended.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        end(&mut self.child, Duration::ZERO);
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.folder.path().join("cache.log")).unwrap_or_default();
            println!("--- squid's log\n{said}\n{}", self.log());
        }
    }
}
