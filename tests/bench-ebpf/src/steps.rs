//! Programs that each go one step further down the hot path. Their verdicts depend on all that they found, so that the
//! compiler can leave nothing out.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use heartbeat_common::{
    decode::{self, PacketBytes as _, WORDS_MIN},
    frame::{self as wire_frame, Datagram},
    verify::{self, Ingress, Message, Tables as _},
};

use crate::{clock, frame::FrameBytes, payload::HeartbeatFrame, tables::Maps};

/// One of two verdicts, by a value that only the whole computation gives.
#[inline(always)]
fn verdict(value: u64) -> u32 {
    if value & 1 == 0 { XDP_DROP } else { XDP_PASS }
}

#[inline(always)]
fn fold(datagram: &Datagram<FrameBytes<'_>>) -> u64 {
    u64::from(datagram.payload_length)
        ^ u64::from(datagram.lengths_agree)
        ^ datagram.source.0
        ^ datagram.source.1
        ^ datagram.destination.0
        ^ datagram.destination.1
        ^ u64::from(datagram.time_to_live)
        ^ u64::from(datagram.vlan)
}

#[inline(always)]
fn addressed(context: &XdpContext) -> Option<(Datagram<FrameBytes<'_>>, Ingress)> {
    let datagram = wire_frame::locate(FrameBytes::new(context))?;
    let ingress = verify::ingress(Maps.networks()?, context.ingress_ifindex() as u32, &datagram)?;
    Some((datagram, ingress))
}

/// Nothing: what the test run itself costs.
#[xdp(frags)]
pub(crate) fn empty(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// Reads the clock.
#[xdp(frags)]
pub(crate) fn step_clock(_context: XdpContext) -> u32 {
    verdict(clock::monotonic_ns())
}

/// Computes the tag of a heartbeat at a known place.
#[xdp(frags)]
pub(crate) fn step_tag(context: XdpContext) -> u32 {
    match HeartbeatFrame::new(&context).and_then(|frame| frame.tag()) {
        Some(tag) => verdict(tag.0 ^ tag.1),
        None => XDP_PASS,
    }
}

/// Ethernet, IP and UDP.
#[xdp(frags)]
pub(crate) fn step_parse(context: XdpContext) -> u32 {
    match wire_frame::locate(FrameBytes::new(&context)) {
        Some(datagram) => verdict(fold(&datagram)),
        None => XDP_PASS,
    }
}

/// And: is it addressed to us?
#[xdp(frags)]
pub(crate) fn step_ingress(context: XdpContext) -> u32 {
    match addressed(&context) {
        Some((datagram, ingress)) => {
            verdict(fold(&datagram) ^ u64::from(ingress.network) ^ u64::from(ingress.multicast))
        }
        None => XDP_PASS,
    }
}

/// And the common header.
#[xdp(frags)]
pub(crate) fn step_header(context: XdpContext) -> u32 {
    let Some((datagram, ingress)) = addressed(&context) else { return XDP_PASS };
    let Some(words) = datagram.payload.words::<WORDS_MIN>() else { return XDP_PASS };
    match decode::decode(words, datagram.payload_length) {
        Ok(decoded) => verdict(
            fold(&datagram)
                ^ u64::from(ingress.network)
                ^ decoded.cluster_id
                ^ u64::from(decoded.source)
                ^ u64::from(decoded.destination)
                ^ u64::from(decoded.network)
                ^ u64::from(decoded.key_id),
        ),
        Err(_) => XDP_PASS,
    }
}

/// And node, peer, key and tag: all of `verify`. With an empty key slot it ends before the tag.
#[xdp(frags)]
pub(crate) fn step_verify(context: XdpContext) -> u32 {
    let Some((datagram, ingress)) = addressed(&context) else { return XDP_PASS };
    match verify::verify(Maps, &datagram, ingress) {
        Ok(verified) => match verified.message {
            Message::Heartbeat(heartbeat) => verdict(
                u64::from(verified.link)
                    ^ heartbeat.incarnation
                    ^ heartbeat.sequence
                    ^ heartbeat.sent_ns
                    ^ heartbeat.view
                    ^ heartbeat.echo_sent_ns
                    ^ u64::from(heartbeat.echo_hold_us)
                    ^ u64::from(heartbeat.controller_age_ms)
                    ^ heartbeat.controller_beat,
            ),
            Message::Control { kind } => verdict(u64::from(kind)),
        },
        Err(reason) => verdict(reason as u64),
    }
}
