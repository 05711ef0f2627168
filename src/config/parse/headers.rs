//! Headers with fixed values, by name.

use super::accounts::header_value;
use crate::config::decode::{At, Decoder};
use crate::config::header::Purpose;
use crate::config::problem::Finding;
use crate::config::secrets::PlainText;
use crate::header_name::{FieldName, alike};
use http::HeaderValue;

/// Reads headers that attache sends, each value a secret. `purpose` is that of the names, `plain_text` says how a value in
/// plain text is treated, `refused` returns label and help for a name that can't be set here.
pub(super) fn headers(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    purpose: Purpose,
    plain_text: impl Fn(&str) -> PlainText<'static>,
    refused: impl Fn(&str) -> Option<(&'static str, Option<&'static str>)>,
) -> Option<Vec<(FieldName, HeaderValue)>> {
    let mut all: Vec<(FieldName, HeaderValue)> = Vec::new();
    for (text, at) in decoder.names(at)?.entries() {
        let value = header_value(decoder, &at, plain_text(text));
        let is_set = |name: &FieldName| all.iter().any(|(before, _)| alike(name.as_str(), before.as_str()));
        let (label, help) = match purpose.parse(text) {
            Ok(name) => match refused(name.as_str()) {
                Some(said) => said,
                None if is_set(&name) => ("this header is set already", None),
                None => {
                    all.extend(value.map(|value| (name, value)));
                    continue;
                }
            },
            Err(invalid) => (invalid.label, None),
        };
        let message = format!("{at} is not a header name that can be set");
        let finding = Finding::error("invalid_header", decoder.key(&at), message).label(label);
        decoder.report(match help {
            Some(help) => finding.help(help),
            None => finding,
        });
    }
    Some(all)
}
