//! `redact_responses`: copies of the credential in responses.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// attache before a service whose account is `authorization`; the client fails on any copy of the secret that it sees.
async fn attache_with(third_party: &Stub, key: &str, lines: &str) -> Attache {
    let account =
        "account: { authorization: { header: { name: X-Key, value: { env: KEY, prefix: 'Token ' } } } }";
    let account = if lines.contains("account:") { "" } else { account };
    let yaml = mailer(&format!("{account}\n{lines}"));
    attache().given("third_party", third_party.url()).env("KEY", key).with(&yaml).await
}

fn http(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn copies_in_header_fields_are_replaced() {
    let key = secret("header/key+1");
    let fields = format!(
        "X-Echo: Token {key}\r\nSet-Cookie: k={}; Path=/\r\nX-Basic: {}\r\nX-Other: header\r\n",
        key.replace('/', "%2F").replace('+', "%2B"),
        STANDARD.encode(format!("user:{key}")),
    );
    let third_party = third_party().answers_raw(http(&fields, b"ok"));
    let attache = attache_with(&third_party, &key, "redact_responses: headers").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.header("x-echo"), Some("Token [redacted]"));
    assert_eq!(answer.header("set-cookie"), Some("k=[redacted]; Path=/"));
    assert!(answer.header("x-basic").is_some_and(|basic| basic.contains("[redacted]")));
    assert_eq!((answer.header("x-other"), answer.header("content-length")), (Some("header"), Some("2")));
}

/// A forward proxy may answer with the request that it was sent.
#[tokio::test]
async fn a_copy_of_the_forward_proxys_password_is_replaced() {
    let (password, key) = (secret("proxy"), secret("key"));
    let sent = STANDARD.encode(format!("attache:{password}"));
    let proxy = third_party().answers_raw(http("", format!("Proxy-Authorization: Basic {sent}").as_bytes()));
    let lines = "
        proxy: { url: '{{third_party}}', username: attache, password: { env: PROXY_PASSWORD } }
        account: { authorization: { header: { name: X-Key, value: { env: KEY } } } }
        server_url: http://api.example
        allow_plaintext: true
        redact_responses: body";
    let setup = attache().given("third_party", proxy.url()).env("KEY", &key);
    let attache = setup.env("PROXY_PASSWORD", &password).with(&mailer(lines)).await;
    assert_eq!(attache.send(get("/mailer/x")).await.text(), "Proxy-Authorization: Basic [redacted]");
}

#[tokio::test]
async fn copies_in_a_body_are_replaced_across_every_boundary() {
    let key = secret("body-key-1");
    let text = format!("{{\"a\":\"{key}\",\"b\":\"{key}{key}\"}}");
    let expected = text.replace(&key, "[redacted]");
    let sent = text.clone();
    let third_party = third_party().scripted(move |request| {
        // The parts are as long as the path says.
        let size = request.target().rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(1);
        let fields = "Content-Type: application/json\r\nContent-MD5: x\r\nRepr-Digest: x\r\nETag: \"1\"\r\n";
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
        let mut steps = vec![Step::Send(head.into_bytes())];
        for part in sent.as_bytes().chunks(size) {
            steps.push(Step::Send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()));
        }
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        steps
    });
    let attache = attache_with(&third_party, &key, "redact_responses: body").await;
    for size in [1, 7, 64, 4096] {
        let request = get(format!("/mailer/{size}")).header("Accept-Encoding", "gzip, br");
        let answer = attache.send(request).await;
        assert!(answer.complete);
        assert_eq!(answer.text(), expected, "{size}");
        assert_eq!((answer.header("content-md5"), answer.header("repr-digest")), (None, None));
        assert_eq!(answer.header("etag"), Some("\"1\""));
    }
    let received = third_party.requests();
    assert!(received.iter().all(|request| request.all("accept-encoding") == ["identity"]), "no coding");
}

#[tokio::test]
async fn a_body_with_a_length_leaves_without_it_also_for_http_1_0() {
    let key = secret("length-key");
    let third_party =
        third_party().answers_raw(http("Content-Type: text/plain\r\n", format!("a {key} b").as_bytes()));
    let attache = attache_with(&third_party, &key, "redact_responses: body").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("a [redacted] b", None));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let old = attache.send(get("/mailer/x").http10()).await;
    assert_eq!((old.text().as_str(), old.header("content-length")), ("a [redacted] b", None));
    assert!(old.header("transfer-encoding").is_none() && old.says_close());
    let head = attache.send(request("HEAD", "/mailer/x")).await;
    assert_eq!(head.header("content-length"), None);
}

#[tokio::test]
async fn a_compressed_body_is_a_502_and_a_part_is_passed_on() {
    let key = secret("coded-key");
    let third_party = third_party().scripted(|request| match request.target().as_str() {
        "/part" => {
            let head =
                "HTTP/1.1 206 Partial Content\r\nContent-Encoding: gzip\r\nContent-Range: bytes 0-1/9\r\n";
            vec![Step::Send(format!("{head}Content-Length: 2\r\n\r\nok").into_bytes())]
        }
        "/png" => vec![Step::Send(http("Content-Type: image/png\r\nContent-MD5: x\r\n", b"png"))],
        "/identity" => vec![Step::Send(http("Content-Encoding: identity\r\n", b"ok"))],
        _ => vec![Step::Send(http("Content-Encoding: gzip\r\n", b"\x1f\x8b..."))],
    });
    let attache = attache_with(&third_party, &key, "redact_responses: body").await;
    attache.send(get("/mailer/x")).await.problem("service_protocol", 502, "http_protocol_error");
    let line = attache.access_log_line("its cause", |line| line["reason"] == "compressed_body").await;
    assert_eq!(line["code"], "service_protocol");
    assert_eq!(attache.send(request("HEAD", "/mailer/x")).await.status, 200);
    let part = attache.send(get("/mailer/part")).await;
    assert_eq!((part.status, part.header("content-length"), part.text().as_str()), (206, Some("2"), "ok"));
    let png = attache.send(get("/mailer/png")).await;
    assert_eq!((png.header("content-length"), png.header("content-md5")), (Some("3"), Some("x")));
    assert_eq!(attache.send(get("/mailer/identity")).await.text(), "ok");
}

#[tokio::test]
async fn query_credentials_and_tokens_are_found() {
    let key = secret("query key/1");
    let echo = third_party().scripted(|request| {
        let echoed = format!("{} {:?}", request.target(), request.all("authorization"));
        vec![Step::Send(http("", echoed.as_bytes()))]
    });
    let account = "account: { authorization: { query: { name: key, value: { env: KEY } } } }";
    let attache = attache_with(&echo, &key, &format!("{account}\nredact_responses: body")).await;
    assert_eq!(attache.send(get("/mailer/x?a=1")).await.text(), "/x?a=1&key=[redacted] []");

    let endpoint = token_endpoint().issues(&secret("token/of+the=test"));
    let yaml = "
        accounts:
          erp:
            authorization:
              oauth2: { grant: client_credentials, token_url: '{{tokens}}', client_id: a, client_secret: { env: KEY } }
        services:
          mailer: { account: erp, server_url: '{{third_party}}', redact_responses: body }";
    let setup = crate::harness::attache().given("third_party", echo.url()).given("tokens", endpoint.url());
    let attache = setup.env("KEY", secret("client")).with(yaml).await;
    for _ in 0..2 {
        assert_eq!(attache.send(get("/mailer/x")).await.text(), "/x [\"Bearer [redacted]\"]");
    }
}

/// The token of the request is looked for, not the one that is sent by the time of its response.
#[tokio::test]
async fn a_signed_token_is_found_after_its_successor_was_signed() {
    let third_party = third_party();
    third_party.does(|request| {
        let echoed = http("", format!("{:?}", request.all("authorization")).as_bytes());
        match request.target().as_str() {
            "/slow" => vec![Step::Pause(ms(2500)), Step::Send(echoed)],
            _ => vec![Step::Send(echoed)],
        }
    });
    let key = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output();
    let key = String::from_utf8(key.expect("openssl").stdout).expect("PEM");
    let account = "account: { authorization: { jwt: { key: { file: '{{key}}' }, lifetime: 2s } } }";
    let yaml = mailer(&format!("{account}\nredact_responses: body"));
    let attache = attache().given("third_party", third_party.url()).file("key", &key).with(&yaml).await;
    let (slow, others) = tokio::join!(attache.send(get("/mailer/slow")), async {
        for _ in 0..20 {
            assert_eq!(attache.send(get("/mailer/x")).await.text(), "[\"Bearer [redacted]\"]");
            tokio::time::sleep(ms(100)).await;
        }
    });
    assert_eq!((slow.text().as_str(), others), ("[\"Bearer [redacted]\"]", ()));
}

/// 32 MiB pass in the memory of a part.
#[tokio::test]
async fn a_long_body_is_searched_in_bounded_memory() {
    let key = secret("long-key-1");
    let third_party = third_party().scripted(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 33554432\r\n\r\n";
        vec![Step::Send(head.as_bytes().to_vec()), Step::Zeros(32 << 20)]
    });
    let attache = attache_with(&third_party, &key, "redact_responses: body").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    attache.reset_peak();
    let before = attache.resident();
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.body_length, answer.complete), (32 << 20, true));
    assert!(attache.peak() < before + (8 << 20), "{} KiB more", (attache.peak() - before) >> 10);
}

/// Each message that is not a plain response with a body. The client fails on any copy of the secret.
#[tokio::test]
async fn messages_of_every_kind_are_searched() {
    let key = secret("every-key-1");
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nX-Echo: KEY\r\nContent-Length: 40\r\n\r\n", 200),
        ("GET", "HTTP/1.1 204 No Content\r\nX-Echo: KEY\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\nX-Echo: KEY\r\nETag: \"KEY\"\r\n\r\n", 304),
        ("GET", "HTTP/1.1 200 KEY\r\nX-Echo: KEY\r\nContent-Length: 0\r\n\r\n", 200),
        (
            "GET",
            "HTTP/1.1 103 KEY\r\nLink: </KEY>\r\nX-Echo: KEY\r\n\r\nHTTP/1.1 200 OK\r\nX-Echo: KEY\r\nContent-Length: 0\r\n\r\n",
            200,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nX-Echo: KEY\r\nTrailer: X-Last\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;ext=KEY\r\nok\r\n0\r\nX-Last: KEY\r\n\r\n",
            200,
        ),
        (
            "GET",
            "HTTP/1.1 401 Unauthorized\r\nX-Echo: KEY\r\nWWW-Authenticate: Key realm=\"KEY\"\r\nContent-Length: 0\r\n\r\n",
            401,
        ),
    ];
    for (method, response, status) in cases {
        let third_party = third_party().answers_raw(response.replace("KEY", &key).into_bytes());
        for scope in ["headers", "body"] {
            let attache = attache_with(&third_party, &key, &format!("redact_responses: {scope}")).await;
            let answer = attache.send(request(method, "/mailer/x")).await;
            assert_eq!((answer.status, answer.header("x-echo")), (status, Some("[redacted]")), "{response}");
            assert_eq!(answer.header("trailer"), None, "{response}");
            assert!(!String::from_utf8_lossy(&answer.raw).contains(&key), "{response}");
        }
    }
}

/// The bytes of a tunnel are the client's and the service's own; the head that opens it is not.
#[tokio::test]
async fn the_head_that_opens_a_tunnel_is_searched() {
    let key = secret("tunnel-key-1");
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Echo: Token {key}\r\n\r\n"
    );
    let third_party =
        third_party().scripted(move |_request| vec![Step::Send(head.clone().into_bytes()), Step::Mirror]);
    for scope in ["headers", "body"] {
        let attache = attache_with(&third_party, &key, &format!("redact_responses: {scope}")).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection
            .write(
                b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        let opened = connection.head().await;
        assert!(opened.start.starts_with(b"HTTP/1.1 101"), "{scope}");
        assert_eq!(opened.header("x-echo"), Some("Token [redacted]"), "{scope}");
        connection.write(b"ping").await;
        assert_eq!(connection.bytes(4).await, b"ping", "{scope}");
    }
}
