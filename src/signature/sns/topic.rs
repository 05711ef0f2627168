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
    /// The domain of the partition's hosts.
    suffix: &'static str,
}

/// The reason why a text is not the ARN of a topic whose messages can be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicFault {
    /// It has another form.
    #[error("an ARN is like `arn:aws:sns:eu-central-1:123456789012:orders`, without a wildcard")]
    NotAnArn,
    /// Its partition is none of AWS.
    #[error("the partition after `arn:` is none of AWS: it is `aws`, `aws-us-gov`, `aws-cn` or `aws-eusc`")]
    UnknownPartition,
    /// Its region is in another partition.
    #[error("its region is in the partition `{0}`, so the ARN begins with `arn:{0}:sns:`")]
    OtherPartition(&'static str),
    /// Its partition is not connected to the internet.
    #[error(
        "the SNS hosts of `{0}` are not on the internet; topics of `aws`, `aws-us-gov`, `aws-cn` and `aws-eusc` are \
         supported"
    )]
    Isolated(&'static str),
}

/// A partition of AWS.
struct Partition {
    /// Its name in ARNs.
    name: &'static str,
    /// The beginning of the names of its regions.
    regions: &'static str,
    /// The domain of its hosts. `None`: it is isolated.
    suffix: Option<&'static str>,
}

/// All partitions, as the SDKs of AWS have them. The one of a region is the first whose `regions` fits.
const PARTITIONS: [Partition; 8] = [
    Partition { name: "aws-cn", regions: "cn-", suffix: Some("amazonaws.com.cn") },
    Partition { name: "aws-us-gov", regions: "us-gov-", suffix: Some("amazonaws.com") },
    Partition { name: "aws-eusc", regions: "eusc-", suffix: Some("amazonaws.eu") },
    Partition { name: "aws-iso", regions: "us-iso-", suffix: None },
    Partition { name: "aws-iso-b", regions: "us-isob-", suffix: None },
    Partition { name: "aws-iso-e", regions: "eu-isoe-", suffix: None },
    Partition { name: "aws-iso-f", regions: "us-isof-", suffix: None },
    Partition { name: "aws", regions: "", suffix: Some("amazonaws.com") },
];

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
    /// Reads an ARN.
    ///
    /// # Errors
    ///
    /// If it is none of a topic in a partition of AWS that is supported.
    pub fn parse(arn: &str) -> Result<Self, TopicFault> {
        let mut parts = arn.split(':');
        let mut next = || parts.next();
        let (Some("arn"), Some(partition), Some("sns"), Some(region), Some(account), Some(name)) =
            (next(), next(), next(), next(), next(), next())
        else {
            return Err(TopicFault::NotAnArn);
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let bare = name.strip_suffix(".fifo").unwrap_or(name);
        let is_name = (1..=256).contains(&name.len())
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if next().is_some() || !is_region(region) || !is_account || !is_name || bare.is_empty() {
            return Err(TopicFault::NotAnArn);
        }
        let suffix = suffix(partition, region)?;
        let (arn, host) = (arn.to_owned(), format!("sns.{region}.{suffix}"));
        Ok(Self { arn, host, region: region.to_owned(), suffix })
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

/// Returns true if `text` is like `eu-central-1`. The host of anything else could be one that Amazon gives to a customer.
fn is_region(text: &str) -> bool {
    let is_word = |part: &&str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').filter(|part| !part.is_empty()).collect();
    text.len() <= 32
        && parts.len() >= 3
        && parts.join("-") == text
        && parts.iter().all(is_word)
        && parts.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the domain of the hosts of a partition, in which the region is.
fn suffix(partition: &str, region: &str) -> Result<&'static str, TopicFault> {
    if !PARTITIONS.iter().any(|known| known.name == partition) {
        return Err(TopicFault::UnknownPartition);
    }
    let of_region = PARTITIONS.iter().find(|known| region.starts_with(known.regions));
    let of_region = of_region.ok_or(TopicFault::NotAnArn)?;
    if of_region.name != partition {
        return Err(TopicFault::OtherPartition(of_region.name));
    }
    of_region.suffix.ok_or(TopicFault::Isolated(of_region.name))
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
