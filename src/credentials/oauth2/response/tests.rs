//! Unusual forms of token answers, one a test, over a socket and through the whole client.

use super::super::error::Cause;
use super::super::exchange::ReceivedToken;
use super::super::stub::{JSON, Stub};
use super::*;

async fn answered(status: &str, headers: &str, body: &str) -> Result<ReceivedToken, Failure> {
    let idp = Stub::with(status, headers, body).await;
    idp.exchange(&idp.config()).await
}

async fn lifetime(expires_in: &str) -> Option<u64> {
    let body = format!(r#"{{"access_token":"t0ken","token_type":"Bearer","expires_in":{expires_in}}}"#);
    answered("200 OK", JSON, &body).await.unwrap().expires_in.map(|d| d.as_secs())
}

async fn gives_the_token(status: &str, headers: &str, body: &str) {
    assert_eq!(answered(status, headers, body).await.unwrap().token.expose(), "t0ken");
}

async fn unavailable(status: &str, headers: &str, body: &str) -> Unavailability {
    match answered(status, headers, body).await {
        Err(Failure { cause: Cause::Unavailable(reason), .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn expires_in_as_a_text() {
    assert_eq!(lifetime(r#""3600""#).await, Some(3600));
    assert_eq!(lifetime(r#"" 3599.5 ""#).await, Some(3599));
}

#[tokio::test]
async fn expires_in_as_a_float() {
    assert_eq!(lifetime("3599.98").await, Some(3599));
}

#[tokio::test]
async fn expires_in_beyond_reason_is_clamped() {
    assert_eq!(lifetime("99999999999999999999").await, Some(366 * 24 * 3600));
    for absurd in [r#""inf""#, "1e300", "9223372036854775807", r#""1e300""#] {
        assert_eq!(lifetime(absurd).await, Some(366 * 24 * 3600), "{absurd}");
    }
}

#[tokio::test]
async fn expires_in_of_zero_or_less_counts_as_missing() {
    for over in ["0", "-1", "0.2", r#""0""#, r#""-3600""#, "-1e300"] {
        assert_eq!(lifetime(over).await, None, "{over}");
    }
}

#[tokio::test]
async fn expires_in_that_is_no_number_counts_as_missing() {
    for nothing in ["null", r#""""#, r#""never""#, r#""nan""#, "true", "[]"] {
        assert_eq!(lifetime(nothing).await, None, "{nothing}");
    }
}

#[tokio::test]
async fn a_missing_token_type() {
    gives_the_token("200 OK", JSON, r#"{"access_token":"t0ken"}"#).await;
}

#[tokio::test]
async fn an_odd_token_type() {
    for odd in [
        r#""bearer""#,
        r#""BEARER""#,
        r#""BearerToken""#,
        r#""application/json""#,
        r#""""#,
        "null",
        "7",
        r#"["Bearer"]"#,
    ] {
        gives_the_token("200 OK", JSON, &format!(r#"{{"access_token":"t0ken","token_type":{odd}}}"#)).await;
    }
}

#[tokio::test]
async fn a_token_type_that_needs_a_key() {
    for bound in ["DPoP", "mac"] {
        let body = format!(r#"{{"access_token":"t0ken","token_type":"{bound}"}}"#);
        assert_eq!(unavailable("200 OK", JSON, &body).await, Unavailability::TokenType);
    }
}

#[tokio::test]
async fn scopes_in_an_array() {
    gives_the_token("200 OK", JSON, r#"{"access_token":"t0ken","token_type":"Bearer","scope":["a","b"]}"#)
        .await;
}

#[tokio::test]
async fn scopes_of_any_shape() {
    for scope in [r#""a b""#, r#""""#, "null", "7", "{}", "[]", "[7]"] {
        gives_the_token("200 OK", JSON, &format!(r#"{{"access_token":"t0ken","scope":{scope}}}"#)).await;
    }
}

#[tokio::test]
async fn of_a_member_that_comes_twice_the_last_counts() {
    gives_the_token("200 OK", JSON, r#"{"access_token":"a","access_token":"t0ken"}"#).await;
    gives_the_token("200 OK", "", "access_token=a&access_token=t0ken").await;
}

#[tokio::test]
async fn an_end_that_is_not_in_seconds_from_now_is_not_guessed() {
    for member in
        [r#""expires_on":"4102444800""#, r#""expires_at":4102444800"#, r#""issued_at":"1700000000000""#]
    {
        let body = format!(r#"{{"access_token":"t0ken",{member}}}"#);
        assert_eq!(answered("200 OK", JSON, &body).await.unwrap().expires_in, None);
    }
    let azure = r#"{"access_token":"t0ken","expires_in":"3599","ext_expires_in":"3599","expires_on":"1"}"#;
    let answer = answered("200 OK", JSON, azure).await.unwrap();
    assert_eq!(answer.expires_in, Some(Duration::from_secs(3599)));
}

#[tokio::test]
async fn a_token_below_another_member_is_not_guessed() {
    for body in [r#"{"data":{"access_token":"t0ken"}}"#, r#"{"token":{"access_token":"t0ken"},"ok":true}"#] {
        assert_eq!(unavailable("200 OK", JSON, body).await, Unavailability::NoToken);
    }
}

#[tokio::test]
async fn unknown_members_of_any_shape() {
    gives_the_token("200 OK", JSON, r#"{"access_token":"t0ken","id_token":7,"refresh_token":{},"x":[1]}"#)
        .await;
}

#[tokio::test]
async fn status_201() {
    gives_the_token("201 Created", JSON, r#"{"access_token":"t0ken"}"#).await;
}

#[tokio::test]
async fn json_as_text() {
    for content_type in ["content-type: text/plain; charset=utf-8\r\n", "content-type: text/html\r\n", ""] {
        gives_the_token("200 OK", content_type, r#"{"access_token":"t0ken"}"#).await;
    }
}

#[tokio::test]
async fn a_form() {
    for content_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let headers = format!("content-type: {content_type}\r\n");
        let answer =
            answered("200 OK", &headers, "access_token=t0ken&expires_in=60&token_type=bearer\n").await;
        let answer = answer.unwrap();
        assert_eq!((answer.token.expose(), answer.expires_in), ("t0ken", Some(Duration::from_secs(60))));
    }
}

#[tokio::test]
async fn a_byte_order_mark() {
    gives_the_token("200 OK", JSON, "\u{feff}{\"access_token\":\"t0ken\"}").await;
}

#[tokio::test]
async fn nonsense() {
    for body in ["", "null", "[]", "\"t0ken\"", "{", "<html>access=1</html>", r#"{"access_token":"#] {
        assert_eq!(unavailable("200 OK", JSON, body).await, Unavailability::Malformed, "{body}");
    }
    for body in ["{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"id_token":"t0ken"}"#] {
        assert_eq!(unavailable("200 OK", JSON, body).await, Unavailability::NoToken, "{body}");
    }
    assert_eq!(unavailable("204 No Content", "", "").await, Unavailability::Malformed);
}

#[tokio::test]
async fn an_id_token_that_is_wanted_and_missing() {
    for (body, result) in [
        (r#"{"access_token":"a"}"#, Err(Cause::Unavailable(Unavailability::NoIdToken))),
        (r#"{"id_token":"t0ken"}"#, Ok("t0ken")),
    ] {
        let idp = Stub::with("200 OK", JSON, body).await;
        let mut config = idp.config();
        config.bearer_token_type = BearerTokenType::IdToken;
        let answer = idp.exchange(&config).await;
        let token = answer.map(|answer| answer.token).map_err(|failure| failure.cause);
        assert_eq!(token, result.map(crate::secret::Secret::new));
    }
}

#[test]
fn retry_after_in_seconds_or_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let read = |text| retry_after(&HeaderValue::from_static(text), now).map(|d| d.as_secs());
    assert_eq!(read("120"), Some(120));
    assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(read("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
    assert_eq!(read("soon"), None);
    assert_eq!(read("-1"), None);
}
