//! One request to an SNS host.

use super::Way;
use crate::fetch::{FetchError, HttpAnswer, HttpClient, HttpRequest};
use crate::signature::sns::{CertificateFault, CertificateUrl, SigningCertificate};
use crate::transport::tls::TlsClient;
use http::Method;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use url::Url;

/// Longest time of one request.
const DEADLINE: Duration = Duration::from_secs(5);
/// Maximum size of an answer, in bytes. A certificate has 2 KiB.
const MAX_ANSWER: usize = 16 << 10;

/// The reason why a request brought no result. No text holds a URL's query or a part of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnsError {
    /// There is no answer.
    #[error("no answer")]
    Request(#[from] FetchError),
    /// The answer is a redirect, which is not followed.
    #[error("the answer is a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// The answer has another status than 200.
    #[error("the answer has the status {0}")]
    Status(u16),
}

impl SnsError {
    /// Returns what the operator can do.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Request(FetchError::Proxy(_)) => "correct `proxy`, or add the SNS hosts to its `no_proxy`",
            Self::Request(FetchError::Tls(_)) => {
                "the system's root certificates have to include Amazon's; a proxy that opens TLS is refused"
            }
            Self::Request(_) => "check that attache reaches sns.REGION.amazonaws.com on port 443",
            Self::Redirect(_) => "check what answers for sns.REGION.amazonaws.com",
            Self::Status(_) => "the token of a subscription lives for two days: subscribe again",
        }
    }
}

/// A client of the SNS hosts: public addresses and the system's roots only.
pub(super) struct SnsClient(HttpClient);

impl SnsClient {
    /// Returns a client. The first one of the process may read the system's roots, which blocks.
    pub(super) async fn new(way: &Way) -> Self {
        let transport = Arc::clone(&way.transport);
        let tls = tokio::task::spawn_blocking(move || transport.tls().for_ca(None)).await;
        let tls: Arc<TlsClient> = tls.unwrap_or_else(|_| way.transport.tls().for_ca(None));
        Self(HttpClient::new(Arc::clone(&way.transport), tls, false).through(&way.proxy))
    }

    /// Fetches a certificate. The inner error is one that the answer proves: no later fetch brings another one.
    pub(super) async fn certificate(
        &self,
        url: &CertificateUrl,
        now: SystemTime,
    ) -> Result<Result<SigningCertificate, CertificateFault>, SnsError> {
        // The whole text was checked.
        let Ok(target) = Url::parse(url.as_str()) else { return Ok(Err(CertificateFault::Missing)) };
        let answer = self.get(&target).await?;
        match answer.status.as_u16() {
            200 => {}
            403 | 404 | 410 => return Ok(Err(CertificateFault::Missing)),
            status => return Err(SnsError::Status(status)),
        }
        let certificate = SigningCertificate::from_pem(&answer.body);
        Ok(certificate.and_then(|certificate| certificate.check(url, now).map(|()| certificate)))
    }

    /// Requests the URL of a confirmation.
    pub(super) async fn confirm(&self, url: &Url) -> Result<(), SnsError> {
        match self.get(url).await?.status.as_u16() {
            200 => Ok(()),
            status => Err(SnsError::Status(status)),
        }
    }

    async fn get(&self, url: &Url) -> Result<HttpAnswer, SnsError> {
        let request =
            HttpRequest { method: &Method::GET, url, headers: &[], body: None, max_body: MAX_ANSWER };
        let answer = self.0.send(&request, Instant::now() + DEADLINE).await?;
        match answer.status.as_u16() {
            status @ 300..400 => Err(SnsError::Redirect(status)),
            _ => Ok(answer),
        }
    }
}
