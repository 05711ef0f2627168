//! The admin listener, on its own thread and runtime: a scrape of 10,000 services must not delay a request.

use crate::admin::{self, View};
use crate::proxy::BoundListener;
use crate::socket::Acceptor;
use crate::telemetry::metrics::STEP;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// The running thread. It ends when this is dropped.
pub(super) struct AdminThread {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A bound listener that belongs to no runtime.
enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl AdminThread {
    /// Serves `view` on `listener`.
    ///
    /// # Errors
    ///
    /// If the thread or its runtime cannot be created.
    pub(super) fn start(
        listener: BoundListener,
        acceptor: Arc<Acceptor>,
        view: Arc<dyn View>,
    ) -> io::Result<Self> {
        let bound = match listener {
            BoundListener::Tcp(listener) => Bound::Tcp(listener.into_std()?),
            BoundListener::Unix(listener) => Bound::Unix(listener.into_std()?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serve = async move {
            let stopped = Box::pin(stopped);
            let stepped = end_steps(Arc::clone(&view));
            let served = async {
                match bound {
                    Bound::Tcp(listener) => {
                        admin::serve(TcpListener::from_std(listener)?, acceptor, view, stopped).await
                    }
                    Bound::Unix(listener) => {
                        admin::serve(UnixListener::from_std(listener)?, acceptor, view, stopped).await
                    }
                }
                io::Result::Ok(())
            };
            tokio::select! {
                served = served => served,
                () = stepped => Ok(()),
            }
        };
        let thread = std::thread::Builder::new().name("attache-admin".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the admin listener cannot be served");
            }
            // A response that is still being written must not delay the exit.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Never ends.
async fn end_steps(view: Arc<dyn View>) {
    let mut steps = interval_at(Instant::now() + STEP, STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        let view = Arc::clone(&view);
        // With 10,000 services this takes a while. A panic in it was logged already.
        let _ = tokio::task::spawn_blocking(move || view.end_step()).await;
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in it was logged already.
            let _ = thread.join();
        }
    }
}
