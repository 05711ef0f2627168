//! An upstream that refuses the token: the request is sent once more with another, or the refusal is returned to the
//! caller.
//!
//! A token that no service has accepted yet is not replaced before it is ten seconds old. So most tests let the token be
//! renewed while the upstream still processes the request ([`Party::issues_briefly`], [`THINKING`]); the others begin
//! with a request that the upstream accepts ([`accepted`]).

use crate::harness::*;
use std::time::Duration;
use tokio::task::JoinSet;

/// After a token of two seconds, used once, was renewed.
const THINKING: Duration = Duration::from_secs(2);
const CHALLENGE: &str = r#"Bearer realm="erp", error="invalid_token""#;
const EXPLANATION: &str = "The token is not good.";

/// A service, a token endpoint and an account between them, with one name.
struct Party {
    name: &'static str,
    third_party: Stub,
    endpoint: TokenEndpoint,
    tokens: Vec<String>,
    oauth2_lines: &'static str,
    service_lines: &'static str,
}

fn party(name: &'static str) -> Party {
    let tokens: Vec<String> = (0..20).map(|nth| secret(&format!("{name}-{nth}"))).collect();
    let issued = tokens.clone();
    let endpoint = token_endpoint().issues_each(move |nth| issued[nth].clone());
    Party {
        name,
        third_party: third_party(),
        endpoint,
        tokens,
        oauth2_lines: "",
        service_lines: "timeout: 10s",
    }
}

impl Party {
    fn oauth2(mut self, lines: &'static str) -> Self {
        self.oauth2_lines = lines;
        self
    }

    fn service(mut self, lines: &'static str) -> Self {
        self.service_lines = lines;
        self
    }

    /// Issues tokens that are renewed after less than a second, if they are used.
    fn issues_briefly(mut self) -> Self {
        let issued = self.tokens.clone();
        self.endpoint = self.endpoint.issues_each_for(2, move |nth| issued[nth].clone());
        self
    }

    /// The upstream refuses the first token, `after` some time.
    fn refuses_the_first(&self, status: u16, after: Duration) {
        let first = self.first();
        self.third_party.does(move |request| match request.header("authorization") {
            Some(token) if token == first => vec![Step::Pause(after), refusal(status)],
            _ => vec![ok()],
        });
    }

    /// Returns the authorization of a request with the first token.
    fn first(&self) -> String {
        format!("Bearer {}", self.tokens[0])
    }

    /// Returns the number of the token in each request, in the order of their heads.
    fn seen(&self) -> Vec<usize> {
        let nth = |bearer: &str| self.tokens.iter().position(|token| bearer == format!("Bearer {token}"));
        let requests = self.third_party.requests();
        requests.iter().map(|r| r.header("authorization").and_then(nth).expect("one of the tokens")).collect()
    }

    fn path(&self) -> String {
        format!("/{}/x", self.name)
    }
}

fn ok() -> Step {
    Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

/// Answers like a resource server (RFC 6750 section 3).
fn refusal(status: u16) -> Step {
    let length = EXPLANATION.len();
    let head =
        format!("HTTP/1.1 {status} No\r\nWWW-Authenticate: {CHALLENGE}\r\nContent-Length: {length}\r\n\r\n");
    Step::Send((head + EXPLANATION).into_bytes())
}

#[track_caller]
fn assert_untouched(answer: &Response, status: u16) {
    assert_eq!((answer.status, answer.text().as_str()), (status, EXPLANATION));
    assert_eq!(answer.all("www-authenticate"), [CHALLENGE]);
    assert!(answer.header("proxy-status").is_none(), "the answer is not attache's own");
}

fn yaml(parties: &[&Party]) -> String {
    let (mut accounts, mut services) = (String::from("accounts:\n"), String::from("services:\n"));
    for Party { name, oauth2_lines, service_lines, .. } in parties {
        accounts.push_str(&format!(
            "  {name}:\n    authorization:\n      oauth2:\n        grant: client_credentials\n        \
             token_url: {{{{{name}_tokens}}}}\n        client_id: attache\n        \
             client_secret: {{ env: CLIENT_SECRET }}\n        {oauth2_lines}\n"
        ));
        services.push_str(&format!(
            "  {name}:\n    account: {name}\n    server_url: '{{{{{name}}}}}'\n    {service_lines}\n"
        ));
    }
    format!("{accounts}{services}")
}

async fn attache_for_all(parties: &[&Party]) -> Attache {
    let mut setup = attache().env("CLIENT_SECRET", secret("client"));
    for party in parties {
        setup = setup.given(party.name, party.third_party.url());
        setup = setup.given(&format!("{}_tokens", party.name), party.endpoint.url());
    }
    setup.with(&yaml(parties)).await
}

/// Sends one request to each, which is accepted: from now on a refused token is replaced at once.
async fn accepted(parties: &[&Party]) -> Attache {
    let attache = attache_for_all(parties).await;
    for party in parties {
        assert_eq!(attache.send(get(party.path())).await.status, 200);
        assert_eq!(party.seen(), [0]);
    }
    attache
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

async fn log_line(attache: &Attache, answer: &Response) -> serde_json::Value {
    let id = answer.request_id().to_owned();
    attache.access_log_line("the request", |line| line["request_id"] == id.as_str()).await
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_a_burst_and_no_caller_sees_the_refusal() {
    let (one, burst) = (party("one"), party("burst"));
    let attache = accepted(&[&one, &burst]).await;
    one.refuses_the_first(401, ms(0));
    let answer = attache.send(get("/one/x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!((one.seen(), one.endpoint.count()), (vec![0, 0, 1], 2));

    burst.refuses_the_first(401, ms(300));
    let outbound = attache.outbound();
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        requests.spawn(send(outbound, get("/burst/x")));
    }
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(burst.endpoint.count(), 2);
    let with = |token| burst.seen().iter().filter(|seen| **seen == token).count();
    assert_eq!((with(0), with(1)), (51, 50));
}

#[tokio::test]
async fn a_third_party_that_always_refuses_costs_one_token() {
    let party = party("erp");
    let attache = accepted(&[&party]).await;
    party.third_party.does(|_request| vec![refusal(401)]);
    for _ in 0..5 {
        assert_untouched(&attache.send(get("/erp/x")).await, 401);
    }
    assert_eq!((party.seen(), party.endpoint.count()), (vec![0, 0, 1, 1, 1, 1, 1], 2));
}

#[tokio::test]
async fn a_token_is_replaced_even_where_the_request_is_not_sent_again() {
    let not_retried = party("told").service("retry_on_401: false");
    let too_large = party("large");
    let attache = accepted(&[&not_retried, &too_large]).await;
    for party in [&not_retried, &too_large] {
        party.refuses_the_first(401, ms(0));
        assert_untouched(&attache.send(post(party.path(), bytes(200 << 10))).await, 401);
        assert_eq!(party.seen(), [0, 0], "{}", party.name);
        let status = async || {
            let status = attache.status().await;
            (status["accounts"][party.name]["token"]["generation"] == 2).then_some(())
        };
        eventually("another token", status).await;
        assert_eq!(attache.send(post(party.path(), "small")).await.status, 200);
        assert_eq!((party.seen(), party.endpoint.count()), (vec![0, 0, 1], 2), "{}", party.name);
    }
}

#[tokio::test]
async fn without_another_token_the_refusal_goes_to_the_caller() {
    let (down, rejects, hangs) = (party("down"), party("rejects"), party("hangs").service("timeout: 1s"));
    let attache = accepted(&[&down, &rejects, &hangs]).await;
    for party in [&down, &rejects, &hangs] {
        party.refuses_the_first(401, ms(0));
    }
    let Party { endpoint, third_party, .. } = down;
    let _down = endpoint.down();
    let answer = attache.send(get("/down/x")).await;
    assert_untouched(&answer, 401);
    assert_eq!(third_party.seen().heads, 2);
    let line = log_line(&attache, &answer).await;
    assert_eq!((&line["status"], &line["code"]), (&401.into(), &serde_json::Value::Null));

    let Party { endpoint, third_party, .. } = rejects;
    let _rejects = endpoint.rejects("invalid_client");
    assert_untouched(&attache.send(get("/rejects/x")).await, 401);
    assert_eq!(third_party.seen().heads, 2);

    let Party { endpoint, third_party, .. } = hangs;
    let _hangs = endpoint.hangs();
    let answer = attache.send(get("/hangs/x")).await;
    assert_untouched(&answer, 401);
    assert!(answer.head_after < ms(1000), "before the deadline: {:?}", answer.head_after);
    assert_eq!(third_party.seen().heads, 2);
}

/// One service refuses the account's token, and there is no other one: the services that accept it keep it.
#[tokio::test]
async fn a_token_that_one_service_refuses_serves_the_others() {
    let party = party("erp");
    let refuses = third_party().scripted(|_request| vec![refusal(401)]);
    let attache = attache()
        .env("CLIENT_SECRET", secret("client"))
        .given("erp", party.third_party.url())
        .given("erp_tokens", party.endpoint.url())
        .given("other", refuses.url())
        .with(&format!("{}  other: {{ account: erp, server_url: '{{{{other}}}}' }}\n", yaml(&[&party])))
        .await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let seen = party.seen();
    let Party { endpoint, third_party, .. } = party;
    let _down = endpoint.down();
    for _ in 0..3 {
        assert_untouched(&attache.send(get("/other/x")).await, 401);
        assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    }
    assert_eq!((seen, third_party.seen().heads), (vec![0], 4));
}

#[tokio::test]
async fn a_young_token_is_kept_and_the_refusal_goes_to_the_caller() {
    let party = party("erp");
    let attache = attache_for_all(&[&party]).await;
    party.third_party.does(|_request| vec![refusal(401)]);
    for _ in 0..3 {
        assert_untouched(&attache.send(get("/erp/x")).await, 401);
    }
    assert_eq!((party.seen(), party.endpoint.count()), (vec![0, 0, 0], 1));
}

#[tokio::test]
async fn a_fixed_credential_is_not_replaced() {
    let third_party = third_party().scripted(|_request| vec![refusal(401)]);
    let lines = "account: { authorization: { header: { name: Authorization, value: { env: KEY } } } }";
    let setup = attache().given("third_party", third_party.url()).env("KEY", secret("api"));
    let attache = setup.with(&mailer(lines)).await;
    assert_untouched(&attache.send(get("/mailer/x")).await, 401);
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn the_discarded_answer_leaves_no_trace() {
    let party = party("erp").service("idle_timeout: 300ms").issues_briefly();
    let first = party.first();
    party.third_party.does(move |request| match request.header("authorization") {
        // Its body never ends, and the second answer takes longer than the idle timeout.
        Some(token) if token == first => {
            let head = b"HTTP/1.1 401 No\r\nSet-Cookie: a=b\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nno";
            vec![Step::Pause(THINKING), Step::Send(head.to_vec()), Step::Hang]
        }
        _ => vec![Step::Pause(ms(800)), ok()],
    });
    let attache = attache_for_all(&[&party]).await;
    let mut connection = Connection::open(attache.outbound()).await;
    let answer = connection.exchange(get("/erp/x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(answer.informational.is_empty() && answer.header("set-cookie").is_none());
    assert_ne!(answer.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(!String::from_utf8_lossy(&answer.raw).contains("401"));
    assert_eq!(connection.exchange(get("/erp/x")).await.status, 200, "the caller's connection is kept");
    party.third_party.wait_until("its connection's end", |seen| seen.closed >= 1).await;
    let line = log_line(&attache, &answer).await;
    assert_eq!(
        (&line["status"], &line["retried"], &line["bytes_out"]),
        (&200.into(), &true.into(), &2.into())
    );
    assert!(line["response_headers_ms"].as_f64().is_some_and(|ms| ms >= 2800.0), "{line:#}");
    let requests = |status| [("direction", "outbound"), ("service", "erp"), ("status", status)];
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_requests_total", &requests("200")), Some(2.0));
    assert_eq!(metrics.value("attache_requests_total", &requests("401")), None);
}

#[tokio::test]
async fn a_request_is_sent_again_only_once() {
    let party = party("erp").issues_briefly();
    party.third_party.does(|_request| vec![Step::Pause(THINKING), refusal(401)]);
    let attache = attache_for_all(&[&party]).await;
    assert_untouched(&attache.send(get("/erp/x")).await, 401);
    assert_eq!(party.third_party.seen().heads, 2);
}

#[tokio::test]
async fn a_buffered_body_is_sent_again_and_a_larger_one_is_not() {
    let (length, chunks, larger) = (party("length"), party("chunks"), party("larger"));
    let parties = [length, chunks, larger].map(Party::issues_briefly);
    let attache = attache_for_all(&parties.each_ref()).await;
    for party in &parties {
        party.refuses_the_first(401, THINKING);
    }
    let (body, large) = (bytes(10 << 10), bytes(200 << 10));
    let (start, rest) = body.split_at(1234);
    let (one, two, three) = tokio::join!(
        attache.send(post("/length/x", body.clone())),
        attache.send(request("POST", "/chunks/x").chunked([start, rest])),
        attache.send(post("/larger/x", large.clone())),
    );
    assert_eq!((one.status, two.status), (200, 200));
    assert_untouched(&three, 401);
    for (party, sent) in parties.iter().zip([&body, &body, &large]) {
        let requests = party.third_party.requests();
        assert_eq!(requests.len(), if party.name == "larger" { 1 } else { 2 });
        assert!(requests.iter().all(|request| request.complete && request.body == *sent), "{}", party.name);
    }
}

#[tokio::test]
async fn an_upload_continues_after_the_refusal() {
    let (length, chunks) = (party("length").issues_briefly(), party("chunks").issues_briefly());
    let attache = attache_for_all(&[&length, &chunks]).await;
    // The whole body is larger than the buffer, but not the part before the refusal.
    let body = bytes(200 << 10);
    let (start, rest) = body.split_at(10 << 10);
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let framed = [
        (&length, format!("Content-Length: {}", body.len()), start.to_vec(), rest.to_vec()),
        (
            &chunks,
            "Transfer-Encoding: chunked".to_owned(),
            chunk(start),
            [&chunk(rest)[..], b"0\r\n\r\n"].concat(),
        ),
    ];
    for (party, framing, start, rest) in framed {
        party.refuses_the_first(401, THINKING);
        party.third_party.ignores_bodies(true);
        let mut caller = Connection::open(attache.outbound()).await;
        caller
            .write(format!("POST {} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n", party.path()).as_bytes())
            .await;
        caller.write(&start).await;
        party.third_party.head(0).await;
        party.third_party.ignores_bodies(false);
        let again = party.third_party.head(1).await;
        assert!(!again.complete);
        caller.write(&rest).await;
        assert_eq!(caller.response_to("POST").await.expect("an answer").status, 200);
        assert_eq!(party.third_party.requests().len(), 2);
        assert!(party.third_party.requests()[1].body == body, "{}", party.name);
    }
}

#[tokio::test]
async fn the_deadline_is_one_for_both_attempts() {
    let party = party("erp").service("timeout: 3s").issues_briefly();
    let first = party.first();
    party.third_party.does(move |request| match request.header("authorization") {
        Some(token) if token == first => vec![Step::Pause(THINKING), refusal(401)],
        _ => vec![Step::Hang],
    });
    let attache = attache_for_all(&[&party]).await;
    let answer = attache.send(get("/erp/x")).await;
    answer.problem("service_timeout", 504, "http_response_timeout");
    assert_eq!(party.third_party.seen().heads, 2);
    assert!(answer.head_after >= ms(2995) && answer.head_after < ms(3500), "{:?}", answer.head_after);
    let line = log_line(&attache, &answer).await;
    assert!(line["response_headers_ms"].is_null() && line["retried"] == true, "{line:#}");
}

#[tokio::test]
async fn the_statuses_that_refuse_a_token_can_be_set_and_changed() {
    let (set, other, changed) = (party("set").oauth2("retry_on: [403]"), party("other"), party("changed"));
    let other = other.oauth2("retry_on: [403]");
    let [set, other, mut changed] = [set, other, changed].map(Party::issues_briefly);
    let attache = attache_for_all(&[&set, &other, &changed]).await;
    // The account's tokens outlive this, so the statuses that refuse them must not be stored with them.
    changed.oauth2_lines = "retry_on: [403]";
    attache.reload(&yaml(&[&set, &other, &changed]), "applied").await;
    set.refuses_the_first(403, THINKING);
    other.refuses_the_first(401, THINKING);
    changed.refuses_the_first(403, THINKING);
    let (one, two, three) = tokio::join!(
        attache.send(get("/set/x")),
        attache.send(get("/other/x")),
        attache.send(get("/changed/x"))
    );
    assert_eq!((one.status, three.status), (200, 200));
    assert_untouched(&two, 401);
    assert_eq!(other.seen(), [0]);
}

#[tokio::test]
async fn after_an_interim_answer_nothing_is_sent_again() {
    let party = party("erp").issues_briefly();
    party.third_party.does(|_request| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
        vec![Step::Send(hints.to_vec()), Step::Pause(THINKING), refusal(401)]
    });
    let attache = attache_for_all(&[&party]).await;
    let answer = attache.send(get("/erp/x")).await;
    assert_eq!(answer.informational.len(), 1);
    assert_untouched(&answer, 401);
    assert_eq!(party.seen(), [0]);
}

#[tokio::test]
async fn a_body_after_100_continue_is_sent_again_too() {
    let party = party("erp").issues_briefly();
    let first = party.first();
    party.third_party.does(move |request| {
        let go_on = Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
        match request.header("authorization") {
            Some(token) if token == first => vec![go_on, Step::Pause(THINKING), refusal(401)],
            _ => vec![go_on, ok()],
        }
    });
    let attache = attache_for_all(&[&party]).await;
    let request = post("/erp/x", "a body to wait for").header("expect", "100-continue");
    assert_eq!(attache.send(request).await.status, 200);
    assert!(matches!(party.seen()[..], [0, later] if later > 0), "{:?}", party.seen());
    let bodies: Vec<_> = party.third_party.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"a body to wait for"; 2]);
}

#[tokio::test]
async fn a_websocket_opens_with_the_second_token() {
    let party = party("erp").issues_briefly();
    let first = party.first();
    party.third_party.does(move |request| match request.header("authorization") {
        Some(token) if token == first => vec![Step::Pause(THINKING), refusal(401)],
        _ => {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            vec![Step::Send(head.into()), Step::Mirror]
        }
    });
    let attache = attache_for_all(&[&party]).await;
    let mut caller = Connection::open(attache.outbound()).await;
    let upgrade = b"GET /erp/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    caller.write(upgrade).await;
    assert_eq!(caller.response().await.expect("an answer").status, 101);
    caller.write(b"-late").await;
    assert_eq!(caller.bytes(10).await, b"early-late");
    assert_eq!(party.third_party.seen().heads, 2);
}
