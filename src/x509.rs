//! Fields of X.509 certificates (RFC 5280), read by `x509-parser`: the names that a client's certificate proves, and dates.
//!
//! Nothing is verified here. A [`PeerCertificate`] is built only of a certificate that a handshake has verified.

use ring::digest::{SHA256, digest};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// A subject alternative name. The kind is part of it, so a name of one kind never equals one of another: an authority
/// that restricts the DNS names of its clients may let them choose a URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum San {
    /// A URI, such as `spiffe://corp/billing`, as the certificate spells it.
    Uri(Box<str>),
    /// A DNS name in lower case. A wildcard is a name of its own.
    Dns(Box<str>),
    /// An email address; the domain is in lower case.
    Email(Box<str>),
}

impl San {
    /// Returns the name that a text in the file means: a URI if it has `://`, or `:` without `@` before it; an email
    /// address if it has `@`; else a DNS name. `None` if it is empty or not visible ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        Some(match (text.find(':'), text.find('@')) {
            (Some(colon), at) if text[colon..].starts_with("://") || at.is_none_or(|at| at > colon) => {
                Self::Uri(text.into())
            }
            (_, Some(_)) => Self::email(text),
            _ => Self::dns(text),
        })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Uri(text) | Self::Dns(text) | Self::Email(text) => text,
        }
    }

    fn dns(text: &str) -> Self {
        Self::Dns(text.to_ascii_lowercase().into())
    }

    fn email(text: &str) -> Self {
        // The local part may be case-sensitive (RFC 5321 section 2.4).
        Self::Email(match text.rsplit_once('@') {
            Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()).into(),
            None => text.into(),
        })
    }
}

/// The certificate of a client, verified by the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    sans: Box<[San]>,
    not_after: SystemTime,
    sha256: [u8; 32],
}

impl PeerCertificate {
    /// Reads a certificate in DER. `None` if it is malformed.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        // An error if the extension stands twice, which RFC 5280 forbids.
        let extension = certificate.subject_alternative_name().ok()?;
        let names = extension.iter().flat_map(|extension| &extension.value.general_names);
        let sans = names.filter_map(|name| match name {
            GeneralName::URI(text) => is_visible(text).then(|| San::Uri((*text).into())),
            GeneralName::DNSName(text) => is_visible(text).then(|| San::dns(text)),
            GeneralName::RFC822Name(text) => is_visible(text).then(|| San::email(text)),
            _ => None,
        });
        Some(Self {
            sans: sans.collect(),
            not_after: time(certificate.validity().not_after.timestamp()),
            sha256: sha256(der),
        })
    }

    /// Returns the subject alternative names of the supported kinds, in the order of the certificate.
    pub fn sans(&self) -> &[San] {
        &self.sans
    }

    /// Returns the end of the certificate's validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns SHA-256 of the certificate in DER, its usual fingerprint.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

/// The dates of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// The certificate is valid from this time.
    pub not_before: SystemTime,
    /// The certificate is valid until this time.
    pub not_after: SystemTime,
}

/// Returns the dates of a certificate in DER. `None` if it is malformed.
pub fn dates(der: &[u8]) -> Option<Dates> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Dates {
        not_before: time(validity.not_before.timestamp()),
        not_after: time(validity.not_after.timestamp()),
    })
}

/// Returns the DNS names of a certificate in DER, in lower case. `None` if it is malformed, or has more than that one
/// certificate.
pub fn dns_names(der: &[u8]) -> Option<Vec<String>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let extension = certificate.subject_alternative_name().ok()?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(text) => is_visible(text).then(|| text.to_ascii_lowercase()),
        _ => None,
    });
    rest.is_empty().then(|| names.collect())
}

/// Returns true if the certificate `issued` names `issuer` as its issuer. Signatures are not checked. True if one of them is
/// malformed.
pub fn is_issued_by(issued: &[u8], issuer: &[u8]) -> bool {
    match (X509Certificate::from_der(issued), X509Certificate::from_der(issuer)) {
        (Ok((_, issued)), Ok((_, issuer))) => issued.issuer().as_raw() == issuer.subject().as_raw(),
        _ => true,
    }
}

fn sha256(der: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, der).as_ref());
    out
}

/// IA5 allows control characters, which no name has.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A time before 1970 counts as 1970.
fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(sans: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.not_after = rcgen::date_time_ymd(2077, 2, 3);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn ia5<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn reads_names_and_dates() {
        let der = certificate(vec![
            SanType::URI(ia5("spiffe://corp/Billing")),
            SanType::DnsName(ia5("Billing.Corp.example")),
            SanType::Rfc822Name(ia5("Bill.Ing@Corp.example")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ]);
        let peer = PeerCertificate::from_der(&der).unwrap();
        let expected = ["spiffe://corp/Billing", "billing.corp.example", "Bill.Ing@corp.example"];
        assert_eq!(peer.sans().iter().map(San::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(
            peer.not_after(),
            time(rcgen::date_time_ymd(2077, 2, 3).unix_timestamp()),
            "the end of the last day"
        );
        assert_eq!(dates(&der).unwrap().not_after, peer.not_after());
        assert_eq!(*peer.sha256(), sha256(&der));
    }

    #[test]
    fn a_text_of_the_file_means_one_kind_of_name() {
        let uri = |text: &str| Some(San::Uri(text.into()));
        assert_eq!(San::parse("spiffe://corp/billing"), uri("spiffe://corp/billing"));
        assert_eq!(San::parse("spiffe://me@corp/billing"), uri("spiffe://me@corp/billing"));
        assert_eq!(San::parse("urn:corp:billing"), uri("urn:corp:billing"));
        assert_eq!(San::parse("Billing.Corp"), Some(San::Dns("billing.corp".into())));
        assert_eq!(San::parse("*.corp"), Some(San::Dns("*.corp".into())));
        assert_eq!(San::parse("A@Corp"), Some(San::Email("A@corp".into())));
        assert_eq!(San::parse(""), None);
        assert_eq!(San::parse("a b"), None);
    }

    #[test]
    fn a_name_of_another_kind_or_spelling_is_another_name() {
        let san = |text: &str| San::parse(text).unwrap();
        let of = |sans| PeerCertificate::from_der(&certificate(sans)).unwrap();
        for (name, wanted) in [
            (SanType::URI(ia5("billing.corp")), "billing.corp"),
            (SanType::DnsName(ia5("spiffe://corp/billing")), "spiffe://corp/billing"),
            (SanType::DnsName(ia5("a@corp")), "a@corp"),
            (SanType::Rfc822Name(ia5("billing.corp")), "billing.corp"),
            (SanType::URI(ia5("spiffe://corp/billing/")), "spiffe://corp/billing"),
            (SanType::URI(ia5("spiffe://corp/Billing")), "spiffe://corp/billing"),
            (SanType::DnsName(ia5("*.corp")), "billing.corp"),
            (SanType::DnsName(ia5("billing.corp\0.evil")), "billing.corp"),
            (SanType::Rfc822Name(ia5("A@corp")), "a@corp"),
        ] {
            assert!(!of(vec![name.clone()]).sans().contains(&san(wanted)), "{name:?} {wanted}");
        }
    }

    #[test]
    fn a_certificate_without_names_proves_none_and_garbage_is_none() {
        assert_eq!(PeerCertificate::from_der(&certificate(Vec::new())).unwrap().sans(), &[]);
        let der = certificate(vec![SanType::DnsName(ia5("a"))]);
        for cut in 0..der.len() {
            assert_eq!(PeerCertificate::from_der(&der[..cut]), None);
        }
        assert_eq!(PeerCertificate::from_der(&[&der[..], b"x"].concat()), None);
    }
}
