use super::*;
use clap::Parser as _;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: VerifyArgs,
}

/// Returns the page about a request, with these arguments; and true if it passes.
fn said(request: &str, words: &[&str]) -> Result<(String, bool), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("request");
    std::fs::write(&path, request).expect("write");
    let line = ["verify", "--request", path.to_str().expect("text")].into_iter().chain(words.iter().copied());
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    explain(&line.args, None, "2026-01-01T00:00:00Z".parse().expect("a time")).map_err(
        |problem| match problem {
            VerifyError::Said => "said".to_owned(),
            VerifyError::Unsaid(problem) => problem,
        },
    )
}

fn github(body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hunter2-secret");
    let signature = crate::secret::hex(ring::hmac::sign(&key, br#"{"a":1}"#).as_ref());
    format!("POST /webhooks/KEY HTTP/1.1\nHost: h\nX-Hub-Signature-256: sha256={signature}\n\n{body}")
}

#[test]
fn the_page_explains_and_shows_no_secret() {
    let words = ["--scheme", "github", "--secret", "other-secret", "--secret", "hunter2-secret"];
    let (page, passes) = said(&github(r#"{"a":1}"#), &words).expect("a page");
    assert!(
        passes && page.contains("secret 1: it did not") && page.contains("secret 2: it signed this"),
        "{page}"
    );
    let (page, passes) = said(&github("{\"a\":1}\n"), &words).expect("a page");
    assert!(!passes && page.contains("NOT valid: the signature does not match"), "{page}");
    assert!(page.contains("ends with a line break"), "{page}");
    for secret in ["hunter2", "other-secret", "sha256=", "KEY"] {
        assert!(!page.contains(secret), "{page}");
    }
}

#[test]
fn secrets_come_from_files_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2-secret\n").expect("write");
    let from = format!("file:{}", path.display());
    assert!(said(&github(r#"{"a":1}"#), &["--scheme", "github", "--secret", &from]).expect("a page").1);
    let problem =
        said(&github(""), &["--scheme", "github", "--secret", "env:ATTACHE_NO_SUCH"]).expect_err("none");
    assert!(problem.contains("ATTACHE_NO_SUCH"), "{problem}");
}

#[test]
fn invalid_arguments_are_errors() {
    for (words, why) in [
        (&["--scheme", "githup", "--secret", "s"][..], "there is no scheme `githup`"),
        (&["--scheme", "hmac", "--secret", "s"], "--header"),
        (
            &["--scheme", "hmac", "--secret", "s", "--header", "X-S", "--signed", "{timestamp}{body}"],
            "--timestamp-header",
        ),
        (
            &["--scheme", "hmac", "--secret", "s", "--header", "X-S", "--signed", "{bod}"],
            "unknown placeholder",
        ),
        (&["--scheme", "standard_webhooks", "--secret", "whsec_!"], "secret 1 is not one of this scheme"),
        (&["--scheme", "twilio", "--secret", "s"], "--public-url"),
        (&["--scheme", "twilio", "--secret", "s", "--public-url", "hooks.example.com"], "must be a URL"),
        (&["--scheme", "github", "--secret", "s", "--prefix", "x"], "--scheme hmac"),
        (&["--scheme", "github", "--secret", "s", "--tolerance", "5"], "signs no time"),
        (&["--scheme", "github"], "--secret"),
        (&["--scheme", "discord"], "--public-key"),
        (&["--scheme", "discord", "--public-key", "s"], "not a public key"),
        (&["--scheme", "github", "--public-key", "s"], "--secret"),
        (&["--scheme", "paypal", "--public-key", "s"], "--webhook-id"),
        (&["--scheme", "github", "--secret", "s", "--webhook-id", "1"], "signs none"),
        (&["--scheme", "custom", "--secret", "s"], "--service"),
        (&[], "--scheme"),
    ] {
        let problem = said(&github(""), words).expect_err("a problem");
        assert!(problem.contains(why), "{words:?}: {problem}");
    }
}

#[test]
fn the_page_names_each_part() {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hunter2-secret");
    let signature = crate::secret::hex(ring::hmac::sign(&key, b"1767225600.{}").as_ref());
    let request = format!(
        "POST /webhooks/KEY HTTP/1.1\nHost: h\nStripe-Signature: t=1767225600,v1={signature},v0=00\n\n{{}}"
    );
    let (page, passes) =
        said(&request, &["--scheme", "stripe", "--secret", "hunter2-secret"]).expect("a page");
    assert!(passes, "{page}");
    for part in [
        "found: stripe-signature",
        "signatures found: 1 by a MAC",
        "signed at 1767225600",
        "the tolerance is 300s",
        "algorithm: HMAC-SHA-256",
        "signed text: {timestamp}.{body: 2 bytes}",
        "secret 1: it signed this",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains(&signature) && !page.contains("hunter2"), "{page}");
}

#[test]
fn a_request_of_another_scheme_is_recognized() {
    let bitbucket = "POST /webhooks/KEY HTTP/1.1\nHost: h\nX-Hub-Signature: sha256=00\n\n{}";
    let (page, passes) = said(bitbucket, &["--scheme", "github", "--secret", "s"]).expect("a page");
    assert!(!passes && page.contains("the request has the headers of: bitbucket\n"), "{page}");
}

#[test]
fn a_message_of_sns_is_explained_with_its_certificate() {
    let amazon: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/sns/amazon.json")).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("certificate.pem");
    std::fs::write(&path, amazon["certificate"].as_str().expect("PEM")).expect("write");
    let request = format!("POST /webhooks/KEY HTTP/1.1\nHost: h\n\n{}", amazon["messages"][0]);
    let topic = amazon["messages"][0]["TopicArn"].as_str().expect("an ARN");
    let words = ["--scheme", "sns", "--topic", topic, "--at", "2026-03-06T19:40:00Z"];
    let (page, passes) = said(&request, &words).expect("a page");
    assert!(!passes && page.contains("--certificate"), "{page}");
    let path = path.display().to_string();
    let (page, passes) = said(&request, &[&words[..], &["--certificate", &path]].concat()).expect("a page");
    assert!(passes && page.contains("RSA PKCS#1 v1.5 with SHA-1"), "{page}");
    for secret in ["2336412f37", "Ce2Ax8UbEq0R"] {
        assert!(!page.contains(secret), "{page}");
    }
    let other = ["--scheme", "sns", "--topic", "arn:aws:sns:us-west-2:131990247566:other"];
    assert!(!said(&request, &[&other[..], &["--certificate", &path]].concat()).expect("a page").1);
    let problem = said(&request, &["--scheme", "sns"]).expect_err("no topic");
    assert!(problem.contains("--topic ARN"), "{problem}");
    let problem = said(&request, &["--scheme", "google_pubsub"]).expect_err("no issuer");
    assert!(problem.contains("--service"), "{problem}");
}
