//! Every scheme against requests that the providers' own libraries signed (`tests/vectors`, see `tests/peers/vectors`), and
//! against what a client may make of them.

use super::*;

mod attacks;
mod cuts;
mod events;
mod keys;
mod providers;
mod vectors;

use std::time::UNIX_EPOCH;
use vectors::{Vector, another, vectors};

#[test]
fn requests_that_the_providers_libraries_signed_pass() {
    for vector in vectors() {
        vector.verify().unwrap_or_else(|fault| panic!("{}: {fault}", vector.name));
    }
}

#[test]
fn an_altered_body_does_not_pass() {
    for vector in vectors().iter().filter(|vector| !vector.is_token() && !vector.is_partial()) {
        for at in [0, vector.body.len() / 2, vector.body.len().saturating_sub(1)] {
            let changed = vector.with(|v| match v.body.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => v.body.push(b'x'),
            });
            assert!(changed.verify().is_err() || same_form(vector, &changed), "{} at {at}", vector.name);
        }
        assert!(vector.with(|v| v.body.extend(b"&a=b")).verify().is_err(), "{}: longer", vector.name);
        let shorter = vector.with(|v| v.body.truncate(v.body.len().saturating_sub(1)));
        let same = vector.body.is_empty() || same_form(vector, &shorter);
        assert!(shorter.verify().is_err() || same, "{}", vector.name);
    }
}

/// Twilio signs the set of a form's parameters, so some bytes of the form make no difference.
fn same_form(one: &Vector, other: &Vector) -> bool {
    let parameters = |vector: &Vector| -> std::collections::BTreeSet<(String, String)> {
        url::form_urlencoded::parse(&vector.body).into_owned().collect()
    };
    one.scheme == Scheme::Twilio && parameters(one) == parameters(other)
}

#[test]
fn an_altered_header_does_not_pass() {
    for vector in vectors() {
        for name in vector.needed() {
            let value = vector.headers[&name].to_str().expect("ASCII").to_owned();
            let several = vector.name.contains("two-signatures") || vector.name.contains("beside");
            for at in (0..value.len()).filter(|_| !several) {
                let mut bytes = value.clone().into_bytes();
                // Another digit, and another letter of base64.
                bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
                let value = HeaderValue::from_bytes(&bytes).expect("a value");
                let changed = vector.with(|v| drop(v.headers.insert(&name, value)));
                // The last letter of base64 holds bits that stand for nothing; strict decoders refuse them.
                assert!(changed.verify().is_err(), "{}: {name} at {at}", vector.name);
            }
            let empty = vector.with(|v| drop(v.headers.insert(&name, HeaderValue::from_static(""))));
            assert!(empty.verify().is_err(), "{}: {name} empty", vector.name);
            let odd = HeaderValue::from_bytes(b"caf\xe9").expect("a value");
            assert!(vector.with(|v| drop(v.headers.insert(&name, odd))).verify().is_err(), "{}", vector.name);
        }
    }
}

#[test]
fn a_header_that_is_missing_or_there_twice_is_named() {
    for vector in vectors() {
        for name in vector.needed() {
            let missing = vector.with(|v| drop(v.headers.remove(&name))).verify();
            assert_eq!(missing, Err(Fault::Missing(name.clone())), "{}", vector.name);
            let value = vector.headers[&name].clone();
            let twice = vector.with(|v| assert!(v.headers.append(&name, value))).verify();
            assert_eq!(twice, Err(Fault::Duplicate(name)), "{}", vector.name);
        }
    }
}

#[test]
fn a_signed_time_is_held_to_the_tolerance_both_ways() {
    let mut timed = 0;
    for vector in vectors() {
        let second = Duration::from_secs(1);
        let tolerance = vector.scheme.default_tolerance();
        let at = [vector.at + tolerance, vector.at - tolerance];
        assert!(at.iter().all(|at| vector.verify_at(*at).is_ok()), "{}", vector.name);
        let (late, early) = (
            vector.verify_at(vector.at + tolerance + second),
            vector.verify_at(vector.at - tolerance - second),
        );
        if vector.scheme.has_timestamp() && !vector.is_token() {
            timed += 1;
            assert!(matches!(late, Err(Fault::Stale(..))), "{}: {late:?}", vector.name);
            assert!(matches!(early, Err(Fault::Future(..))), "{}: {early:?}", vector.name);
        } else {
            assert!(late.is_ok() && early.is_ok(), "{}", vector.name);
        }
    }
    assert!(timed >= 40, "{timed}");
}

#[test]
fn any_of_several_secrets_will_do_and_no_other() {
    for vector in vectors() {
        let wrong: Vec<Secret> = vector.secrets.iter().map(another).collect();
        let both = |first: &[Secret], second: &[Secret]| [first, second].concat();
        for secrets in [both(&wrong, &vector.secrets), both(&vector.secrets, &wrong)] {
            vector.with(|v| v.secrets = secrets).verify().unwrap_or_else(|e| panic!("{}: {e}", vector.name));
        }
        assert!(vector.with(|v| v.secrets = wrong).verify().is_err(), "{}", vector.name);
    }
}

#[test]
fn a_time_in_another_form_is_malformed() {
    for vector in vectors().iter().filter(|vector| vector.scheme == Scheme::Slack) {
        let value = HeaderValue::from_static("1767225600.0");
        let changed = vector.with(|v| drop(v.headers.insert("x-slack-request-timestamp", value)));
        assert!(matches!(changed.verify(), Err(Fault::Malformed(..))), "{}", vector.name);
    }
}

fn vector(scheme: &Scheme) -> Vector {
    vectors().into_iter().find(|vector| vector.scheme == *scheme).expect("a vector")
}

#[test]
fn stripes_header_has_one_time_and_no_end_of_signatures() {
    let stripe = vector(&Scheme::Stripe);
    let value = stripe.headers["stripe-signature"].to_str().expect("ASCII").to_owned();
    let with = |value: String| {
        let value = HeaderValue::from_str(&value).expect("a value");
        stripe.with(|v| drop(v.headers.insert("stripe-signature", value))).verify()
    };
    let malformed = |result| matches!(result, Err(Fault::Malformed(..)));
    assert!(malformed(with(format!("t=1767225601,{value}"))));
    assert!(malformed(with(value.replace("t=", "t=0"))));
    assert!(malformed(with(value.replace("t=1767225600,", ""))));
    assert!(malformed(with(format!("{value},nonsense"))));
    assert!(malformed(with(value.replace("v1=", "v0="))), "v0 is for tests");
    assert!(malformed(with(format!("{value}{}", ",v1=00".repeat(16)))));
    assert_eq!(with(format!("v1=00,{value},v2=x")), Ok(Signed { id: None, timestamp: Some(1_767_225_600) }));
}

#[test]
fn standard_webhooks_say_their_id_and_v1_is_not_v1a() {
    let standard = vector(&Scheme::StandardWebhooks);
    let signed = standard.verify().expect("good");
    assert_eq!(signed.id.as_deref(), standard.headers["webhook-id"].to_str().ok());
    let value = standard.headers["webhook-signature"].to_str().expect("ASCII").replace("v1,", "v1a,");
    let swapped = HeaderValue::from_str(&value).expect("a value");
    assert!(standard.with(|v| drop(v.headers.insert("webhook-signature", swapped))).verify().is_err());
}

#[test]
fn gitlab_signs_or_shows_its_token_and_each_needs_its_own_secret() {
    let all = vectors();
    let (tokens, signed): (Vec<&Vector>, Vec<&Vector>) =
        all.iter().filter(|vector| vector.scheme == Scheme::Gitlab).partition(|vector| vector.is_token());
    let (token, signed) = (tokens[0], signed[0]);
    let both = [&token.secrets[..], &signed.secrets[..]].concat();
    assert!(token.with(|v| v.secrets.clone_from(&both)).verify().is_ok());
    assert!(signed.with(|v| v.secrets = both).verify().is_ok());
    assert!(token.with(|v| v.secrets.clone_from(&signed.secrets)).verify().is_err());
    assert!(signed.with(|v| v.secrets.clone_from(&token.secrets)).verify().is_err());
    // Once there is nothing but a signing token, the plain token counts for nothing.
    let shown = HeaderValue::from_str(signed.secrets[0].expose()).expect("a value");
    let sneaky = signed.with(|v| {
        v.headers.clear();
        v.headers.insert("x-gitlab-token", shown);
    });
    assert!(sneaky.verify().is_err());
}

#[test]
fn microsofts_notifications_all_have_to_show_their_state() {
    let graph = |body: &str| {
        let secrets = vec![Secret::new("old state"), Secret::new("the \"state\"")];
        Vector { scheme: Scheme::MicrosoftGraph, secrets, body: body.into(), ..vector(&Scheme::Github) }
            .verify()
    };
    let good = r#"{"clientState":"the \"state\"","resource":"me/messages"}"#;
    assert!(graph(&format!(r#"{{"value":[{good}]}}"#)).is_ok());
    assert!(graph(&format!(r#"{{"value":[{good},{{"clientState":"old state"}}]}}"#)).is_ok());
    for bad in [
        r#"{"value":[]}"#.to_owned(),
        "{}".to_owned(),
        "nonsense".to_owned(),
        format!(r#"{{"value":[{good},{{"clientState":"other"}}]}}"#),
        format!(r#"{{"value":[{good},{{"clientState":null}}]}}"#),
        format!(r#"{{"value":[{good},{{}}]}}"#),
        format!(r#"{{"value":[{good}],"value":[]}}"#),
    ] {
        assert!(graph(&bad).is_err(), "{bad}");
    }
}

#[test]
fn twilios_json_has_to_be_the_one_in_the_url() {
    let twilio = vectors().into_iter().find(|v| v.name.ends_with("twilio body-json")).expect("the vector");
    let twice = twilio.with(|v| v.target = format!("{}&bodySHA256=00", v.target));
    assert_eq!(twice.verify(), Err(Fault::Content("the URL has more than one bodySHA256")));
    let none = twilio.with(|v| v.target = v.target.replace("bodySHA256", "other"));
    assert!(matches!(none.verify(), Err(Fault::Content(_))));
}

#[test]
fn twilios_hash_counts_whatever_the_body_says_that_it_is() {
    let twilio = vectors().into_iter().find(|v| v.name.ends_with("twilio body-json")).expect("the vector");
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let as_form = twilio.with(|v| {
        v.headers.insert("content-type", form.clone());
        v.body = b"&&&&".to_vec();
    });
    assert!(matches!(as_form.verify(), Err(Fault::Content(_))));
    let form_vector = vectors().into_iter().find(|v| v.name.ends_with("twilio form")).expect("the vector");
    let twice = form_vector.with(|v| assert!(v.headers.append("content-type", form)));
    assert_eq!(twice.verify(), Err(Fault::Duplicate(http::header::CONTENT_TYPE)));
}

/// Form bodies that cost far more than their size to sort.
#[test]
fn a_form_of_many_parameters_is_refused() {
    let form = vectors().into_iter().find(|v| v.name.ends_with("twilio form")).expect("the vector");
    let verdict = |body: String| form.with(|v| v.body = body.into_bytes()).verify();
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join("&");
    let too_many =
        Err(Fault::Content("the form has more than 1000 different parameters, or more than 20000"));
    assert_eq!(verdict(numbers(1000)), Err(Fault::Mismatch), "it is looked at");
    assert_eq!(verdict(numbers(1001)), too_many);
    assert_eq!(verdict(numbers(150_000)), too_many);
    assert_eq!(verdict("a=1&".repeat(20_000)), Err(Fault::Mismatch), "it is the same one");
    assert_eq!(verdict("a=1&".repeat(20_001)), too_many, "each is a comparison");
    assert_eq!(verdict("&".repeat(1 << 20)), Err(Fault::Mismatch), "empty ones are none");
    let many = form.with(|v| v.body = numbers(150_000).into_bytes());
    assert_ne!(many.verifier().digest(&many.delivery(), &Signed::default()), [0; 32]);
}

#[test]
fn unsigned_parts_do_not_tell_two_deliveries_apart() {
    let digest =
        |vector: &Vector| vector.verifier().digest(&vector.delivery(), &vector.verify().unwrap_or_default());
    for vector in vectors().iter().filter(|vector| !vector.signs_url()) {
        let moved = vector.with(|v| v.target.push_str("?x"));
        let more = vector.with(|v| drop(v.headers.insert("x-more", HeaderValue::from_static("1"))));
        assert_eq!(digest(vector), digest(&moved), "{}", vector.name);
        assert_eq!(digest(vector), digest(&more), "{}", vector.name);
        let other = vector.with(|v| v.body.insert(v.body.len().min(1), b' '));
        assert_eq!(digest(vector) == digest(&other), vector.has_unsigned_body(), "{}", vector.name);
    }
    let token = vectors().into_iter().find(Vector::is_token).expect("the vector");
    let timed = token.with(|v| drop(v.headers.insert("webhook-timestamp", HeaderValue::from_static("1"))));
    assert_eq!(digest(&token), digest(&timed));
    let form = vectors().into_iter().find(|v| v.name.ends_with("twilio form")).expect("the vector");
    let pairs: Vec<&[u8]> = form.body.split(|&b| b == b'&').collect();
    let turned = pairs.iter().rev().copied().collect::<Vec<_>>().join(&b'&');
    let turned = form.with(|v| v.body = [turned.as_slice(), b"&"].concat());
    assert!(turned.verify().is_ok() && digest(&form) == digest(&turned));
    assert_ne!(digest(&form), digest(&form.with(|v| v.target.push('x'))));
}

#[test]
fn another_spelling_of_a_header_that_decides_is_refused() {
    for vector in vectors() {
        for name in vector.needed() {
            let other = format!("{name}-").replace('-', "_").parse::<HeaderName>().expect("a name");
            let value = HeaderValue::from_static("1");
            let beside = vector.with(|v| drop(v.headers.insert(other, value))).verify();
            assert_eq!(beside, Err(Fault::Duplicate(name)), "{}", vector.name);
        }
    }
}

#[test]
fn few_signatures_by_ed25519_are_looked_at() {
    let signed = vectors().into_iter().find(|v| v.name.contains("v1a-json")).expect("the vector");
    let value = signed.headers["webhook-signature"].to_str().expect("ASCII").to_owned();
    let times = |n| {
        let value = HeaderValue::from_str(&vec![value.as_str(); n].join(" ")).expect("a value");
        signed.with(|v| drop(v.headers.insert("webhook-signature", value))).verify()
    };
    assert!(times(4).is_ok());
    assert!(matches!(times(5), Err(Fault::Malformed(..))));
}

#[test]
fn a_template_says_what_is_wrong_with_it() {
    for (text, fault) in [
        ("{timestamp}.", TemplateFault::NoBody),
        ("{body:crc32}", TemplateFault::NoBody),
        ("{body:/a}", TemplateFault::NoBody),
        ("{body:a}{body}", TemplateFault::Unknown),
        ("{body:/1}{body}", TemplateFault::Unknown),
        ("", TemplateFault::NoBody),
        ("{body", TemplateFault::Unclosed),
        ("body}", TemplateFault::Unclosed),
        ("{time}{body}", TemplateFault::Unknown),
        ("{header:}{body}", TemplateFault::Unknown),
        ("{}{body}", TemplateFault::Unknown),
        ("{id}{body}", TemplateFault::Touching),
        ("{body}{id}", TemplateFault::Touching),
        ("{id}{timestamp}{body}", TemplateFault::Touching),
        ("{header:x}{body}", TemplateFault::Touching),
        ("{header:x}{header:y}.{body}", TemplateFault::Touching),
        ("{body}{body:/a}", TemplateFault::Touching),
        ("{body}{body}", TemplateFault::Touching),
        ("{body}.{body}", TemplateFault::Touching),
        ("{url}{timestamp}{body}", TemplateFault::Touching),
        ("{body}.{timestamp}{id}", TemplateFault::Touching),
        ("{header:x}{timestamp}.{body}", TemplateFault::Touching),
        ("{body}{url}{body}", TemplateFault::Touching),
        ("{url}{id}{body}", TemplateFault::Touching),
    ] {
        assert_eq!(Template::parse(text, TimeFormat::Seconds), Err(fault), "{text}");
    }
    for text in [
        "{timestamp}{body}",
        "{body}{timestamp}",
        "{timestamp}{body}{timestamp}",
        "{timestamp}{id}.{body}",
        "{url}{body}",
        "{body}{url}",
        "{target}{body}",
        "{method}{url}{body}{timestamp}",
        "{method}{target}.{body}",
        "{body:sha256}{body}{timestamp}",
        "{body}.{header:x}",
        "{header:x}.{body}.{id}",
    ] {
        assert!(Template::parse(text, TimeFormat::Seconds).is_ok(), "{text}");
    }
    assert!(Template::parse("{id}{timestamp}{body}", TimeFormat::Rfc3339).is_ok());
}

#[test]
fn all_of_a_request_can_be_signed() {
    let scheme = vectors::custom(&serde_json::json!({
        "header": "x-signature",
        "timestamp_header": "x-time",
        "id_header": "x-id",
        "signed": "a:{id}:{timestamp}:{method}:{target}:{url}:{header:X-T}:{body}",
    }));
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-time", "1767225600"), ("x-id", "7"), ("x-t", "tenant")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let message = "a:7:1767225600:PUT:/w/k?q:https://h/w/k?q:tenant:body";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s");
    let signature = crate::secret::hex(ring::hmac::sign(&key, message.as_bytes()).as_ref());
    headers.insert("x-signature", HeaderValue::from_str(&signature).expect("a value"));
    let vector = Vector {
        name: String::new(),
        scheme,
        webhook_id: None,
        secrets: vec![Secret::new("s")],
        method: "PUT".into(),
        public_url: "https://h".into(),
        target: "/w/k?q".into(),
        headers,
        body: b"body".to_vec(),
        at: UNIX_EPOCH + Duration::from_secs(1_767_225_600),
    };
    assert_eq!(vector.verify().map(|signed| signed.id), Ok(Some("7".into())));
    for header in ["x-t", "x-id", "x-time"] {
        let missing = vector.with(|v| drop(v.headers.remove(header)));
        assert!(matches!(missing.verify(), Err(Fault::Missing(_))), "{header}");
        let twice = vector.with(|v| assert!(v.headers.append(header, HeaderValue::from_static("9"))));
        assert!(matches!(twice.verify(), Err(Fault::Duplicate(_))), "{header}");
    }
    let changes: [fn(&mut Vector); 5] = [
        |v| v.method = "POST".into(),
        |v| v.target = "/w/k?r".into(),
        |v| v.public_url = "https://i".into(),
        |v| drop(v.headers.insert("x-t", HeaderValue::from_static("other"))),
        |v| drop(v.headers.insert("x-id", HeaderValue::from_static("8"))),
    ];
    for change in changes {
        assert_eq!(vector.with(change).verify(), Err(Fault::Mismatch));
    }
}

/// The header's value may hold the text that stands behind it, so the parts can be taken apart in two ways; they are signed
/// alike, and so are one delivery.
#[test]
fn a_delivery_that_is_cut_in_another_place_is_the_same_one() {
    let scheme =
        vectors::custom(&serde_json::json!({ "header": "x-signature", "signed": "{header:x-topic}:{body}" }));
    let digest = |topic: &'static str, body: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("x-topic", HeaderValue::from_static(topic));
        headers.insert("x-signature", HeaderValue::from_static("00"));
        let verifier =
            Verifier::new(scheme.clone(), &[Secret::new("s")], Verifier::DEFAULT_TOLERANCE).expect("one");
        let delivery = Delivery { method: "POST", target: b"/", public_url: None, headers: &headers, body };
        verifier.digest(&delivery, &Signed::default())
    };
    assert_eq!(digest("orders", br#"{"x":1}"#), digest(r#"orders:{"x""#, b"1}"));
    assert_ne!(digest("orders", br#"{"x":1}"#), digest("orders", br#"{"x":2}"#));
}

#[test]
fn an_id_can_not_be_said_to_end_elsewhere() {
    let standard = vector(&Scheme::StandardWebhooks);
    let id = standard.headers["webhook-id"].to_str().expect("ASCII").to_owned();
    let dotted = HeaderValue::from_str(&format!("{id}.1")).expect("a value");
    let cut = standard.with(|v| drop(v.headers.insert("webhook-id", dotted)));
    assert!(matches!(cut.verify(), Err(Fault::Malformed(..))));
}

#[test]
fn an_explanation_holds_no_secret_and_no_signature() {
    for vector in vectors() {
        let mut trace = Trace::on();
        vector.verifier().verify_at(&vector.delivery(), vector.at, &mut trace).expect("good");
        let said: String = trace.steps().iter().map(|step| step.text.clone() + "\n").collect();
        assert!(said.contains("secret 1: "), "{}: {said}", vector.name);
        let shown = ["content-type", "time", "signed-headers", "auth-algo", "signature-algorithm"];
        let headers =
            vector.headers.iter().filter(|(name, _)| !shown.iter().any(|part| name.as_str().contains(part)));
        let values =
            headers.filter_map(|(_, value)| value.to_str().ok()).flat_map(|v| v.split([',', ' ', '=']));
        let secrets = vector.secrets.iter().map(Secret::expose);
        for hidden in values.chain(secrets).filter(|text| text.len() > 10) {
            assert!(!said.contains(hidden), "{}: {said}", vector.name);
        }
    }
}
