//! The connection of one attempt: a pooled one, or a new one within the service's `connect_timeout`.

use super::request::{Planned, Request};
use super::{Exchange, NotForwarded, failure, record::warn_of_upstream};
use crate::proxy::downstream::client::ClientError;
use crate::telemetry::metrics::Phase;
use crate::transport::dial::DialError;
use crate::transport::{ConnectError, Connection, Upstream, stream::ServerStream};
use std::time::Duration;
use tokio::time::timeout;

/// Why an attempt has no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// The client's connection ended.
    Client(ClientError),
    /// None could be made.
    Failed(ConnectError),
    /// None was made within the service's `connect_timeout`.
    TimedOut(ConnectTimedOut),
}

/// The limit of `connect_timeout` passed.
#[derive(Debug, thiserror::Error)]
#[error("no connection{through} within the connect_timeout of {limit:?}")]
pub(super) struct ConnectTimedOut {
    limit: Duration,
    /// The words that name the forward proxy; empty without one.
    through: String,
}

impl ConnectTimedOut {
    fn new(limit: Duration, upstream: &Upstream) -> Self {
        let through = upstream.proxy().map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
        Self { limit, through }
    }
}

impl Exchange<'_> {
    /// Returns a connection, a pooled one unless `fresh`. The caller enforces the deadline.
    pub(super) async fn connect(
        &mut self,
        planned: &Planned,
        fresh: bool,
    ) -> Result<(Box<ServerStream>, Connection), NoConnection> {
        let (proxy, route) = (&self.entrance.proxy, &planned.plan.route);
        if !fresh && let Some(pooled) = proxy.transport.pooled(&route.upstream).await {
            return Ok(pooled);
        }
        let connecting = proxy.transport.connect(&route.upstream, !fresh, self.entrance.address);
        let connecting = async {
            match route.connect_timeout {
                None => connecting.await.map_err(NoConnection::Failed),
                Some(limit) => match timeout(limit, connecting).await {
                    Ok(connected) => connected.map_err(NoConnection::Failed),
                    Err(_) => Err(NoConnection::TimedOut(ConnectTimedOut::new(limit, &route.upstream))),
                },
            }
        };
        tokio::select! {
            biased;
            left = self.client.left() => Err(NoConnection::Client(left)),
            connected = Box::pin(connecting) => connected,
        }
    }
}

impl NoConnection {
    /// Returns true if another attempt may fare better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Failed(error) => error.is_passing(),
            Self::Client(_) => false,
        }
    }

    /// Records the failure, and returns the answer to the client.
    pub(super) fn refuse(self, request: &mut Request, planned: &Planned) -> NotForwarded {
        let (record, route) = (&mut request.record, &planned.plan.route);
        match self {
            Self::Client(left) => NotForwarded::Client(left),
            Self::Failed(error) => {
                record.upstream = error.address().or(record.upstream);
                let refusal = failure::no_connection(route, &error);
                if !matches!(error, ConnectError::Dial(DialError::Loop(_))) {
                    warn_of_upstream(record, &refusal, &error);
                }
                NotForwarded::refused(refusal)
            }
            Self::TimedOut(error) => {
                let refusal = failure::timeout(route, Phase::Connect);
                warn_of_upstream(record, &refusal, &error);
                NotForwarded::refused(refusal)
            }
        }
    }
}
