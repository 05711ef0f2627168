//! What a provider asks before it sends anything: is this address yours? Each is answered only where the webhook's scheme
//! asks for it.
//!
//! What is asked is said again in the answer, so it is bounded and goes out as plain text that no browser takes for
//! anything else. Where the provider signs the question, the signature is checked first. X has its question signed with
//! the secret that signs its deliveries: whatever could be a delivery is therefore not signed.

use crate::error_code::ErrorCode;
use crate::plan::{Refusal, Reply};
use crate::secret::Secret;
use crate::signature::{Delivery, Scheme, Signed, Verifier};
use crate::webhook::endpoint::Endpoint;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde::Deserialize;
use std::borrow::Cow;

/// Longer questions are not answered. Microsoft's, the longest, has a few hundred bytes.
const MAX_CHALLENGE: usize = 2048;

/// Returns the answer to a question that the head of a call asks, if it is one. Nothing is known of a signature.
pub fn in_head(endpoint: &Endpoint, method: &Method, query: &[u8]) -> Option<Result<Reply, Refusal>> {
    in_query(endpoint.verifier.as_ref()?, endpoint.verify_token.as_ref(), method, query)
}

/// Returns the answer to a question in the body of a delivery, if it is one. Asked twice: before the signature is checked,
/// and again with what it covers once it is good.
pub fn in_body(
    endpoint: &Endpoint,
    delivery: &Delivery<'_>,
    signed: Option<&Signed>,
) -> Option<Result<Reply, Refusal>> {
    signed?;
    in_signed_body(endpoint.verifier.as_ref()?, delivery.body)
}

/// The answer to a question in the query, if the request is one. `verify_token` is what Meta has to show, if anything.
fn in_query(
    verifier: &Verifier,
    verify_token: Option<&Secret>,
    method: &Method,
    query: &[u8],
) -> Option<Result<Reply, Refusal>> {
    let ask = |name: &'static str| asked(query, name);
    match verifier.scheme() {
        Scheme::Meta if method == Method::GET => {
            let challenge = ask("hub.challenge")?;
            let answer = || {
                let shown = ask("hub.verify_token").and_then(Result::ok);
                let subscribes = matches!(ask("hub.mode"), Some(Ok(mode)) if mode == "subscribe");
                // Compared by their hashes. Where nothing was agreed upon, the key in the URL is what vouches.
                let same = match verify_token {
                    Some(expected) => shown.is_some_and(|shown| Secret::new(shown) == *expected),
                    None => true,
                };
                if !(same && subscribes) {
                    let detail = "hub.verify_token is not the configured one";
                    return Err(Refusal::new(ErrorCode::SignatureInvalid, detail));
                }
                challenge.clone().map(Reply::text)
            };
            Some(answer())
        }
        Scheme::Dropbox if method == Method::GET => Some(ask("challenge")?.map(Reply::text)),
        Scheme::MicrosoftGraph if method == Method::POST => Some(ask("validationToken")?.map(Reply::text)),
        Scheme::X if method == Method::GET => {
            let signed = |token: Cow<'_, str>| {
                let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_+/=.".contains(&b);
                let harmless = token.len() <= 256 && token.bytes().all(harmless);
                let signature = verifier.sign_challenge(token.as_bytes()).filter(|_| harmless);
                let signature = signature.ok_or_else(odd)?;
                let signature = BASE64_STANDARD.encode(signature);
                Ok(Reply::json(format!(r#"{{"response_token":"sha256={signature}"}}"#)))
            };
            Some(ask("crc_token")?.and_then(signed))
        }
        _ => None,
    }
}

/// The answer to a question in a body whose signature is good, if it is one.
fn in_signed_body(verifier: &Verifier, body: &[u8]) -> Option<Result<Reply, Refusal>> {
    #[derive(Deserialize)]
    struct Question<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
        #[serde(borrow)]
        challenge: Cow<'a, str>,
    }
    if *verifier.scheme() != Scheme::Slack || body.len() > 16 * MAX_CHALLENGE {
        return None;
    }
    let question: Question<'_> = serde_json::from_slice(body).ok()?;
    (question.r#type == "url_verification").then(|| bounded(question.challenge).map(Reply::text))
}

/// The only parameter `name` of the query, decoded.
fn asked<'q>(query: &'q [u8], name: &str) -> Option<Result<Cow<'q, str>, Refusal>> {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let mut values = url::form_urlencoded::parse(query).filter(|(found, _)| found == name);
    let (_, value) = values.next()?;
    Some(if values.next().is_some() { Err(odd()) } else { bounded(value) })
}

fn bounded(challenge: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    let fine =
        (1..=MAX_CHALLENGE).contains(&challenge.len()) && !challenge.contains(|c: char| c.is_control());
    if fine { Ok(challenge) } else { Err(odd()) }
}

fn odd() -> Refusal {
    Refusal::new(ErrorCode::RequestInvalid, "the challenge is not in the provider's format")
        .because("challenge")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ask(scheme: Scheme, method: &Method, query: &str) -> Option<Result<(String, String), ErrorCode>> {
        let secret = Secret::new("a secret of the test");
        let verifier = Verifier::new(scheme, &[secret], Duration::from_secs(300)).expect("a verifier");
        let token = Secret::new("shown");
        let answer = in_query(&verifier, Some(&token), method, query.as_bytes())?;
        Some(answer.map(|reply| (reply.content_type.to_owned(), reply.body)).map_err(|refusal| refusal.code))
    }

    const TEXT: &str = "text/plain; charset=utf-8";

    #[test]
    fn a_question_is_answered_where_its_scheme_asks_it() {
        let said = |text: &str| Some(Ok((TEXT.to_owned(), text.to_owned())));
        let meta = "?hub.mode=subscribe&hub.verify_token=shown&hub.challenge=1158201444";
        assert_eq!(ask(Scheme::Meta, &Method::GET, meta), said("1158201444"));
        assert_eq!(ask(Scheme::Dropbox, &Method::GET, "?challenge=a%20b"), said("a b"));
        assert_eq!(ask(Scheme::MicrosoftGraph, &Method::POST, "?validationToken=a%3Ab+c"), said("a:b c"));
        for (scheme, method, query) in [
            (Scheme::Github, &Method::GET, "?challenge=x"),
            (Scheme::Dropbox, &Method::POST, "?challenge=x"),
            (Scheme::MicrosoftGraph, &Method::GET, "?validationToken=x"),
            (Scheme::Meta, &Method::GET, "?x=1"),
            (Scheme::Slack, &Method::POST, "?challenge=x"),
        ] {
            assert_eq!(ask(scheme, method, query), None, "{query}");
        }
    }

    #[test]
    fn meta_has_to_show_what_was_agreed_upon() {
        for query in [
            "?hub.mode=subscribe&hub.challenge=1",
            "?hub.mode=subscribe&hub.verify_token=other&hub.challenge=1",
            "?hub.mode=unsubscribe&hub.verify_token=shown&hub.challenge=1",
            "?hub.mode=subscribe&hub.verify_token=shown&hub.verify_token=other&hub.challenge=1",
        ] {
            assert_eq!(
                ask(Scheme::Meta, &Method::GET, query),
                Some(Err(ErrorCode::SignatureInvalid)),
                "{query}"
            );
        }
    }

    #[test]
    fn meta_has_to_show_nothing_where_nothing_was_agreed_upon() {
        let verifier =
            Verifier::new(Scheme::Meta, &[Secret::new("s")], Duration::from_secs(300)).expect("one");
        let query = b"?hub.mode=subscribe&hub.verify_token=any&hub.challenge=1158201444";
        let answer = in_query(&verifier, None, &Method::GET, query).expect("asked").expect("answered");
        assert_eq!(answer.body, "1158201444");
    }

    #[test]
    fn a_challenge_is_bounded_and_said_once() {
        let long = format!("?challenge={}", "x".repeat(MAX_CHALLENGE + 1));
        for query in ["?challenge=", "?challenge=a&challenge=b", "?challenge=a%0d%0ab", &long] {
            assert_eq!(
                ask(Scheme::Dropbox, &Method::GET, query),
                Some(Err(ErrorCode::RequestInvalid)),
                "{query}"
            );
        }
    }

    #[test]
    fn x_gets_a_signature_of_what_could_be_no_delivery() {
        // openssl: printf challenge | openssl dgst -sha256 -hmac 'a secret of the test' -binary | base64
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a secret of the test");
        let expected = BASE64_STANDARD.encode(ring::hmac::sign(&key, b"challenge"));
        let answer = ask(Scheme::X, &Method::GET, "?crc_token=challenge").expect("asked").expect("answered");
        assert_eq!(answer.1, format!(r#"{{"response_token":"sha256={expected}"}}"#));
        for query in ["?crc_token=%7B%22for_user_id%22%3A1%7D", "?crc_token=a%20b", "?crc_token="] {
            assert_eq!(ask(Scheme::X, &Method::GET, query), Some(Err(ErrorCode::RequestInvalid)), "{query}");
        }
    }

    #[test]
    fn slack_asks_in_the_body() {
        let verifier =
            |scheme| Verifier::new(scheme, &[Secret::new("s")], Duration::from_secs(300)).expect("one");
        let body = br#"{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}"#;
        let answer = in_signed_body(&verifier(Scheme::Slack), body).expect("asked").expect("answered");
        assert_eq!((answer.content_type, answer.body.as_str()), (TEXT, "3eZbrw1aB"));
        assert!(in_signed_body(&verifier(Scheme::Github), body).is_none());
        assert!(
            in_signed_body(&verifier(Scheme::Slack), br#"{"type":"event_callback","challenge":"x"}"#)
                .is_none()
        );
    }
}
