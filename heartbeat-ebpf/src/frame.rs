//! Access to the bytes of a frame: the only place that touches packet memory.

use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use heartbeat_common::decode::{PacketBytes, Words};

/// The part of a frame from some offset on, up to the end of its linear data.
#[derive(Clone, Copy)]
pub(crate) struct FrameBytes<'a> {
    start: usize,
    end: usize,
    frame: PhantomData<&'a XdpContext>,
}

impl<'a> FrameBytes<'a> {
    /// The whole frame.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { start: context.data(), end: context.data_end(), frame: PhantomData }
    }

    /// Address of `LENGTH` bytes at `offset`, if they lie before the end: the comparison that the verifier looks for.
    #[inline(always)]
    fn at<const LENGTH: usize>(self, offset: usize) -> Option<usize> {
        let address = self.start + offset;
        if address + LENGTH > self.end { None } else { Some(address) }
    }
}

impl<'a> PacketBytes for FrameBytes<'a> {
    type Words<const COUNT: usize> = FrameWords<'a, COUNT>;

    #[inline(always)]
    fn byte(self, offset: usize) -> Option<u8> {
        let address = self.at::<1>(offset)?;
        // SAFETY: one byte at `address` lies within the frame.
        Some(unsafe { (address as *const u8).read() })
    }

    #[inline(always)]
    fn u16_be(self, offset: usize) -> Option<u16> {
        let address = self.at::<2>(offset)?;
        // SAFETY: two bytes at `address` lie within the frame. The kernel lays frames out so that IP headers are aligned
        // to two bytes, and BPF loads need no alignment on the architectures that have XDP; `read_unaligned` would be
        // split into byte loads.
        Some(u16::from_be(unsafe { (address as *const u16).read_volatile() }))
    }

    #[inline(always)]
    fn u32_raw(self, offset: usize) -> Option<u32> {
        let address = self.at::<4>(offset)?;
        // SAFETY: as in `u16_be`, with four bytes.
        Some(unsafe { (address as *const u32).read_volatile() })
    }

    #[inline(always)]
    fn skip(self, length: usize) -> Self {
        Self { start: self.start + length, ..self }
    }

    #[inline(always)]
    fn words<const COUNT: usize>(self) -> Option<FrameWords<'a, COUNT>> {
        let address = self.start;
        if address + COUNT * 8 > self.end {
            return None;
        }
        Some(FrameWords { start: address as *const u64, frame: PhantomData })
    }
}

/// `COUNT` words that were compared with the end of the frame.
#[derive(Clone, Copy)]
pub(crate) struct FrameWords<'a, const COUNT: usize> {
    start: *const u64,
    frame: PhantomData<&'a XdpContext>,
}

impl<const COUNT: usize> Words for FrameWords<'_, COUNT> {
    #[inline(always)]
    fn word(self, index: usize) -> u64 {
        if index >= COUNT {
            return 0;
        }
        // SAFETY: `index` is below the COUNT that was compared with the end of the frame. One eight-byte load, see
        // `u16_be`; `read_unaligned` costs 21 ns more over a heartbeat, `bpf_xdp_load_bytes` 55 ns.
        unsafe { self.start.add(index).read_volatile() }
    }
}
