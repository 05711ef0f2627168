//! Certificates and the keys to them.
//!
//! What is read here is tried at once: a certificate that no handshake could use is found now, not by the first
//! request that needs it.

use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{CaBundle, TokenTls};
use crate::config::problem::Finding;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// `tls.ca` of a service.
pub(super) fn ca(decoder: &Decoder<'_>, map: Map<'_>) -> Option<CaBundle> {
    bundle(decoder, &decoder.required(&map, "ca")?)
}

/// `tls` of an oauth2 account: for the connections to its token endpoint.
pub(super) fn token_tls(decoder: &Decoder<'_>, at: &At<'_>) -> Option<TokenTls> {
    let map = decoder.mapping(at)?;
    if map.len() == 0 {
        return decoder.empty(at);
    }
    let ca = map.get("ca").map(|at| bundle(decoder, &at));
    let identity = match (map.get("client_certificate"), map.get("client_key")) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => identity(decoder, &certificate, &key),
        (certificate, _) => {
            let missing = if certificate.is_some() { "client_key" } else { "client_certificate" };
            decoder.required_or(&map, missing, Some("a certificate is of use with its key only"));
            None
        }
    };
    Some(TokenTls { ca: ca.map_or(Some(None), |found| found.map(Some))?, identity: identity? })
}

/// The first certificate of a PEM file; `None` within if it can't be read offline.
pub(super) fn certificate(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Option<CertificateDer<'static>>> {
    let (_, Some(bytes)) = read(decoder, at, false)? else { return Some(None) };
    Some(certificates(decoder, at, &bytes)?.into_iter().next())
}

/// Whether the certificate is of another key than this one in PEM.
pub(super) fn is_of_another(certificate: &CertificateDer<'static>, pem: &str) -> bool {
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) else { return false };
    let tried =
        CertifiedKey::from_der(vec![certificate.clone()], key, &rustls::crypto::ring::default_provider());
    matches!(tried, Err(rustls::Error::InconsistentKeys(_)))
}

fn bundle(decoder: &Decoder<'_>, at: &At<'_>) -> Option<CaBundle> {
    let (path, bytes) = read(decoder, at, false)?;
    let certificates = match bytes {
        Some(bytes) => certificates(decoder, at, &bytes)?,
        // Trusts nothing; and nothing is served of a configuration that was read offline.
        None => Vec::new(),
    };
    Some(CaBundle { path, certificates: certificates.iter().map(|der| der.to_vec()).collect() })
}

/// One PEM text of nothing but the certificates and the key, whatever else stood in their files.
fn identity(decoder: &Decoder<'_>, certificate: &At<'_>, key: &At<'_>) -> Option<Option<Secret>> {
    let shown = match read(decoder, certificate, false)? {
        (_, Some(bytes)) => Some(certificates(decoder, certificate, &bytes)?),
        (_, None) => None,
    };
    let (_, Some(bytes)) = read(decoder, key, true)? else { return Some(None) };
    let bytes = Zeroizing::new(bytes);
    let Ok(private) = PrivateKeyDer::from_pem_slice(&bytes) else {
        let finding = Finding::error("invalid_key", decoder.place(key), format!("{key} has no private key"));
        return decoder.reject(
            finding
                .label("no `BEGIN PRIVATE KEY` in this file")
                .help("one behind a passphrase can't be used"),
        );
    };
    let Some(shown) = shown else { return Some(None) };
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
        Ok(_) => return Some(Some(Secret::new(pem.as_str()))),
        Err(rustls::Error::InconsistentKeys(_)) => "this key is not the one of the certificate",
        Err(_) => "a key of this kind can't be used",
    };
    let message = format!("{key} does not fit {certificate}");
    let finding = Finding::error("invalid_key", decoder.place(key), message).label(label);
    decoder.reject(finding.secondary(decoder.place(certificate), "its first certificate is the client's"))
}

fn armor(pem: &mut String, label: &str, der: &[u8]) {
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

/// A file's path and content; no content if it is not to be read offline, or can't be.
fn read(decoder: &Decoder<'_>, at: &At<'_>, secret: bool) -> Option<(PathBuf, Option<Vec<u8>>)> {
    let text = decoder.string(at)?;
    if text.contains(['\n', '\0']) || text.contains("-----BEGIN") {
        decoder.hide(at.node);
        let finding = Finding::error("invalid_path", decoder.place(at), format!("{at} is not a path"));
        return decoder
            .reject(finding.label("this is the content").help("put it into a file, and name that"));
    }
    let path = decoder.resolve(at, text);
    if secret && decoder.secrets.offline {
        return Some((path, None));
    }
    match decoder.secrets.file(&path) {
        Ok(bytes) => Some((path, Some(bytes))),
        Err(_) if decoder.secrets.offline => Some((path, None)),
        Err(reason) => {
            let message = format!("{at} can't be read: {reason}");
            decoder.reject(Finding::error("unreadable_file", decoder.place(at), message).label(reason))
        }
    }
}

/// At least one, each of them well-formed.
fn certificates(decoder: &Decoder<'_>, at: &At<'_>, pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let mut roots = rustls::RootCertStore::empty();
    let label = match certificates {
        Ok(found) if found.is_empty() => "no `BEGIN CERTIFICATE` in this file",
        Ok(found) if found.iter().all(|der| roots.add(der.clone()).is_ok()) => return Some(found),
        Ok(_) => "a certificate in this file is malformed",
        Err(_) => "this file is not valid PEM",
    };
    let message = format!("{at} has no certificates that can be used");
    decoder.reject(Finding::error("invalid_certificate", decoder.place(at), message).label(label))
}
