//! Accepts clients, a bounded number at once, and never lets one of them hold up the node or the others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::operation::{Caller, Done, NodeName, Operation};
use super::protocol::{Failure, Response};
use super::session::session;
use super::socket::Listener;
use crate::event::EventLog;
use crate::history::History;
use crate::status::{Link, Status};
use crate::why::{About, Why};

/// Clients at once: some dashboards, some followers, and room for an operator when things go wrong.
const CLIENTS: usize = 64;
/// Without file descriptors, accepting fails at once and again: that must not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the socket hands out. Called on threads of normal priority; must not wait for the reactor.
pub trait Source: Send + Sync + 'static {
    /// Everything at a glance, links without histograms.
    fn status(&self) -> Status;

    /// All links, with their histograms.
    fn links(&self) -> Vec<Link>;

    /// The remembered arrivals of a peer's heartbeats, an entry for each network; the newest `limit` of each.
    ///
    /// # Errors
    ///
    /// When there is no such peer, or it is not on that network.
    fn history(&self, peer: &NodeName, network: Option<&str>, limit: usize) -> Result<Vec<History>, Failure>;

    /// The event log.
    fn events(&self) -> &EventLog;

    /// Everything that is counted and measured, as Prometheus reads it.
    fn metrics(&self) -> String;

    /// The evidence for a verdict.
    ///
    /// # Errors
    ///
    /// When there is no such verdict, or no such node.
    fn why(&self, about: Option<&About>) -> Result<Why, Failure>;

    /// Carries out an order of a caller who may give it. Waits for the outcome, with a bound.
    fn operate(&self, operation: Operation, caller: Caller) -> impl Future<Output = Result<Done, Failure>> + Send;
}

/// What became of clients.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients that were let in.
    pub accepted: AtomicU64,
    /// Clients that were turned away, because there were too many.
    pub refused: AtomicU64,
    /// Clients that were dropped, because they did not read.
    pub slow: AtomicU64,
    /// Requests that were answered with an error.
    pub failed: AtomicU64,
}

/// Serves clients until it is dropped; then the socket is removed and clients are cut off.
///
/// # Errors
///
/// If the listener cannot be used by this runtime.
pub async fn serve<S: Source>(socket: Listener, source: Arc<S>, counters: Arc<Counters>) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        counters.accepted.fetch_add(1, Ordering::Relaxed);
                        let (source, counters) = (Arc::clone(&source), Arc::clone(&counters));
                        sessions.spawn(async move {
                            session(stream, &*source, &counters).await;
                            drop(place);
                        });
                    }
                    Err(_) => {
                        counters.refused.fetch_add(1, Ordering::Relaxed);
                        turn_away(&stream);
                    }
                },
                Err(error) => {
                    tracing::warn!("no client can be accepted on {}: {error}", socket.path().display());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Ended sessions are collected, so that the set does not grow.
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// Says why, if the socket's buffer takes it, which it does for a new one.
fn turn_away(stream: &UnixStream) {
    let failure = Failure::new(
        format!("{CLIENTS} clients are connected already"),
        "close some, such as followers that nobody reads; then try again",
    );
    if let Ok(line) = Response::<()>::Error(failure).to_line() {
        // A client that is gone already needs no answer.
        let _ = stream.try_write(line.as_bytes());
    }
}
