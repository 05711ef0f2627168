//! The proof that a request shows: a token or a JWT in one of three header fields.
//!
//! The first field that is present counts, in the order of the form of the request. It is read strictly: a field that
//! occurs twice, a list, a quoted text or another scheme is a refusal, never a reason to look at the next field.
//! `Authorization` alone may be meant for the provider, so it is present only with the scheme `Bearer`.

use crate::header_name::same;
use crate::message::authorization::{basic, bearer, credentials, has_scheme, is_token68};
use crate::message::{Field, Fields};
use crate::telemetry::metrics::CallerRefusal;
use std::borrow::Cow;

/// A field that may hold a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofField {
    /// `X-Attache-Token: T`.
    Token,
    /// `Authorization: Bearer T`.
    Authorization,
    /// `Proxy-Authorization: Bearer T`, or the password of `Basic`.
    ProxyAuthorization,
}

/// The order for a request in origin form.
const ORIGIN_FORM: [ProofField; 3] =
    [ProofField::Token, ProofField::Authorization, ProofField::ProxyAuthorization];
/// The order for a request in absolute form, which a client of an HTTP proxy sends.
const ABSOLUTE_FORM: [ProofField; 3] =
    [ProofField::ProxyAuthorization, ProofField::Token, ProofField::Authorization];

impl ProofField {
    /// Returns the name of the field, in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "x-attache-token",
            Self::Authorization => "authorization",
            Self::ProxyAuthorization => "proxy-authorization",
        }
    }

    /// Returns the field with this name, in any case. The length rules out nearly every name.
    fn of(field: &Field<'_>) -> Option<Self> {
        Self::as_long_as(field).filter(|one| field.is(one.name()))
    }

    /// Returns the field with this name, in any spelling as long as it.
    pub(super) fn named(field: &Field<'_>) -> Option<Self> {
        Self::as_long_as(field).filter(|one| field.is(one.name()) || same(field.name_str(), one.name()))
    }

    fn as_long_as(field: &Field<'_>) -> Option<Self> {
        match field.name.len() {
            15 => Some(Self::Token),
            13 => Some(Self::Authorization),
            19 => Some(Self::ProxyAuthorization),
            _ => None,
        }
    }
}

/// A text that may prove a caller. No `Debug`: it is a credential.
pub struct Proof<'a> {
    /// The token or JWT.
    pub text: Cow<'a, [u8]>,
    /// The field that holds it.
    pub field: ProofField,
}

impl Proof<'_> {
    /// Returns true if the text has the form of its scheme. A text that repeats was checked before, so [`shown`] leaves it
    /// to the verification.
    pub(super) fn is_well_formed(&self) -> bool {
        // The password of Basic may hold any bytes.
        self.field == ProofField::ProxyAuthorization || is_token68(&self.text)
    }

    /// Returns true if the field may also hold a credential for the provider.
    pub(super) fn is_shared(&self) -> bool {
        self.field == ProofField::Authorization
    }
}

/// Returns the proof that counts; `None` if no field could hold one.
///
/// # Errors
///
/// If the field that counts is not one proof.
pub fn shown(fields: &Fields, absolute_form: bool) -> Result<Option<Proof<'_>>, CallerRefusal> {
    let mut found = [Found::default(); ORIGIN_FORM.len()];
    for field in fields.iter() {
        if let Some(one) = ProofField::of(&field) {
            let found = &mut found[one as usize];
            found.is_repeated |= found.first.is_some();
            found.first = found.first.or(Some(field.value));
        }
    }
    let order = if absolute_form { ABSOLUTE_FORM } else { ORIGIN_FORM };
    for field in order {
        if let Some(text) = read(fields, field, found[field as usize])? {
            return Ok(Some(Proof { text, field }));
        }
    }
    Ok(None)
}

/// The values of one field.
#[derive(Clone, Copy, Default)]
struct Found<'a> {
    first: Option<&'a [u8]>,
    is_repeated: bool,
}

fn read<'a>(
    fields: &Fields,
    field: ProofField,
    found: Found<'a>,
) -> Result<Option<Cow<'a, [u8]>>, CallerRefusal> {
    let Some(first) = found.first else { return Ok(None) };
    if field == ProofField::Authorization
        && !fields.all(field.name()).any(|value| has_scheme(value, "bearer"))
    {
        return Ok(None);
    }
    if found.is_repeated {
        return Err(CallerRefusal::RepeatedProof);
    }
    let text = match field {
        ProofField::Token => Some(Cow::Borrowed(first)),
        ProofField::Authorization => credentials(first, "bearer").map(Cow::Borrowed),
        ProofField::ProxyAuthorization => {
            bearer(first).map(Cow::Borrowed).or_else(|| password(first).map(Cow::Owned))
        }
    };
    text.map(Some).ok_or(CallerRefusal::MalformedProof)
}

fn password(value: &[u8]) -> Option<Vec<u8>> {
    Some(basic(value)?.password()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)], absolute_form: bool) -> Result<Option<(String, ProofField)>, CallerRefusal> {
        let fields = Fields::collect(list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let Some(proof) = shown(&fields, absolute_form)? else { return Ok(None) };
        match proof.is_well_formed() {
            true => Ok(Some((String::from_utf8_lossy(&proof.text).into_owned(), proof.field))),
            false => Err(CallerRefusal::MalformedProof),
        }
    }

    fn origin(list: &[(&str, &str)]) -> Result<Option<(String, ProofField)>, CallerRefusal> {
        of(list, false)
    }

    #[test]
    fn each_field_is_found_by_its_name() {
        for field in ORIGIN_FORM {
            let of = |name: &str| ProofField::named(&Field { name: name.as_bytes(), value: b"" });
            for name in [field.name().to_owned(), field.name().to_uppercase(), field.name().replace('-', "_")]
            {
                assert_eq!(of(&name), Some(field), "{name}");
            }
            assert_eq!(of(&"x".repeat(field.name().len())), None);
        }
    }

    #[test]
    fn each_way_shows_its_token() {
        use ProofField::*;
        for (name, value, field) in [
            ("X-Attache-Token", "T.1-_~+/==", Token),
            ("x-attache-TOKEN", "T.1-_~+/==", Token),
            ("Authorization", "Bearer T.1-_~+/==", Authorization),
            ("authorization", "bEARER   T.1-_~+/==", Authorization),
            ("Proxy-Authorization", "Bearer T.1-_~+/==", ProxyAuthorization),
            ("Proxy-Authorization", "basic YTpULjEtX34rLz09", ProxyAuthorization),
            ("Proxy-Authorization", "Basic OlQuMS1ffisvPT0=", ProxyAuthorization),
        ] {
            let shown = Ok(Some(("T.1-_~+/==".to_owned(), field)));
            assert_eq!(origin(&[(name, value)]), shown, "{name}: {value}");
        }
    }

    #[test]
    fn the_form_of_the_request_decides_which_counts() {
        let all =
            [("Proxy-Authorization", "Bearer c"), ("Authorization", "Bearer b"), ("X-Attache-Token", "a")];
        let field = |list: &[_], absolute| of(list, absolute).unwrap().unwrap().0;
        assert_eq!((field(&all, false), field(&all, true)), ("a".to_owned(), "c".to_owned()));
        assert_eq!((field(&all[..2], false), field(&all[..2], true)), ("b".to_owned(), "c".to_owned()));
        assert_eq!(field(&all[1..], true), "a");
    }

    #[test]
    fn an_authorization_of_another_scheme_is_none() {
        for value in ["Basic YTpi", "Digest x", "", "\"Bearer T\"", "Bearers T", "T", "Basic a, Bearer T"] {
            assert_eq!(origin(&[("Authorization", value)]), Ok(None), "{value}");
        }
        assert_eq!(origin(&[("Authorization", "Basic YTpi"), ("Authorization", "Basic YTpi")]), Ok(None));
        assert_eq!(origin(&[("X_Attache_Token", "T"), ("X-Attache-Token-2", "T")]), Ok(None));
    }

    #[test]
    fn what_is_not_exactly_one_proof_is_refused() {
        for (name, value) in [
            ("Authorization", "Bearer"),
            ("Authorization", "Bearer\tT"),
            ("Authorization", "Bearer a, Bearer b"),
            ("Authorization", "Bearer a,b"),
            ("Authorization", "Bearer a b"),
            ("Authorization", "Bearer \"T\""),
            ("Authorization", "Bearer,T"),
            ("Authorization", "Bearer=T"),
            ("Authorization", "Bearer =="),
            ("Authorization", "Bearer T=T"),
            ("Authorization", "Bearer \u{e9}"),
            ("X-Attache-Token", ""),
            ("X-Attache-Token", "Bearer T"),
            ("X-Attache-Token", "a,b"),
            ("X-Attache-Token", "'T'"),
            ("Proxy-Authorization", ""),
            ("Proxy-Authorization", "T"),
            ("Proxy-Authorization", "Digest T"),
            ("Proxy-Authorization", "Basic YQ=="),
            ("Proxy-Authorization", "Basic YTo="),
            ("Proxy-Authorization", "Basic !"),
            ("Proxy-Authorization", "Basic YTpU YTpU"),
        ] {
            assert_eq!(origin(&[(name, value)]), Err(CallerRefusal::MalformedProof), "{name}: {value}");
        }
    }

    #[test]
    fn a_field_that_counts_and_occurs_twice_is_refused() {
        for (name, one, other) in [
            ("Authorization", "Bearer T", "Bearer T"),
            ("Authorization", "Bearer T", "Basic YTpi"),
            ("Authorization", "Basic YTpi", "Bearer T"),
            ("X-Attache-Token", "T", "T"),
            ("Proxy-Authorization", "Bearer T", "Basic YTpU"),
        ] {
            assert_eq!(origin(&[(name, one), (name, other)]), Err(CallerRefusal::RepeatedProof), "{name}");
        }
        let behind = [("X-Attache-Token", "T"), ("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
        assert_eq!(origin(&behind), Ok(Some(("T".to_owned(), ProofField::Token))));
    }
}
