//! `scheme: custom`: the four parts of a signature, as the file spells them out.

use super::fit::fit_together;
use super::text;
use crate::config::decode::{At, Decoder, Map};
use crate::config::header::Purpose;
use crate::config::parse::optional;
use crate::config::problem::Finding;
use crate::config::tree::View;
use crate::header_name::FieldName;
use crate::signature::{
    Algorithm, Encoding, Field, Form, Pairs, Parts, Place, Pointer, SecretEncoding, SignatureAt, Template,
    TemplateFault, TimeFormat,
};
use http::HeaderName;
use std::borrow::Cow;

/// The character between the key and the value of a pair.
const ASSIGN: char = '=';

/// The keys of `scheme: custom`.
pub(super) const KEYS: [&str; 15] = [
    "header",
    "signature_member",
    "prefix",
    "pairs",
    "encoding",
    "timestamp_header",
    "timestamp_member",
    "time_format",
    "id_header",
    "id_member",
    "require",
    "secret_encoding",
    "signed",
    "partial_body",
    "algorithm",
];

/// Reads the parts. `scheme` is the name in the file: `hmac`, which has the keys of an HMAC only by its name, or
/// `custom`.
pub(super) fn parts(decoder: &Decoder<'_>, map: &Map<'_>, scheme: &str) -> Option<Parts> {
    let algorithm =
        map.get("algorithm").map_or(Some(Algorithm::Sha256), |at| decoder.one_of(&at, &Algorithm::ALL));
    let encoding = map.get("encoding").map_or(Some(Encoding::Hex), |at| decoder.one_of(&at, &Encoding::ALL));
    let secret = map
        .get("secret_encoding")
        .map_or(Some(SecretEncoding::Raw), |at| decoder.one_of(&at, &SecretEncoding::ALL));
    let format =
        map.get("time_format").map_or(Some(TimeFormat::Seconds), |at| decoder.one_of(&at, &TimeFormat::ALL));
    let pairs = optional(map.get("pairs"), |at| pairs(decoder, at)).checked().ok();
    let signature = signature(decoder, map, pairs.as_ref().and_then(Option::as_ref));
    let timestamp = field(decoder, map, "timestamp_header", "timestamp_member");
    let id = field(decoder, map, "id_header", "id_member");
    let require = optional(map.get("require"), |at| require(decoder, at)).checked().ok();
    let signed = template(decoder, map, format.unwrap_or_default());
    let (algorithm, pairs, timestamp, id) = (algorithm?, pairs?, timestamp?, id?);
    let in_pair = pairs.and_then(|(_, time)| time);
    if let (Some(_), Some(_), Some(at)) = (&timestamp, &in_pair, map.get("pairs")) {
        return conflict(decoder, &at, "there is a time among the pairs and another one elsewhere");
    }
    let time = timestamp.or(in_pair.map(Field::Pair));
    let parts = Parts {
        place: Place {
            signature: signature?,
            encoding: encoding?,
            time: time.map(|field| (field, format.unwrap_or_default())),
            id,
            require: require?.unwrap_or_default(),
        },
        secret: secret?,
        signed: signed?,
        algorithm,
    };
    (format.is_some() && fit_together(decoder, map, &parts, scheme)).then_some(parts)
}

/// Reads the place of the signature.
fn signature(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    pairs: Option<&(Pairs, Option<Cow<'static, str>>)>,
) -> Option<SignatureAt> {
    let prefix = map.get("prefix").map_or(Some(""), |at| text::beginning(decoder, &at));
    if let (Some(_), Some(at)) = (map.get("pairs"), map.get("prefix")) {
        return conflict(decoder, &at, "the keys of `pairs` stand before the signatures");
    }
    let Some(member) = map.get("signature_member") else {
        let headers = decoder.required(map, "header").and_then(|at| headers(decoder, &at));
        let form = match pairs {
            Some((pairs, _)) => Form::Pairs(pairs.clone()),
            None => Form::Prefixed(prefix?.to_owned().into()),
        };
        return Some(SignatureAt::Headers(headers?, form));
    };
    if let Some(at) = ["header", "prefix", "pairs"].into_iter().find_map(|key| map.get(key)) {
        return conflict(decoder, &at, "the signature is in the body, by `signature_member`");
    }
    pointer(decoder, &member).map(SignatureAt::Member)
}

/// Reads a header, or a list of headers.
pub(super) fn headers(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<HeaderName>> {
    let name = |at: &At<'_>| Purpose::Received.read(decoder, at).map(FieldName::into_header_name);
    match decoder.tree.view(at.node) {
        View::Sequence([]) => decoder.empty(at),
        View::Sequence(_) => {
            let names: Vec<_> = decoder.sequence(at)?.map(|item| name(&item)).collect();
            names.into_iter().collect()
        }
        _ => name(at).map(|name| vec![name]),
    }
}

/// Reads `pairs`, and the key of the time among them.
fn pairs(decoder: &Decoder<'_>, at: &At<'_>) -> Option<(Pairs, Option<Cow<'static, str>>)> {
    let map = decoder.mapping(at)?;
    let separator = map.get("separator").map_or(Some(','), |at| text::separator(decoder, &at, ASSIGN));
    // A key is judged by a valid separator alone.
    let between = separator.unwrap_or(',');
    let owned = |at: &At<'_>| {
        text::key(decoder, at, between, ASSIGN).map(|key| Cow::<'static, str>::Owned(key.to_owned()))
    };
    let time = optional(map.get("time"), owned).checked().ok();
    let signatures = decoder.required(&map, "version").and_then(|at| match decoder.tree.view(at.node) {
        View::Sequence([]) => decoder.empty(&at),
        View::Sequence(_) => {
            let keys: Vec<_> = decoder.sequence(&at)?.map(|item| owned(&item)).collect();
            keys.into_iter().collect()
        }
        _ => owned(&at).map(|key| vec![key]),
    });
    let (separator, time, signatures): (_, _, Vec<_>) = (separator?, time?, signatures?);
    if let (Some(key), Some(at)) = (&time, map.get("time"))
        && signatures.contains(key)
    {
        return conflict(decoder, &at, "`version` has this key, of a signature");
    }
    Some((Pairs { separator, assign: ASSIGN, signatures, ed25519: None }, time))
}

/// Reads a value that is in a header or in a member of the body. The outer `None` is an invalid one.
#[expect(clippy::option_option, reason = "absent and invalid differ")]
fn field(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    header: &'static str,
    member: &'static str,
) -> Option<Option<Field>> {
    match (map.get(header), map.get(member)) {
        (Some(_), Some(at)) => conflict(decoder, &at, "it is in a header already"),
        (Some(at), None) => {
            let name = Purpose::Received.read(decoder, &at).map(FieldName::into_header_name);
            name.map(|name| Some(Field::Header(name)))
        }
        (None, Some(at)) => {
            let found = pointer(decoder, &at)?;
            if found.is_many() {
                return conflict(decoder, &at, "`*` names several members");
            }
            Some(Some(Field::Member(found)))
        }
        (None, None) => Some(None),
    }
}

fn pointer(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Pointer> {
    let text = decoder.string(at)?;
    Pointer::parse(text).or_else(|| {
        let message = format!("{at} is not a JSON Pointer");
        let finding = Finding::error("invalid_value", decoder.place(at), message);
        let label = "a pointer is like `/signature/token`; the only index is `0`, for a list of one item";
        decoder.reject(finding.label(label))
    })
}

fn require(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(HeaderName, String)>> {
    let map = decoder.names(at)?;
    let mut all = Vec::new();
    for (name, value) in map.entries() {
        let value_text = text::whole(decoder, &value).map(str::to_owned);
        let parsed = match Purpose::Received.parse(name) {
            Ok(name) => Some(name.into_header_name()),
            Err(invalid) => {
                let message = format!("{value} is not a header name that can be read from a call");
                decoder.reject(
                    Finding::error("invalid_header", decoder.key(&value), message).label(invalid.label),
                )
            }
        };
        all.push(parsed.zip(value_text));
    }
    all.into_iter().collect()
}

/// Reads `signed`.
fn template(decoder: &Decoder<'_>, map: &Map<'_>, format: TimeFormat) -> Option<Template> {
    let partial = map.get("partial_body").map_or(Some(false), |at| decoder.bool(&at));
    let Some(at) = map.get("signed") else {
        return partial.and(Template::parse("{body}", format).ok());
    };
    let text = decoder.string(&at)?;
    let parsed = match partial? {
        true => Template::parse_partial(text, format),
        false => Template::parse(text, format),
    };
    let template = parsed
        .map_err(|fault| {
            let finding =
                Finding::error("invalid_template", decoder.place(&at), format!("{at} is not a template"));
            let finding = finding.label(fault.to_string());
            decoder.report(match fault {
                TemplateFault::Unknown => finding.help(format!("known here: {}", Template::PLACEHOLDERS)),
                TemplateFault::NoBody => finding.help(
                    "if the provider signs no more of the body, `partial_body: true` accepts that",
                ),
                TemplateFault::Touching => finding.help(
                    "they may touch where the end of one is certain: a time; a JSON body beside `{url}`; `{method}` \
                     before `{url}`; `{id}` before a time in RFC 3339",
                ),
                TemplateFault::Unclosed => finding,
            });
        })
        .ok()?;
    let refused =
        template.headers().find_map(|name| Some((name, Purpose::Signed.allow(name.as_str()).err()?)));
    if let Some((name, why)) = refused {
        let message = format!("{at} signs {name}, which can't be read from a call");
        return decoder.reject(Finding::error("invalid_header", decoder.place(&at), message).label(why));
    }
    Some(template)
}

pub(super) fn conflict<T>(decoder: &Decoder<'_>, at: &At<'_>, label: &str) -> Option<T> {
    let finding = Finding::error("conflicting_keys", decoder.key(at), format!("{at} has no place here"));
    decoder.reject(finding.label(label))
}
