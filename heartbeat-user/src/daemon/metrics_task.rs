//! The task that serves metrics, and moves when the configuration says so.

use std::{net::SocketAddr, sync::Arc};

use tokio::task::JoinHandle;

use super::{announce::announce, source::NodeSource};
use crate::{
    api::Source as _,
    clock,
    event::{Draft, kind},
    metrics::server::{self, Endpoint},
};

/// Serves at one address, or nowhere.
#[derive(Debug, Default)]
pub(super) struct MetricsTask {
    address: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

impl MetricsTask {
    /// From now on, serve there. An address that cannot be used is told and costs the node nothing else; it is tried again
    /// when it is asked for again.
    pub(super) fn listen(&mut self, source: &Arc<NodeSource>, address: Option<SocketAddr>) {
        let serving = self.task.as_ref().is_some_and(|task| !task.is_finished());
        if self.address == address && (serving || address.is_none()) {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.address = address;
        let Some(address) = address else { return };
        match Endpoint::bind(address) {
            Ok(endpoint) => {
                let (source, counters) = (Arc::clone(source), Arc::clone(&source.tallies().metrics));
                self.task = Some(tokio::spawn(async move {
                    if let Err(error) = server::serve(endpoint, move || source.metrics(), counters).await {
                        tracing::error!("the metrics at {address} are not served any more: {error}");
                    }
                }));
            }
            Err(error) => {
                let text = format!(
                    "[metrics] listen = \"{address}\" cannot be used: {error}. Nothing listens there; `heartbeat metrics` \
                     works. After mending it, reload the configuration"
                );
                announce(source.log(), Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), text));
            }
        }
    }
}

impl Drop for MetricsTask {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
