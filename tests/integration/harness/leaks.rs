//! The leak detector: secrets that can be recognised in any output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Long enough that its base64 is recognised at every alignment.
const MARKER: &str = "s3cr3t-attache-";
/// The marker of secrets that a third party must not see, unlike its own credentials.
const KEY_MARKER: &str = "s3cr3t-attache-webhook-key-";

/// Returns a new secret. Give it only to attache, or to a stub that hands it to attache.
pub(crate) fn secret(what: &str) -> String {
    format!("{MARKER}{what}-{}", unique())
}

/// Returns a new webhook key.
pub(crate) fn webhook_key() -> String {
    format!("{KEY_MARKER}{}", unique())
}

/// Returns the hash of a key, for the file.
pub(crate) fn sha256_hex(content: &(impl AsRef<[u8]> + ?Sized)) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, content.as_ref()).as_ref())
}

/// Fails the test if `bytes` contain a secret.
#[track_caller]
pub(crate) fn assert_no_leak(place: &str, bytes: &[u8]) {
    if let Some(leak) = find(bytes, &NEEDLES) {
        panic!("LEAK in {place}: {leak}");
    }
}

/// Returns a webhook key in `bytes`, with its surroundings.
pub(super) fn find_webhook_key(bytes: &[u8]) -> Option<String> {
    find(bytes, &KEY_NEEDLES)
}

/// Returns any secret in `bytes`, with its surroundings.
pub(super) fn find_secret(bytes: &[u8]) -> Option<String> {
    find(bytes, &NEEDLES)
}

static NEEDLES: LazyLock<Vec<String>> = LazyLock::new(|| needles(MARKER));
static KEY_NEEDLES: LazyLock<Vec<String>> = LazyLock::new(|| needles(KEY_MARKER));

/// Returns `marker` in plain text, in hex, and within a base64 text at each of the three alignments. Lowercase, like
/// the text that it is compared with.
fn needles(marker: &str) -> Vec<String> {
    let mut all = vec![marker.to_owned(), hex(marker.as_bytes())];
    for skip in 0..3 {
        let whole_groups = (marker.len() - skip) / 3 * 3;
        all.push(STANDARD_NO_PAD.encode(&marker.as_bytes()[skip..skip + whole_groups]));
    }
    all.into_iter().map(|needle| needle.to_ascii_lowercase()).collect()
}

fn find(bytes: &[u8], needles: &[String]) -> Option<String> {
    let lower = bytes.to_ascii_lowercase();
    let lower = String::from_utf8_lossy(&lower);
    let at = needles.iter().find_map(|needle| lower.find(needle))?;
    let around = lower.char_indices().filter(|(i, _)| (at.saturating_sub(200)..at + 200).contains(i));
    Some(around.map(|(_, character)| character).collect())
}

fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("{random}{count}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
