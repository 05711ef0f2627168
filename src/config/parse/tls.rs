//! Certificates and their keys.
//!
//! Content is checked at once: a certificate that no handshake could use is found now, not by the first request that
//! needs it. A file without a usable one is treated as an unreadable secret: it concerns only the service or the
//! account that names it, even while another program is writing it.

use super::optional;
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::{CaBundle, ReadFault, ServiceTls, TokenTls};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::Failure;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Reads `tls` of a service.
pub(super) fn service_tls(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ServiceTls> {
    let map = decoder.mapping(at)?;
    if map.len() == 0 {
        return decoder.empty(at);
    }
    let (ca, identity) = trust_and_identity(decoder, &map);
    let server_name = optional(map.get("server_name"), |at| server_name(decoder, at));
    Some(ServiceTls {
        ca: ca.checked().ok()?,
        identity: identity.checked().ok()?,
        is_mutual: map.get("client_certificate").is_some(),
        server_name: server_name.checked().ok()?,
    })
}

/// Reads the name in a server's certificate: a DNS name or an address.
fn server_name(decoder: &Decoder<'_>, at: &At<'_>) -> Option<String> {
    decoder.parsed(at, "invalid_server_name", "a name that a certificate can have", scalar::server_name)
}

/// Reads `tls` of an oauth2 account, for the connections to its token endpoint.
pub(super) fn token_tls(decoder: &Decoder<'_>, at: &At<'_>) -> Option<TokenTls> {
    let map = decoder.mapping(at)?;
    if map.len() == 0 {
        return decoder.empty(at);
    }
    let (ca, identity) = trust_and_identity(decoder, &map);
    Some(TokenTls { ca: ca.checked().ok()?, identity: identity.checked().ok()? })
}

/// Reads `ca`, and `client_certificate` with `client_key`.
fn trust_and_identity(decoder: &Decoder<'_>, map: &Map<'_>) -> (Given<CaBundle>, Given<Secret>) {
    let ca = optional(map.get("ca"), |at| bundle(decoder, at));
    let identity = match (map.get("client_certificate"), map.get("client_key")) {
        (None, None) => Given::Absent,
        (Some(certificate), Some(key)) => identity(decoder, &certificate, &key),
        (certificate, _) => {
            let missing = if certificate.is_some() { "client_key" } else { "client_certificate" };
            decoder.required_or(map, missing, Some("a client certificate needs its private key"));
            Given::Invalid
        }
    };
    (ca, identity)
}

/// Reads the first certificate of a PEM file; absent if it can't be read.
pub(super) fn certificate(decoder: &Decoder<'_>, at: &At<'_>) -> Given<CertificateDer<'static>> {
    let Some((_, found)) = certificates(decoder, at) else { return Given::Invalid };
    found.and_then(|found| found.into_iter().next()).map_or(Given::Absent, Given::Value)
}

/// Returns true if the certificate belongs to another key than this one in PEM.
pub(super) fn is_of_another(certificate: &CertificateDer<'static>, pem: &str) -> bool {
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) else { return false };
    let tried =
        CertifiedKey::from_der(vec![certificate.clone()], key, &rustls::crypto::ring::default_provider());
    matches!(tried, Err(rustls::Error::InconsistentKeys(_)))
}

/// Reads the path of a file of trusted certificates.
pub(super) fn bundle(decoder: &Decoder<'_>, at: &At<'_>) -> Option<CaBundle> {
    let (path, found) = certificates(decoder, at)?;
    // A bundle without certificates trusts nothing. It was read offline, or its owner is unavailable.
    let found = found.unwrap_or_default();
    Some(CaBundle { path, certificates: found.iter().map(|der| der.to_vec()).collect() })
}

/// Returns one PEM text with only the certificates and the key, without other content of their files.
fn identity(decoder: &Decoder<'_>, certificate: &At<'_>, key: &At<'_>) -> Given<Secret> {
    let Some((_, shown)) = certificates(decoder, certificate) else { return Given::Invalid };
    let private = private_key(decoder, key);
    let (shown, private) = match (shown, private) {
        (_, Given::Invalid) => return Given::Invalid,
        (Some(shown), Given::Value(private)) => (shown, private),
        _ => return Given::Absent,
    };
    let mut pem = Zeroizing::new(String::new());
    for der in &shown {
        armor(&mut pem, "CERTIFICATE", der);
    }
    let label = match &private {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    armor(&mut pem, label, private.secret_der());
    let label = match CertifiedKey::from_der(shown, private, &rustls::crypto::ring::default_provider()) {
        Ok(_) => return Given::Value(Secret::new(pem.as_str())),
        Err(rustls::Error::InconsistentKeys(_)) => "this key is not the one of the certificate",
        Err(_) => "a key of this kind can't be used",
    };
    let message = format!("{key} does not fit {certificate}");
    let finding = Finding::error("invalid_key", decoder.place(key), message).label(label);
    let place = decoder.place(certificate);
    decoder.reject(finding.secondary(place, "its first certificate is the client's")).into()
}

pub(super) fn armor(pem: &mut String, label: &str, der: &[u8]) {
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let text = Zeroizing::new(BASE64_STANDARD.encode(der));
    for (at, digit) in text.chars().enumerate() {
        pem.push(digit);
        if at % 64 == 63 {
            pem.push('\n');
        }
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
}

/// Reads a path.
pub(super) fn path(decoder: &Decoder<'_>, at: &At<'_>) -> Option<PathBuf> {
    let text = decoder.string(at)?;
    if text.contains(['\n', '\0']) || text.contains("-----BEGIN") || text.trim_start().starts_with('{') {
        decoder.hide(at.node);
        let finding = Finding::error("invalid_path", decoder.place(at), format!("{at} is not a path"));
        return decoder.reject(
            finding
                .label("this is the content of a file")
                .help("put it into a file, and write its path here"),
        );
    }
    Some(decoder.resolve(at, text))
}

pub(super) type Certificates = Vec<CertificateDer<'static>>;

/// Reads a file's path and the certificates in it; none if they can't be read.
fn certificates(decoder: &Decoder<'_>, at: &At<'_>) -> Option<(PathBuf, Option<Certificates>)> {
    let path = path(decoder, at)?;
    let found = decoder.deliver_file(at, &path, |bytes| well_formed(at, bytes));
    if found.is_none() {
        decoder.secrets.block();
    }
    for der in found.iter().flatten() {
        decoder.secrets.digest(der);
    }
    Some((path, found))
}

/// Reads the private key in a file; absent if it can't be read.
fn private_key(decoder: &Decoder<'_>, at: &At<'_>) -> Given<PrivateKeyDer<'static>> {
    let Some(path) = path(decoder, at) else { return Given::Invalid };
    if decoder.secrets.offline {
        return Given::Absent;
    }
    let found = decoder.deliver_file(at, &path, |bytes| {
        PrivateKeyDer::from_pem_slice(bytes).map_err(|_| Failure {
            fault: fault(bytes),
            code: "invalid_key",
            message: format!("{at} has no private key"),
            label: "no `BEGIN PRIVATE KEY` in this file".to_owned(),
            help: Some("a key with a passphrase can't be used".to_owned()),
        })
    });
    match &found {
        Some(key) => decoder.secrets.digest(key.secret_der()),
        None => decoder.secrets.block(),
    }
    found.map_or(Given::Absent, Given::Value)
}

/// Returns the failure of a file without usable content, still without a label.
pub(super) fn unusable(bytes: &[u8], code: &'static str, message: String) -> Failure {
    Failure { fault: fault(bytes), ..Failure::malformed(code, message, "", None) }
}

/// Returns the fault of a file without usable content.
pub(super) fn fault(bytes: &[u8]) -> ReadFault {
    if bytes.trim_ascii().is_empty() { ReadFault::Empty } else { ReadFault::Malformed }
}

/// Parses at least one certificate, each of them well-formed.
pub(super) fn well_formed(at: &At<'_>, pem: &[u8]) -> Result<Certificates, Failure> {
    let certificates: Result<Certificates, _> = CertificateDer::pem_slice_iter(pem).collect();
    let mut roots = rustls::RootCertStore::empty();
    let label = match certificates {
        Ok(found) if found.is_empty() => "no `BEGIN CERTIFICATE` in this file",
        Ok(found) if found.iter().all(|der| roots.add(der.clone()).is_ok()) => return Ok(found),
        Ok(_) => "a certificate in this file is malformed",
        Err(_) => "this file is not valid PEM",
    };
    Err(Failure {
        fault: fault(pem),
        code: "invalid_certificate",
        message: format!("{at} has no certificates that can be used"),
        label: label.to_owned(),
        help: None,
    })
}
