//! URLs in the file, and when they may be http.

use crate::config::decode::{At, Decoder};
use crate::config::model::{Host, ServerUrl};
use crate::config::problem::Finding;
use crate::config::scalar;

/// Reads `forward_to` or `public_url`.
pub(super) fn bare_url(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ServerUrl> {
    decoder.parsed(at, "invalid_url", "a valid URL", scalar::bare_url)
}

/// Reads `server_url`.
pub(super) fn server_url(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ServerUrl> {
    decoder.parsed(at, "invalid_url", "a valid URL", scalar::server_url)
}

/// Refuses to send a credential over http, where it could be overheard.
pub(super) fn require_tls(decoder: &Decoder<'_>, at: &At<'_>, what: &str, exception: &str) {
    let message = format!("{at} would send {what} over http, where it can be overheard");
    decoder.report(
        Finding::error("plaintext_credential", decoder.place(at), message)
            .label("use https, or a loopback address such as 127.0.0.1")
            .help(format!("`allow_plaintext: true` {exception} would allow it")),
    );
}

/// Returns true if the connection can't be overheard: https, a loopback literal, or `localhost`, which is never
/// resolved.
pub(super) fn is_private(url: &ServerUrl) -> bool {
    url.tls
        || match &url.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
}
