//! Third-party programs, which `./.ci/setup test` installs: started, read from, and ended by their own id.
//!
//! A test that needs a missing one fails and names the way to install it: a skipped peer would prove nothing.

use super::attache::{Finished, Output};
use super::leaks::assert_no_leak;
use super::{PATIENCE, within};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A peer that serves until its standard input ends. It prints `ready PORT` once it serves.
pub(crate) struct Peer {
    child: Child,
    /// Its end tells the peer to end, so that no peer outlives a killed test.
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
    port: u16,
}

impl Peer {
    /// Starts a server in JavaScript or Python, by its path in the folder of the peers.
    pub(crate) async fn serve(script: &str, environment: &[(&str, &str)]) -> Self {
        Self::serve_from(&peers().join(script), &[], environment, "ready ").await
    }

    /// Starts a server in another place, which prints another text before its port.
    pub(crate) async fn serve_from(
        script: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        says: &str,
    ) -> Self {
        let interpreter =
            if script.extension().is_some_and(|e| e == "py") { python_program() } else { node_program() };
        let mut command = bare(&interpreter);
        command.arg(script).args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", script.display()));
        let stdin = child.stdin.take();
        let stdout = Output::read(child.stdout.take().expect("stdout"));
        let stderr = Output::read(child.stderr.take().expect("stderr"));
        let mut peer = Self { child, stdin, stdout, stderr, port: 0 };
        let ready = peer.line("its port", |line| line.starts_with(says)).await;
        peer.port = ready[says.len()..].parse().expect("a port");
        peer
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the first line it printed for which `wanted` holds.
    pub(crate) async fn line(&self, what: &str, wanted: impl FnMut(&str) -> bool) -> String {
        self.stdout.line(what, wanted).await
    }

    /// Returns the text after this word on the first line that begins with it.
    pub(crate) async fn says(&self, word: &str) -> String {
        let line = self.line(word, |line| line.split(' ').next() == Some(word)).await;
        line[word.len()..].trim_start().to_owned()
    }

    /// Returns how often it has printed exactly this line.
    pub(crate) fn count(&self, wanted: &str) -> usize {
        self.stdout.text().lines().filter(|line| *line == wanted).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        end(&mut self.child, Duration::from_secs(2));
        self.stdout.end();
        self.stderr.end();
        if std::thread::panicking() {
            println!("--- the peer's stdout\n{}", self.stdout.text());
            println!("--- the peer's stderr\n{}", self.stderr.text());
        }
    }
}

/// Runs curl without output and without its configuration file; the arguments set everything else.
pub(crate) async fn curl(arguments: &[&str]) -> Finished {
    let mut command = bare(&program("curl"));
    command.args(["-q", "--silent", "--show-error", "--max-time", "30"]).args(arguments);
    finish(command).await
}

/// Runs a script in JavaScript that ends by itself.
pub(crate) async fn node(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = bare(&node_program());
    command.arg(peers().join(script)).args(arguments).envs(environment.iter().copied());
    finish(command).await
}

/// Runs a program in Go that ends by itself. It has no dependencies, so it needs no module.
pub(crate) async fn go(source: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = bare(&program("go"));
    command.envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")]);
    command.arg("run").arg(peers().join(source)).args(arguments).envs(environment.iter().copied());
    finish(command).await
}

/// Runs a script in Python that ends by itself.
pub(crate) async fn python(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = bare(&python_program());
    command.arg(peers().join(script)).args(arguments).envs(environment.iter().copied());
    finish(command).await
}

/// Runs `python/client.py`: the same exchange with each of its two clients, with one line of JSON for each.
pub(crate) async fn python_client(arguments: &[&str]) -> Vec<serde_json::Value> {
    let finished = python("python/client.py", arguments, &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
    finished.stdout.lines().map(parse).collect()
}

/// Returns the absolute path of a program, including the folders that only root searches.
pub(super) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_absolute() && path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run `./.ci/setup test`"))
}

/// Returns a command with only the environment that a process needs to start, so without proxy variables.
pub(super) fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Returns the folder of the peers.
pub(super) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// Waits this long for the process to end by itself, then ends it.
pub(super) fn end(child: &mut Child, patience: Duration) {
    let start = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ended_already = child.kill();
    let _status = child.wait();
}

fn node_program() -> PathBuf {
    installed(&peers().join("node_modules/.stamp"), "the Node packages of the tests");
    program("node")
}

fn python_program() -> PathBuf {
    installed(&peers().join(".venv/.stamp"), "the Python packages of the tests");
    peers().join(".venv/bin/python")
}

#[track_caller]
fn installed(stamp: &Path, what: &str) {
    assert!(stamp.is_file(), "{what} are not installed: run `./.ci/setup test`");
}

/// The output of such a program was sent to it, so it must contain no secret.
async fn finish(command: Command) -> Finished {
    let what = command.get_program().to_owned();
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within(2 * PATIENCE, "a peer to end", output).await;
    let output = output.unwrap_or_else(|error| panic!("start {}: {error}", what.display()));
    assert_no_leak("a peer's stdout", &output.stdout);
    assert_no_leak("a peer's stderr", &output.stderr);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
