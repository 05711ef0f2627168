//! Each handshake with the bytes of the provider's documentation, and the attacks on it.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use std::time::Duration;

/// A decided question, short enough for a table.
#[derive(Debug, PartialEq)]
enum Is {
    Nothing,
    Answered(u16, &'static str, String),
    Refused(ErrorCode, u16),
    Kept(String),
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn text(body: &str) -> Is {
    Is::Answered(200, TEXT, body.to_owned())
}

fn json(body: &str) -> Is {
    Is::Answered(200, JSON, body.to_owned())
}

const BAD: Is = Is::Refused(ErrorCode::RequestInvalid, 400);

fn of(outcome: Option<Outcome>) -> Is {
    match outcome {
        None => Is::Nothing,
        Some(Outcome::Answer(reply)) => Is::Answered(reply.status.as_u16(), reply.content_type, reply.body),
        Some(Outcome::Refuse(refusal)) => Is::Refused(refusal.code, refusal.status().as_u16()),
        Some(Outcome::Keep(secret, _)) => Is::Kept(secret.expose().to_owned()),
    }
}

fn responder(handshake: &Handshake) -> Responder {
    Responder::new(handshake, None)
}

fn named(name: &str) -> Responder {
    responder(&Handshake::by_name(name).expect("a handshake"))
}

fn sign(text: &[u8]) -> Option<Vec<u8>> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a secret of the test");
    Some(ring::hmac::sign(&key, text).as_ref().to_vec())
}

fn fields(fields: &[(&str, &str)]) -> Fields {
    Fields::collect(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn head(responder: &Responder, method: Method, query: &str, headers: &[(&str, &str)]) -> Is {
    let headers = fields(headers);
    let question =
        Question { method: method.as_str(), query: query.as_bytes(), headers: Headers::Received(&headers) };
    of(responder.at_head(&question, &sign))
}

/// The body is decided without a signature, or with a valid one.
fn body(responder: &Responder, headers: &[(&str, &str)], body: &str) -> [Is; 2] {
    let headers = fields(headers).to_map();
    let question = Question { method: "POST", query: b"", headers: Headers::Cleaned(&headers) };
    let unsigned = of(responder.in_body(&question, body.as_bytes()));
    [unsigned, of(responder.in_signed_body(&question, body.as_bytes(), &sign))]
}

fn signed(is: Is) -> [Is; 2] {
    [Is::Nothing, is]
}

fn unsigned(is: Is) -> [Is; 2] {
    [is, Is::Nothing]
}

#[test]
fn dropbox_microsoft_okta_and_trello_are_echoed() {
    let challenge = &[("X-Okta-Verification-Challenge", "Me_rShK8JHsTnbyYrWXCEoMGbM_zsZ6k0hLPZ_Pg")][..];
    for (name, method, query, headers, expected) in [
        ("dropbox", Method::GET, "?challenge=a%20b", &[][..], text("a b")),
        ("microsoft_graph", Method::POST, "?validationToken=a%3Ab+c", &[], text("a:b c")),
        (
            "okta",
            Method::GET,
            "",
            challenge,
            json(r#"{"verification":"Me_rShK8JHsTnbyYrWXCEoMGbM_zsZ6k0hLPZ_Pg"}"#),
        ),
        ("trello", Method::HEAD, "", &[], text("")),
        // No question.
        ("dropbox", Method::POST, "?challenge=x", &[], Is::Nothing),
        ("microsoft_graph", Method::GET, "?validationToken=x", &[], Is::Nothing),
        ("okta", Method::POST, "", challenge, Is::Nothing),
        ("okta", Method::GET, "?X-Okta-Verification-Challenge=x", &[], Is::Nothing),
        ("trello", Method::GET, "", &[], Is::Nothing),
        ("trello", Method::POST, "", &[], Is::Nothing),
        ("slack", Method::HEAD, "", &[], Is::Nothing),
        ("slack", Method::POST, "?challenge=x", &[], Is::Nothing),
        // A question that is none of the provider's.
        ("okta", Method::GET, "", &[("X-Okta-Verification-Challenge", "a b")], BAD),
        ("okta", Method::GET, "", &[("X-Okta-Verification-Challenge", "é")], BAD),
        ("okta", Method::GET, "", &[challenge[0], challenge[0]], BAD),
        ("dropbox", Method::GET, "?challenge=", &[], BAD),
        ("dropbox", Method::GET, "?challenge=a&challenge=b", &[], BAD),
        ("dropbox", Method::GET, "?challenge=a%0d%0ab", &[], BAD),
        ("dropbox", Method::GET, "?challenge=a%00", &[], BAD),
    ] {
        assert_eq!(head(&named(name), method.clone(), query, headers), expected, "{name} {method} {query}");
    }
    let long = format!("?challenge={}", "x".repeat(MAX_CHALLENGE + 1));
    assert_eq!(head(&named("dropbox"), Method::GET, &long, &[]), BAD);
}

#[test]
fn a_text_in_json_can_not_leave_it() {
    let challenge = [("X-Okta-Verification-Challenge", r#"","admin":"</script>"#)];
    let expected = json(r#"{"verification":"\",\"admin\":\"</script>"}"#);
    assert_eq!(head(&named("okta"), Method::GET, "", &challenge), expected);
}

#[test]
fn meta_needs_the_agreed_token() {
    let agreed = responder(&Handshake::Meta { verify_token: Some(Secret::new("shown")) });
    let wrong = || Is::Refused(ErrorCode::SignatureInvalid, 401);
    for (query, expected) in [
        ("?hub.mode=subscribe&hub.verify_token=shown&hub.challenge=1158201444", text("1158201444")),
        ("?x=1", Is::Nothing),
        ("?hub.mode=subscribe&hub.challenge=1", wrong()),
        ("?hub.mode=subscribe&hub.verify_token=other&hub.challenge=1", wrong()),
        ("?hub.mode=unsubscribe&hub.verify_token=shown&hub.challenge=1", wrong()),
        ("?hub.mode=subscribe&hub.verify_token=shown&hub.verify_token=other&hub.challenge=1", wrong()),
    ] {
        assert_eq!(head(&agreed, Method::GET, query, &[]), expected, "{query}");
        assert_eq!(head(&agreed, Method::POST, query, &[]), Is::Nothing, "{query}");
    }
    let query = "?hub.mode=subscribe&hub.verify_token=any&hub.challenge=1158201444";
    assert_eq!(head(&named("meta"), Method::GET, query, &[]), text("1158201444"));
}

#[test]
fn a_hub_confirms_what_the_file_wants() {
    let topics = vec!["https://blog.example/feed".to_owned()];
    let websub = responder(&Handshake::Websub { topics: topics.clone(), verify_token: None });
    let unwanted = || Is::Refused(ErrorCode::RequestDenied, 404);
    for (query, expected) in [
        // The example of the Recommendation, with a lease.
        (
            "?hub.mode=subscribe&hub.topic=https%3A%2F%2Fblog.example%2Ffeed&hub.challenge=abc&hub.lease_seconds=864000",
            text("abc"),
        ),
        ("?hub.mode=unsubscribe&hub.topic=https%3A%2F%2Fblog.example%2Fold&hub.challenge=abc", text("abc")),
        ("?hub.mode=denied&hub.topic=https%3A%2F%2Fblog.example%2Ffeed&hub.reason=no", text("")),
        ("?hub.mode=subscribe&hub.topic=https%3A%2F%2Fblog.example%2Fother&hub.challenge=abc", unwanted()),
        ("?hub.mode=subscribe&hub.topic=https://blog.example/feed/&hub.challenge=abc", unwanted()),
        ("?hub.mode=unsubscribe&hub.topic=https%3A%2F%2Fblog.example%2Ffeed&hub.challenge=abc", unwanted()),
        ("?hub.mode=subscribe&hub.topic=https://blog.example/feed", BAD),
        ("?hub.mode=subscribe&hub.challenge=abc", BAD),
        ("?hub.mode=publish&hub.topic=https://blog.example/feed&hub.challenge=abc", BAD),
        (
            "?hub.mode=subscribe&hub.mode=unsubscribe&hub.topic=https://blog.example/feed&hub.challenge=abc",
            BAD,
        ),
        ("?hub.challenge=abc", Is::Nothing),
    ] {
        assert_eq!(head(&websub, Method::GET, query, &[]), expected, "{query}");
    }
    let agreed = Handshake::Websub { topics, verify_token: Some(Secret::new("shown")) };
    let query = "?hub.mode=subscribe&hub.topic=https://blog.example/feed&hub.challenge=abc&hub.verify_token=";
    let ask = |token| head(&responder(&agreed), Method::GET, &format!("{query}{token}"), &[]);
    assert_eq!(ask("shown"), text("abc"));
    assert_eq!(ask("other"), Is::Refused(ErrorCode::SignatureInvalid, 401));
}

#[test]
fn cloudevents_grants_the_webhooks_rate() {
    let asked = [("WebHook-Request-Origin", "eventemitter.example.com"), ("WebHook-Request-Rate", "120")];
    let granted = |handshake: &Handshake, rate: Option<&Rate>| {
        let fields = fields(&asked);
        let question = Question { method: "OPTIONS", query: b"", headers: Headers::Received(&fields) };
        match Responder::new(handshake, rate).at_head(&question, &sign) {
            Some(Outcome::Answer(reply)) => reply.headers,
            _ => Vec::new(),
        }
    };
    let any = Handshake::Cloudevents { origins: Vec::new() };
    let rate = Rate { requests: 2, per: Duration::from_secs(1), burst: 2 };
    let header = |name, value: &str| (name, value.to_owned());
    let (allow, origin) =
        (header("Allow", "POST"), header("WebHook-Allowed-Origin", "eventemitter.example.com"));
    let limited = [allow.clone(), origin.clone(), header("WebHook-Allowed-Rate", "120")];
    assert_eq!(granted(&any, Some(&rate)), limited);
    assert_eq!(granted(&any, None), [allow, origin, header("WebHook-Allowed-Rate", "*")]);
    let other = Handshake::Cloudevents { origins: vec!["eventgrid.azure.net".to_owned()] };
    let ask = |method, headers: &[(&str, &str)]| head(&responder(&other), method, "", headers);
    assert_eq!(ask(Method::OPTIONS, &asked), Is::Refused(ErrorCode::RequestDenied, 403));
    assert_eq!(ask(Method::OPTIONS, &[("WebHook-Request-Origin", "eventgrid.azure.net")]), text(""));
    assert_eq!(ask(Method::OPTIONS, &[]), Is::Nothing, "a preflight of CORS");
    assert_eq!(ask(Method::POST, &asked), Is::Nothing);
    let twice = [("WebHook-Request-Origin", "eventgrid.azure.net"); 2];
    assert_eq!(ask(Method::OPTIONS, &twice), BAD);
}

#[test]
fn x_gets_a_signature_of_what_could_be_no_delivery() {
    let expected = BASE64_STANDARD.encode(sign(b"challenge").expect("a signature"));
    let expected = json(&format!(r#"{{"response_token":"sha256={expected}"}}"#));
    let x = named("x");
    assert_eq!(head(&x, Method::GET, "?crc_token=challenge&nonce=1", &[]), expected);
    for query in ["?crc_token=%7B%22for_user_id%22%3A1%7D", "?crc_token=a%20b", "?crc_token="] {
        assert_eq!(head(&x, Method::GET, query, &[]), BAD, "{query}");
    }
    assert_eq!(head(&x, Method::POST, "?crc_token=challenge", &[]), Is::Nothing);
}

const ZOOM: &str = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;

#[test]
fn zoom_gets_a_signature_of_what_could_be_no_delivery() {
    let expected = crate::secret::hex(&sign(b"qgg8vlvZRS6UYooatFL8Aw").expect("a signature"));
    let expected =
        json(&format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{expected}"}}"#));
    let zoom = named("zoom");
    assert_eq!(body(&zoom, &[], ZOOM), signed(expected));
    for token in ["v0:1654503849680:{}", "a:b", "", "a b", &"x".repeat(257)] {
        assert_eq!(body(&zoom, &[], &ZOOM.replace("qgg8vlvZRS6UYooatFL8Aw", token)), signed(BAD), "{token}");
    }
    assert_eq!(body(&zoom, &[], &ZOOM.replace("plainToken", "token")), signed(BAD));
    for delivery in [
        r#"{"event":"meeting.started","payload":{"object":{"topic":"endpoint.url_validation"}}}"#,
        r#"{"event":"meeting.started","payload":{"plainToken":"a"}}"#,
        "endpoint.url_validation",
    ] {
        assert_eq!(body(&zoom, &[], delivery), signed(Is::Nothing), "{delivery}");
    }
}

#[test]
fn slack_asks_in_a_signed_body() {
    let slack = named("slack");
    let question = r#"{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
    assert_eq!(body(&slack, &[], question), signed(text(challenge)));
    assert_eq!(body(&slack, &[], r#"{"type":"url_verification"}"#), signed(BAD));
    for delivery in [
        r#"{"type":"event_callback","challenge":"x","event":{"text":"url_verification"}}"#,
        r#"{"type":"url_verification_2","challenge":"x"}"#,
        r#"[{"type":"url_verification","challenge":"x"}]"#,
    ] {
        assert_eq!(body(&slack, &[], delivery), signed(Is::Nothing), "{delivery}");
    }
    assert_eq!(body(&named("trello"), &[], question), [Is::Nothing, Is::Nothing]);
}

#[test]
fn twitch_asks_in_a_signed_body_that_a_header_announces() {
    let question = r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"id":"f1c2a387-161a-49f9-a165-0f21d7a4e1c4","status":"webhook_callback_verification_pending","type":"channel.follow"}}"#;
    let announced = [("Twitch-Eventsub-Message-Type", "webhook_callback_verification")];
    let twitch = named("twitch");
    assert_eq!(body(&twitch, &announced, question), signed(text("pogchamp-kappa-360noscope-vohiyo")));
    // The type is not signed: a captured delivery is not answered as a question, and not forwarded as one.
    assert_eq!(body(&twitch, &announced, r#"{"subscription":{},"event":{}}"#), signed(BAD));
    for kind in ["notification", "revocation"] {
        let delivered = [("Twitch-Eventsub-Message-Type", kind)];
        assert_eq!(body(&twitch, &delivered, question), signed(Is::Nothing), "{kind}");
    }
}

#[test]
fn discords_pings_are_told_from_its_events() {
    let discord = named("discord");
    let interaction = r#"{"app_permissions":"562949953601536","application_id":"1","entitlements":[],"id":"2","token":"t","type":1,"user":{"id":"3"},"version":1}"#;
    assert_eq!(body(&discord, &[], interaction), signed(json(r#"{"type":1}"#)));
    let event_ping = r#"{"version":1,"application_id":"1234560123453231555","type":0}"#;
    assert_eq!(body(&discord, &[], event_ping), signed(Is::Answered(204, JSON, String::new())));
    for delivery in [
        r#"{"version":1,"application_id":"1","type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}"#,
        r#"{"type":2,"data":{"name":"ping"}}"#,
        r#"{"type":"1"}"#,
        "1",
    ] {
        assert_eq!(body(&discord, &[], delivery), signed(Is::Nothing), "{delivery}");
    }
}

const EVENT_GRID: &str = r#"[{"id":"2d1781af-3a4c-4d7c-bd0c-e34b19da4e66","topic":"/subscriptions/xxxxxxxx","subject":"","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6","validationUrl":"https://rp-eastus2.eventgrid.azure.net:553/eventsubscriptions/myeventsub/validate?id=0000"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2022-10-28T04:23:35.1981776Z","metadataVersion":"1","dataVersion":"1"}]"#;

#[test]
fn event_grid_asks_in_a_body_that_a_header_announces() {
    let announced = [("aeg-event-type", "SubscriptionValidation")];
    let grid = named("event_grid");
    let expected = json(r#"{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}"#);
    assert_eq!(body(&grid, &announced, EVENT_GRID), unsigned(expected));
    assert_eq!(body(&grid, &[("aeg-event-type", "Notification")], EVENT_GRID), [Is::Nothing, Is::Nothing]);
    assert_eq!(body(&grid, &[], EVENT_GRID), [Is::Nothing, Is::Nothing]);
    let large = format!("[{}{{}}]", " ".repeat(MAX_BODY));
    for other in [
        "",
        "[]",
        "{}",
        "[{}]",
        r#"[{"data":{"validationCode":1}}]"#,
        r#"[{"data":{"validationCode":""}}]"#,
        &large,
    ] {
        assert_eq!(body(&grid, &announced, other), unsigned(BAD), "{other:.40}");
    }
}

#[test]
fn asana_and_notion_bring_a_secret() {
    let asana = named("asana");
    let secret = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
    let asked = [("X-Hook-Secret", secret)];
    assert_eq!(body(&asana, &asked, ""), unsigned(Is::Kept(secret.to_owned())));
    let headers = fields(&asked);
    let question = Question { method: "POST", query: b"", headers: Headers::Received(&headers) };
    let Some(Outcome::Keep(_, reply)) = asana.in_body(&question, b"") else { panic!("it is kept") };
    assert_eq!(reply.secret, Some(("X-Hook-Secret", Secret::new(secret))));
    assert!(!format!("{reply:?}").contains(secret));
    assert_eq!(body(&asana, &[], "{}"), [Is::Nothing, Is::Nothing]);
    for (headers, why) in [
        (&[asked[0], asked[0]][..], "twice"),
        (&[("X-Hook-Secret", "short")], "short"),
        (
            &[("X-Hook-Secret", "b537207f20cbfa02357cf448134da559 e8bd39d61597dcd5631b8012eae53e81")],
            "a space",
        ),
    ] {
        assert_eq!(body(&asana, headers, ""), unsigned(BAD), "{why}");
    }

    let notion = named("notion");
    let token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";
    let question = format!(r#"{{"verification_token":"{token}"}}"#);
    assert_eq!(body(&notion, &[], &question), unsigned(Is::Kept(token.to_owned())));
    let signature = [("X-Notion-Signature", "sha256=00")];
    assert_eq!(body(&notion, &signature, &question), [Is::Nothing, Is::Nothing]);
    assert_eq!(body(&notion, &[], r#"{"verification_token":"short"}"#), unsigned(BAD));
    for other in [r#"{"id":"1","type":"page.created"}"#, r#"{"verification_token":1}"#, "[]", ""] {
        assert_eq!(body(&notion, &[], other), [Is::Nothing, Is::Nothing], "{other}");
    }
    let twice = format!(r#"{{"verification_token":"{token}","verification_token":"{token}"}}"#);
    assert_eq!(body(&notion, &[], &twice), [Is::Nothing, Is::Nothing]);
}

#[test]
fn only_a_possible_question_has_its_body_read() {
    let reads = |name: &str, method: Method, headers: &[(&str, &str)]| {
        let headers = fields(headers);
        let question = Question { method: method.as_str(), query: b"", headers: Headers::Received(&headers) };
        named(name).reads_body(&question)
    };
    assert!(reads("event_grid", Method::POST, &[("Aeg-Event-Type", "SubscriptionValidation")]));
    assert!(!reads("event_grid", Method::POST, &[("Aeg-Event-Type", "Notification")]));
    assert!(reads("notion", Method::POST, &[]));
    assert!(!reads("notion", Method::POST, &[("x-notion-signature", "sha256=00")]));
    assert!(reads("asana", Method::POST, &[("X-Hook-Secret", "x")]));
    assert!(!reads("asana", Method::POST, &[]) && !reads("okta", Method::GET, &[]));
    assert!(reads("slack", Method::POST, &[]) && reads("discord", Method::POST, &[]));
}
