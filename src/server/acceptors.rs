//! The TLS settings of the three listeners, which follow the file.

use super::StartError;
use crate::config::model::{Listen, Listener};
use crate::socket::Acceptor;
use std::sync::Arc;

/// The acceptor of each listener.
pub(super) struct Acceptors {
    pub(super) outbound: Arc<Acceptor>,
    pub(super) webhooks: Arc<Acceptor>,
    pub(super) admin: Arc<Acceptor>,
}

impl Acceptors {
    /// Returns acceptors with these settings.
    ///
    /// # Errors
    ///
    /// If no handshake could succeed.
    pub(super) fn new(listen: &Listen) -> Result<Self, StartError> {
        let acceptor = |name: &'static str, listener: &Listener| {
            Acceptor::new(listener.tls.as_deref())
                .map(Arc::new)
                .map_err(|cause| StartError::Tls { listener: name, cause })
        };
        Ok(Self {
            outbound: acceptor("outbound", &listen.outbound)?,
            webhooks: acceptor("webhooks", &listen.webhooks)?,
            admin: acceptor("admin", &listen.admin)?,
        })
    }

    /// Returns the listeners that speak TLS.
    pub(super) fn with_tls(&self) -> impl Iterator<Item = (&'static str, &Acceptor)> {
        let all = [("outbound", &self.outbound), ("webhooks", &self.webhooks), ("admin", &self.admin)];
        all.into_iter().map(|(name, acceptor)| (name, &**acceptor)).filter(|(_, acceptor)| acceptor.is_tls())
    }

    /// Takes up the changed settings.
    pub(super) fn follow(&self, before: &Listen, now: &Listen) {
        let acceptors = [&self.outbound, &self.webhooks, &self.admin];
        for ((acceptor, (_, before)), (listener, now)) in
            acceptors.into_iter().zip(before.all()).zip(now.all())
        {
            let same = match (&before.tls, &now.tls) {
                (Some(before), Some(now)) => before.acts_like(now),
                (before, now) => before.is_none() && now.is_none(),
            };
            if same {
                continue;
            }
            match acceptor.replace(now.tls.as_deref()) {
                Ok(()) => tracing::info!(listener, "the listener's TLS settings were replaced"),
                // The parser has tried them.
                Err(error) => {
                    tracing::error!(listener, error = %crate::error_chain::Chain(&error), "the listener keeps its TLS settings");
                }
            }
        }
    }
}
