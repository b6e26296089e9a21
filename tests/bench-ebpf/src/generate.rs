//! A sender for live frames: each run is the next heartbeat of the next source, signed, and sent back out.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};

use crate::{clock, maps, payload::HeartbeatFrame};

const IPV4_CHECKSUM: usize = 14 + 10;
const IPV4_SOURCE: usize = 14 + 12;
const HEADER_SOURCE: usize = heartbeat_bench_ebpf::PAYLOAD_OFFSET + 16;
const SEQUENCE: usize = 4;
const SENT: usize = 5;
const ECHO: usize = 7;

#[inline(always)]
fn generate(context: &XdpContext) -> Option<()> {
    let stream = maps::STREAM.get_ptr_mut(0)?;
    // SAFETY: one generator runs at a time, on one CPU.
    let stream = unsafe { &mut *stream };
    let turn = stream.next;
    stream.next = if turn + 1 >= stream.sources { 0 } else { turn + 1 };
    stream.made += 1;
    let source = maps::SOURCES.get_ptr_mut(turn)?;
    // SAFETY: as above.
    let source = unsafe { &mut *source };
    source.sequence += 1;

    let mut frame = HeartbeatFrame::new(context)?;
    frame.write_u16::<IPV4_CHECKSUM>(source.checksum);
    frame.write_u32::<IPV4_SOURCE>(source.address);
    frame.write_u16::<HEADER_SOURCE>(source.node);
    frame.set_number::<SEQUENCE>(source.sequence);
    let now_ns = clock::monotonic_ns();
    frame.set_number::<SENT>(now_ns);
    frame.set_number::<ECHO>(now_ns);
    frame.sign()
}

/// Makes a heartbeat and sends it.
#[xdp]
pub(crate) fn generator(context: XdpContext) -> u32 {
    if generate(&context).is_some() { XDP_TX } else { XDP_ABORTED }
}
