//! Notifications to a service manager (systemd): sd_notify(3), and `Type=notify-reload` of systemd.service(5).

use crate::harness::*;
use nix::time::{ClockId, clock_gettime};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use tokio::net::UnixDatagram;

/// The manager's end of `$NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn bind(address: &SocketAddr) -> Self {
        let socket = StdUnixDatagram::bind_addr(address).expect("bind");
        socket.set_nonblocking(true).expect("a socket that does not block");
        Self(UnixDatagram::from_std(socket).expect("a socket"))
    }

    /// The lines of the next message.
    async fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = within(PATIENCE, "a message", self.0.recv(&mut buffer)).await.expect("a message");
        let text = std::str::from_utf8(&buffer[..length]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// The next message, which is of the end of a start or a reload; returns its `STATUS`.
    async fn ready(&self) -> String {
        let told = self.told().await;
        let status = told.get(1).and_then(|line| line.strip_prefix("STATUS="));
        let status = status.unwrap_or_else(|| panic!("no status in {told:?}")).to_owned();
        assert_eq!(told[0], "READY=1");
        status
    }

    /// The next message, which is of the begin of a reload; returns its time.
    async fn reloading(&self) -> i64 {
        let told = self.told().await;
        assert_eq!(told[0], "RELOADING=1", "{told:?}");
        let time = told.get(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
        time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no time in {told:?}"))
    }
}

fn now() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000
}

#[tokio::test]
async fn the_manager_is_told_of_start_reload_and_end() {
    let third_party = third_party();
    let setup = attache().given("third_party", third_party.url()).folder("notify");
    let path = setup.value("notify");
    let manager = Manager::bind(&SocketAddr::from_pathname(&path).expect("an address"));
    let mut attache = setup.env("NOTIFY_SOCKET", path).with(&mailer("")).await;
    let status = manager.ready().await;
    assert!(status.starts_with("1 service, hash ") && status.ends_with("last reload applied"), "{status}");

    let before = now();
    attache.sighup();
    // systemd waits for a time that is not before its signal.
    let reloading = manager.reloading().await;
    assert!((before..=now()).contains(&reloading), "{reloading}");
    assert!(manager.ready().await.ends_with("last reload unchanged"));

    // A file that is saved is taken up without a signal.
    attache.rewrite("services: []");
    manager.reloading().await;
    assert!(manager.ready().await.ends_with("last reload rejected"));

    attache.sigterm();
    assert_eq!(manager.told().await[0], "STOPPING=1");
    assert_eq!(attache.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_manager_may_listen_on_an_abstract_socket() {
    let third_party = third_party();
    let setup = attache().given("third_party", third_party.url()).folder("notify");
    // The path is of this test alone, so as a name it is as well.
    let name = setup.value("notify");
    let manager = Manager::bind(&SocketAddr::from_abstract_name(&name).expect("an address"));
    let _attache = setup.env("NOTIFY_SOCKET", format!("@{name}")).with(&mailer("")).await;
    manager.ready().await;
}

#[tokio::test]
async fn a_manager_that_has_gone_stops_nothing() {
    let third_party = third_party();
    let setup = attache().given("third_party", third_party.url()).folder("notify");
    let path = setup.value("notify");
    let attache = setup.env("NOTIFY_SOCKET", path).with(&mailer("")).await;
    attache.stderr_line("systemd is not told of a change of state").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}
