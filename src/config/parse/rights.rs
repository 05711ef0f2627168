//! Methods and paths of a right.

use super::optional;
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{PathPattern, Rights};
use crate::config::scalar::{self, Invalid};
use http::Method;

/// Reads `methods` and `paths` of a mapping.
pub(super) fn rights(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Rights> {
    let methods = optional(map.get("methods"), |at| methods(decoder, at));
    let paths = optional(map.get("paths"), |at| paths(decoder, at));
    Some(Rights { methods: methods.or(Vec::new())?, paths: paths.or(Vec::new())? })
}

/// Reads a list of methods, at least one.
pub(super) fn methods(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<Method>> {
    let method =
        |at: &At<'_>| decoder.parsed(at, "invalid_method", "a method that can be allowed", scalar::method);
    different(decoder, at, method)
}

fn paths(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<PathPattern>> {
    let parse = |text: &str| {
        let help = "write it like `/contacts*` or `/orders/1`";
        PathPattern::parse(text).map_err(|label| Invalid { label, help: Some(help.to_owned()) })
    };
    different(decoder, at, |at| decoder.parsed(at, "invalid_path", "a path that can be allowed", parse))
}

/// Reads a list, at least one item; one that is there already is left out.
fn different<T: PartialEq>(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    read: impl Fn(&At<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    let (mut is_empty, mut fine) = (true, true);
    for item in decoder.sequence(at)? {
        is_empty = false;
        match read(&item) {
            Some(value) if !all.contains(&value) => all.push(value),
            Some(_) => {}
            None => fine = false,
        }
    }
    if is_empty { decoder.empty(at) } else { fine.then_some(all) }
}
