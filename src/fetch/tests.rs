//! The client against real sockets.

use super::*;
use crate::config::model::{ForwardProxy, ProxyRules, ServerUrl};
use crate::header_name::FieldName;
use crate::transport::ConnectError;
use crate::transport::dial::DialError;
use crate::transport::names::name_server::{DnsReply, NameServer};
use crate::transport::names::{Names, NoAddress};
use crate::transport::{for_tests, for_tests_with};
use http::{HeaderValue, Method};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server on loopback. It keeps each request that it receives.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    /// Answers each request, whose body ends with `.`, with these bytes, and closes.
    async fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (mut task, kept) = (JoinSet::new(), Arc::clone(&requests));
        task.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut request = Vec::new();
                while !request.ends_with(b".") && socket.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
                kept.lock().expect("no panic").push(String::from_utf8(request).expect("text"));
                let _ = socket.write_all(answer).await;
            }
        });
        Self { address, requests, _task: task }
    }

    fn url(&self) -> Url {
        url(self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}/token?key=s3cret").parse().expect("a URL")
}

fn client() -> HttpClient {
    client_of(for_tests(), true)
}

fn client_of(transport: Transport, private_network: bool) -> HttpClient {
    let tls = transport.tls().for_ca(None);
    HttpClient::new(Arc::new(transport), tls, private_network)
}

fn request<'a>(url: &'a Url, body: &'a [u8]) -> HttpRequest<'a> {
    HttpRequest { method: &Method::POST, url, headers: &[], body: Some(body), max_body: 1000 }
}

async fn post(client: &HttpClient, url: &Url, limit: Duration) -> Result<HttpAnswer, FetchError> {
    client.send(&request(url, b"a=b."), Instant::now() + limit).await
}

#[tokio::test]
async fn a_request_has_its_names_as_given() {
    let server = Server::answering(OK).await;
    let headers = [("X-MiXeD", "1"), ("x-lower", "2"), ("ACCEPT", "a/b")];
    let headers =
        headers.map(|(name, value)| (FieldName::from_static(name), HeaderValue::from_static(value)));
    let url = server.url();
    let request = HttpRequest { headers: &headers, ..request(&url, b"a=b.") };
    let answer = client().send(&request, Instant::now() + SECOND).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]));
    let expected = format!(
        "POST /token?key=s3cret HTTP/1.1\r\nHost: {}\r\nUser-Agent: attache/{}\r\nX-MiXeD: 1\r\nx-lower: 2\r\n\
         ACCEPT: a/b\r\nContent-Length: 4\r\nConnection: close\r\n\r\na=b.",
        server.address,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(server.requests(), [expected]);
}

#[test]
fn a_request_without_a_body_has_no_length_and_may_name_its_agent() {
    let url: Url = "https://id.example?a=b#fragment".parse().expect("a URL");
    let headers = [(FieldName::from_static("user-agent"), HeaderValue::from_static("mine"))];
    let request = HttpRequest { method: &Method::GET, headers: &headers, body: None, ..request(&url, b"") };
    let expected: &[u8] =
        b"GET /?a=b HTTP/1.1\r\nHost: id.example\r\nuser-agent: mine\r\nConnection: close\r\n\r\n";
    let transport = for_tests();
    let direct = transport.endpoint(&url, &transport.tls().for_ca(None), &UsedProxy::default(), true);
    let direct = direct.expect("an upstream");
    assert_eq!(request.encode(&direct), expected);
}

#[tokio::test]
async fn a_request_is_sent_once_whatever_becomes_of_it() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"SSH-2.0-x\r\n"] {
        let server = Server::answering(answer).await;
        let error = post(&client(), &server.url(), SECOND).await.expect_err("no answer");
        assert!(matches!(error, FetchError::Answer(_)), "{error:?}");
        assert_eq!(server.requests().len(), 1);
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_each_request_has_a_connection_of_its_own() {
    let server = Server::answering(
        b"HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let client = client();
    for nth in 1..=2 {
        let answer = post(&client, &server.url(), SECOND).await.expect("an answer");
        assert_eq!(answer.status.as_u16(), 307);
        assert_eq!(server.requests().len(), nth);
    }
}

#[tokio::test]
async fn a_server_may_answer_before_it_has_read_the_request() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let url = url(listener.local_addr().expect("an address"));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.write_all(OK).await.expect("writes");
        // Keeps the connection open and reads nothing.
        std::future::pending::<()>().await;
        drop(socket);
    });
    let body = vec![b'x'; 16 << 20];
    let answer = client().send(&request(&url, &body), Instant::now() + 10 * SECOND).await;
    assert_eq!(answer.expect("an answer").status.as_u16(), 200);
}

#[tokio::test]
async fn the_deadline_covers_the_answer() {
    for sent in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let url = url(listener.local_addr().expect("an address"));
        let (client, begun) = (client(), Instant::now());
        let server = async {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.write_all(sent).await.expect("writes");
            tokio::time::pause();
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            answer = post(&client, &url, 7 * SECOND) => answer.expect_err("no answer"),
            () = server => unreachable!(),
        };
        assert!(matches!(error, FetchError::AnswerTimedOut), "{error:?}");
        assert!(begun.elapsed() >= 7 * SECOND, "{:?}", begun.elapsed());
        tokio::time::resume();
    }
}

/// Returns a listener whose queue is full, so that further connections get no answer.
async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = timeout_at(Instant::now() + SECOND / 10, TcpStream::connect(address)).await {
        queued.push(stream);
    }
    (listener, queued, address)
}

#[tokio::test]
async fn a_connection_has_a_limit_of_its_own_and_the_deadline() {
    let (_full, _queued, address) = silent().await;
    tokio::time::pause();
    for (limit, expected) in [(60 * SECOND, CONNECT_TIMEOUT), (SECOND, SECOND)] {
        let begun = Instant::now();
        let error = post(&client(), &url(address), limit).await.expect_err("no connection");
        assert!(matches!(error, FetchError::ConnectTimedOut), "{error:?}");
        assert!(begun.elapsed() >= expected && begun.elapsed() < 2 * expected, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_refused_connection_and_another_scheme_have_their_types() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = post(&client(), &url(address), SECOND).await.expect_err("is refused");
    assert!(matches!(error, FetchError::Connect(DialError::Refused(_))), "{error:?}");
    let error = post(&client(), &"ftp://a/".parse().expect("a URL"), SECOND).await;
    assert!(matches!(error, Err(FetchError::Scheme)));
}

#[tokio::test]
async fn a_name_is_resolved_by_the_processs_resolver_and_its_addresses_are_kept() {
    let answer = DnsReply::Records(vec![Ipv4Addr::LOCALHOST.into()], 60);
    let (names, server) = (NameServer::start(answer).await, Server::answering(OK).await);
    let transport = || {
        let (config, options) = names.config(SECOND);
        for_tests_with(Names::with_config(config, options))
    };
    let mut url = server.url();
    url.set_host(Some("id.example")).expect("a host");

    let client = client_of(transport(), true);
    for _ in 0..3 {
        assert_eq!(post(&client, &url, 5 * SECOND).await.expect("an answer").status.as_u16(), 200);
    }
    assert_eq!(names.lookups(), 1);
    assert!(server.requests()[0].contains(&format!("Host: id.example:{}\r\n", server.address.port())));

    let error = post(&client_of(transport(), false), &url, 5 * SECOND).await.expect_err("is denied");
    assert!(matches!(error, FetchError::Name(NoAddress::Denied)), "{error:?}");
    names.reply(crate::transport::names::name_server::NXDOMAIN);
    let error = post(&client_of(transport(), true), &url, 5 * SECOND).await.expect_err("does not exist");
    assert!(matches!(error, FetchError::Name(NoAddress::NotFound)), "{error:?}");
}

#[test]
fn a_failed_read_has_its_type() {
    let reader = AnswerReader::new(&Method::POST, 1);
    let typed = |error| failed(error, &reader);
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    assert!(matches!(typed(io::Error::new(ErrorKind::InvalidData, alert)), FetchError::Tls(_)));
    assert!(matches!(typed(ErrorKind::UnexpectedEof.into()), FetchError::Answer(AnswerFault::Missing)));
    assert!(matches!(typed(ErrorKind::ConnectionReset.into()), FetchError::Answer(AnswerFault::Io(_))));
}

/// A client whose servers are behind a proxy at this address.
fn behind(proxy: SocketAddr) -> HttpClient {
    let url = format!("http://{proxy}").parse().expect("a URL");
    let url = ServerUrl::of(&url).expect("a server");
    let authorization = Some(HeaderValue::from_static("Basic dTpw"));
    let proxy = Some(Arc::new(ForwardProxy { url, authorization }));
    let rules = ProxyRules { http: proxy.clone(), https: proxy, ..ProxyRules::default() };
    client().through(&UsedProxy { rules: Some(Arc::new(rules)), is_own: true })
}

/// The name is the proxy's to resolve.
#[tokio::test]
async fn a_request_through_a_proxy_is_in_absolute_form() {
    let proxy = Server::answering(OK).await;
    let url: Url = "http://id.invalid:8080/token?a=b".parse().expect("a URL");
    let sent = behind(proxy.address).send(&request(&url, b"a=b."), Instant::now() + SECOND).await;
    assert_eq!(sent.expect("an answer").status, 200);
    let seen = proxy.requests().concat();
    let start = "POST http://id.invalid:8080/token?a=b HTTP/1.1\r\nHost: id.invalid:8080\r\n\
                 Proxy-Authorization: Basic dTpw\r\n";
    assert!(seen.starts_with(start), "{seen}");
}

#[tokio::test]
async fn a_refusal_of_the_proxy_is_not_the_servers() {
    const REFUSED: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::answering(REFUSED).await;
    let url: Url = "http://id.invalid/token".parse().expect("a URL");
    let sent = behind(proxy.address).send(&request(&url, b"a=b."), Instant::now() + SECOND).await;
    let error = sent.expect_err("is refused");
    assert!(matches!(error, FetchError::Proxy(ConnectError::Proxy { .. })), "{error:?}");
    // A server that is reached directly may answer so.
    let server = Server::answering(REFUSED).await;
    let url = server.url();
    let sent = client().send(&request(&url, b"a=b."), Instant::now() + SECOND).await;
    assert_eq!(sent.expect("an answer").status, 407);
}
