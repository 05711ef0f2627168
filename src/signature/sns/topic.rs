//! A topic, and the URLs of the SNS host in its region.

use std::fmt;
use url::Url;

/// The ARN of a topic: `arn:aws:sns:eu-central-1:123456789012:orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    arn: String,
    /// `sns.eu-central-1.amazonaws.com`.
    host: String,
    region: String,
    /// `amazonaws.com`, in China with `.cn`.
    suffix: &'static str,
}

/// The URL of a certificate at the SNS host of a topic's region.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificateUrl {
    url: String,
    region: String,
    suffix: &'static str,
}

/// Longest name of a certificate, without the text around it. Amazon's have 32 characters.
const MAX_NAME: usize = 64;

impl Topic {
    /// Reads an ARN. `None` if it is none of a topic in a partition of AWS that is supported.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':');
        let mut next = || parts.next();
        let (Some("arn"), Some(partition), Some("sns"), Some(region), Some(account), Some(name)) =
            (next(), next(), next(), next(), next(), next())
        else {
            return None;
        };
        let suffix = match partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return None,
        };
        let is_region = (1..=32).contains(&region.len())
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !region.starts_with('-')
            && !region.ends_with('-');
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let bare = name.strip_suffix(".fifo").unwrap_or(name);
        let is_name = (1..=256).contains(&name.len())
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (next().is_none() && is_region && is_account && is_name && !bare.is_empty()).then(|| Self {
            arn: arn.to_owned(),
            host: format!("sns.{region}.{suffix}"),
            region: region.to_owned(),
            suffix,
        })
    }

    /// Returns the ARN.
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// Returns the URL of a certificate, if `text` is one of SNS in this topic's region. The whole text is compared,
    /// since URL parsers differ in what they take for the host.
    pub fn certificate_url(&self, text: &str) -> Option<CertificateUrl> {
        let rest = text.strip_prefix("https://")?.strip_prefix(self.host.as_str())?;
        let name = rest.strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem")?;
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
        is_name.then(|| CertificateUrl {
            url: text.to_owned(),
            region: self.region.clone(),
            suffix: self.suffix,
        })
    }

    /// Returns the URL that confirms a subscription to this topic with `token`, if `text` is that. It must have no other
    /// parameter, and each once.
    pub(super) fn confirmation_url(&self, text: &str, token: &str) -> Option<Url> {
        let rest = text.strip_prefix("https://")?.strip_prefix(self.host.as_str())?;
        let query = rest.strip_prefix("/?")?;
        let mut expected =
            [("Action", "ConfirmSubscription"), ("TopicArn", self.arn.as_str()), ("Token", token)];
        let mut found: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        found.sort();
        expected.sort_unstable();
        let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_same = found.len() == expected.len()
            && found.iter().zip(expected).all(|((name, value), expected)| (&**name, &**value) == expected);
        let is_plain = query.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        (is_token && is_same && is_plain).then(|| Url::parse(text).ok()).flatten()
    }
}

impl CertificateUrl {
    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the names of which a certificate at this URL has one.
    pub(super) fn names(&self) -> [String; 4] {
        let (region, suffix) = (&self.region, self.suffix);
        [
            format!("sns.{suffix}"),
            format!("sns-{region}.{suffix}"),
            format!("sns-signing.{region}.{suffix}"),
            // Both regions of GovCloud sign with the certificate of one.
            if region.starts_with("us-gov-") {
                format!("sns-us-gov-west-1.{suffix}")
            } else {
                format!("sns.{suffix}")
            },
        ]
    }
}

impl fmt::Debug for CertificateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
