//! `tls` of a listener: its certificate and key, which are only good together, and the authorities of its clients.
//!
//! A process does not start with an unusable pair, and a running one keeps the last pair.

use super::tls;
use crate::config::decode::{At, Decoder, Given};
use crate::config::model::{CaBundle, ClientCa, ListenTls};
use crate::config::problem::Finding;
use crate::config::secrets::{Failure, Mismatch};
use crate::secret::Secret;
use crate::x509;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// A chain and its key in PEM, and the end of its validity.
struct Identity {
    pem: Secret,
    not_after: Option<SystemTime>,
    /// A certificate of the chain that does not follow from the one before it, counted from 1.
    out_of_order: Option<usize>,
}

/// Reads `tls` of a listener.
pub(super) fn tls(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ListenTls> {
    let map = decoder.mapping(at)?;
    if map.len() == 0 {
        return decoder.empty(at);
    }
    let read = || {
        let certificate = decoder.required(&map, "certificate");
        let key = decoder.required(&map, "key");
        let identity = match (&certificate, &key) {
            (Some(certificate), Some(key)) => identity(decoder, certificate, key),
            _ => Given::Invalid,
        };
        let client_ca = super::optional(map.get("client_ca"), |at| client_ca(decoder, at));
        (identity, client_ca)
    };
    let ((identity, client_ca), unread) = decoder.secrets.owned(at.to_string(), read);
    let identity = identity.checked().ok()?;
    let not_after = identity.as_ref().and_then(|identity| identity.not_after);
    let client_ca = client_ca.checked().ok()?;
    Some(ListenTls { identity: identity.map(|identity| identity.pem), not_after, client_ca, unread })
}

/// Reads the pair; absent if no secret is read.
fn identity(decoder: &Decoder<'_>, certificate: &At<'_>, key: &At<'_>) -> Given<Identity> {
    let paths = (tls::path(decoder, certificate), tls::path(decoder, key));
    let (Some(certificate_path), Some(key_path)) = paths else { return Given::Invalid };
    if decoder.secrets.offline {
        return Given::Absent;
    }
    let files = [(certificate, certificate_path.as_path()), (key, key_path.as_path())];
    let found =
        decoder.deliver_together(files, |[chain, private]| pair((certificate, chain), (key, private)));
    let Some(found) = found else { return Given::Invalid };
    decoder.secrets.digest(found.pem.expose().as_bytes());
    if let Some(number) = found.out_of_order {
        let message = format!("{certificate} has a chain in the wrong order");
        let label = format!("certificate {number} did not issue the one before it");
        let help = "order the file: the listener's own certificate, then the one that issued it, and so on";
        let finding = Finding::warning("certificate_order", decoder.place(certificate), message);
        decoder.report(finding.label(label).help(help));
    }
    Given::Value(found)
}

/// Parses a chain and its key.
fn pair(certificate: (&At<'_>, &[u8]), key: (&At<'_>, &[u8])) -> Result<Identity, Mismatch> {
    let ((certificate, chain_pem), (key, key_pem)) = (certificate, key);
    let of_chain = |failure| Mismatch { at: 0, failure };
    let of_key = |failure| Mismatch { at: 1, failure };
    if has_key(chain_pem) && !has_certificate(chain_pem) && has_certificate(key_pem) && !has_key(key_pem) {
        return Err(of_chain(Failure::malformed(
            "invalid_certificate",
            format!("{certificate} and {key} are swapped"),
            "this file has a private key and no certificate",
            Some("exchange the two paths"),
        )));
    }
    let chain = chain(certificate, chain_pem).map_err(of_chain)?;
    let private = private_key(key, key_pem).map_err(of_key)?;
    if let Err(failure) = fits(&chain, &private, certificate, key) {
        return Err(of_key(failure));
    }
    let mut pem = Zeroizing::new(String::new());
    chain.iter().for_each(|der| tls::armor(&mut pem, "CERTIFICATE", der));
    armor_key(&mut pem, &private);
    let steps = chain.windows(2).position(|pair| !x509::is_issued_by(&pair[0], &pair[1]));
    Ok(Identity {
        pem: Secret::new(pem.as_str()),
        not_after: x509::dates(&chain[0]).map(|dates| dates.not_after),
        out_of_order: steps.map(|at| at + 2),
    })
}

fn chain(at: &At<'_>, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let label = match found {
        Ok(chain) if chain.is_empty() => "no `BEGIN CERTIFICATE` in this file",
        Ok(chain) if chain.iter().all(|der| x509::dates(der).is_some()) => return Ok(chain),
        Ok(_) => "a certificate in this file is malformed",
        Err(_) => "this file is not valid PEM",
    };
    let message = format!("{at} has no certificate that can be used");
    Err(Failure {
        fault: tls::fault(pem),
        ..Failure::malformed(
            "invalid_certificate",
            message,
            label,
            Some("it is a PEM file, the listener's own certificate first"),
        )
    })
}

fn private_key(at: &At<'_>, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let (label, help) = match () {
            () if contains(pem, b"ENCRYPTED") => (
                "the key in this file has a passphrase",
                "remove it: `openssl pkey -in KEY -out NEW`, and restrict who may read the new file",
            ),
            () if has_key(pem) => ("the key in this file is malformed", "write the file again"),
            () => ("no `BEGIN PRIVATE KEY` in this file", "it is a PEM file: PKCS #8, PKCS #1 or SEC 1"),
        };
        let message = format!("{at} has no private key that can be used");
        Failure { fault: tls::fault(pem), ..Failure::malformed("invalid_key", message, label, Some(help)) }
    })
}

/// Checks that the key is that of the first certificate.
fn fits(
    chain: &[CertificateDer<'static>],
    private: &PrivateKeyDer<'static>,
    certificate: &At<'_>,
    key: &At<'_>,
) -> Result<(), Failure> {
    let provider = rustls::crypto::ring::default_provider();
    let tried = |chain: Vec<_>| CertifiedKey::from_der(chain, private.clone_key(), &provider);
    let message = format!("{key} does not fit {certificate}");
    match tried(chain.to_vec()) {
        Ok(_) => return Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {}
        Err(rustls::Error::InvalidCertificate(_)) => {
            let label = "its certificate can't be used by TLS";
            return Err(Failure::malformed("invalid_certificate", message, label, None));
        }
        Err(_) => {
            let help = "use RSA of 2048 to 8192 bits, ECDSA with P-256 or P-384, or Ed25519";
            let label = "a key of this kind can't be used";
            return Err(Failure::malformed("invalid_key", message, label, Some(help)));
        }
    }
    let own = chain.iter().position(|der| tried(vec![der.clone()]).is_ok());
    Err(match own {
        Some(at) => Failure::malformed(
            "invalid_key",
            message,
            format!("this is the key of certificate {} of {}, not of the first", at + 1, chain.len()),
            Some("order the certificates: the listener's own one first, then the one that issued it"),
        ),
        None => Failure::malformed(
            "invalid_key",
            message,
            "this is the key of another certificate",
            Some("if both files are being replaced, this passes"),
        ),
    })
}

/// Reads the authorities of client certificates, and the revocation lists beside them.
fn client_ca(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ClientCa> {
    let path = tls::path(decoder, at)?;
    let none = || ClientCa {
        authorities: CaBundle { path: path.clone(), certificates: Vec::new() },
        revoked: Vec::new(),
    };
    if decoder.secrets.offline {
        return Some(none());
    }
    let found = decoder.deliver_together([(at, path.as_path())], |[pem]| {
        let wrong = |failure| Mismatch { at: 0, failure };
        let authorities = tls::well_formed(at, pem).map_err(wrong)?;
        let lists = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let lists = lists.ok().filter(|lists| is_usable(&authorities, lists)).ok_or_else(|| {
            let message = format!("{at} has a revocation list that can't be used");
            let label = "a `BEGIN X509 CRL` in this file is malformed";
            wrong(Failure::malformed("invalid_certificate", message, label, None))
        })?;
        Ok((authorities, lists))
    });
    let (authorities, lists) = found?;
    for der in authorities.iter().map(|der| der.as_ref()).chain(lists.iter().map(|der| der.as_ref())) {
        decoder.secrets.digest(der);
    }
    let mut client_ca = none();
    client_ca.authorities.certificates = authorities.iter().map(|der| der.to_vec()).collect();
    client_ca.revoked = lists.iter().map(|der| der.to_vec()).collect();
    Some(client_ca)
}

/// Returns true if rustls can verify clients with these.
fn is_usable(
    authorities: &[CertificateDer<'static>],
    lists: &[CertificateRevocationListDer<'static>],
) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = rustls::crypto::ring::default_provider();
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.into());
    builder.with_crls(lists.to_vec()).build().is_ok()
}

fn armor_key(pem: &mut String, private: &PrivateKeyDer<'_>) {
    let label = match private {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    tls::armor(pem, label, private.secret_der());
}

fn has_key(pem: &[u8]) -> bool {
    contains(pem, b"PRIVATE KEY-----")
}

fn has_certificate(pem: &[u8]) -> bool {
    contains(pem, b"BEGIN CERTIFICATE-----")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}
