//! Scripted peers on raw sockets, which record every byte they receive.
//!
//! Each has its own thread and runtime, so that it continues while a test blocks (for example when it drops attache),
//! and so that its timing does not depend on the test's.

use super::leaks::{find_secret, find_webhook_key};
use super::tls::{CertificateAuthority, Flaw};
use super::wire::{Head, Reader};
use super::{PATIENCE, within};
use base64::Engine as _;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as a stub received it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: Head,
    pub(crate) method: String,
    /// The request target, byte for byte.
    pub(crate) target: Vec<u8>,
    /// The decoded body, if the stub keeps bodies.
    pub(crate) body: Vec<u8>,
    pub(crate) body_length: u64,
    /// True if the body has ended as its framing states.
    pub(crate) complete: bool,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
    /// The number of the request on that connection, from 0.
    pub(crate) nth: usize,
    /// The whole request as received, including chunks and trailers; empty until it is complete.
    pub(crate) wire: Vec<u8>,
}

impl Deref for Received {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Received {
    pub(crate) fn target(&self) -> String {
        String::from_utf8_lossy(&self.target).into_owned()
    }
}

/// One step of an answer. After the last, the connection is kept for the next request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// `n` zero bytes.
    Zeros(u64),
    /// Continues reading and sends no more answers.
    Hang,
    Close,
    Reset,
    /// Echoes everything: the far end of a WebSocket.
    Mirror,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// Read and kept, before the script begins.
    Keep,
    /// Read and counted.
    Count,
    /// Left in the socket.
    Ignore,
}

type Script = Arc<dyn Fn(&Received) -> Vec<Step> + Send + Sync>;

#[derive(Clone)]
struct Behaviour {
    bodies: Bodies,
    script: Script,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    ThirdParty,
    App,
}

struct State {
    behaviour: Mutex<Behaviour>,
    tls: Mutex<Option<TlsAcceptor>>,
    greeting: Mutex<Vec<u8>>,
    requests: Mutex<Vec<Received>>,
    leaks: Mutex<Vec<String>>,
    /// The numbers of the connections that have ended.
    ended: Mutex<Vec<usize>>,
    role: Role,
    /// A counter of all events.
    seen: watch::Sender<Seen>,
}

/// The events that a stub has recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) heads: usize,
    pub(crate) complete: usize,
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    pub(crate) body_bytes: u64,
}

/// A scripted peer. When dropped, it fails the test if it has seen a secret that it must not see.
pub(crate) struct Stub {
    address: SocketAddr,
    scheme: &'static str,
    name: String,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Returns an upstream that answers 200 with `ok` by default.
pub(crate) fn third_party() -> Stub {
    Stub::start(Role::ThirdParty)
}

/// Returns a receiver behind a webhook: no secret at all may reach it.
pub(crate) fn app() -> Stub {
    Stub::start(Role::App)
}

/// Returns an address that refuses connections while the socket exists.
pub(crate) fn refused() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
    (local(&socket), socket)
}

/// Returns an address that never completes a connection: its backlog is full and no connection is accepted.
pub(crate) fn blackhole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
    listener.listen(0).expect("listen");
    let address = local(&listener);
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        filler.set_nonblocking(true).expect("nonblocking");
        // Once the backlog is full, a connection stays in progress.
        let _in_progress = filler.connect(&address.into());
        held.push(filler);
    }
    (address, held)
}

fn local(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address")
}

impl Stub {
    fn start(role: Role) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
        // With the standard library's 128, the kernel would drop some of two hundred simultaneous connections.
        socket.listen(1024).expect("listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            behaviour: Mutex::new(Behaviour { bodies: Bodies::Keep, script: answer(200, "ok") }),
            tls: Mutex::new(None),
            greeting: Mutex::default(),
            requests: Mutex::default(),
            leaks: Mutex::default(),
            ended: Mutex::default(),
            role,
            seen: watch::Sender::new(Seen::default()),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, &serving) => {}
                    _dropped = stopped => {}
                }
            });
        });
        let name = address.ip().to_string();
        Self { address, scheme: "http", name, state, stop: Some(stop), thread: Some(thread) }
    }

    // Its identity.

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns host and port as in the URL.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.name, self.address.port())
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// Uses another name in its URL.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Speaks TLS, with a certificate of `ca` for the name in its URL.
    pub(crate) fn with_tls(self, ca: &CertificateAuthority) -> Self {
        let name = self.name.clone();
        self.with_tls_for(ca, &name)
    }

    /// Speaks TLS, with a certificate of `ca` for `name`.
    pub(crate) fn with_tls_for(mut self, ca: &CertificateAuthority, name: &str) -> Self {
        self.scheme = "https";
        *lock(&self.state.tls) = Some(TlsAcceptor::from(ca.server(name)));
        self
    }

    /// Speaks TLS, with a certificate of `ca` for the name in its URL that has this flaw.
    pub(crate) fn with_flawed_tls(mut self, ca: &CertificateAuthority, flaw: Flaw) -> Self {
        self.scheme = "https";
        *lock(&self.state.tls) = Some(TlsAcceptor::from(ca.flawed_server(&self.name, flaw)));
        self
    }

    /// Speaks TLS as [`Stub::with_tls`], and asks for a client certificate of `ca`.
    pub(crate) fn with_mutual_tls(mut self, ca: &CertificateAuthority) -> Self {
        self.scheme = "https";
        *lock(&self.state.tls) = Some(TlsAcceptor::from(ca.mutual_server(&self.name)));
        self
    }

    /// Speaks TLS, with `certificate` itself.
    pub(crate) fn with_self_signed_tls(mut self, certificate: &CertificateAuthority) -> Self {
        self.scheme = "https";
        *lock(&self.state.tls) = Some(TlsAcceptor::from(certificate.itself()));
        self
    }

    /// Sends this as soon as a client connects.
    pub(crate) fn with_greeting(self, greeting: &[u8]) -> Self {
        *lock(&self.state.greeting) = greeting.to_vec();
        self
    }

    // Its behaviour. Each change takes effect with the next request, so a test may change it at any time.

    /// Runs `script` for each request, after reading its body.
    pub(crate) fn does(&self, script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) {
        lock(&self.state.behaviour).script = Arc::new(script);
    }

    pub(crate) fn scripted(self, script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        self.does(script);
        self
    }

    fn then(self, steps: Vec<Step>) -> Self {
        self.scripted(move |_request| steps.clone())
    }

    pub(crate) fn answers(self, status: u16, body: &str) -> Self {
        lock(&self.state.behaviour).script = answer(status, body);
        self
    }

    /// Answers with exactly these bytes, including the head.
    pub(crate) fn answers_raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(vec![Step::Send(bytes.into())])
    }

    /// As [`Stub::answers_raw`], and closes: the end of a body without framing.
    pub(crate) fn answers_raw_and_closes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(vec![Step::Send(bytes.into()), Step::Close])
    }

    /// Echoes the body.
    pub(crate) fn echoes(self) -> Self {
        self.scripted(|request| {
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()).into_bytes();
            answer.extend_from_slice(&request.body);
            vec![Step::Send(answer)]
        })
    }

    /// Reads everything, answers nothing.
    pub(crate) fn hangs(self) -> Self {
        self.then(vec![Step::Hang])
    }

    /// Leaves the bodies of requests in the socket, or reads them again.
    pub(crate) fn ignores_bodies(&self, ignores: bool) {
        lock(&self.state.behaviour).bodies = if ignores { Bodies::Ignore } else { Bodies::Keep };
    }

    /// Reads the head and nothing after it.
    pub(crate) fn reads_no_body(self) -> Self {
        self.ignores_bodies(true);
        self.then(vec![Step::Pause(10 * PATIENCE)])
    }

    /// Reads bodies without keeping them.
    pub(crate) fn counts_bodies(self) -> Self {
        lock(&self.state.behaviour).bodies = Bodies::Count;
        self
    }

    pub(crate) fn streams(self, n: u64) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n").into_bytes();
        self.then(vec![Step::Send(head), Step::Zeros(n)])
    }

    /// Sends the head at once, then `pieces` of five bytes, one after each interval `every`.
    pub(crate) fn sends_headers_then_body_slowly(self, pieces: usize, every: Duration) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", pieces * 5).into_bytes();
        let body = std::iter::repeat_n([Step::Pause(every), Step::Send(b"piece".to_vec())], pieces).flatten();
        self.then(std::iter::once(Step::Send(head)).chain(body).collect())
    }

    /// Sends the head and `n` bytes of a body of twice that length, and no more.
    pub(crate) fn stalls_after(self, n: usize) -> Self {
        let mut start = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * n).into_bytes();
        start.extend(std::iter::repeat_n(b's', n));
        self.then(vec![Step::Send(start), Step::Hang])
    }

    /// Sends a correct answer, one byte at a time.
    pub(crate) fn drips_its_head(self, every: Duration) -> Self {
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
        self.then(answer.iter().flat_map(|&byte| [Step::Send(vec![byte]), Step::Pause(every)]).collect())
    }

    pub(crate) fn resets(self) -> Self {
        self.then(vec![Step::Reset])
    }

    pub(crate) fn closes_without_answer(self) -> Self {
        self.then(vec![Step::Close])
    }

    pub(crate) fn answers_garbage(self) -> Self {
        self.answers_raw_and_closes(*b"\x16\x03\x01 this is not HTTP at all\r\n\r\n")
    }

    /// Accepts a WebSocket and echoes its bytes.
    pub(crate) fn websocket_echo(self) -> Self {
        self.scripted(|request| {
            let key = request.header("sec-websocket-key").unwrap_or_default();
            let accept = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, accept.as_bytes());
            let accept = base64::engine::general_purpose::STANDARD.encode(digest);
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            vec![Step::Send(answer.into_bytes()), Step::Mirror]
        })
    }

    // Views of the requests that it received.

    pub(crate) fn seen(&self) -> Seen {
        *self.state.seen.borrow()
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        lock(&self.state.requests).clone()
    }

    /// Returns true if that connection has ended, by either side.
    pub(crate) fn has_ended(&self, connection: usize) -> bool {
        lock(&self.state.ended).contains(&connection)
    }

    /// Returns the `n`th request, from 0, as soon as its head was received.
    pub(crate) async fn head(&self, n: usize) -> Received {
        self.wait_until("a request's head", |seen| seen.heads > n).await;
        self.requests().swap_remove(n)
    }

    /// Returns the only request, complete.
    pub(crate) async fn only_request(&self) -> Received {
        self.wait_until("a whole request", |seen| seen.complete > 0).await;
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.swap_remove(0)
    }

    pub(crate) async fn wait_until(&self, what: &str, mut there: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.state.seen.subscribe();
        let seen = within(PATIENCE, what, seen.wait_for(|seen| there(seen))).await;
        *seen.expect("the stub lives as long as its handle")
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if std::thread::panicking() {
            return;
        }
        assert!(!matches!(ended, Some(Err(_))), "the stub panicked");
        let leaks = lock(&self.state.leaks);
        assert!(leaks.is_empty(), "LEAK to {:?}: {leaks:#?}", self.state.role);
    }
}

fn answer(status: u16, body: &str) -> Script {
    let answer = format!(
        "HTTP/1.1 {status} Stubbed\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Arc::new(move |_request| vec![Step::Send(answer.clone().into_bytes())])
}

async fn accept(listener: TcpListener, state: &Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    // Dropping the set ends every connection with the stub.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _peer)) = listener.accept().await else { return };
        let state = Arc::clone(state);
        let number = state.seen.borrow().opened;
        state.saw(|seen| seen.opened += 1);
        connections.spawn(async move {
            let _ended = serve(stream, number, &state).await;
            lock(&state.ended).push(number);
            state.saw(|seen| seen.closed += 1);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, connection: usize, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let acceptor = lock(&state.tls).clone();
    let greeting = lock(&state.greeting).clone();
    let mut stream = match acceptor {
        Some(acceptor) => Io::Tls(Box::new(acceptor.accept(stream).await?)),
        None => Io::Plain(stream),
    };
    stream.write_all(&greeting).await?;
    let mut reader = Reader::default();
    for nth in 0.. {
        let Some(head) = reader.head(&mut stream).await? else { return Ok(()) };
        let behaviour = lock(&state.behaviour).clone();
        let at = state.record(head.clone(), connection, nth);
        if behaviour.bodies != Bodies::Ignore {
            if head.says("expect", "100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let framing = head.request_framing();
            let sink = |part: &[u8]| state.body(at, part, behaviour.bodies);
            if !reader.body(&mut stream, framing, sink).await? {
                return Ok(());
            }
            state.complete(at, std::mem::take(&mut reader.tap));
        }
        let request = lock(&state.requests)[at].clone();
        for step in (behaviour.script)(&request) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Zeros(n) => zeros(&mut stream, n).await?,
                Step::Hang => {
                    reader.rest(&mut stream, |part| state.body(at, part, Bodies::Count)).await;
                    return Ok(());
                }
                Step::Close => return stream.shutdown().await,
                Step::Reset => return SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)),
                Step::Mirror => return mirror(&mut stream, &mut reader).await,
            }
        }
        stream.flush().await?;
    }
    Ok(())
}

async fn zeros(stream: &mut Io, n: u64) -> io::Result<()> {
    let block = vec![0; 256 * 1024];
    let mut left = n;
    while left > 0 {
        let now = left.min(block.len() as u64);
        stream.write_all(&block[..usize::try_from(now).unwrap_or(0)]).await?;
        left -= now;
    }
    Ok(())
}

async fn mirror(stream: &mut Io, reader: &mut Reader) -> io::Result<()> {
    let mut buffer = reader.leftover();
    loop {
        stream.write_all(&buffer).await?;
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return stream.shutdown().await;
        }
    }
}

impl State {
    fn saw(&self, what: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(what);
    }

    fn record(&self, head: Head, connection: usize, nth: usize) -> usize {
        self.check(&head.raw);
        let mut words = head.start.split(|&byte| byte == b' ');
        let method = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let target = words.next().unwrap_or_default().to_vec();
        let mut requests = lock(&self.requests);
        requests.push(Received {
            head,
            method,
            target,
            body: Vec::new(),
            body_length: 0,
            complete: false,
            connection,
            nth,
            wire: Vec::new(),
        });
        let at = requests.len() - 1;
        drop(requests);
        self.saw(|seen| seen.heads += 1);
        at
    }

    fn body(&self, at: usize, part: &[u8], bodies: Bodies) {
        if part.is_empty() {
            return;
        }
        let mut requests = lock(&self.requests);
        requests[at].body_length += part.len() as u64;
        if bodies == Bodies::Keep {
            requests[at].body.extend_from_slice(part);
        }
        drop(requests);
        self.saw(|seen| seen.body_bytes += part.len() as u64);
    }

    fn complete(&self, at: usize, wire: Vec<u8>) {
        let mut requests = lock(&self.requests);
        requests[at].complete = true;
        requests[at].wire = wire;
        self.check(&requests[at].body);
        drop(requests);
        self.saw(|seen| seen.complete += 1);
    }

    fn check(&self, bytes: &[u8]) {
        let leak = match self.role {
            Role::App => find_secret(bytes),
            Role::ThirdParty => find_webhook_key(bytes),
        };
        lock(&self.leaks).extend(leak);
    }
}

/// A poisoned lock is the result of another panic, which was reported already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
