//! The binary under test, and what it says.

use super::causes::assert_have_causes;
use super::client::{Request, Response, get, send};
use super::interactive::{Interactive, interactive};
use super::leaks::assert_no_leak;
use super::stub::Stub;
use super::{PATIENCE, eventually, within};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;

/// Put before every file that does not say itself where to listen.
const LISTEN: &str = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\n";

/// What a test knows before attache starts.
pub(crate) struct Setup {
    folder: TempDir,
    given: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
}

/// attache, about to be given a file.
pub(crate) fn attache() -> Setup {
    let folder = tempfile::tempdir().expect("a folder");
    Setup { folder, given: BTreeMap::new(), environment: Vec::new() }
}

/// attache in front of one service, `mailer`, with these further lines. Unless they say otherwise it needs no
/// credential, waits five seconds, and has a message of its own.
pub(crate) async fn attache_for(third_party: &Stub, lines: &str) -> Attache {
    attache().given("third_party", third_party.url()).with(&mailer(lines)).await
}

/// The file of [`attache_for`].
pub(crate) fn mailer(lines: &str) -> String {
    let mut yaml = String::from("services:\n  mailer:\n");
    let defaults = [
        ("server_url:", "{{third_party}}"),
        ("account:", "{ authorization: none }"),
        ("timeout:", "5s"),
        ("timeout_message:", "Mailer is not answering."),
    ];
    let lines = dedent(lines);
    for (key, value) in defaults {
        if !lines.lines().any(|line| line.starts_with(key)) {
            yaml.push_str(&format!("    {key} {value}\n"));
        }
    }
    for line in lines.lines() {
        yaml.push_str(&format!("    {line}\n"));
    }
    yaml
}

impl Setup {
    /// What `{{name}}` stands for in the file.
    pub(crate) fn given(mut self, name: &str, value: impl Into<String>) -> Self {
        self.given.insert(name.to_owned(), value.into());
        self
    }

    /// What [`Self::given`] or [`Self::file`] made of a name.
    pub(crate) fn value(&self, name: &str) -> String {
        self.given[name].clone()
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A file beside the configuration; `{{name}}` stands for its path.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("write a file");
        self.given(name, path.display().to_string())
    }

    /// A folder beside the configuration that is not there yet; `{{name}}` stands for its path.
    pub(crate) fn folder(self, name: &str) -> Self {
        let path = self.folder.path().join(name).display().to_string();
        self.given(name, path)
    }

    /// Starts attache with this file and waits until it is ready.
    pub(crate) async fn with(self, yaml: &str) -> Attache {
        let config = self.write(yaml);
        self.at(&config).await
    }

    /// Starts attache with a file or folder the test has made itself.
    pub(crate) async fn at(self, config: &Path) -> Attache {
        let mut attache = self.start(&["run", "-c", &config.display().to_string()]);
        attache.stderr.line("ready", |line| line.contains("ready")).await;
        // As text or as JSON.
        let listening = Regex::new(r#"listener"?[=:]"?(\w+)"?[ ,]"?address"?[=:]"?([^\s",]+)"#);
        let listening = listening.expect("a pattern");
        let log = plain(&attache.stderr.text());
        for found in listening.captures_iter(&log) {
            // A unix socket has none, and the test that asked for one knows its path.
            if let Ok(address) = found[2].parse() {
                attache.addresses.insert(found[1].to_owned(), address);
            }
        }
        attache
    }

    /// `attache demo`, as soon as it has printed what to try.
    pub(crate) async fn demo(self) -> Attache {
        let attache = self.start(&["demo"]);
        attache.stderr.line("ready", |line| line.contains("ready")).await;
        eventually("the demo's commands", async || attache.said().contains("curl ").then_some(())).await;
        attache
    }

    fn start(self, arguments: &[&str]) -> Attache {
        let mut command = bare_command(arguments);
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start attache");
        let stdout = Output::read(child.stdout.take().expect("stdout"));
        let stderr = Output::read(child.stderr.take().expect("stderr"));
        Attache { setup: self, child, stdout, stderr, addresses: BTreeMap::new() }
    }

    /// The file on disk, for commands that only read it.
    pub(crate) fn write(&self, yaml: &str) -> PathBuf {
        let mut text = dedent(yaml);
        if !text.contains("listen:") {
            text.insert_str(0, LISTEN);
        }
        for (name, value) in &self.given {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        assert!(!text.contains("{{"), "a placeholder nobody filled in:\n{text}");
        let path = self.folder.path().join("attache.yaml");
        replace(&path, &text);
        path
    }
}

/// A running attache. Dropped, it is asked for its metrics and status, stopped, and everything it said is searched
/// for secrets, and for failures without a cause.
pub(crate) struct Attache {
    setup: Setup,
    child: Child,
    stdout: Output,
    stderr: Output,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Attache {
    pub(crate) fn outbound(&self) -> SocketAddr {
        self.address("outbound")
    }

    pub(crate) fn webhooks(&self) -> SocketAddr {
        self.address("webhooks")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let said = || panic!("no line for listener={listener} in\n{}", self.stderr.text());
        *self.addresses.get(listener).unwrap_or_else(said)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request to the outbound listener.
    pub(crate) async fn send(&self, request: Request) -> Response {
        send(self.outbound(), request).await
    }

    /// A request to the webhook listener.
    pub(crate) async fn hook(&self, request: Request) -> Response {
        send(self.webhooks(), request).await
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(send(self.admin(), get("/metrics")).await.text())
    }

    pub(crate) async fn status(&self) -> Value {
        send(self.admin(), get("/status")).await.json()
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Makes the peak begin anew from now.
    pub(crate) fn reset_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("/proc");
    }

    /// The most there ever was of it, or since [`Self::reset_peak`].
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    /// The first line of the access log for which `wanted` holds.
    pub(crate) async fn access_log_line(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let parse = |line: &str| -> Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("access log line {line:?}: {error}"))
        };
        let line = self.stdout.line(what, |line| wanted(&parse(line))).await;
        parse(&line)
    }

    pub(crate) async fn stderr_line(&self, pattern: &str) -> String {
        let pattern = Regex::new(pattern).expect("a pattern");
        self.stderr.line(pattern.as_str(), |line| pattern.is_match(&plain(line))).await
    }

    /// Everything on stdout and stderr.
    pub(crate) fn said(&self) -> String {
        format!("{}\n{}", self.stdout.text(), self.stderr.text())
    }

    pub(crate) fn stdout_text(&self) -> String {
        self.stdout.text()
    }

    // The file.

    /// Where the file is.
    pub(crate) fn config(&self) -> PathBuf {
        self.setup.folder.path().join("attache.yaml")
    }

    /// The path of a file made with [`Setup::file`].
    pub(crate) fn path_of(&self, name: &str) -> &Path {
        Path::new(&self.setup.given[name])
    }

    pub(crate) fn give(&mut self, name: &str, value: impl Into<String>) {
        self.setup.given.insert(name.to_owned(), value.into());
    }

    /// Another file in the place of the first; attache is told nothing.
    pub(crate) fn rewrite(&self, yaml: &str) {
        self.setup.write(yaml);
    }

    /// Another content for a file made with [`Setup::file`].
    pub(crate) fn rewrite_file(&self, name: &str, content: &str) {
        replace(self.path_of(name), content);
    }

    /// Rewrites the file and waits until attache has reached this result.
    pub(crate) async fn reload(&self, yaml: &str, result: &str) {
        let before = self.reloads(result).await;
        self.rewrite(yaml);
        self.reloaded(result, before).await;
    }

    /// How many reloads the log tells to have changed something. Costs less than a scrape of many services.
    pub(crate) fn applied(&self) -> usize {
        self.stderr.count(|line| line.contains("configuration applied"))
    }

    pub(crate) async fn reloads(&self, result: &str) -> f64 {
        self.metrics().await.value("attache_config_reloads_total", &[("result", result)]).unwrap_or(0.0)
    }

    /// Waits until there are more reloads with this result than `before`.
    pub(crate) async fn reloaded(&self, result: &str, before: f64) {
        let more = async || (self.reloads(result).await > before).then_some(());
        eventually(&format!("a reload that is {result}"), more).await;
    }

    /// `attache login` beside it, with the same file and environment.
    pub(crate) fn login(&self, account: &str) -> Interactive {
        let config = self.setup.folder.path().join("attache.yaml");
        let arguments = ["login", account, "--no-browser", "-c", &config.display().to_string()];
        interactive(&arguments, self.setup.environment.iter().cloned())
    }

    // Its life.

    pub(crate) fn sighup(&self) {
        self.signal("HUP");
    }

    pub(crate) fn sigterm(&self) {
        self.signal("TERM");
    }

    pub(crate) fn sigkill(&self) {
        self.signal("KILL");
    }

    /// Returns once every thread has stopped: `kill` returns before.
    pub(crate) fn sigstop(&self) {
        self.signal("STOP");
        let runs =
            |stat: String| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
        let tasks = format!("/proc/{}/task", self.pid());
        let running = || {
            let tasks = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).any(runs)
        };
        while running() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn sigcont(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let _gone_already =
            std::process::Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    }

    pub(crate) async fn wait_exit(&mut self) -> ExitStatus {
        eventually("attache to end", async || self.child.try_wait().ok().flatten()).await
    }

    fn stop(&mut self) {
        self.signal("TERM");
        let start = Instant::now();
        // A test may leave requests in flight; the drain they are owed is another test's subject.
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Attache {
    fn drop(&mut self) {
        let admin = self.addresses.get("admin").copied();
        let pages = ["/metrics", "/status", "/"].map(|path| admin.and_then(|at| fetch(at, path)));
        self.stop();
        self.stdout.end();
        self.stderr.end();
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        if std::thread::panicking() {
            println!("--- attache's stderr\n{stderr}\n--- attache's stdout\n{stdout}");
            return;
        }
        for page in pages.iter().flatten() {
            assert_no_leak("/metrics, /status or the status page", page);
        }
        assert_no_leak("stdout", stdout.as_bytes());
        assert_no_leak("stderr", stderr.as_bytes());
        assert_have_causes(&stdout);
        assert!(!stderr.contains("panicked at"), "attache panicked:\n{stderr}");
    }
}

/// Without a runtime, because it is called from a destructor.
fn fetch(admin: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = Vec::new();
    let _cut_short = stream.read_to_end(&mut page);
    Some(page)
}

/// A page of Prometheus metrics.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of the series that has these labels and no others.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let rest = rest.trim_end_matches('}');
            let count = if rest.is_empty() { 0 } else { rest.split("\",").count() };
            let all = labels.iter().all(|(name, value)| rest.contains(&format!("{name}=\"{value}\"")));
            (found == name && count == labels.len() && all).then(|| value.parse().ok())?
        })
    }
}

/// The lines of stdout or stderr, as they come.
pub(super) struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    pub(super) fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (counter, count) = watch::channel(0);
        let to = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut lines = to.lock().expect("no reader panics");
                lines.push(String::from_utf8_lossy(&line).into_owned());
                counter.send_replace(lines.len());
            }
        });
        Self { lines, count, reader: Some(reader) }
    }

    pub(super) fn text(&self) -> String {
        self.lines.lock().expect("no reader panics").join("\n")
    }

    pub(super) fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.lines.lock().expect("no reader panics").iter().filter(|line| wanted(line)).count()
    }

    pub(super) async fn line(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let mut count = self.count.clone();
        let mut next = 0;
        let found = async {
            loop {
                let fresh = self.lines.lock().expect("no reader panics")[next..].to_vec();
                next += fresh.len();
                if let Some(line) = fresh.into_iter().find(|line| wanted(line)) {
                    return Some(line);
                }
                count.wait_for(|&count| count > next).await.ok()?;
            }
        };
        let found = within(PATIENCE, what, found).await;
        found.unwrap_or_else(|| panic!("it ended without saying {what}:\n{}", self.text()))
    }

    /// Waits for the last line; the process has ended.
    pub(super) fn end(&mut self) {
        let _panicked = self.reader.take().map(JoinHandle::join);
    }
}

/// A command that ends by itself.
pub(crate) struct Command(tokio::process::Command, Stdio);

/// What it left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    Command(bare_command(arguments).into(), Stdio::null())
}

impl Command {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// What it reads on standard input.
    pub(crate) fn reads(mut self, file: &Path) -> Self {
        self.1 = std::fs::File::open(file).expect("open").into();
        self
    }

    pub(crate) async fn finish(mut self) -> Finished {
        let output = self.0.stdin(self.1).kill_on_drop(true).output();
        let output = within(PATIENCE, "the command to end", output).await.expect("start attache");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_no_leak("stderr", &output.stderr);
        Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// attache with nothing of our environment but what a process needs to start. `ATTACHE_BIN` puts another binary to
/// the same tests: a release build, a package.
pub(super) fn bare_command(arguments: &[&str]) -> std::process::Command {
    let other = std::env::var_os("ATTACHE_BIN");
    let mut command = std::process::Command::new(other.unwrap_or(env!("CARGO_BIN_EXE_attache").into()));
    command.args(arguments).env_clear();
    for name in ["PATH", "HOME", "LLVM_PROFILE_FILE", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// As an editor saves: beside it, then in its place.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("write");
    std::fs::rename(&beside, path).expect("rename");
}

/// Cuts the indentation that a file has from standing in Rust code. It begins on the line after the quote, or on the
/// quote's own line: then that line is a key of the same level as the rest, or the parent of all the rest.
fn dedent(text: &str) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let written = rest.lines().filter(|line| !line.trim().is_empty());
    let depth = written.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let parent = first.trim_end().ends_with(':');
    let mut out = if first.trim().is_empty() { String::new() } else { format!("{}\n", first.trim()) };
    for line in rest.lines() {
        let line = line.get(depth..).unwrap_or_default();
        out.push_str(if parent && depth > 0 { "  " } else { "" });
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Without the colours that a log may have.
fn plain(text: &str) -> String {
    Regex::new("\x1b\\[[0-9;]*m").expect("a pattern").replace_all(text, "").into_owned()
}
