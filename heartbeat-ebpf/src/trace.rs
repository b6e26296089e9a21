//! Prints each verdict in the trace build; nothing otherwise.

use aya_ebpf::programs::XdpContext;

use crate::Outcome;

#[cfg(not(feature = "trace"))]
#[inline(always)]
pub(crate) fn outcome(_context: &XdpContext, _outcome: &Outcome) {}

#[cfg(feature = "trace")]
#[inline(always)]
pub(crate) fn outcome(context: &XdpContext, outcome: &Outcome) {
    match outcome {
        Outcome::NotOurs => {}
        Outcome::Refused(reason) => {
            aya_log_ebpf::info!(context, "refused, reason {} of status.rejects", *reason as u32);
        }
        Outcome::Heartbeat => aya_log_ebpf::info!(context, "heartbeat accepted"),
        Outcome::Contended => aya_log_ebpf::info!(context, "heartbeat not booked: its link was being written"),
        Outcome::Control => aya_log_ebpf::info!(context, "control message passed up"),
        Outcome::Limited => aya_log_ebpf::info!(context, "control message over its limit"),
    }
}
