//! Writing into a heartbeat, and signing it.

use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use heartbeat_bench_ebpf::PAYLOAD_OFFSET;
use heartbeat_common::{
    auth::{self, HeartbeatKey},
    wire,
};

use crate::maps;

/// Key slot that signs.
const KEY: u32 = 1;
const TAGGED_WORDS: usize = wire::HEARTBEAT_TAGGED_LENGTH / 8;

/// A frame of at least one heartbeat behind plain IPv4.
pub(crate) struct HeartbeatFrame<'a> {
    start: usize,
    frame: PhantomData<&'a XdpContext>,
}

impl<'a> HeartbeatFrame<'a> {
    /// `None` when the frame is too short.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Option<Self> {
        let start = context.data();
        if start + PAYLOAD_OFFSET + wire::HEARTBEAT_LENGTH > context.data_end() {
            return None;
        }
        Some(Self { start, frame: PhantomData })
    }

    #[inline(always)]
    fn word_at(&self, index: usize) -> *mut u64 {
        (self.start + PAYLOAD_OFFSET + index * 8) as *mut u64
    }

    /// Writes two bytes at an offset of the frame that is below the payload's end, as they are.
    #[inline(always)]
    pub(crate) fn write_u16<const OFFSET: usize>(&mut self, value: u16) {
        const { assert!(OFFSET + 2 <= PAYLOAD_OFFSET + wire::HEARTBEAT_LENGTH) };
        // SAFETY: within the length that `new` compared; BPF stores need no alignment on x86 and arm64.
        unsafe { ((self.start + OFFSET) as *mut u16).write_volatile(value) };
    }

    /// As `write_u16`, four bytes.
    #[inline(always)]
    pub(crate) fn write_u32<const OFFSET: usize>(&mut self, value: u32) {
        const { assert!(OFFSET + 4 <= PAYLOAD_OFFSET + wire::HEARTBEAT_LENGTH) };
        // SAFETY: as in `write_u16`.
        unsafe { ((self.start + OFFSET) as *mut u32).write_volatile(value) };
    }

    /// A word of the payload as a number.
    #[inline(always)]
    pub(crate) fn number<const INDEX: usize>(&self) -> u64 {
        const { assert!(INDEX * 8 < wire::HEARTBEAT_LENGTH) };
        // SAFETY: within the length that `new` compared.
        u64::from_be(unsafe { self.word_at(INDEX).read_volatile() })
    }

    /// Writes a number into a word of the payload.
    #[inline(always)]
    pub(crate) fn set_number<const INDEX: usize>(&mut self, number: u64) {
        const { assert!(INDEX * 8 < wire::HEARTBEAT_LENGTH) };
        // SAFETY: within the length that `new` compared.
        unsafe { self.word_at(INDEX).write_volatile(number.to_be()) };
    }

    /// The tag of what stands in the frame.
    #[inline(always)]
    pub(crate) fn tag(&self) -> Option<auth::Tag> {
        let key = maps::KEYS.get(KEY)?;
        Some(auth::tag::<TAGGED_WORDS>(HeartbeatKey::from_halves(key.k0, key.k1), |index| {
            // SAFETY: `index` is below TAGGED_WORDS, whose bytes lie within the length that `new` compared.
            unsafe { self.word_at(index).read_volatile() }
        }))
    }

    /// Writes the tag of what stands in the frame.
    #[inline(always)]
    pub(crate) fn sign(&mut self) -> Option<()> {
        let tag = self.tag()?;
        // SAFETY: within the length that `new` compared.
        unsafe {
            self.word_at(TAGGED_WORDS).write_volatile(tag.0);
            self.word_at(TAGGED_WORDS + 1).write_volatile(tag.1);
        }
        Some(())
    }
}
