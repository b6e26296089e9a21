//! The data plane in the kernel: `heartbeat` verifies, stamps and counts what arrives; `judge` arms the timer that says
//! who is late; `gate` and `tick` are the metronome, which sends.
//!
//! This file has the only place where an outcome becomes a verdict.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod account;
mod admission;
mod atomic;
mod clock;
mod frame;
mod judge;
mod maps;
mod metronome;
mod notify;
mod tables;
mod timer;
mod trace;

use aya_ebpf::{
    bindings::{
        TC_ACT_OK, TC_ACT_SHOT,
        xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    },
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use heartbeat_common::{
    frame as wire_frame,
    reject::Reject,
    verify::{self, Message, Tables as _},
};

use crate::{account::Booked, frame::FrameBytes, metronome::Fate, tables::Maps};

/// What a frame turned out to be.
enum Outcome {
    /// Somebody else's: untouched, uncounted.
    NotOurs,
    /// Ours, and refused.
    Refused(Reject),
    /// A heartbeat that is in the books.
    Heartbeat,
    /// A heartbeat that met another one of its link on another CPU.
    Contended,
    /// A control message for userspace.
    Control,
    /// A control message beyond what its sender may send.
    Limited,
}

#[xdp(frags)]
pub(crate) fn heartbeat(context: XdpContext) -> u32 {
    let outcome = receive(&context);
    trace::outcome(&context, &outcome);
    match outcome {
        Outcome::NotOurs => XDP_PASS,
        Outcome::Refused(reason) => {
            notify::count_reject(reason);
            XDP_DROP
        }
        // Consumed: nobody above needs it. This hides heartbeats from tcpdump on the receiver.
        Outcome::Heartbeat | Outcome::Contended => XDP_DROP,
        Outcome::Control => {
            notify::count(|counters| &mut counters.control_passed);
            XDP_PASS
        }
        Outcome::Limited => {
            notify::count(|counters| &mut counters.control_limited);
            XDP_DROP
        }
    }
}

#[inline(always)]
fn receive(context: &XdpContext) -> Outcome {
    let Some(datagram) = wire_frame::locate(FrameBytes::new(context)) else { return Outcome::NotOurs };
    let Some(networks) = Maps.networks() else { return Outcome::NotOurs };
    let Some(ingress) = verify::ingress(networks, context.ingress_ifindex() as u32, &datagram) else {
        return Outcome::NotOurs;
    };
    let verified = match verify::verify(Maps, &datagram, ingress) {
        Ok(verified) => verified,
        Err(reason) => return Outcome::Refused(reason),
    };
    match verified.message {
        Message::Heartbeat(heartbeat) => match account::book(verified.link, &heartbeat) {
            Ok(Booked::Accepted) => Outcome::Heartbeat,
            Ok(Booked::Contended) => Outcome::Contended,
            Err(reason) => Outcome::Refused(reason),
        },
        Message::Control { .. } => {
            if admission::admit(verified.link) {
                Outcome::Control
            } else {
                Outcome::Limited
            }
        }
    }
}

/// Arms the judge; run through BPF_PROG_TEST_RUN, never attached. XDP_PASS is success.
#[xdp]
pub(crate) fn judge(_context: XdpContext) -> u32 {
    match judge::start() {
        Ok(()) => XDP_PASS,
        Err(_) => XDP_ABORTED,
    }
}

/// Egress of the metronome's upper device, before its queueing discipline.
#[classifier]
pub(crate) fn gate(context: TcContext) -> i32 {
    verdict(metronome::gate(context.skb.skb))
}

/// Egress of the metronome's lower device, where the packet comes out when its turn has come.
#[classifier]
pub(crate) fn tick(context: TcContext) -> i32 {
    verdict(metronome::tick(context.skb.skb))
}

#[inline(always)]
fn verdict(fate: Fate) -> i32 {
    match fate {
        Fate::Wait => TC_ACT_OK,
        Fate::Return(verdict) => verdict,
        Fate::Drop => TC_ACT_SHOT,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// GPL-compatible, as the kernel demands of programs that use its GPL-only helpers; the source is MIT OR Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
