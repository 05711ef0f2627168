//! Good tokens of every algorithm, and a table of tokens that must prove nothing.

mod key_sets;

use super::super::tests::{curve, rsa};
use super::testing::{TestKey, encode, with};
use super::*;
use serde_json::json;
use std::sync::LazyLock;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW: u64 = 1_800_000_000;

static RSA: LazyLock<(TestKey, String)> = LazyLock::new(|| {
    let pem = rsa(2048);
    (TestKey::from_pem(&pem), pem)
});
static P256: LazyLock<TestKey> = LazyLock::new(|| TestKey::from_pem(&curve("P-256")));
static P384: LazyLock<TestKey> = LazyLock::new(|| TestKey::from_pem(&curve("P-384")));
static ED25519: LazyLock<TestKey> = LazyLock::new(|| TestKey::ed25519(1));

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
}

/// The keys of the issuer: of each kind one, without `alg`.
fn keys() -> KeySet {
    set(&[
        with(&RSA.0.jwk(), &json!({ "kid": "rsa" })),
        with(&P256.jwk(), &json!({ "kid": "p256" })),
        with(&P384.jwk(), &json!({ "kid": "p384" })),
        with(&ED25519.jwk(), &json!({ "kid": "ed25519" })),
    ])
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "p256" })
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": ["attache"], "sub": "billing", "exp": NOW + 600, "nbf": NOW, "iat": NOW })
}

fn verify_with(token: &[u8], keys: &KeySet) -> Result<Claims, JwtRefusal> {
    UnverifiedToken::parse(token)?.verify(keys, ISSUER, &["other".into(), "attache".into()], at(NOW))
}

fn verify(token: &str) -> Result<Claims, JwtRefusal> {
    verify_with(token.as_bytes(), &keys())
}

fn refusal(token: &str) -> Option<JwtRefusal> {
    verify(token).err()
}

#[test]
fn each_algorithm_is_verified_with_a_key_of_its_kind() {
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|name| (name, "rsa", &RSA.0));
    let others = [
        ("ES256", "p256", &*P256),
        ("ES384", "p384", &*P384),
        ("EdDSA", "ed25519", &*ED25519),
        ("Ed25519", "ed25519", &*ED25519),
    ];
    for (algorithm, id, key) in rsa.into_iter().chain(others) {
        let token = key.token(&json!({ "alg": algorithm, "kid": id, "typ": "JWT" }), &claims());
        let found = verify(&token).map(|claims| claims.subject);
        assert_eq!(found, Ok("billing".to_owned()), "{algorithm}");
        // Without `kid`, each key is tried.
        let token = key.token(&json!({ "alg": algorithm }), &claims());
        assert!(verify(&token).is_ok(), "{algorithm}");
    }
}

#[test]
fn a_projected_token_of_kubernetes_proves_the_service_account() {
    let claims = json!({
        "aud": ["attache"], "exp": NOW + 3607, "iat": NOW, "nbf": NOW, "iss": ISSUER,
        "jti": "a8d3c5a2-5ad3-4f6e-8d53-2b6f3f4d4f3c",
        "kubernetes.io": {
            "namespace": "billing",
            "node": { "name": "worker", "uid": "a" },
            "pod": { "name": "billing-0", "uid": "b" },
            "serviceaccount": { "name": "default", "uid": "c" },
            "warnafter": NOW + 3607,
        },
        "sub": "system:serviceaccount:billing:default",
    });
    let token = RSA.0.token(&json!({ "alg": "RS256", "kid": "rsa" }), &claims);
    let found = verify(&token).expect("is good");
    assert_eq!(found.subject, "system:serviceaccount:billing:default");
    assert_eq!(found.times, Times { from: Some(at(NOW)), until: at(NOW + 3607) });
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let case = |more: Value| refusal(&P256.token(&header(), &with(&claims(), &more)));
    assert_eq!(case(json!({ "exp": NOW - 59 })), None);
    assert_eq!(case(json!({ "exp": NOW - 60 })), Some(JwtRefusal::Expired));
    assert_eq!(case(json!({ "nbf": NOW + 60, "iat": NOW + 60 })), None);
    assert_eq!(case(json!({ "nbf": NOW + 61 })), Some(JwtRefusal::NotYetValid));
    assert_eq!(case(json!({ "iat": NOW + 61 })), Some(JwtRefusal::NotYetValid));
    assert_eq!(case(json!({ "nbf": null, "iat": null })), None, "they are optional");
    assert_eq!(case(json!({ "exp": NOW as f64 + 0.5 })), None, "RFC 7519 allows a fraction");
}

#[test]
fn an_audience_is_a_text_or_a_list() {
    let case = |aud: Value| refusal(&P256.token(&header(), &with(&claims(), &json!({ "aud": aud }))));
    assert_eq!(case(json!("attache")), None);
    assert_eq!(case(json!(["x", "other"])), None);
    assert_eq!(case(json!("Attache")), Some(JwtRefusal::WrongAudience));
    assert_eq!(case(json!("attache ")), Some(JwtRefusal::WrongAudience));
    assert_eq!(case(json!("attache,other")), Some(JwtRefusal::WrongAudience));
}

/// Tokens with a good signature whose claims prove nothing.
#[test]
fn claims_that_prove_nothing() {
    use JwtRefusal::{Expired, Malformed, MissingClaim, NotYetValid, WrongAudience, WrongIssuer};
    let cases = [
        (json!({ "exp": null }), MissingClaim),
        (json!({ "exp": (NOW + 600).to_string() }), Malformed),
        (json!({ "exp": [NOW + 600] }), Malformed),
        (json!({ "exp": true }), Malformed),
        (json!({ "exp": -1 }), Malformed),
        (json!({ "exp": -1e300 }), Malformed),
        (json!({ "exp": 1e300 }), Malformed),
        (json!({ "exp": u64::MAX }), Malformed),
        (json!({ "exp": (NOW + 600) * 1000 }), Malformed),
        (json!({ "exp": 0 }), Expired),
        (json!({ "exp": NOW - 3600 }), Expired),
        (json!({ "exp": NOW as f64 - 60.5 }), Expired),
        (json!({ "nbf": NOW + 3600 }), NotYetValid),
        (json!({ "nbf": "0" }), Malformed),
        (json!({ "nbf": {} }), Malformed),
        (json!({ "iat": NOW + 3600 }), NotYetValid),
        (json!({ "iat": "now" }), Malformed),
        (json!({ "aud": null }), WrongAudience),
        (json!({ "aud": [] }), WrongAudience),
        (json!({ "aud": "" }), WrongAudience),
        (json!({ "aud": "billing" }), WrongAudience),
        (json!({ "aud": 1 }), Malformed),
        (json!({ "aud": ["attache", 1] }), Malformed),
        (json!({ "aud": [["attache"]] }), Malformed),
        (json!({ "aud": { "attache": true } }), Malformed),
        (json!({ "iss": null }), MissingClaim),
        (json!({ "iss": "" }), MissingClaim),
        (json!({ "iss": [ISSUER] }), Malformed),
        (json!({ "iss": format!("{ISSUER}/") }), WrongIssuer),
        (json!({ "iss": ISSUER.to_uppercase() }), WrongIssuer),
        (json!({ "iss": format!(" {ISSUER}") }), WrongIssuer),
        (json!({ "iss": format!("{ISSUER}\0") }), WrongIssuer),
        (json!({ "iss": ISSUER.replace("https", "http") }), WrongIssuer),
        (json!({ "sub": null }), MissingClaim),
        (json!({ "sub": "" }), MissingClaim),
        (json!({ "sub": 7 }), Malformed),
        (json!({ "sub": ["billing"] }), Malformed),
    ];
    for (more, expected) in cases {
        let token = P256.token(&header(), &with(&claims(), &more));
        assert_eq!(refusal(&token), Some(expected), "{more}");
    }
}

/// Headers that lead to no key, or to one that must not be used.
#[test]
fn headers_that_prove_nothing() {
    use JwtRefusal::{Algorithm, BadSignature, Critical, Malformed, UnknownKey};
    let attacker = TestKey::from_pem(&curve("P-256"));
    let (theirs, ours) = (attacker.jwk(), header());
    let cases = [
        // No algorithm, or none of a public key.
        (json!({ "alg": null }), Malformed),
        (json!({ "alg": "" }), Algorithm),
        (json!({ "alg": "none" }), Algorithm),
        (json!({ "alg": "None" }), Algorithm),
        (json!({ "alg": "NONE" }), Algorithm),
        (json!({ "alg": "nOnE" }), Algorithm),
        (json!({ "alg": "none\0" }), Algorithm),
        (json!({ "alg": ["ES256"] }), Malformed),
        (json!({ "alg": "es256" }), Algorithm),
        (json!({ "alg": "ES256 " }), Algorithm),
        (json!({ "alg": "ES256K" }), Algorithm),
        (json!({ "alg": "ES512" }), Algorithm),
        (json!({ "alg": "HS256" }), Algorithm),
        (json!({ "alg": "RSA-OAEP" }), Algorithm),
        // An algorithm of another kind of key.
        (json!({ "alg": "ES384" }), Algorithm),
        (json!({ "alg": "RS256" }), Algorithm),
        (json!({ "alg": "EdDSA" }), Algorithm),
        (json!({ "kid": "rsa" }), Algorithm),
        (json!({ "kid": "p384" }), Algorithm),
        // Another key.
        (json!({ "kid": "P256" }), UnknownKey),
        (json!({ "kid": "" }), UnknownKey),
        (json!({ "kid": "../../dev/null" }), UnknownKey),
        (json!({ "kid": "p256\0" }), UnknownKey),
        (json!({ "kid": "' UNION SELECT 'key" }), UnknownKey),
        (json!({ "kid": ["p256"] }), Malformed),
        (json!({ "kid": 0 }), Malformed),
        (json!({ "kid": "p".repeat(2000) }), Malformed),
        // A key that the token brings.
        (json!({ "jwk": theirs }), BadSignature),
        (json!({ "jwk": theirs, "kid": null }), BadSignature),
        (json!({ "jwk": theirs, "kid": "attacker" }), UnknownKey),
        (json!({ "jku": "https://attacker.example/keys" }), BadSignature),
        (json!({ "x5u": "https://attacker.example/cert" }), BadSignature),
        (json!({ "x5c": ["MIIB"] }), BadSignature),
        // Extensions.
        (json!({ "crit": ["exp"] }), Critical),
        (json!({ "crit": [] }), Critical),
        (json!({ "crit": ["b64"], "b64": false }), Critical),
        (json!({ "b64": false }), BadSignature),
    ];
    for (more, expected) in cases {
        let token = attacker.token(&with(&ours, &more), &claims());
        assert_eq!(refusal(&token), Some(expected), "{more}");
    }
    // The unknown is refused of the issuer's own tokens too.
    let own = P256.token(&with(&ours, &json!({ "crit": ["x"], "x": 1 })), &claims());
    assert_eq!(refusal(&own), Some(Critical));
}

/// The public key as the secret of an HMAC.
#[test]
fn a_public_key_is_no_shared_secret() {
    let spki = |form: &str| super::super::tests::openssl(&format!("pkey -pubout -outform {form}"), &RSA.1);
    let jwk = RSA.0.jwk();
    let secrets = [
        spki("PEM"),
        spki("DER"),
        jwk.to_string().into_bytes(),
        jwk["n"].to_string().into_bytes(),
        Vec::new(),
    ];
    for (algorithm, hmac) in [
        ("HS256", ring::hmac::HMAC_SHA256),
        ("HS384", ring::hmac::HMAC_SHA384),
        ("HS512", ring::hmac::HMAC_SHA512),
        // The header of a fitting algorithm, and still an HMAC.
        ("RS256", ring::hmac::HMAC_SHA256),
    ] {
        for secret in &secrets {
            let header = json!({ "alg": algorithm, "kid": "rsa" }).to_string();
            let message =
                format!("{}.{}", encode(header.as_bytes()), encode(claims().to_string().as_bytes()));
            let tag = ring::hmac::sign(&ring::hmac::Key::new(hmac, secret), message.as_bytes());
            let token = format!("{message}.{}", encode(tag.as_ref()));
            let expected =
                if algorithm == "RS256" { JwtRefusal::BadSignature } else { JwtRefusal::Algorithm };
            assert_eq!(refusal(&token), Some(expected), "{algorithm}");
        }
    }
}

/// Changes to the text of a good token.
#[test]
fn texts_that_are_no_token() {
    let good = P256.token(&header(), &claims());
    assert_eq!(refusal(&good), None);
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("three parts") };
    let texts = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        head.into(),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!(".{body}.{signature}"),
        format!("{head}..{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{good}.x.y"),
        format!("{good}="),
        format!("{good}=="),
        format!("{head}=.{body}.{signature}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}\r\n"),
        format!("{good}\0"),
        format!("{head}.{body}.{}\n{}", &signature[..40], &signature[40..]),
        format!("{head} .{body}.{signature}"),
        format!("{head}.{body}.{signature}A"),
        format!("{head}.{body}.{signature}AA"),
        format!("{head}.{body}.{}", &signature[..signature.len() - 2]),
        format!("{head}.{body}.+{}", &signature[1..]),
        format!("{head}.{body}./{}", &signature[1..]),
        format!("{head}.{body}.%{}", &signature[1..]),
        format!("Bearer {good}"),
        format!("\"{good}\""),
        format!("{good},{good}"),
        format!("{good};{good}"),
        good.replace('.', "%2e"),
        good.to_uppercase(),
        // Another payload under the same signature.
        format!(
            "{head}.{}.{signature}",
            encode(with(&claims(), &json!({ "sub": "root" })).to_string().as_bytes())
        ),
        // The signature's parts.
        format!("{head}.{body}.{}", encode(&[0; 64])),
        format!("{head}.{body}.{}", encode(&[0xff; 64])),
        format!("{head}.{body}.{}", encode(&[])),
        format!("{head}.{body}.{}", encode(&der(&decode(signature.as_bytes()).expect("bytes")))),
        format!(
            "{head}.{body}.{}",
            encode(&[&[0; 32][..], &decode(signature.as_bytes()).expect("bytes")].concat())
        ),
    ];
    for text in texts {
        let found = refusal(&text);
        assert!(matches!(found, Some(JwtRefusal::Malformed | JwtRefusal::BadSignature)), "{text}: {found:?}");
    }
    // base64url has bits to spare at its end: only one spelling is read.
    let last = signature.as_bytes()[signature.len() - 1];
    for other in (b'A'..=b'z').filter(|byte| *byte != last && byte.is_ascii_alphanumeric()) {
        let text = format!("{head}.{body}.{}{}", &signature[..signature.len() - 1], char::from(other));
        assert!(refusal(&text).is_some(), "{}", char::from(other));
    }
}

/// The same signature as OpenSSL writes it.
fn der(fixed: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| [&[2, 33, 0][..], half].concat();
    let both = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    [&[0x30, both.len() as u8][..], &both].concat()
}

/// Signed by the issuer, and still with two readings or none.
#[test]
fn json_that_has_not_one_reading() {
    let (head, body) = (header().to_string(), claims().to_string());
    let open = &body[..body.len() - 1];
    let bodies: [&[u8]; 15] = [
        b"",
        b"null",
        b"[]",
        b"\"x\"",
        b"1",
        b"{",
        &body.as_bytes()[..body.len() - 1],
        &format!("{body}{body}").into_bytes(),
        &format!("{body} x").into_bytes(),
        &format!("{open},\"sub\":\"root\"}}").into_bytes(),
        &format!("{open},\"s\\u0075b\":\"root\"}}").into_bytes(),
        &format!("{open},\"x\":{{\"a\":1,\"a\":2}}}}").into_bytes(),
        &format!("{open},\"x\":1e999}}").into_bytes(),
        &format!("{open},\"x\":NaN}}").into_bytes(),
        &format!("{open},\"x\":{}}}", "[".repeat(1000)).into_bytes(),
    ];
    for bytes in bodies {
        let token = P256.token_of("ES256", head.as_bytes(), bytes);
        assert_eq!(refusal(&token), Some(JwtRefusal::Malformed), "{}", String::from_utf8_lossy(bytes));
    }
    let mut latin1 = format!("{open},\"name\":\"Jos_\"}}").into_bytes();
    let at = latin1.len() - 3;
    latin1[at] = 0xe9;
    let lone = format!("{open},\"x\":\"\\ud800\"}}").into_bytes();
    let bom = [b"\xef\xbb\xbf", body.as_bytes()].concat();
    for bytes in [latin1, lone, bom] {
        let token = P256.token_of("ES256", head.as_bytes(), &bytes);
        assert_eq!(refusal(&token), Some(JwtRefusal::Malformed), "{}", String::from_utf8_lossy(&bytes));
    }
    let heads = [
        "{}",
        "null",
        r#"{"alg":"ES256","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"p256","k\u0069d":"rsa"}"#,
        r#"{"alg":"ES256","kid":"p256",}"#,
        r#"{'alg':'ES256'}"#,
    ];
    for head in heads {
        let token = P256.token_of("ES256", head.as_bytes(), body.as_bytes());
        assert_eq!(refusal(&token), Some(JwtRefusal::Malformed), "{head}");
    }
}

#[test]
fn sizes_are_bounded() {
    let filled = |size: usize| {
        let text = |n: usize| P256.token(&header(), &with(&claims(), &json!({ "x": "x".repeat(n) })));
        let over = text(0).len();
        let mut n = (size - over) * 3 / 4;
        while text(n).len() > size {
            n -= 1;
        }
        while text(n + 1).len() <= size {
            n += 1;
        }
        text(n)
    };
    assert_eq!(refusal(&filled(MAX_TOKEN)), None);
    assert_eq!(refusal(&filled(MAX_TOKEN + 4)), Some(JwtRefusal::TooLarge));
    assert_eq!(refusal(&"x".repeat(1 << 20)), Some(JwtRefusal::TooLarge));
}

#[test]
fn bytes_that_are_no_text_are_no_token() {
    let good = P256.token(&header(), &claims()).into_bytes();
    for byte in [0, 0x7f, 0x80, 0xff, b'"', b'\n'] {
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(verify_with(&bytes, &keys()).err(), Some(JwtRefusal::Malformed));
        }
    }
}

#[test]
fn the_keys_alg_is_its_only_algorithm() {
    let only = |alg: &str| set(&[with(&RSA.0.jwk(), &json!({ "kid": "rsa", "alg": alg }))]);
    let token = |alg: &str| RSA.0.token(&json!({ "alg": alg, "kid": "rsa" }), &claims());
    assert!(verify_with(token("RS256").as_bytes(), &only("RS256")).is_ok());
    for (alg, key) in [("RS384", "RS256"), ("PS256", "RS256"), ("RS256", "PS256"), ("RS512", "RS384")] {
        let found = verify_with(token(alg).as_bytes(), &only(key)).err();
        assert_eq!(found, Some(JwtRefusal::Algorithm), "{alg} with a key for {key}");
    }
    // Two names of one algorithm.
    let keys = set(&[with(&ED25519.jwk(), &json!({ "alg": "Ed25519" }))]);
    assert!(verify_with(ED25519.token(&json!({ "alg": "EdDSA" }), &claims()).as_bytes(), &keys).is_ok());
}

#[test]
fn another_issuers_key_of_the_same_id_does_not_count() {
    let other = TestKey::from_pem(&curve("P-256"));
    let token = other.token(&header(), &claims());
    assert_eq!(refusal(&token), Some(JwtRefusal::BadSignature));
    let theirs = set(&[with(&other.jwk(), &json!({ "kid": "p256" }))]);
    assert!(verify_with(token.as_bytes(), &theirs).is_ok());
}

#[test]
fn without_a_key_id_a_bounded_number_of_keys_is_tried() {
    let many: Vec<Value> = (10..30).map(|seed| TestKey::ed25519(seed).jwk()).collect();
    let of = |seed: u8| TestKey::ed25519(seed).token(&json!({ "alg": "EdDSA" }), &claims());
    let keys = set(&many);
    let tried = (10..30).filter(|seed| verify_with(of(*seed).as_bytes(), &keys).is_ok()).count();
    assert_eq!(tried, MAX_TRIED);
}

#[test]
fn newer_keys_are_fetched_for_tokens_that_could_be_good() {
    let newer = |header: &Value, more: Value| {
        let token = P256.token(header, &with(&claims(), &more));
        let token = UnverifiedToken::parse(token.as_bytes()).expect("is well-formed");
        let audiences = ["attache".to_owned()];
        let refusal =
            token.verify(&set(&[ED25519.jwk()]), ISSUER, &audiences, at(NOW)).err().expect("is refused");
        (refusal, token.may_be_of_newer_key(refusal, ISSUER, &audiences, at(NOW)))
    };
    let named = header();
    assert_eq!(newer(&named, json!({})), (JwtRefusal::UnknownKey, true));
    assert_eq!(newer(&named, json!({ "exp": 1 })), (JwtRefusal::UnknownKey, false));
    assert_eq!(newer(&named, json!({ "aud": "x" })), (JwtRefusal::UnknownKey, false));
    assert_eq!(newer(&json!({ "alg": "ES256" }), json!({})), (JwtRefusal::Algorithm, true));
}

#[test]
fn no_text_shows_a_token() {
    assert_eq!(format!("{:?}", keys()), "KeySet(4 keys)");
}

/// Tokens of other libraries, with their key sets; `tests/peers/vectors/tokens.*` write them.
#[test]
fn tokens_that_other_libraries_sign_are_good() {
    for name in ["jose-npm", "pyjwt"] {
        let path = format!("{}/tests/tokens/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
        let text = |key: &str| file[key].as_str().expect("text").to_owned();
        let keys = KeySet::parse(file["jwks"].to_string().as_bytes()).expect("a key set");
        let now = at(file["now"].as_u64().expect("a time"));
        let tokens = file["tokens"].as_array().expect("tokens");
        assert_eq!((keys.len(), tokens.len()), (9, 9), "{name}");
        for token in tokens {
            let parts = token["parts"].as_array().expect("parts").iter();
            let parts: Vec<&str> = parts.map(|part| part.as_str().expect("text")).collect();
            let compact = parts.join(".");
            let verify = |audience: &str, now| {
                let token = UnverifiedToken::parse(compact.as_bytes())?;
                token.verify(&keys, &text("issuer"), &[audience.to_owned()], now)
            };
            let found = verify(&text("audience"), now).map(|claims| claims.subject);
            assert_eq!(found, Ok(text("subject")), "{name} {}", token["alg"]);
            assert_eq!(verify("vault", now).err(), Some(JwtRefusal::WrongAudience));
            assert_eq!(
                verify(&text("audience"), now + Duration::from_secs(7200)).err(),
                Some(JwtRefusal::Expired)
            );
        }
    }
}
