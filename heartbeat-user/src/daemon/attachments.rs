//! The thread that looks whether interfaces are still served as they should be.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use super::{announce::announce, source::NodeSource};
use crate::{
    clock,
    config::Timing,
    dataplane::reattach::{News, Reattacher},
    event::{Draft, kind},
    socket::NetworkSocket,
};

/// The shortest and longest time between two looks: each asks the kernel once for every interface.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The running thread.
pub(super) struct AttachmentKeeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl AttachmentKeeper {
    /// Looks four times within the time in which a silent peer is missed, so that an attachment is back before that.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        mut reattacher: Reattacher,
        sockets: Vec<Arc<NetworkSocket>>,
        source: Arc<NodeSource>,
        timing: &Timing,
    ) -> io::Result<Self> {
        let silent = Duration::from_nanos(timing.interval_ns.saturating_mul(timing.lost_after.into()));
        let look = (silent / 4).clamp(LOOKS.0, LOOKS.1);
        let (stop, stopped) = channel();
        let work = move || {
            while stopped.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
                for news in reattacher.look() {
                    tell(news, &sockets, &source);
                }
            }
        };
        Ok(Self { stop, thread: Builder::new().name("heartbeat-attach".to_owned()).spawn(work)? })
    }

    /// Ends it: from here on nothing is attached any more.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic has been reported by the hook, which ends the process.
        let _ended = self.thread.join();
    }
}

fn tell(mut news: News, sockets: &[Arc<NetworkSocket>], source: &NodeSource) {
    if news.made_anew {
        for socket in sockets.iter().filter(|socket| socket.network == news.network) {
            if let Err(error) = socket.rebind() {
                let failure = format!("its socket cannot be bound: {error}");
                news.text = format!("{}; {failure}", news.text);
                news.failure = Some(failure);
            }
        }
    }
    let mut draft = Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), news.text.clone());
    draft.network = source.networks().get(&news.network).cloned();
    draft.detail = serde_json::json!({
        "interface": news.attachment.interface.name, "made_anew": news.made_anew, "failure": news.failure,
        "mode": news.attachment.mode.as_str(),
    });
    source.set_attachment(news);
    announce(source.log(), draft);
}
