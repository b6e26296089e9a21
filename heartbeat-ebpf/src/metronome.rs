//! The metronome: `gate` lets nothing but the seeded packet wait for its turn, `tick` sends a lap of heartbeats as copies of
//! it and sends it back to wait again.
//!
//! The packet waits in a queueing discipline of a macvlan; what comes out of that goes to the lower device, where `tick`
//! sits. All of a lap runs in one softirq (docs/metronome.md).

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{
        bpf_clone_redirect, bpf_ktime_get_boot_ns, bpf_loop, bpf_redirect, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use heartbeat_common::{
    auth::HeartbeatKey,
    ids,
    metronome::{
        Content, DATAGRAM_WORDS, FRAME_LENGTH_IPV4, FRAME_LENGTH_IPV6, HEADERS_IPV4, HEADERS_IPV6, MetronomeBooks,
        MetronomeRecord, SEED_BYTES, TARGET_ALTERNATE, TARGET_GROUP, TARGET_IPV6, TargetRecord, datagram, seed_words,
    },
    records::NodeRecord,
    wire::{FLAG_LEASE_LAPSED, FLAG_METRONOME, FLAG_MULTICAST, HOLD_UNKNOWN},
};

use crate::{atomic, clock, maps};

const DATAGRAM_BYTES: u32 = 8 * DATAGRAM_WORDS as u32;
/// A link record is written in well under a microsecond; whoever meets its writer this often sends no echo this time.
const ECHO_ATTEMPTS: usize = 4;

/// What becomes of the frame that a program was called with.
pub(crate) enum Fate {
    /// It waits for its turn.
    Wait,
    /// It goes back to wait, as `bpf_redirect` has arranged; the helper's verdict.
    Return(i32),
    /// It is dropped.
    Drop,
}

/// Before the queueing discipline: only the packet may take its tokens.
#[inline(always)]
pub(crate) fn gate(skb: *mut __sk_buff) -> Fate {
    let (Some(metronome), Some(books)) = (maps::METRONOME.get(0), books()) else { return Fate::Drop };
    match seed_of(skb) {
        Some(seed) if seed == atomic::load(&metronome.seed) && seed != 0 => Fate::Wait,
        Some(_) => {
            atomic::fetch_add(&mut books.stale, 1);
            Fate::Drop
        }
        None => {
            atomic::fetch_add(&mut books.foreign, 1);
            Fate::Drop
        }
    }
}

/// Behind the queueing discipline: a lap.
#[inline(always)]
pub(crate) fn tick(skb: *mut __sk_buff) -> Fate {
    let (Some(metronome), Some(books)) = (maps::METRONOME.get(0), books()) else { return Fate::Drop };
    let Some(seed) = seed_of(skb) else {
        atomic::fetch_add(&mut books.foreign, 1);
        return Fate::Drop;
    };
    if seed == 0 || seed != atomic::load(&metronome.seed) {
        atomic::fetch_add(&mut books.stale, 1);
        return Fate::Drop;
    }
    begin_lap(books, seed);
    let mut lap = Lap { skb };
    // SAFETY: the callback is a static subprogram; its context lives on this stack until the loop is over.
    unsafe {
        bpf_loop(metronome.per_lap, send_one as *mut c_void, (&raw mut lap).cast(), 0);
    }
    let next = books.cursor + u64::from(metronome.per_lap);
    books.cursor = if next < u64::from(metronome.targets) { next } else { 0 };
    books.laps += 1;
    let words = seed_words(seed);
    // SAFETY: `skb` is the program's context; the source is on this stack.
    let restored = unsafe {
        bpf_skb_change_tail(skb, metronome.length, 0) == 0
            && bpf_skb_store_bytes(skb, 0, words.as_ptr().cast(), SEED_BYTES as u32, 0) == 0
    };
    if !restored {
        books.broken += 1;
        return Fate::Drop;
    }
    // SAFETY: the helper takes two numbers.
    Fate::Return(unsafe { bpf_redirect(metronome.ifindex, 0) } as i32)
}

/// Context of the loop over a lap's targets.
#[repr(C)]
struct Lap {
    skb: *mut __sk_buff,
}

#[inline(always)]
fn books() -> Option<&'static mut MetronomeBooks> {
    // SAFETY: a map value. Only the packet of the one seed gets as far as the fields that are written without an atomic
    // instruction, and it is in one place at a time.
    maps::METRONOME_BOOKS.get_ptr_mut(0).map(|books| unsafe { &mut *books })
}

/// The seed that the frame carries, if it is a packet of the metronome.
#[inline(always)]
fn seed_of(skb: *mut __sk_buff) -> Option<u64> {
    let mut words = [0_u64; SEED_BYTES / 8];
    // SAFETY: `skb` is the program's context, the destination is on this stack and as long as is said.
    let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), 0, words.as_mut_ptr().cast(), SEED_BYTES as u32) };
    let [first, second, seed] = words;
    let [expected_first, expected_second, _] = seed_words(0);
    (loaded == 0 && first == expected_first && second == expected_second).then_some(seed)
}

#[inline(always)]
fn begin_lap(books: &mut MetronomeBooks, seed: u64) {
    let now_ns = clock::monotonic_ns();
    if books.seed != seed {
        // The time between two seeds is not the metronome's.
        books.seed = seed;
        books.cursor = 0;
        books.round_ns = 0;
    }
    if books.cursor == 0 {
        let gap_ns = now_ns.wrapping_sub(books.round_ns);
        if books.round_ns != 0 && gap_ns > books.longest_gap_ns {
            books.longest_gap_ns = gap_ns;
        }
        books.rounds += 1;
        books.round_ns = now_ns;
    }
    books.lap_ns = now_ns;
}

#[inline(never)]
fn send_one(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `tick` passed to the loop.
    let skb = unsafe { (*context.cast::<Lap>()).skb };
    let (Some(metronome), Some(node), Some(books)) = (maps::METRONOME.get(0), maps::NODE.get(0), books()) else {
        return 1;
    };
    let position = (books.cursor + index) as u32;
    // A node that has stopped beats no more, not even for the rest of a lap.
    if position >= metronome.targets || atomic::load(&metronome.seed) == 0 {
        return 1;
    }
    let Some(target) = maps::TARGETS.get(position) else { return 1 };
    if atomic::load(&node.incarnation) == 0 || target.flags & TARGET_ALTERNATE != 0 && books.rounds & 1 != 0 {
        return 0;
    }
    if target.ifindex == 0 {
        books.unresolved += 1;
        return 0;
    }
    let Some(words) = compose(metronome, node, target) else { return 0 };
    let sent = if target.flags & TARGET_IPV6 != 0 {
        emit::<FRAME_LENGTH_IPV6, HEADERS_IPV6>(skb, target, &words)
    } else {
        emit::<FRAME_LENGTH_IPV4, HEADERS_IPV4>(skb, target, &words)
    };
    if sent {
        books.sent += 1;
    } else {
        books.failed += 1;
    }
    0
}

#[inline(always)]
fn emit<const LENGTH: u32, const HEADERS: u32>(
    skb: *mut __sk_buff,
    target: &TargetRecord,
    words: &[u64; DATAGRAM_WORDS],
) -> bool {
    // SAFETY: `skb` is the program's context, and the sources are as long as is said: HEADERS is at most the size of
    // `headers`, which is a map value, and the words are on the stack.
    unsafe {
        ((*skb).len == LENGTH || bpf_skb_change_tail(skb, LENGTH, 0) == 0)
            && bpf_skb_store_bytes(skb, 0, target.headers.as_ptr().cast(), HEADERS, 0) == 0
            && bpf_skb_store_bytes(skb, HEADERS, words.as_ptr().cast(), DATAGRAM_BYTES, 0) == 0
            && bpf_clone_redirect(skb, target.ifindex, 0) == 0
    }
}

#[inline(always)]
fn compose(metronome: &MetronomeRecord, node: &NodeRecord, target: &TargetRecord) -> Option<[u64; DATAGRAM_WORDS]> {
    let key = maps::KEYS.get(metronome.key)?;
    // SAFETY: a map value of which one word is changed, by an atomic instruction.
    let sequences = unsafe { &mut *maps::SEQ.get_ptr_mut(target.link)? };
    let sequence = atomic::fetch_add(&mut sequences.heartbeats, 1) + 1;
    let group = target.flags & TARGET_GROUP != 0;
    let sent_ns = clock::monotonic_ns();
    let echo = if group { Echo::NONE } else { echo(target.link, sent_ns) };
    let view = atomic::load(&node.view);
    let age_ms = sent_ns.saturating_sub(atomic::load(&node.controller_pass_ns)) / 1_000_000;
    let mut flags = FLAG_METRONOME;
    if group {
        flags |= FLAG_MULTICAST;
    }
    // SAFETY: the helper takes no argument.
    if view != 0 && atomic::load(&node.lease_end_ns) <= unsafe { bpf_ktime_get_boot_ns() } {
        flags |= FLAG_LEASE_LAPSED;
    }
    let content = Content {
        flags,
        key_id: metronome.key as u8,
        cluster_id: node.cluster_id,
        source: node.node as u16,
        destination: ids::link_node(target.link),
        network: ids::link_network(target.link),
        incarnation: atomic::load(&node.incarnation),
        sequence,
        sent_ns,
        view,
        echo_sent_ns: echo.sent_ns,
        echo_hold_us: echo.hold_us,
        controller_age_ms: if age_ms > u64::from(u32::MAX) { u32::MAX } else { age_ms as u32 },
        controller_beat: atomic::load(&node.controller_beat),
    };
    Some(datagram(&content, HeartbeatKey::from_halves(key.k0, key.k1), target.sum))
}

#[derive(Clone, Copy)]
struct Echo {
    sent_ns: u64,
    hold_us: u32,
}

impl Echo {
    const NONE: Self = Self { sent_ns: 0, hold_us: HOLD_UNKNOWN };
}

/// What the destination needs to know that we hear it, out of one consistent read of the link record.
#[inline(always)]
fn echo(link: u32, now_ns: u64) -> Echo {
    let (Some(peer), Some(record)) = (maps::PEERS.get(link), maps::LINKS.get(link)) else { return Echo::NONE };
    let mut attempt = 0;
    while attempt < ECHO_ATTEMPTS {
        let lock = atomic::load(&record.lock);
        let epoch = atomic::load(&record.epoch);
        let stamp_ns = atomic::load(&record.stamp_ns);
        let sent_ns = atomic::load(&record.sent_ns);
        if lock & 1 == 0 && atomic::load(&record.lock) == lock {
            if atomic::load(&peer.incarnation) == 0 || epoch != atomic::load(&peer.epoch) || stamp_ns == 0 {
                return Echo::NONE;
            }
            let hold_us = now_ns.saturating_sub(stamp_ns) / 1_000;
            // The largest value means "unknown"; a hold that long saturates just below it.
            let known = u64::from(HOLD_UNKNOWN - 1);
            return Echo { sent_ns, hold_us: if hold_us > known { HOLD_UNKNOWN - 1 } else { hold_us as u32 } };
        }
        attempt += 1;
    }
    Echo::NONE
}
