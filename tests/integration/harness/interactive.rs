//! An interactive command.

use super::attache::{Finished, Output, bare_command};
use super::eventually;
use super::leaks::assert_no_leak;
use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

/// A running command whose output can be read line by line, and that accepts input.
pub(crate) struct Interactive {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

pub(crate) fn interactive(
    arguments: &[&str],
    environment: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> Interactive {
    let mut command = bare_command(arguments);
    command.envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start attache");
    let stdout = Output::read(child.stdout.take().expect("stdout"));
    let stderr = Output::read(child.stderr.take().expect("stderr"));
    let stdin = child.stdin.take();
    Interactive { child, stdin, stdout, stderr }
}

impl Interactive {
    /// Returns the first line on stdout for which `wanted` holds.
    pub(crate) async fn says(&self, what: &str, wanted: impl FnMut(&str) -> bool) -> String {
        self.stdout.line(what, wanted).await
    }

    /// Returns the first line on stderr for which `wanted` holds.
    pub(crate) async fn notes(&self, what: &str) -> String {
        self.stderr.line(what, |line| line.contains(what)).await
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin"), "{line}").expect("type");
    }

    /// Sends Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let kill = format!("kill -INT {}", self.child.id());
        let sent = std::process::Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("sh").success());
    }

    /// Waits for its end; none of its output may be a secret.
    pub(crate) async fn finish(mut self) -> Finished {
        let status = eventually("the command to end", async || self.child.try_wait().ok().flatten()).await;
        self.stdout.end();
        self.stderr.end();
        let finished =
            Finished { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() };
        assert_no_leak("stdout", finished.stdout.as_bytes());
        assert_no_leak("stderr", finished.stderr.as_bytes());
        finished
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            println!("--- the command's stderr\n{}", self.stderr.text());
            println!("--- the command's stdout\n{}", self.stdout.text());
        }
    }
}
