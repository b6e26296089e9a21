//! The reactor's end: encodes into memory that is there already, never waits, and counts what does not fit.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::Thread,
};

use heartbeat_membership::{Action, Input, MembershipInput, Node, Now};
use rtrb::Producer;

use super::{
    entry::{Built, Encoder, End},
    writer::RecordStatistics,
};

/// Bytes that may wait for the disk: about 50,000 echoes, or a long regroup message from each of 1,000 members twice.
pub(super) const QUEUE_BYTES: usize = 4 << 20;
/// Most entries are shorter by far; a longer one lets the buffer grow, once.
const SCRATCH_BYTES: usize = 16 << 10;

/// Records what goes into a core and what comes out.
pub struct Recorder {
    queue: Producer<u8>,
    /// Bytes that the queue holds when nothing waits.
    capacity: usize,
    shared: Arc<RecordStatistics>,
    writer: Thread,
    scratch: Vec<u8>,
    /// Entries lost since the last one that was queued; nothing is queued until a whole core bridges the gap.
    lost: u64,
    /// Something worth waking the writer for was queued in this pass.
    urgent: bool,
}

impl Recorder {
    pub(super) fn new(queue: Producer<u8>, shared: Arc<RecordStatistics>, writer: Thread) -> Self {
        Self {
            capacity: queue.buffer().capacity(),
            queue,
            shared,
            writer,
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            lost: 0,
            urgent: false,
        }
    }

    /// A core is about to be built with this.
    pub fn built(&mut self, built: &Built) {
        self.append(|encoder| encoder.built(built));
        self.urgent = true;
    }

    /// A core is about to be handed this.
    pub fn input(&mut self, now: Now, input: &Input) {
        // Echoes come in every interval, and are written with what follows, within a second.
        self.urgent |= !matches!(input, Input::Timer | Input::Membership(MembershipInput::Echoes { .. }));
        self.append(|encoder| encoder.input(now, input));
    }

    /// A core gave this.
    pub fn action(&mut self, action: &Action) {
        self.urgent |= matches!(action, Action::Event(_));
        self.append(|encoder| encoder.action(action));
    }

    /// Whether a whole core is wanted: to begin a file with, or to go on behind a gap.
    #[must_use]
    pub fn wants_core(&self) -> bool {
        // A core is long: with less room than this it, or the next few entries, would be lost.
        let wanted = self.lost != 0 || self.shared.wants_core.load(Ordering::Relaxed);
        wanted && self.queue.slots() >= self.capacity / 2
    }

    /// The core as it stands between two inputs.
    pub fn core(&mut self, core: &Node) {
        let lost = std::mem::take(&mut self.lost);
        if lost != 0 && !self.queue_whole(|encoder| encoder.gap(lost)) {
            self.lost = lost;
            return;
        }
        self.shared.wants_core.store(false, Ordering::Relaxed);
        if !self.queue_whole(|encoder| encoder.core(core)) {
            // Until there is a core, nothing can go on.
            self.lost = 1;
        }
        self.urgent = true;
    }

    /// Lets the writer know, once in a pass.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.urgent) || self.queue.slots() < self.capacity / 4 * 3 {
            self.writer.unpark();
        }
    }

    /// Queues one entry, or counts it.
    fn append(&mut self, encode: impl FnOnce(Encoder<'_>) -> bool) {
        if self.lost != 0 || !self.queue_whole(encode) {
            self.lost += 1;
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn queue_whole(&mut self, encode: impl FnOnce(Encoder<'_>) -> bool) -> bool {
        self.scratch.clear();
        self.scratch.extend_from_slice(&[0; 4]);
        if !encode(Encoder(&mut self.scratch)) {
            return false;
        }
        let Ok(length) = u32::try_from(self.scratch.len() - 4) else { return false };
        self.scratch[..4].copy_from_slice(&length.to_le_bytes());
        self.queue.push_entire_slice(&self.scratch).is_ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        // A full queue to the last: the file then ends without a word, which its reader says.
        let _told = (lost == 0 || self.queue_whole(|encoder| encoder.gap(lost)))
            && self.queue_whole(|encoder| encoder.end(End::Stopped));
        self.shared.finished.store(true, Ordering::Release);
        self.writer.unpark();
    }
}
