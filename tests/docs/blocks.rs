//! Every fenced block is of a kind that has a rule.
//!
//! | fence | rule |
//! | --- | --- |
//! | `yaml` | a whole configuration, accepted without an error or a warning |
//! | `yaml appended` | the rest of the file that the `yaml` block before it begins |
//! | `yaml in=KIND` | a fragment, accepted where [`wrapped`] puts it |
//! | `yaml other` | a file of another program: well-formed YAML |
//! | `json` | well-formed JSON |
//! | `sh` | the shell parses it, [`shell::fault`] finds nothing |
//! | `console` | the same, of the lines after `$ ` |
//! | `python` | Python parses it |
//! | `nginx` | `nginx -t` accepts it, and its logs hold no webhook key, whatever the path is |
//! | `text` | none: pictures and output |

use crate::documents::{Block, documents};
use crate::shell;
use attache::config::{Mode, load};
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn every_block_keeps_its_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let listed = documents();
    let (mut faults, mut seen) = (Vec::new(), 0);
    for document in &listed {
        let mut whole = String::new();
        for mut block in document.blocks() {
            seen += 1;
            match block.info.join(" ").as_str() {
                "yaml" => whole.clone_from(&block.text),
                "yaml appended" => {
                    block.text.insert_str(0, &whole);
                    block.info.truncate(1);
                }
                _ => {}
            }
            faults.extend(fault(&block, folder.path()).map(|fault| format!("{}: {fault}", block.place)));
        }
    }
    assert!(seen > 60, "{seen} blocks");
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// Why a block is wrong.
fn fault(block: &Block, folder: &Path) -> Option<String> {
    let info: Vec<&str> = block.info.iter().map(String::as_str).collect();
    match info.as_slice() {
        ["yaml"] => configuration(&block.text, folder),
        ["yaml", "other"] => {
            serde_yaml::from_str::<serde_yaml::Value>(&block.text).err().map(|error| error.to_string())
        }
        ["yaml", place] => match place.strip_prefix("in=").and_then(|kind| wrapped(kind, &block.text)) {
            Some(text) => configuration(&text, folder),
            None => Some(format!("there is no place {place}")),
        },
        ["json"] => {
            serde_json::from_str::<serde_json::Value>(&block.text).err().map(|error| error.to_string())
        }
        ["sh"] => script(&block.text),
        ["console"] => {
            let lines = block.text.lines().filter_map(|line| line.strip_prefix("$ "));
            script(&lines.flat_map(|line| [line, "\n"]).collect::<String>())
        }
        ["python"] => parsed("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"], &block.text),
        ["nginx"] => nginx(&block.text, folder),
        ["text"] => None,
        _ => Some(format!("no rule for the fence {info:?}; the rules are in tests/docs/blocks.rs")),
    }
}

/// A fragment in its place in a file: `KIND` is the mapping whose keys it has. Keys that the mapping needs besides are added,
/// unless the fragment has them.
fn wrapped(kind: &str, fragment: &str) -> Option<String> {
    let (before, depth, needed): (_, _, &[_]) = match kind {
        "service" => {
            ("services:\n  a:\n", 4, &["account: { authorization: none }", "server_url: https://api.example"])
        }
        "webhook" => (
            "users: { a: {} }\nservices:\n  a:\n    webhook:\n",
            6,
            &["user: a", "forward_to: http://127.0.0.1:3000", "api_keys: [{ id: a, sha256: @ }]"],
        ),
        "authorization" => ("accounts:\n  a:\n    authorization:\n", 6, &[]),
        _ => return None,
    };
    let has = |line: &&&str| fragment.lines().any(|own| own.split(':').next() == line.split(':').next());
    let added = needed.iter().filter(|line| !has(line)).copied();
    let indentation = " ".repeat(depth);
    let body: String = fragment.lines().chain(added).flat_map(|line| [&indentation, line, "\n"]).collect();
    Some(format!("{before}{}", body.replace('@', &"0".repeat(64))))
}

fn configuration(text: &str, folder: &Path) -> Option<String> {
    let path = folder.join("attache.yaml");
    fs::write(&path, text).expect("write");
    let problems = load(&path, Mode::Offline).problems;
    (!problems.is_empty()).then(|| problems.render_human(false))
}

fn script(text: &str) -> Option<String> {
    let fault = parsed("sh", &["-n"], text);
    fault.or_else(|| text.lines().find_map(|line| shell::fault(line).map(|fault| format!("{line}\n{fault}"))))
}

/// Why an interpreter, which only parses its input, refuses `text`.
fn parsed(program: &str, arguments: &[&str], text: &str) -> Option<String> {
    let command = &mut Command::new(program);
    let started = command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut interpreter = started.expect("the interpreter, which .ci/setup test installs");
    interpreter.stdin.take().expect("its input").write_all(text.as_bytes()).expect("write");
    let parsed = interpreter.wait_with_output().expect("its end");
    (!parsed.status.success()).then(|| String::from_utf8_lossy(&parsed.stderr).into_owned())
}

/// `server` blocks, with a certificate made for the test in the place of the one they name.
fn nginx(text: &str, folder: &Path) -> Option<String> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=a"])
        .args(["-keyout", "hooks.key", "-out", "hooks.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl, which .ci/setup test installs");
    assert!(made.status.success(), "{made:?}");
    let at = folder.display().to_string();
    let text = text.replace("/etc/nginx", &at).replace("/var/log/nginx", &at);
    let text = format!("pid {at}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n");
    fs::write(folder.join("nginx.conf"), text).expect("write");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let tried = Command::new("nginx")
        .args(["-t", "-e", "stderr", "-p", &at, "-c", "nginx.conf"])
        .env("PATH", path)
        .output()
        .expect("nginx, which .ci/setup test installs");
    if !tried.status.success() {
        return Some(String::from_utf8_lossy(&tried.stderr).into_owned());
    }
    logged_key(folder)
}

/// Runs nginx with the configuration in `folder` on unix sockets, while nothing listens behind it. Returns the lines of
/// its logs that have the key of a webhook.
fn logged_key(folder: &Path) -> Option<String> {
    let at = folder.display().to_string();
    let text = fs::read_to_string(folder.join("nginx.conf")).expect("nginx.conf");
    let text = text
        .replace("listen 443", &format!("listen unix:{at}/tls"))
        .replace("listen 80", &format!("listen unix:{at}/plain"))
        .replace("http://127.0.0.1:8081", &format!("http://unix:{at}/attache"))
        .replace("access_log off;\nserver", &format!("access_log {at}/access.log;\nserver"));
    fs::write(folder.join("nginx.conf"), format!("daemon off;\nmaster_process off;\n{text}")).expect("write");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut nginx = Command::new("nginx")
        .args(["-e", "error.log", "-p", &at, "-c", "nginx.conf"])
        .env("PATH", path)
        .spawn()
        .expect("nginx, which .ci/setup test installs");
    let call = |socket: &str, url: &str| {
        let curl = Command::new("curl")
            .args([
                "-sk",
                "-d",
                "x",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--unix-socket",
                &format!("{at}/{socket}"),
                url,
            ])
            .output();
        String::from_utf8_lossy(&curl.expect("curl, which .ci/setup test installs").stdout).into_owned()
    };
    let listens = |socket: &str| UnixStream::connect(folder.join(socket)).is_ok();
    let started = Instant::now();
    while !(listens("tls") && listens("plain")) && started.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let calls = [
        ("tls", "https://hooks.example.com/webhooks/whk_unreachable", "502"),
        ("tls", "https://hooks.example.com/webhook/whk_typo", "404"),
        ("plain", "http://hooks.example.com/webhooks/whk_http", "404"),
        ("plain", "http://hooks.example.com/webhook/whk_both", "404"),
    ];
    let mut wrong = String::new();
    for (socket, url, expected) in calls {
        let status = call(socket, url);
        if status != expected {
            wrong.push_str(&format!("{url}: {status}\n"));
        }
    }
    let _ = nginx.kill();
    let _ = nginx.wait();
    for log in ["access.log", "error.log"] {
        let lines = fs::read_to_string(folder.join(log)).unwrap_or_default();
        lines
            .lines()
            .filter(|line| line.contains("whk_"))
            .for_each(|line| wrong.push_str(&format!("{line}\n")));
    }
    (!wrong.is_empty()).then_some(wrong)
}
