use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::connections::{Bounds, serve_within};
use super::page::Query;
use super::report::Report;
use crate::socket::Acceptor;

use super::{Access, DOCUMENTS, View, router, serve, testing};

#[derive(Default)]
struct Stub {
    draining: AtomicBool,
    panics: AtomicBool,
    /// Bytes that are added to `/metrics`.
    more_metrics: usize,
    /// Number of times `/metrics` was written.
    scrapes: AtomicUsize,
}

impl View for Stub {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        !self.draining.load(Relaxed)
    }

    fn report(&self) -> Report {
        testing::empty()
    }

    fn access(&self) -> Access {
        Access::default()
    }

    fn key_set(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [] })
    }

    fn end_step(&self) {}

    fn metrics(&self) -> String {
        assert!(!self.panics.load(Relaxed), "a fault in the view");
        self.scrapes.fetch_add(1, Relaxed);
        format!("attache_config_info{{hash=\"abc\"}} 1\n{}", "#".repeat(self.more_metrics))
    }
}

/// A listener without TLS.
fn plain() -> Arc<Acceptor> {
    Arc::new(Acceptor::new(None).unwrap())
}

/// An admin listener on a port of its own, until it is dropped.
struct Running {
    view: Arc<Stub>,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

async fn running() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let view = Arc::new(Stub::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, plain(), Arc::clone(&view) as Arc<dyn View>, async {
        let _ = stopped.await;
    }));
    Running { view, address, stop, tasks }
}

/// The same with other bounds, without the events of the page, and with so much more in `/metrics`.
async fn running_within(bounds: Bounds, more_metrics: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let view = Arc::new(Stub { more_metrics, ..Stub::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    let router = router(Arc::clone(&view) as Arc<dyn View>, Arc::default());
    tasks.spawn(serve_within(bounds, listener, plain(), router, async {
        let _ = stopped.await;
    }));
    Running { view, address, stop, tasks }
}

impl Running {
    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }

    /// Asks for `/metrics`, and reads none of the answer.
    async fn scrape_unread(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        stream
    }

    /// Waits until `/metrics` was written so often.
    async fn scraped(&self, times: usize) {
        while self.view.scrapes.load(Relaxed) < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn send(&self, request: &str) -> String {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_path_has_its_document() {
    let admin = running().await;
    let document = String::from_utf8(super::status_document(&testing::empty())).unwrap();
    let page = super::page::document(&testing::empty(), &Query::default());
    for (path, status, content_type, body) in [
        (
            "/metrics",
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            "attache_config_info{hash=\"abc\"} 1\n",
        ),
        ("/livez", "200 OK", "text/plain; charset=utf-8", "ok"),
        ("/readyz", "200 OK", "text/plain; charset=utf-8", "ok"),
        ("/status", "200 OK", "application/json", &document),
        ("/nothing", "404 Not Found", "text/plain; charset=utf-8", super::NOT_FOUND),
        ("/", "200 OK", "text/html; charset=utf-8", &page),
        ("/page.css", "200 OK", "text/css; charset=utf-8", super::page::CSS),
        ("/page.js", "200 OK", "text/javascript; charset=utf-8", super::page::SCRIPT),
        ("/icon.svg", "200 OK", "image/svg+xml", super::page::ICON),
        ("/metrics/", "404 Not Found", "text/plain; charset=utf-8", super::NOT_FOUND),
    ] {
        let answer = admin.get(path).await;
        let (head, got) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {head}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{path}: {head}");
        assert!(head.contains("cache-control: no-store"), "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        assert!(head.contains("x-frame-options: DENY") && head.contains("frame-ancestors 'none'"), "{head}");
        assert_eq!(got, body, "{path}");
    }
}

#[tokio::test]
async fn the_page_has_a_policy_and_answers_no_other_host_or_site() {
    let admin = running().await;
    let page = admin.get("/?q=a").await;
    assert!(page.contains("content-security-policy: default-src 'none';"), "{page}");
    assert!(page.contains("referrer-policy: no-referrer") && !page.contains("access-control"), "{page}");
    for path in ["/", "/events"] {
        let framed = "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\
                      Sec-Fetch-Dest: iframe";
        for fields in ["Host: rebind.example", "Host: localhost\r\nSec-Fetch-Site: cross-site", framed] {
            let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n");
            let answer = admin.send(&request).await;
            assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("abc"), "{answer}");
        }
    }
}

#[tokio::test]
async fn events_end_at_the_shutdown_and_are_refused_while_draining() {
    let mut admin = running().await;
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    while !received.windows(9).any(|part| part == b"elements\n") {
        assert_ne!(
            stream.read_buf(&mut received).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&received)
        );
    }
    let head = String::from_utf8_lossy(&received).to_string();
    assert!(head.contains("content-type: text/event-stream\r\n") && head.contains("no-store"), "{head}");
    admin.view.draining.store(true, Relaxed);
    let refused = admin.get("/events").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 10"), "{refused}");
    stream.read_to_end(&mut received).await.unwrap();
    admin.stop.send(()).unwrap();
    admin.tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_place_of_a_stream_is_free_once_its_client_leaves_and_head_takes_none() {
    // No updates come here: the place doesn't wait for one.
    let admin = running_within(Bounds::ADMIN, 0).await;
    for _ in 0..20 {
        let head = admin.send("HEAD /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
    }
    for _ in 0..20 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut received = Vec::new();
        while !received.windows(15).any(|part| part == b"event: version\n") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "refused");
        }
        drop(stream);
        // The listener sees it leave in a moment.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn not_ready_is_503_and_live_stays() {
    let admin = running().await;
    admin.view.draining.store(true, Relaxed);
    let answer = admin.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nnot ready"), "{answer}");
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn other_methods_are_405_with_allow_and_head_has_no_body() {
    let admin = running().await;
    let answer = admin.send("POST /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("allow: GET,HEAD\r\n") && answer.contains("no-store"), "{answer}");
    let answer = admin.send("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-length: 34\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_fault_in_the_view_is_500_and_the_next_request_is_served() {
    let admin = running().await;
    admin.view.panics.store(true, Relaxed);
    for _ in 0..=super::WRITERS {
        assert!(admin.get("/metrics").await.starts_with("HTTP/1.1 500 "));
    }
    admin.view.panics.store(false, Relaxed);
    assert!(admin.get("/metrics").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn shutdown_closes_the_port_and_idle_connections() {
    let mut admin = running().await;
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    admin.stop.send(()).unwrap();
    admin.tasks.join_next().await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"\r\n\r\nok"));
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, plain(), Arc::new(Stub::default()), pending()));
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), request).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

/// More than the sockets of both sides hold.
const UNREADABLE: usize = 32 << 20;

#[tokio::test]
async fn clients_that_do_not_read_hold_few_documents_until_they_are_cut_off() {
    let bounds = Bounds { stall: Duration::from_secs(1), ..Bounds::ADMIN };
    let admin = running_within(bounds, UNREADABLE).await;
    let mut unread = Vec::new();
    for _ in 0..3 * DOCUMENTS {
        unread.push(admin.scrape_unread().await);
    }
    admin.scraped(DOCUMENTS).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(admin.view.scrapes.load(Relaxed), DOCUMENTS);
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200 "));
    let answer = admin.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.len() > UNREADABLE);
    let mut rest = Vec::new();
    assert!(unread[0].read_to_end(&mut rest).await.is_err() || rest.len() < UNREADABLE, "it is cut off");
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_cut_off_too() {
    let bounds = Bounds { answer: Duration::from_secs(1), ..Bounds::ADMIN };
    let admin = running_within(bounds, UNREADABLE).await;
    let mut slow = admin.scrape_unread().await;
    let (mut buffer, mut received) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = slow.read(&mut buffer).await {
        received += read;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(received < UNREADABLE, "{received}");
}

#[tokio::test]
async fn neither_idle_connections_nor_unread_answers_keep_a_probe_away() {
    let admin = running_within(Bounds { connections: 4, ..Bounds::ADMIN }, UNREADABLE).await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(TcpStream::connect(admin.address).await.unwrap());
    }
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200 "));
    for number in 1..=4 {
        open.push(admin.scrape_unread().await);
        admin.scraped(number).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_first_head_is_due_sooner_than_the_next() {
    let bounds = Bounds { first_head: Duration::from_millis(50), ..Bounds::ADMIN };
    let admin = running_within(bounds, 0).await;
    let mut kept = TcpStream::connect(admin.address).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(exchange(TcpStream::connect(admin.address).await.unwrap(), "GET /liv").await, "");
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = exchange(kept, request).await;
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_connection_that_outlives_its_time_is_closed() {
    let time = Duration::from_millis(50);
    let admin = running_within(Bounds { life: time, end: time, ..Bounds::ADMIN }, 0).await;
    let answer = admin.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n").await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
