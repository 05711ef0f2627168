//! Reading of a webhook's body before the receiver gets a byte of it.
//!
//! The buffer is small at first and doubles, up to the announced length at most. Each size is counted before it is
//! allocated ([`crate::limits::buffered`]), so what clients announce costs nothing, and what they send is bounded for the
//! process and for each client address.

use super::NotForwarded;
use super::admit::within;
use super::failure::{bad_body, internal, stalled_upload};
use super::request::{Planned, Request, refuse_valid};
use crate::error_code::ErrorCode;
use crate::limits::buffered::{BodyMemory, BufferPermit, NoRoom};
use crate::message::Framing;
use crate::plan::Refusal;
use crate::proxy::downstream::client::{BodyRead, Client, ClientError};
use crate::telemetry::metrics::WebhookRefusal;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

/// Initial size of a body's buffer.
const FIRST: usize = 4 << 10;
/// Maximum pause within a body, since it occupies memory.
const SILENCE: Duration = Duration::from_secs(10);
/// `100 Continue`, for a client that waits for it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The reason why a body could not be read ahead.
enum ReadBodyError {
    /// The client's connection failed.
    Client(ClientError),
    /// The memory for such bodies is used up.
    NoRoom(NoRoom),
    /// The client stopped sending.
    Silent,
}

/// Reads the whole body.
///
/// # Errors
///
/// The answer, if it cannot be read, or not within the deadline.
pub(super) async fn read_ahead(
    request: &mut Request,
    planned: &Planned,
    client: &mut Client,
    memory: &Arc<BodyMemory>,
) -> Result<(Bytes, BufferPermit), NotForwarded> {
    let Some(endpoint) = request.record.endpoint().cloned() else {
        return Err(NotForwarded::refused(internal("no_endpoint")));
    };
    let mut permit = memory.permit(request.record.snapshot.config.buffered, request.record.client);
    let began = Instant::now();
    let read = timeout_at(planned.deadline, read(request, planned, client, &mut permit)).await;
    request.record.upload_wait += began.elapsed();
    let (refusal, reason) = match read {
        Ok(Ok(body)) => return Ok((body.into(), permit)),
        Ok(Err(ReadBodyError::Client(ClientError::Body(error)))) => {
            (bad_body(&endpoint.route, error), WebhookRefusal::Request)
        }
        Ok(Err(ReadBodyError::Client(error))) => return Err(NotForwarded::Client(error)),
        Ok(Err(ReadBodyError::NoRoom(full))) => (no_room(full), WebhookRefusal::Overloaded),
        Ok(Err(ReadBodyError::Silent)) | Err(_) => (stalled_upload(), WebhookRefusal::Request),
    };
    Err(refuse_valid(&mut request.record, refusal, reason))
}

async fn read(
    request: &Request,
    planned: &Planned,
    client: &mut Client,
    permit: &mut BufferPermit,
) -> Result<Vec<u8>, ReadBodyError> {
    let most = match request.head.body {
        Framing::Length(length) => length,
        _ => planned.plan.route.max_body.unwrap_or(u64::MAX),
    };
    // Bytes that were received need no `100 Continue`.
    if request.expects_continue && !client.body_has_ended() && !client.has_early_bytes() {
        client.queue().extend_from_slice(CONTINUE);
    }
    let mut body = Vec::new();
    loop {
        match timeout(SILENCE, client.read_body(&mut body)).await {
            Err(_) => return Err(ReadBodyError::Silent),
            Ok(Err(error)) => return Err(ReadBodyError::Client(error)),
            Ok(Ok(BodyRead::Part)) => {}
            Ok(Ok(BodyRead::Full)) => {
                let size = next_size(body.capacity(), most);
                permit.grow_to(size).map_err(ReadBodyError::NoRoom)?;
                body.reserve_exact(size.saturating_sub(body.len()));
            }
            Ok(Ok(BodyRead::End)) => return Ok(body),
        }
    }
}

/// Returns the size of the buffer that replaces a full one, for a body of at most `most` bytes.
fn next_size(full: usize, most: u64) -> usize {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    full.saturating_mul(2).max(FIRST).min(most.max(full.saturating_add(1)))
}

fn no_room(full: NoRoom) -> Refusal {
    let (detail, reason) = match full {
        NoRoom::Process => ("too many webhook bodies are being read at the same time", "buffered"),
        NoRoom::Share => {
            ("too many webhook bodies from this address are being read at the same time", "buffered_share")
        }
    };
    Refusal::new(ErrorCode::Overloaded, detail).because(reason).retry_soon()
}

/// Waits until a large body may be verified: as many as there are worker threads are verified at the same time.
///
/// # Errors
///
/// If the client leaves, or the deadline passes.
pub(super) async fn turn<'s>(
    verifications: &'s Semaphore,
    request: &mut Request,
    planned: &Planned,
    client: &mut Client,
) -> Result<SemaphorePermit<'s>, NotForwarded> {
    match within(planned.deadline, client, verifications.acquire()).await? {
        Some(Ok(permit)) => Ok(permit),
        // The semaphore is never closed.
        Some(Err(_)) | None => {
            let detail = "too many large webhook bodies are being verified at the same time";
            let refusal = Refusal::new(ErrorCode::Overloaded, detail).because("verifications").retry_soon();
            Err(refuse_valid(&mut request.record, refusal, WebhookRefusal::Overloaded))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_doubles_up_to_the_length_of_the_body() {
        let sizes = |most: u64| {
            let sizes = std::iter::successors(Some(0), |&size| {
                (size < usize::try_from(most).expect("small")).then(|| next_size(size, most))
            });
            sizes.skip(1).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(4096), [4096]);
        assert_eq!(sizes(10_000), [4096, 8192, 10_000]);
        assert_eq!(sizes(1 << 20).len(), 9);
        assert_eq!(next_size(100, 100), 101, "never the same size again");
        assert_eq!(next_size(usize::MAX, u64::MAX), usize::MAX);
    }
}
