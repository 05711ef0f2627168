//! `retries` of a service.

use super::{optional, rights};
use crate::config::decode::{At, Decoder, Given};
use crate::config::model::{Retries, RetryOn};
use crate::config::scalar::Invalid;
use http::StatusCode;

const DEFAULT_ATTEMPTS: u32 = 2;

pub(super) fn retries(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Retries> {
    let map = decoder.mapping(at)?;
    let attempts: Given<u32> = optional(map.get("attempts"), |at| decoder.integer(at));
    let on = optional(map.get("on"), |at| conditions(decoder, at));
    let methods = optional(map.get("methods"), |at| rights::methods(decoder, at));
    Some(Retries {
        attempts: attempts.or(DEFAULT_ATTEMPTS)?,
        on: on.or(vec![RetryOn::Connect, RetryOn::Reset])?,
        methods: methods.checked().ok()?,
    })
}

fn conditions(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<RetryOn>> {
    let (mut all, mut count, mut fine) = (Vec::new(), 0, true);
    for item in decoder.sequence(at)? {
        count += 1;
        match decoder.parsed(&item, "unknown_value", "a failure that can be retried", condition) {
            Some(found) if !all.contains(&found) => all.push(found),
            Some(_) => {}
            None => fine = false,
        }
    }
    if count == 0 { decoder.empty(at) } else { fine.then_some(all) }
}

fn condition(text: &str) -> Result<RetryOn, Invalid> {
    Ok(match text {
        "connect" => RetryOn::Connect,
        "reset" => RetryOn::Reset,
        "502" => RetryOn::Status(StatusCode::BAD_GATEWAY),
        "503" => RetryOn::Status(StatusCode::SERVICE_UNAVAILABLE),
        "504" => RetryOn::Status(StatusCode::GATEWAY_TIMEOUT),
        _ => {
            let help = "known here: `connect`, `reset`, `502`, `503` and `504`".to_owned();
            return Err(Invalid { label: "unknown value", help: Some(help) });
        }
    })
}
