//! Sockets that the service manager passes.

use crate::harness::*;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Starts attache with sockets at these addresses.
fn start(names: &str, addresses: &str, config: &Path) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/python/pass_sockets.py");
    let attache = env!("CARGO_BIN_EXE_attache");
    let mut command = Command::new("python3");
    command.arg(script).args([names, addresses, attache, "run", "-c"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("python3")
}

/// Ends a process with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn the_listeners_are_those_that_are_passed_in_any_order() {
    let third_party = third_party();
    let setup = attache().given("third_party", third_party.url()).folder("socket");
    let socket = setup.value("socket");
    let listen =
        format!("listen: {{ outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 'unix:{socket}' }}\n");
    let config = setup.write(&format!("{listen}{}", mailer("")));
    let addresses = format!("unix:{socket},127.0.0.1:0");
    let mut process = Ended(start("admin:outbound", &addresses, &config));
    let stderr = process.0.stderr.take().expect("stderr");
    let (mut passed, mut outbound) = (0, None);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains("the service manager's socket") {
            passed += 1;
            let address = line.split("address=").nth(1).map(|rest| rest.trim().to_owned());
            outbound = outbound.or(address.and_then(|address| address.parse().ok()));
        }
        if line.ends_with("ready") {
            break;
        }
    }
    assert_eq!(passed, 2);
    let answer = send(outbound.expect("an address"), get("/mailer/x")).await;
    assert_eq!(answer.status, 200);
    let status = command(&["status", "--admin", &format!("unix:{socket}")]).finish().await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    drop(process);
}

#[tokio::test]
async fn a_socket_that_fits_no_listener_prevents_the_start() {
    let setup = attache().given("third_party", "http://127.0.0.1:1");
    let config = setup.write(&mailer(""));
    for (names, addresses, problem) in [
        ("outbound", "127.0.0.2:0", "the service manager's socket is 127.0.0.2:"),
        // Wider than the file says, whose checks are about its address.
        ("outbound", "0.0.0.0:0", "the service manager's socket is 0.0.0.0:"),
        ("attache.socket", "127.0.0.1:0", "the name `attache.socket`; name each with `FileDescriptorName=`"),
        ("outbound:outbound", "127.0.0.1:0,127.0.0.1:0", "two sockets with the name `outbound`"),
        ("", "127.0.0.1:0", "with the name ``"),
    ] {
        let mut process = start(names, addresses, &config);
        let mut stderr = String::new();
        let read = process.stderr.take().expect("stderr").read_to_string(&mut stderr);
        read.expect("text");
        assert_eq!(process.wait().expect("an end").code(), Some(1), "{stderr}");
        assert!(stderr.contains(problem), "{problem}: {stderr}");
    }
}

/// systemd's own tool, which starts attache with the first connection.
#[tokio::test]
async fn systemd_socket_activate_starts_it_with_the_first_connection() {
    let third_party = third_party();
    let setup = attache().given("third_party", third_party.url()).folder("socket").folder("admin");
    let (outbound, admin) =
        (format!("{}/o.sock", setup.value("socket")), format!("{}/a.sock", setup.value("admin")));
    let listen =
        format!("listen: {{ outbound: 'unix:{outbound}', webhooks: 127.0.0.1:0, admin: 'unix:{admin}' }}\n");
    let config = setup.write(&format!("{listen}{}", mailer("")));
    let mut tool = Command::new("systemd-socket-activate");
    tool.args(["--listen", &outbound, "--listen", &admin, "--fdname", "outbound:admin"]);
    tool.args([env!("CARGO_BIN_EXE_attache"), "run", "-c"]).arg(&config);
    tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Ended(tool.spawn().expect("systemd-socket-activate; `.ci/setup test` installs it"));
    let mut lines = BufReader::new(process.0.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    let listening = |line: &String| line.contains("Listening on") && line.contains("a.sock");
    assert!(lines.any(|line| listening(&line)), "the tool listens");
    // attache does not run yet. The connection waits, and none is lost.
    let mut stream = tokio::net::UnixStream::connect(&outbound).await.expect("connect");
    let head = b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.expect("write");
    let mut answer = String::new();
    within(PATIENCE, "an answer", stream.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let passed = lines.by_ref().take_while(|line| !line.ends_with("ready"));
    assert_eq!(passed.filter(|line| line.contains("the service manager's socket")).count(), 2);
    let status = command(&["status", "--admin", &format!("unix:{admin}")]).finish().await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
}
