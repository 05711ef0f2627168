//! Keys that requests fetch, and that this command takes from files: it sends nothing.

use crate::config::model::{Config, Issuer, Jwks};
use crate::issuers::Issuers;
use crate::jwt::key_set::KeySet;
use crate::signature::sns::{CertificateUrl, SigningCertificate, Topic};
use crate::signature::{FetchedKeys, Lookup, RequiredToken, TokenRefused};
use crate::webhook::fetched_keys::KnownKeys;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The options of keys that requests fetch.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For keys that are fetched, from files")]
pub(super) struct KeyArgs {
    /// For SNS: the certificate at `SigningCertURL` of the message, in PEM
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// For a token of an issuer: the issuer's key set [default: `jwks.file` of the configuration]
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// For --scheme sns: the ARN of a topic; may be repeated
    #[arg(long, value_name = "ARN", conflicts_with = "service")]
    topic: Vec<String>,
}

impl KeyArgs {
    /// Returns the topics of `--topic`.
    pub(super) fn topics(&self) -> Result<Vec<Topic>, String> {
        let topic =
            |arn: &String| Topic::parse(arn).map_err(|fault| format!("`{arn}` can't be a topic: {fault}"));
        self.topic.iter().map(topic).collect()
    }

    /// Reads the files. `token` is what the webhook requires.
    pub(super) fn read(
        &self,
        config: Option<&Config>,
        token: Option<&RequiredToken>,
    ) -> Result<GivenKeys, String> {
        let certificate = match &self.certificate {
            None => None,
            Some(path) => {
                let certificate = SigningCertificate::from_pem(&bytes(path)?);
                Some(Arc::new(certificate.map_err(|_| {
                    format!("{} is not one certificate with an RSA key, in PEM", path.display())
                })?))
            }
        };
        let keys = match &self.jwks {
            None => None,
            Some(path) => {
                let set = KeySet::parse(&bytes(path)?);
                Some((path, set.map_err(|error| format!("{} is no key set: {error}", path.display()))?))
            }
        };
        let configured = token.zip(config).and_then(|(token, config)| config.issuers.get(&token.issuer));
        let issuer = configured.map(|issuer| match keys {
            Some((path, keys)) => {
                Arc::new(Issuer { jwks: Jwks::File { path: path.clone(), keys }, ..(**issuer).clone() })
            }
            None => Arc::clone(issuer),
        });
        let issuers = issuer.map(|issuer| Issuers::of([issuer].iter()));
        Ok(GivenKeys { certificate, issuers })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()))
}

/// The keys of these files.
pub(super) struct GivenKeys {
    certificate: Option<Arc<SigningCertificate>>,
    issuers: Option<Issuers>,
}

impl FetchedKeys for GivenKeys {
    fn claims(
        &self,
        issuer: &str,
        token: &[u8],
        now: SystemTime,
    ) -> Result<Map<String, Value>, TokenRefused> {
        let known = KnownKeys { issuers: self.issuers.as_ref(), sns: None };
        // Nothing is fetched, so newer keys can't come.
        let refused = |refused| TokenRefused { needs_newer_keys: false, ..refused };
        known.claims(issuer, token, now).map_err(refused)
    }

    fn certificate(&self, _: &CertificateUrl, _: SystemTime) -> Lookup {
        self.certificate.clone().map_or(Lookup::Needed, Lookup::Known)
    }
}
