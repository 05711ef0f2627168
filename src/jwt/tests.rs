//! Signatures are checked by ring's other half. The keys come from `openssl`, as the operators' do: ring makes no RSA key,
//! and a private key among the sources, even one that opens nothing, triggers every secret scanner.

use super::*;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::json;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The standard output of `openssl`, run with these words and this input.
pub(super) fn openssl(words: &str, input: &str) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(words.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, which `.ci/setup test` installs");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {words}");
    output.stdout
}

fn pem(words: &str) -> String {
    String::from_utf8(openssl(words, "")).unwrap()
}

pub(super) fn rsa(bits: u32) -> String {
    pem(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}"))
}

pub(super) fn curve(name: &str) -> String {
    pem(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{name}"))
}

/// The key's public half as ring takes it: what the SPKI holds after a prefix that only the kind of key decides.
fn public(pem: &str, prefix: usize) -> Vec<u8> {
    openssl("pkey -pubout -outform DER", pem)[prefix..].to_vec()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Signs, checks the signature and the claims, and says which algorithm the header names.
fn round(
    pem: &str,
    algorithm: Option<Algorithm>,
    verify: &'static dyn VerificationAlgorithm,
    public: &[u8],
) -> String {
    let key = SigningKey::from_pem(pem, algorithm).unwrap();
    let claims = json!({ "iss": "attache", "n": 1 });
    let token = key.sign(object(&json!({ "kid": "k" })), &object(&claims)).unwrap();
    let (message, signature) = token.expose().rsplit_once('.').unwrap();
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    UnparsedPublicKey::new(verify, public).verify(message.as_bytes(), &decode(signature)).unwrap();
    let (header, body) = message.split_once('.').unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&decode(body)).unwrap(), claims);
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!((&header["typ"], &header["kid"]), (&json!("JWT"), &json!("k")));
    header["alg"].as_str().unwrap().to_owned()
}

fn error(pem: &str, algorithm: Option<Algorithm>) -> KeyError {
    SigningKey::from_pem(pem, algorithm).unwrap_err()
}

#[test]
fn rsa_signs_in_both_paddings_and_from_both_forms() {
    let pkcs8 = rsa(2048);
    let pkcs1 = String::from_utf8(openssl("rsa -traditional", &pkcs8)).unwrap();
    assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let public = public(&pkcs8, 24);
    for pem in [&pkcs8, &pkcs1] {
        assert_eq!(round(pem, None, &RSA_PKCS1_2048_8192_SHA256, &public), "RS256");
        assert_eq!(round(pem, Some(Algorithm::Rs256), &RSA_PKCS1_2048_8192_SHA256, &public), "RS256");
        assert_eq!(round(pem, Some(Algorithm::Rs384), &RSA_PKCS1_2048_8192_SHA384, &public), "RS384");
        assert_eq!(round(pem, Some(Algorithm::Rs512), &RSA_PKCS1_2048_8192_SHA512, &public), "RS512");
        assert_eq!(round(pem, Some(Algorithm::Ps256), &RSA_PSS_2048_8192_SHA256, &public), "PS256");
        for other in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Hs256] {
            assert_eq!(error(pem, Some(other)), KeyError::WrongAlgorithm);
        }
    }
}

#[test]
fn p256_signs_with_a_signature_of_fixed_length() {
    let pem = curve("P-256");
    assert_eq!(round(&pem, None, &ECDSA_P256_SHA256_FIXED, &public(&pem, 26)), "ES256");
    assert_eq!(error(&pem, Some(Algorithm::Rs256)), KeyError::WrongAlgorithm);
}

#[test]
fn p384_signs_with_a_signature_of_fixed_length() {
    let pem = curve("P-384");
    assert_eq!(round(&pem, None, &ECDSA_P384_SHA384_FIXED, &public(&pem, 23)), "ES384");
    assert_eq!(error(&pem, Some(Algorithm::Es256)), KeyError::WrongAlgorithm);
    assert_eq!(error(&curve("P-256"), Some(Algorithm::Es384)), KeyError::WrongAlgorithm);
    assert_eq!(SigningKey::from_pem(&pem, None).unwrap().public_jwk(), None);
}

#[test]
fn ed25519_signs_without_its_public_half_in_the_file() {
    let pem = pem("genpkey -algorithm ED25519");
    assert_eq!(round(&pem, None, &ED25519, &public(&pem, 12)), "EdDSA");
    assert_eq!(round(&pem, Some(Algorithm::Ed25519), &ED25519, &public(&pem, 12)), "Ed25519");
    assert_eq!(error(&pem, Some(Algorithm::Es256)), KeyError::WrongAlgorithm);
}

#[test]
fn text_before_the_key_is_no_hindrance() {
    let pem = curve("P-256");
    assert!(SigningKey::from_pem(&format!("Bag Attributes\n    friendlyName: x\n{pem}"), None).is_ok());
}

#[test]
fn the_sec1_form_is_named_with_the_way_out() {
    let sec1 = pem("ecparam -genkey -noout -name prime256v1");
    assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY-----"));
    assert_eq!(error(&sec1, None), KeyError::Sec1);
    let converted = String::from_utf8(openssl("pkcs8 -topk8 -nocrypt", &sec1)).unwrap();
    assert!(SigningKey::from_pem(&converted, None).is_ok());
    assert_eq!(
        KeyError::Sec1.to_string(),
        "an EC key in SEC1 form; `openssl pkcs8 -topk8 -nocrypt` converts it to PKCS#8"
    );
}

#[test]
fn keys_that_are_too_small_or_of_another_kind() {
    for pem in [rsa(1024), curve("P-521"), pem("genpkey -algorithm X25519")] {
        assert_eq!(error(&pem, None), KeyError::Unsupported);
    }
}

#[test]
fn what_is_no_private_key() {
    let pem = curve("P-256");
    let public = String::from_utf8(openssl("pkey -pubout", &pem)).unwrap();
    let encrypted = String::from_utf8(openssl("pkcs8 -topk8 -passout pass:x -v2 aes-256-cbc", &pem)).unwrap();
    assert!(encrypted.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    for text in ["", "s3cret", &pem.replace("END", "FIN")] {
        assert_eq!(error(text, None), KeyError::NotPem);
    }
    assert_eq!(error(&public, None), KeyError::Public);
    assert_eq!(error(&encrypted, None), KeyError::Encrypted);
    for lost in [" ", "\\n"] {
        assert_eq!(error(&pem.replace('\n', lost), None), KeyError::NoLines);
    }
}

#[test]
fn a_key_is_compared_and_printed_without_itself() {
    let pem = curve("P-256");
    let key = SigningKey::from_pem(&pem, None).unwrap();
    assert_eq!(key, SigningKey::from_pem(&pem, Some(Algorithm::Es256)).unwrap());
    assert_ne!(key, SigningKey::from_pem(&curve("P-256"), None).unwrap());
    assert_eq!(format!("{key:?}"), "SigningKey(ES256, [secret])");
}

/// An independent reckoning of RFC 7515 appendix A.1's kind: `openssl` over the same message.
#[test]
fn hs256_is_what_openssl_makes_of_it() {
    let token =
        sign_hs256(&Secret::new("client-s3cret"), Map::new(), &object(&json!({ "iss": "a" }))).unwrap();
    let (message, signature) = token.expose().rsplit_once('.').unwrap();
    let expected = openssl("dgst -sha256 -hmac client-s3cret -binary", message);
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap(), expected);
    assert_eq!(message, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhIn0");
}
