//! Twilio's signature: over the URL, followed by the sorted parameters of a form. A body that is not a form is signed by
//! its hash, which is a parameter of the URL.

use super::algorithm::Algorithm;
use super::key::SignatureKey;
use super::trace::Trace;
use super::{Delivery, Fault, Signed, one};
use crate::secret::{hex, sha256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, header};
use std::borrow::Cow;
use std::collections::BTreeSet;
use subtle::ConstantTimeEq as _;

const SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");
/// Maximum number of different parameters of a form. Twilio sends fewer than a hundred, and receivers parse no more by
/// default (Express, PHP, Django). Without a limit, 1 MiB of `0&1&2&…` occupies some 60 times its size.
const MAX_PARAMETERS: usize = 1000;
/// Maximum number of parameters, repeated ones included: each is compared with others, so 1 MiB of `0&0&0&…` would cost ten
/// times as much as its hash.
const MAX_REPEATED: usize = 20_000;

/// The parameters of a form: names and values, each pair once, in the order in which they are signed.
type Parameters<'d> = BTreeSet<(Cow<'d, str>, Cow<'d, str>)>;

pub(super) fn verify(
    keys: &[(usize, SignatureKey)],
    delivery: &Delivery<'_>,
    trace: &mut Trace,
) -> Result<Signed, Fault> {
    let value = one(delivery.headers, &SIGNATURE)?;
    trace.passed(|| format!("{SIGNATURE} is there, once"));
    let signature =
        BASE64_STANDARD.decode(value.as_bytes()).map_err(|_| Fault::Malformed(SIGNATURE, "is not base64"))?;
    let params = params(delivery, trace)?;
    let Some(url) = delivery.public_url else {
        return Err(Fault::Content("the scheme signs the URL, and public_url is not known"));
    };
    trace.note(|| format!("algorithm: {}", Algorithm::Sha1.title()));
    trace.note(|| {
        let bytes = delivery.target.len();
        format!("signed text: {url}{{target: {bytes} bytes}}, and {} parameters of a form", params.len())
    });
    // Twilio's own libraries accept the URL with and without the scheme's default port.
    let urls = [Cow::Borrowed(url), other_port(url)];
    let mut found = false;
    for (number, key) in keys {
        let same = urls.iter().fold(false, |any, url| {
            let mac = key.hmac(|context| {
                context.update(url.as_bytes());
                context.update(delivery.target);
                feed_parameters(&params, |part| context.update(part));
            });
            any | mac.is_some_and(|mac| bool::from(mac.as_ref().ct_eq(&signature)))
        });
        trace.note(|| format!("secret {number}: {}", if same { "it signed this" } else { "it did not" }));
        found |= same;
    }
    if found { Ok(Signed::default()) } else { Err(Fault::Mismatch) }
}

/// Feeds the signed bytes, without `public_url`, which is the same for all deliveries.
pub(super) fn feed(delivery: &Delivery<'_>, mut sink: impl FnMut(&[u8])) {
    sink(delivery.target);
    match params(delivery, &mut Trace::off()) {
        Ok(params) => feed_parameters(&params, sink),
        Err(_) => sink(delivery.body),
    }
}

fn feed_parameters(params: &Parameters<'_>, mut sink: impl FnMut(&[u8])) {
    for (name, value) in params {
        sink(name.as_bytes());
        sink(value.as_bytes());
    }
}

/// Returns the parameters that are signed after the URL: those of a form. None for a body that is signed by its hash.
fn params<'d>(delivery: &Delivery<'d>, trace: &mut Trace) -> Result<Parameters<'d>, Fault> {
    let query = delivery.target.splitn(2, |&b| b == b'?').nth(1).unwrap_or_default();
    let mut hashes = url::form_urlencoded::parse(query).filter(|(name, _)| name == "bodySHA256");
    match (hashes.next(), hashes.next()) {
        (Some(_), Some(_)) => Err(Fault::Content("the URL has more than one bodySHA256")),
        (None, _) if delivery.body.is_empty() => Ok(Parameters::new()),
        (None, _) if is_form(delivery)? => form(delivery.body, trace),
        (None, _) => Err(Fault::Content(
            "the body is not a form, and the URL has no bodySHA256: the body is not signed",
        )),
        // The hash counts regardless of the content type.
        (Some((_, hash)), None) => {
            let own = hex(&sha256(delivery.body));
            if !bool::from(own.as_bytes().ct_eq(hash.to_ascii_lowercase().as_bytes())) {
                return Err(Fault::Content("the body does not match the URL's bodySHA256"));
            }
            trace.passed(|| "the URL's bodySHA256 matches the body".to_owned());
            Ok(Parameters::new())
        }
    }
}

fn is_form(delivery: &Delivery<'_>) -> Result<bool, Fault> {
    let content_type = match delivery.headers.contains_key(header::CONTENT_TYPE) {
        true => one(delivery.headers, &header::CONTENT_TYPE)?.as_bytes(),
        false => return Ok(false),
    };
    let media = content_type.split(|&b| b == b';').next().unwrap_or_default();
    Ok(media.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
}

/// Returns the parameters of a form.
fn form<'d>(body: &'d [u8], trace: &mut Trace) -> Result<Parameters<'d>, Fault> {
    let mut params = Parameters::new();
    for (nth, param) in url::form_urlencoded::parse(body).enumerate() {
        params.insert(param);
        if params.len() > MAX_PARAMETERS || nth == MAX_REPEATED {
            return Err(Fault::Content(
                "the form has more than 1000 different parameters, or more than 20000",
            ));
        }
    }
    trace.passed(|| format!("the body is a form with {} parameters", params.len()));
    Ok(params)
}

/// Returns a URL with a port without it, and one without a port with the scheme's default.
fn other_port(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // After the bracket of an IPv6 address.
    let port_at = authority.rfind(']').unwrap_or(0);
    match authority[port_at..].find(':') {
        Some(colon) => format!("{scheme}://{}{path}", &authority[..port_at + colon]).into(),
        None => format!("{scheme}://{authority}:{}{path}", if scheme == "https" { 443 } else { 80 }).into(),
    }
}
