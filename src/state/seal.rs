//! One entry as bytes that only the holder of `state.key` can read or create.
//!
//! ```text
//! "attache"  version 1   salt   key check   nonce   AES-256-GCM(JSON)   tag
//!     7          1        32        8         12                         16     bytes
//! ```
//!
//! Each sealing has its own key, derived by HKDF-SHA256 (RFC 5869) from the operator's text and a random salt, so no
//! nonce is used twice with one key. Everything before the ciphertext is authenticated, and so is the account's name: a
//! file moved to another account's place doesn't open. The key check, derived together with the key, distinguishes a
//! wrong key from damage; it tells an attacker nothing that the tag doesn't. HKDF doesn't slow down guessing: the text
//! has to be random, which the configuration enforces as far as a minimum length can.

use super::{Entry, Lost, StoredAccess};
use crate::secret::Secret;
use ring::aead::{self, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"attache";
const VERSION: u8 = 1;
const SALT: usize = 32;
const CHECK: usize = 8;
const HEADER: usize = MAGIC.len() + 1 + SALT + CHECK + NONCE_LEN;

/// The version of the JSON content that earlier versions of attache open as well: additions to it are ignored by them.
const CONTENT: u64 = 1;
/// The version of the content without a refresh token, which they do not know.
const CONTENT_WITHOUT_REFRESH_TOKEN: u64 = 2;

/// Why bytes are not this account's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// The bytes don't start, or end, as a sealed entry does.
    NotAGrant,
    /// The version of layout or content is unknown.
    UnknownVersion(u64),
    /// Sealed with none of the keys.
    WrongKey,
    /// Sealed with one of the keys, and altered since; or sealed for another account.
    Damaged,
}

/// Seconds and nanoseconds since 1970.
type SealedTime = (u64, u32);

/// The sealed content, as JSON.
#[derive(Serialize)]
struct SealedContent<'a> {
    v: u64,
    bound_to: [u8; 32],
    rotation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    rotated: bool,
    reusable: bool,
    obtained_at: SealedTime,
    lost: Option<&'a str>,
    lost_at: Option<SealedTime>,
    access: Option<AccessContent<'a>>,
}

#[derive(Serialize)]
struct AccessContent<'a> {
    bound_to: [u8; 32],
    token: &'a str,
    obtained_at: SealedTime,
    expires_at: SealedTime,
}

#[derive(Deserialize)]
struct ContentVersion {
    v: u64,
}

#[derive(Deserialize)]
struct OpenedContent {
    bound_to: [u8; 32],
    rotation: u64,
    refresh_token: Option<String>,
    /// Absent in entries of earlier versions, whose first number is that of a login.
    rotated: Option<bool>,
    #[serde(default)]
    reusable: bool,
    obtained_at: SealedTime,
    lost: Option<String>,
    lost_at: Option<SealedTime>,
    access: Option<OpenedAccess>,
}

#[derive(Deserialize)]
struct OpenedAccess {
    bound_to: [u8; 32],
    token: String,
    obtained_at: SealedTime,
    expires_at: SealedTime,
}

/// Seals `entry` for `account` with `key`.
///
/// # Errors
/// The system has no random bytes.
pub(super) fn seal(key: &Secret, account: &str, entry: &Entry) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::with_capacity(HEADER);
    sealed.extend_from_slice(MAGIC);
    sealed.push(VERSION);
    let mut salt = [0; SALT];
    random(&mut salt)?;
    sealed.extend_from_slice(&salt);
    let derived = Derived::new(key, &salt);
    sealed.extend_from_slice(&derived.check());
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    sealed.extend_from_slice(&nonce);

    let mut content = to_json(entry)?;
    let tag = derived
        .key()
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            authenticated(&sealed, account),
            &mut content,
        )
        .map_err(|_| io::Error::other("more than can be sealed"))?;
    sealed.extend_from_slice(&content);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens the result of [`seal`] for `account` with one of `keys`, whose index is returned as well.
pub(super) fn open(keys: &[Secret], account: &str, sealed: &[u8]) -> Result<(Entry, usize), Unopened> {
    let version = sealed.strip_prefix(MAGIC).and_then(<[u8]>::first).ok_or(Unopened::NotAGrant)?;
    if *version != VERSION {
        return Err(Unopened::UnknownVersion(u64::from(*version)));
    }
    let (header, ciphertext) = sealed.split_at_checked(HEADER).ok_or(Unopened::NotAGrant)?;
    let (salt, rest) = header[MAGIC.len() + 1..].split_at(SALT);
    let (check, nonce) = rest.split_at(CHECK);

    let (nth, derived) = keys
        .iter()
        .map(|key| Derived::new(key, salt))
        .enumerate()
        .find(|(_, derived)| derived.check() == check)
        .ok_or(Unopened::WrongKey)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened::NotAGrant)?;
    let mut content = Zeroizing::new(ciphertext.to_vec());
    let content = derived
        .key()
        .open_in_place(nonce, authenticated(header, account), &mut content)
        .map_err(|_| Unopened::Damaged)?;
    Ok((from_json(content)?, nth))
}

/// Fills `buffer` with random bytes.
///
/// # Errors
/// The system has no random bytes.
pub(super) fn random(buffer: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(buffer).map_err(|_| io::Error::other("the system gives no random bytes"))
}

/// The keys derived from the operator's text and one salt.
struct Derived(Prk);

impl Derived {
    fn new(key: &Secret, salt: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, salt).extract(key.expose().as_bytes()))
    }

    fn key(&self) -> LessSafeKey {
        let okm = self.0.expand(&[b"attache state 1 aes-256-gcm"], &AES_256_GCM);
        LessSafeKey::new(UnboundKey::from(okm.expect("HKDF-SHA256 gives the 32 bytes of a key")))
    }

    fn check(&self) -> [u8; CHECK] {
        struct CheckLength;
        impl KeyType for CheckLength {
            fn len(&self) -> usize {
                CHECK
            }
        }
        let mut check = [0; CHECK];
        self.0
            .expand(&[b"attache state 1 key check"], CheckLength)
            .and_then(|okm| okm.fill(&mut check))
            .expect("HKDF-SHA256 gives 8 bytes");
        check
    }
}

/// The header has a fixed length, so the start of the account's name is unambiguous.
fn authenticated(header: &[u8], account: &str) -> Aad<Vec<u8>> {
    aead::Aad::from([header, account.as_bytes()].concat())
}

fn to_json(entry: &Entry) -> io::Result<Zeroizing<Vec<u8>>> {
    let refresh_token = entry.refresh_token.as_ref().map(Secret::expose);
    let content = SealedContent {
        v: if refresh_token.is_some() { CONTENT } else { CONTENT_WITHOUT_REFRESH_TOKEN },
        bound_to: entry.bound_to,
        rotation: entry.revision,
        refresh_token,
        rotated: entry.rotated,
        reusable: entry.reusable,
        obtained_at: since_1970(entry.obtained_at),
        lost: entry.lost.as_ref().map(|lost| lost.reason.as_str()),
        lost_at: entry.lost.as_ref().map(|lost| since_1970(lost.at)),
        access: entry.access.as_ref().map(|access| AccessContent {
            bound_to: access.bound_to,
            token: access.token.expose(),
            obtained_at: since_1970(access.obtained_at),
            expires_at: since_1970(access.expires_at),
        }),
    };
    // Room for the longest escapes: a vector that grows leaves copies of its content behind, unwiped.
    let access = content.access.as_ref().map(|access| access.token);
    let texts: usize =
        [content.refresh_token, content.lost, access].iter().flatten().map(|text| text.len()).sum();
    let mut json = Zeroizing::new(Vec::with_capacity(6 * texts + 1024));
    serde_json::to_writer(&mut *json, &content)?;
    Ok(json)
}

fn from_json(json: &[u8]) -> Result<Entry, Unopened> {
    let ContentVersion { v } = serde_json::from_slice(json).map_err(|_| Unopened::Damaged)?;
    if v != CONTENT && v != CONTENT_WITHOUT_REFRESH_TOKEN {
        return Err(Unopened::UnknownVersion(v));
    }
    let content: OpenedContent = serde_json::from_slice(json).map_err(|_| Unopened::Damaged)?;
    if v == CONTENT && content.refresh_token.is_none() {
        return Err(Unopened::Damaged);
    }
    let lost_at = content.lost_at.unwrap_or_default();
    let access = content.access.map(|access| {
        Ok(StoredAccess {
            bound_to: access.bound_to,
            token: Secret::new(access.token),
            obtained_at: time(access.obtained_at)?,
            expires_at: time(access.expires_at)?,
        })
    });
    Ok(Entry {
        bound_to: content.bound_to,
        revision: content.rotation,
        refresh_token: content.refresh_token.map(Secret::new),
        rotated: content.rotated.unwrap_or(content.rotation > 1),
        reusable: content.reusable,
        obtained_at: time(content.obtained_at)?,
        access: access.transpose()?,
        lost: match content.lost {
            Some(reason) => Some(Lost { reason, at: time(lost_at)? }),
            None => None,
        },
    })
}

fn since_1970(time: SystemTime) -> SealedTime {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since_1970.as_secs(), since_1970.subsec_nanos())
}

fn time((seconds, nanoseconds): SealedTime) -> Result<SystemTime, Unopened> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .and_then(|time| time.checked_add(Duration::from_nanos(u64::from(nanoseconds))))
        .ok_or(Unopened::Damaged)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{KEY, entry, keys};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_change_of_any_bit_is_refused() {
        let sealed = seal(&Secret::new(KEY), "erp", &entry(1)).unwrap();
        let open = |bytes: &[u8]| super::open(&keys(&["another", KEY]), "erp", bytes);
        assert_eq!(open(&sealed).unwrap(), (entry(1), 1));
        for at in 0..sealed.len() * 8 {
            let mut tampered = sealed.clone();
            tampered[at / 8] ^= 1 << (at % 8);
            let expected = match at / 8 {
                0..7 => Unopened::NotAGrant,
                7 => Unopened::UnknownVersion(u64::from(tampered[7])),
                8..48 => Unopened::WrongKey,
                _ => Unopened::Damaged,
            };
            assert_eq!(open(&tampered), Err(expected), "bit {at}");
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let mut sealed = seal(&Secret::new(KEY), "erp", &entry(1)).unwrap();
        for length in 0..sealed.len() {
            assert!(super::open(&keys(&[KEY]), "erp", &sealed[..length]).is_err(), "{length} bytes");
        }
        sealed.push(0);
        assert!(super::open(&keys(&[KEY]), "erp", &sealed).is_err());
    }

    #[test]
    fn no_two_sealings_share_salt_or_nonce() {
        let sealings: Vec<_> = (0..100).map(|_| seal(&Secret::new(KEY), "erp", &entry(1)).unwrap()).collect();
        let salts: HashSet<_> = sealings.iter().map(|sealed| &sealed[8..40]).collect();
        let nonces: HashSet<_> = sealings.iter().map(|sealed| &sealed[48..60]).collect();
        assert_eq!((salts.len(), nonces.len()), (100, 100));
    }

    #[test]
    fn later_content_is_told_from_damage() {
        assert_eq!(from_json(br#"{"v": 3, "token": "?"}"#), Err(Unopened::UnknownVersion(3)));
        assert_eq!(from_json(br#"{"v": 1, "token": "?"}"#), Err(Unopened::Damaged));
    }

    #[test]
    fn the_content_of_an_earlier_version_opens() {
        let content = |rotation: u64| {
            let bound_to = serde_json::to_string(&[7; 32]).unwrap();
            let json = format!(
                r#"{{"v":1,"bound_to":{bound_to},"rotation":{rotation},"refresh_token":"r","obtained_at":[5,0],"lost":null}}"#
            );
            from_json(json.as_bytes()).unwrap()
        };
        let expected = Entry {
            revision: 1,
            refresh_token: Some(Secret::new("r")),
            obtained_at: UNIX_EPOCH + Duration::from_secs(5),
            access: None,
            ..entry(1)
        };
        assert_eq!(content(1), expected);
        assert!(content(2).rotated);
    }

    #[test]
    fn an_entry_without_a_refresh_token_has_a_version_of_its_own() {
        let without = Entry { refresh_token: None, ..entry(1) };
        let json = to_json(&without).unwrap();
        assert!(json.starts_with(br#"{"v":2,"#));
        assert_eq!(from_json(&json).unwrap(), without);
    }

    #[test]
    fn no_time_is_too_early_or_too_late() {
        let early = Entry { obtained_at: UNIX_EPOCH - Duration::from_secs(1), ..entry(1) };
        let opened = from_json(&to_json(&early).unwrap()).unwrap();
        assert_eq!(opened.obtained_at, UNIX_EPOCH);
        assert_eq!(time((u64::MAX, u32::MAX)), Err(Unopened::Damaged));
    }
}
