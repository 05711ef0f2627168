//! Entry points for `benches/hot_path.rs` to private items. Not an API.

use super::headers::{self, ResponseFilter, Unwanted};
use crate::message::Fields;
use crate::telemetry::metrics::Direction;
use crate::webhook::identity::Reserved;

/// Removes the fields of a request that must not be forwarded.
pub fn clean_request(fields: &mut Fields, reserved: &Reserved, replaced: &[String]) {
    let direction = Direction::Webhook;
    headers::clean_request(
        fields,
        &Unwanted { reserved, replaced, withheld: None, forwarded: false, direction },
    );
}

/// Counts the fields of a response that are forwarded.
pub fn kept_in_response(fields: &Fields) -> usize {
    let filter = ResponseFilter::new(fields, false);
    fields.iter().filter(|field| filter.keeps(field)).count()
}
