//! Sockets that the service manager passes.

use crate::harness::*;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
