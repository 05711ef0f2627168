//! Attempts to have a request accepted that the provider did not sign, or to have one delivery taken for two.

use super::keys::OTHER_KEYS;
use super::vectors::{Vector, vectors};
use crate::secret::Secret;
use crate::signature::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

fn vector(name: &str) -> Vector {
    let scheme = Scheme::by_name(name).expect("a preset");
    vectors().into_iter().find(|vector| vector.scheme == scheme).expect("a vector")
}

fn set(vector: &Vector, header: &str, value: &str) -> Vector {
    let (header, value) =
        (header.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"));
    vector.with(|v| drop(v.headers.insert(header, value)))
}

fn value(vector: &Vector, header: &str) -> String {
    vector.headers[header].to_str().expect("ASCII").to_owned()
}

/// The expected outcome of a changed request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    Malformed,
    Mismatch,
    Stale,
    Future,
    Content,
}

fn verdict(vector: &Vector) -> Verdict {
    match vector.verify() {
        Ok(_) => Verdict::Passes,
        Err(Fault::Malformed(..)) => Verdict::Malformed,
        Err(Fault::Mismatch) => Verdict::Mismatch,
        Err(Fault::Stale(..)) => Verdict::Stale,
        Err(Fault::Future(..)) => Verdict::Future,
        Err(Fault::Content(_)) => Verdict::Content,
        Err(fault) => panic!("{}: {fault}", vector.name),
    }
}

#[test]
fn a_signature_in_another_form() {
    use Verdict::{Malformed, Mismatch, Passes};
    let github = vector("github");
    let digits = value(&github, "x-hub-signature-256").replace("sha256=", "");
    for (text, expected) in [
        (format!("sha256={}", digits.to_uppercase()), Passes),
        (format!("SHA256={digits}"), Malformed),
        (format!("sha1={digits}"), Malformed),
        (digits.clone(), Malformed),
        (format!(" sha256={digits}"), Malformed),
        (format!("sha256={digits} "), Malformed),
        (format!("sha256= {digits}"), Malformed),
        (format!("sha256={digits},sha256={digits}"), Malformed),
        (format!("sha256={digits}, x"), Malformed),
        ("sha256=".to_owned(), Mismatch),
        (String::new(), Malformed),
        (format!("sha256={}", &digits[..62]), Mismatch),
        (format!("sha256={}", &digits[..63]), Malformed),
        (format!("sha256={digits}00"), Mismatch),
        (format!("sha256={}", "0".repeat(64)), Mismatch),
        (format!("sha256={}g", &digits[..63]), Malformed),
    ] {
        assert_eq!(verdict(&set(&github, "x-hub-signature-256", &text)), expected, "{text}");
    }
    let shopify = vector("shopify");
    let base64 = value(&shopify, "x-shopify-hmac-sha256");
    for text in
        [base64.replace('=', ""), format!("{base64}="), base64.to_lowercase(), format!("{base64}{base64}")]
    {
        assert_ne!(verdict(&set(&shopify, "x-shopify-hmac-sha256", &text)), Passes, "{text}");
    }
}

#[test]
fn many_signatures() {
    let pagerduty = vector("pagerduty");
    let good = value(&pagerduty, "x-pagerduty-signature");
    let wrong = format!("v1={}", "0".repeat(64));
    let list = |count: usize| {
        set(&pagerduty, "x-pagerduty-signature", &(vec![wrong.clone(); count].join(",") + "," + &good))
    };
    assert_eq!(verdict(&list(15)), Verdict::Passes);
    assert_eq!(verdict(&list(16)), Verdict::Malformed);
    for text in ["v0=00", "v1", "v1=", "", ",", "v1=xyz"] {
        assert_eq!(
            verdict(&set(&pagerduty, "x-pagerduty-signature", text)),
            match text {
                "v1=" => Verdict::Mismatch,
                _ => Verdict::Malformed,
            },
            "{text}"
        );
    }
    assert_eq!(
        verdict(&set(&pagerduty, "x-pagerduty-signature", &format!(" {good} , v2=x"))),
        Verdict::Passes
    );
    let docusign = vector("docusign");
    let second = docusign.with(|v| {
        let value = v.headers.remove("x-docusign-signature-1").expect("it");
        v.headers.insert("x-docusign-signature-2", value);
        v.headers.insert("x-docusign-signature-1", HeaderValue::from_static("AAAA"));
    });
    assert_eq!(verdict(&second), Verdict::Passes);
    let boxed = vector("box");
    let secondary = boxed.with(|v| {
        let value = v.headers.remove("box-signature-primary").expect("it");
        v.headers.insert("box-signature-secondary", value);
    });
    assert_eq!(verdict(&secondary), Verdict::Passes);
    let none = secondary.with(|v| drop(v.headers.remove("box-signature-secondary")));
    assert_eq!(none.verify(), Err(Fault::Missing("box-signature-primary".parse().expect("a name"))));
    assert_eq!(verdict(&set(&boxed, "box-signature-version", "2")), Verdict::Malformed);
}

#[test]
fn a_time_in_another_unit_or_far_away() {
    use Verdict::{Future, Malformed, Stale};
    for (scheme, header, now) in [
        ("slack", "x-slack-request-timestamp", "1767225600"),
        ("discord", "x-signature-timestamp", "1767225600"),
        ("sendgrid", "x-twilio-email-event-webhook-timestamp", "1767225600"),
        ("hubspot", "x-hubspot-request-timestamp", "1767225600000"),
        ("contentful", "x-contentful-timestamp", "1767225600000"),
        ("zendesk", "x-zendesk-webhook-signature-timestamp", "2026-01-01T00:00:00Z"),
        ("box", "box-delivery-timestamp", "2026-01-01T00:00:00Z"),
        ("twitch", "twitch-eventsub-message-timestamp", "2026-01-01T00:00:00.634234626Z"),
    ] {
        let vector = vector(scheme);
        assert_eq!(value(&vector, header), now);
        for text in [
            "",
            "-1767225600",
            "-1",
            "1.5",
            "1e9",
            "0x69",
            "NaN",
            "99999999999999999999999",
            "18446744073709551616",
            "１７６７",
            "1767225600 ",
            "01767225600",
            "1767225600,1767225600",
            "2026-01-01",
            "Thu, 01 Jan 2026 00:00:00 GMT",
        ] {
            let Ok(odd) = HeaderValue::from_bytes(text.as_bytes()) else { continue };
            let changed =
                vector.with(|v| drop(v.headers.insert(header.parse::<HeaderName>().expect("a name"), odd)));
            assert_eq!(verdict(&changed), Malformed, "{scheme} {text}");
        }
        for text in ["1767225600", "1767225600000", "2026-01-01T00:00:00Z"] {
            if text != now {
                assert_ne!(verdict(&set(&vector, header, text)), Verdict::Passes, "{scheme} {text}");
            }
        }
    }
    for (scheme, header, old, new) in [
        ("slack", "x-slack-request-timestamp", "0", "99999999999"),
        ("discord", "x-signature-timestamp", "1000000000", "9999999999"),
        ("hubspot", "x-hubspot-request-timestamp", "1000000000000", "9999999999999"),
        ("zendesk", "x-zendesk-webhook-signature-timestamp", "1970-01-01T00:00:00Z", "9998-12-31T23:59:59Z"),
    ] {
        let vector = vector(scheme);
        assert_eq!(verdict(&set(&vector, header, old)), Stale, "{scheme}");
        assert_eq!(verdict(&set(&vector, header, new)), Future, "{scheme}");
    }
    let linear = vector("linear");
    for (time, expected) in [
        ("1767225600", Verdict::Content),
        ("\"soon\"", Verdict::Content),
        ("1767225600000,\"webhookTimestamp\":1", Verdict::Content),
    ] {
        let text = String::from_utf8(linear.body.clone()).expect("text");
        let changed = linear.with(|v| v.body = text.replace("1767225600000", time).into_bytes());
        assert_eq!(verdict(&changed), expected, "{time}");
    }
}

/// The signed bytes are the same, cut at another place.
#[test]
fn bytes_do_not_move_between_touching_parts() {
    let moved = |name: &str, change: fn(&mut Vector)| vector(name).with(change);
    // Time and body.
    let digit = moved("discord", |v| {
        v.body.insert(0, b'0');
        v.headers.insert("x-signature-timestamp", HeaderValue::from_static("176722560"));
    });
    assert_eq!(verdict(&digit), Verdict::Malformed);
    let digit = moved("hubspot", |v| {
        v.body.push(b'1');
        v.headers.insert("x-hubspot-request-timestamp", HeaderValue::from_static("767225600000"));
    });
    assert_eq!(verdict(&digit), Verdict::Malformed);
    let year = moved("box", |v| {
        v.body.push(b'2');
        v.headers.insert("box-delivery-timestamp", HeaderValue::from_static("026-01-01T00:00:00Z"));
    });
    assert_eq!(verdict(&year), Verdict::Malformed);
    // URL and body.
    for name in ["square", "hubspot"] {
        let longer = moved(name, |v| {
            let head = v.body.drain(..2).map(char::from).collect::<String>();
            v.target.push_str(&head);
        });
        assert_eq!(verdict(&longer), Verdict::Content, "{name}");
        let shorter = moved(name, |v| v.body.insert(0, v.target.pop().expect("a character") as u8));
        assert_eq!(verdict(&shorter), Verdict::Content, "{name}");
    }
    let longer = moved("trello", |v| v.body.extend_from_slice(b"https://hooks.example.com/x"));
    assert_eq!(verdict(&longer), Verdict::Content);
    let bracket = moved("trello", |v| v.target.push('}'));
    assert_eq!(verdict(&bracket), Verdict::Content);
    // An id and a time.
    let id = moved("twitch", |v| {
        let time = value(v, "twitch-eventsub-message-timestamp");
        let id = value(v, "twitch-eventsub-message-id") + &time;
        v.headers.insert("twitch-eventsub-message-id", HeaderValue::from_str(&id).expect("a value"));
    });
    assert_eq!(verdict(&id), Verdict::Malformed);
    // Fields of a list, and headers.
    let adyen = vector("adyen");
    let text = String::from_utf8(adyen.body.clone()).expect("text");
    let field = adyen.with(|v| {
        v.body = text
            .replace("7914073381342284\"", "7914073381342284::TestMerchant\"")
            .replace("\"TestMerchant\"", "\"\"")
            .into_bytes();
    });
    assert_eq!(verdict(&field), Verdict::Content);
    let contentful = vector("contentful");
    for list in [
        "x-contentful-timestamp",
        "x-contentful-signed-headers",
        "x-contentful-signed-headers,x-contentful-signed-headers",
        "X-Contentful-Signed-Headers,x-contentful-timestamp",
        "",
        ",",
        "a b",
    ] {
        assert!(set(&contentful, "x-contentful-signed-headers", list).verify().is_err(), "{list}");
    }
    // Its owner's own signature, but of a list without the time: an old request could be sent with a new time.
    let secret = contentful.secrets[0].expose().as_bytes();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let list = "x-contentful-signed-headers";
    let text =
        [format!("POST\n{}\n{list}:{list}\n", contentful.target).as_bytes(), &contentful.body].concat();
    let unlisted = set(&contentful, list, list);
    let tag = crate::secret::hex(ring::hmac::sign(&key, &text).as_ref());
    assert_eq!(verdict(&set(&unlisted, "x-contentful-signature", &tag)), Verdict::Malformed);
    let forged = set(
        &contentful,
        "x-contentful-signed-headers",
        "x-contentful-signed-headers,x-contentful-timestamp,x-more",
    );
    assert!(set(&forged, "x-more", "a;x-b:c").verify().is_err());
}

#[test]
fn members_of_the_body_are_read_in_one_way() {
    let mailgun = vector("mailgun");
    let text = String::from_utf8(mailgun.body.clone()).expect("text");
    let with = |from: &str, to: &str| mailgun.with(|v| v.body = text.replace(from, to).into_bytes());
    for (from, to) in [
        ("{\"signature\":{", "{\"signature\":{},\"signature\":{"),
        ("{\"signature\":{", "{\"Signature\":{},\"signature\":{"),
        ("\"token\":", "\"token\":\"x\",\"token\":"),
        ("\"token\":", "\"\\u0074oken\":\"x\",\"token\":"),
        ("\"token\":", "\"TOKEN\":\"x\",\"token\":"),
        ("\"timestamp\":\"1767225600\"", "\"timestamp\":1767225600.0"),
        ("\"event-data\"", "\"signature\":5,\"event-data\""),
    ] {
        assert_eq!(verdict(&with(from, to)), Verdict::Content, "{to}");
    }
    // The event itself is not signed, which the documentation says.
    let event = with("evt_1", "evt_2");
    assert_eq!(verdict(&event), Verdict::Passes);
    let digest = |v: &Vector| v.verifier().digest(&v.delivery(), &v.verify().expect("good"));
    assert_eq!(digest(&mailgun), digest(&event), "what is not signed does not make another delivery");
}

#[test]
fn signatures_of_public_keys() {
    let sendgrid = vector("sendgrid");
    let header = "x-twilio-email-event-webhook-signature";
    let der = BASE64_STANDARD.decode(value(&sendgrid, header)).expect("base64");
    let changed = |der: &[u8]| verdict(&set(&sendgrid, header, &BASE64_STANDARD.encode(der)));
    // Trailing bytes, a longer form of a length, a leading zero, zeroes, nothing.
    let mut long = der.clone();
    long.splice(1..2, [0x81, der[1]]);
    let mut padded = der.clone();
    padded[1] += 1;
    padded[3] += 1;
    padded.insert(4, 0);
    for odd in [
        &[&der[..], &[0]].concat()[..],
        &long,
        &padded,
        &der[..der.len() - 1],
        &[0x30, 6, 2, 1, 0, 2, 1, 0],
        &[],
    ] {
        assert_ne!(changed(odd), Verdict::Passes, "{odd:?}");
    }
    // ECDSA has a twin of each signature, of the same message. It is the same delivery, since the digest is of the message.
    let twin = set(&sendgrid, header, &BASE64_STANDARD.encode(twin(&der)));
    assert_eq!(verdict(&twin), Verdict::Passes);
    let digest = |v: &Vector| v.verifier().digest(&v.delivery(), &v.verify().expect("good"));
    assert_eq!(digest(&twin), digest(&sendgrid));
    // The two numbers where DER is expected.
    assert_ne!(changed(&[1; 64]), Verdict::Passes);
    let kick = vector("kick");
    for odd in [&[0; 256][..], &[0xff; 256], &[1; 255], &[]] {
        assert_ne!(
            verdict(&set(&kick, "kick-event-signature", &BASE64_STANDARD.encode(odd))),
            Verdict::Passes
        );
    }
    let discord = vector("discord");
    let good = value(&discord, "x-signature-ed25519");
    for odd in [&good[..126], &"0".repeat(128), &(good.clone() + "00"), "01"] {
        assert_ne!(verdict(&set(&discord, "x-signature-ed25519", odd)), Verdict::Passes);
    }
}

/// Returns the signature (r, n - s) of the signature (r, s).
fn twin(der: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order = Encoding::Hex.decode(ORDER).expect("hex");
    let r = &der[4..4 + usize::from(der[3])];
    let s = &der[6 + r.len()..];
    let s = [vec![0; 33 - s.len().min(33)], s.to_vec()].concat();
    let (mut other, mut borrow) = (vec![0; 32], 0);
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(s[at + 1]) - borrow;
        borrow = i16::from(difference < 0);
        other[at] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    let zeroes = other.iter().take_while(|b| **b == 0).count();
    other.drain(..zeroes);
    if other[0] >= 0x80 {
        other.insert(0, 0);
    }
    let integer = |number: &[u8]| [&[2, u8::try_from(number.len()).expect("short")], number].concat();
    let both = [integer(r), integer(&other)].concat();
    [vec![0x30, u8::try_from(both.len()).expect("short")], both].concat()
}

#[test]
fn a_secret_of_another_kind_is_refused() {
    let [(ed25519, _), (p256, _), (rsa, _)] = OTHER_KEYS;
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let whpk = format!("whpk_{}", BASE64_STANDARD.encode([7; 32]));
    // openssl ecparam -name secp384r1 -genkey | openssl ec -pubout
    let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE\n-----END PUBLIC KEY-----";
    let other_curve = [&[
        0x30, 0x15, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
        0x04, 0x00, 0x22, 0x03, 0x01, 0x00,
    ][..]]
    .concat();
    let other_curve = BASE64_STANDARD.encode(other_curve);
    for (scheme, secret, fault) in [
        // An HMAC with what everybody knows.
        ("github", rsa, SecretFault::PublicKeyAsSecret),
        ("github", p256, SecretFault::PublicKeyAsSecret),
        ("github", certificate, SecretFault::PublicKeyAsSecret),
        ("slack", &whpk, SecretFault::PublicKeyAsSecret),
        // Keys of other algorithms.
        ("discord", p256, SecretFault::WrongKind),
        ("discord", rsa, SecretFault::WrongKind),
        ("sendgrid", rsa, SecretFault::WrongKind),
        ("sendgrid", &other_curve, SecretFault::WrongCurve),
        ("sendgrid", p384, SecretFault::NotAKey),
        ("kick", p256, SecretFault::WrongKind),
        ("kick", ed25519, SecretFault::NotAKey),
        ("kick", private, SecretFault::PrivateKey),
        ("kick", certificate, SecretFault::NotAKey),
        ("discord", "whsk_AAAA", SecretFault::PrivateKey),
        ("discord", "secret", SecretFault::NotAKey),
        ("discord", &ed25519[..62], SecretFault::NotAKey),
        // Encodings.
        ("adyen", "not hex", SecretFault::NotHex),
        ("adyen", "abc", SecretFault::NotHex),
        ("airtable", "!", SecretFault::NotBase64),
        ("svix", "whsec_!", SecretFault::NotWhsec),
        ("svix", "whsec_", SecretFault::NotWhsec),
        ("svix", "whsk_AAAA", SecretFault::PrivateKey),
        ("gitlab", "whsec_!", SecretFault::NotWhsec),
    ] {
        let scheme = Scheme::by_name(scheme).expect("a preset");
        assert_eq!(scheme.fits(&Secret::new(secret)), Err(fault), "{scheme:?} {secret}");
    }
    let small =
        BASE64_STANDARD.encode([&[0x30, 0x0a, 0x02, 0x03, 1, 0, 1, 0x02, 0x03, 1, 0, 1][..]].concat());
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{small}\n-----END RSA PUBLIC KEY-----");
    assert_eq!(Scheme::Kick.fits(&Secret::new(pem)), Err(SecretFault::RsaSize));
}

#[test]
fn a_key_is_read_in_each_of_its_forms() {
    let [(ed25519, _), (p256, _), (rsa, _)] = OTHER_KEYS;
    let bytes = Encoding::Hex.decode(ed25519).expect("hex");
    let pem = |text: &str| format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let point = BASE64_STANDARD.encode(&BASE64_STANDARD.decode(p256).expect("base64")[26..]);
    let spki: String = rsa.lines().filter(|line| !line.starts_with('-')).collect();
    for (scheme, key) in [
        (Scheme::Discord, BASE64_STANDARD.encode(&bytes)),
        (Scheme::Discord, format!("whpk_{}", BASE64_STANDARD.encode(&bytes))),
        (Scheme::Discord, ed25519.to_uppercase()),
        (Scheme::Sendgrid, pem(p256)),
        (Scheme::Sendgrid, point),
        (Scheme::Kick, spki),
        (Scheme::Kick, rsa.replace('\n', "\r\n")),
    ] {
        let vector = vectors().into_iter().find(|vector| vector.scheme == scheme).expect("a vector");
        let same = vector.with(|v| v.secrets = vec![Secret::new(key.clone())]);
        assert!(same.verify().is_ok(), "{scheme:?} {key}");
    }
}

#[test]
fn a_certificates_key_is_taken() {
    let made = rcgen::generate_simple_self_signed(vec!["provider.example".into()]).expect("a certificate");
    // P-256, as rcgen makes them.
    let parts = Scheme::Sendgrid.ways().remove(0);
    let key = key::SignatureKey::new(&parts, &Secret::new(made.cert.pem()));
    assert!(key.is_ok());
    assert_eq!(Scheme::Kick.fits(&Secret::new(made.cert.pem())), Err(SecretFault::WrongKind));
}

#[test]
fn a_token_signs_nothing_and_is_whole() {
    let telegram = vector("telegram");
    let header = "x-telegram-bot-api-secret-token";
    let token = value(&telegram, header);
    for text in [
        token.to_uppercase(),
        token[1..].to_owned(),
        format!("{token} "),
        format!("{token},{token}"),
        String::new(),
    ] {
        assert_eq!(verdict(&set(&telegram, header, &text)), Verdict::Mismatch, "{text}");
    }
    assert_eq!(telegram.scheme.token_header(), Some(header.parse().expect("a name")));
}
