//! Map records as shared memory: read, and written by their one writer, without a system call.
//!
//! Every access is a relaxed or stronger atomic access of whole 64-bit words, so that a word is never torn. Records that
//! the kernel writes as a whole carry a lock word; [`Shared::read_locked`] retries until it saw a consistent copy.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use bytemuck::Pod;
use heartbeat_common::{
    ids,
    records::{
        AdmissionRecord, ArrivalRecord, IntervalRecord, JudgeRecord, LinkRecord, MembershipRecord, NodeRecord,
        PeerRecord, SequenceRecord, VerdictRecord,
    },
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

const WORD: usize = size_of::<u64>();
/// A record is written in well under a microsecond; a reader that meets a writer this often has met a crashed one.
pub(super) const READ_ATTEMPTS: usize = 1_000;

/// An array of records in memory that others read or write at the same time.
#[derive(Debug)]
pub struct Shared<T> {
    start: NonNull<AtomicU64>,
    entries: usize,
    bytes: NonZeroUsize,
    record: PhantomData<T>,
}

// SAFETY: the memory is only accessed through atomics, and lives until drop.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Pod> Shared<T> {
    /// The memory of a BPF array that was created with `BPF_F_MMAPABLE` and has `entries` elements of this type.
    ///
    /// # Errors
    /// What `mmap` says; the caller has checked the map's shape.
    pub fn of_map(map: impl AsFd, entries: usize) -> io::Result<Self> {
        let bytes = Self::size(entries)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0)? };
        Ok(Self { start: start.cast(), entries, bytes, record: PhantomData })
    }

    /// Zeroed memory of this process, where there is no kernel side.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn anonymous(entries: usize) -> io::Result<Self> {
        let bytes = Self::size(entries)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?
        };
        Ok(Self { start: start.cast(), entries, bytes, record: PhantomData })
    }

    fn size(entries: usize) -> io::Result<NonZeroUsize> {
        const { assert!(size_of::<T>().is_multiple_of(WORD)) };
        const { assert!(align_of::<T>() <= WORD) };
        entries
            .checked_mul(size_of::<T>())
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty map cannot be shared"))
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Is there no record? Never: an empty one cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The word at `offset` bytes of a record.
    ///
    /// # Panics
    /// If `offset` is not that of a word of the record: a mistake in this program, found by any test.
    #[must_use]
    pub fn word(&self, index: u32, offset: usize) -> Option<&AtomicU64> {
        assert!(offset.is_multiple_of(WORD) && offset < size_of::<T>(), "no word of the record at {offset}");
        let index = usize::try_from(index).ok()?;
        if index >= self.entries {
            return None;
        }
        // SAFETY: within the mapping by the checks above, aligned, and only ever accessed as an atomic.
        Some(unsafe { self.start.add((index * size_of::<T>() + offset) / WORD).as_ref() })
    }

    /// A copy of a record, each word untorn, without regard to the record's lock.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<T> {
        let mut copy = T::zeroed();
        for (word, slot) in bytemuck::bytes_of_mut(&mut copy).chunks_exact_mut(WORD).enumerate() {
            let value = self.word(index, word * WORD)?.load(Ordering::Relaxed);
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        Some(copy)
    }

    /// A consistent copy of a record whose first word is its lock; `None` beyond the end, or when the writer seems to have
    /// died in the middle.
    #[must_use]
    pub fn read_locked(&self, index: u32) -> Option<T> {
        for _attempt in 0..READ_ATTEMPTS {
            let before = self.word(index, 0)?.load(Ordering::Acquire);
            if before & 1 == 0 {
                let copy = self.read(index)?;
                fence(Ordering::Acquire);
                if self.word(index, 0)?.load(Ordering::Relaxed) == before {
                    return Some(copy);
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Writes every word of a record, in ascending order. Only its one writer may call this.
    pub fn write(&self, index: u32, record: &T) {
        for (word, bytes) in bytemuck::bytes_of(record).chunks_exact(WORD).enumerate() {
            let mut value = [0; WORD];
            value.copy_from_slice(bytes);
            if let Some(slot) = self.word(index, word * WORD) {
                slot.store(u64::from_ne_bytes(value), Ordering::Relaxed);
            }
        }
    }

    /// Changes a record under its lock word, as the kernel does. Only its one writer may call this. `None` beyond the end.
    pub fn update_locked<R>(&self, index: u32, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let lock = self.word(index, 0)?;
        let even = lock.load(Ordering::Relaxed) & !1;
        let mut record = self.read(index)?;
        let result = change(&mut record);
        lock.store(even + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        // The lock word itself is written last, by the store below.
        for (word, bytes) in bytemuck::bytes_of(&record).chunks_exact(WORD).enumerate().skip(1) {
            let mut value = [0; WORD];
            value.copy_from_slice(bytes);
            self.word(index, word * WORD)?.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        lock.store(even + 2, Ordering::Release);
        Some(result)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of_map` or `anonymous` made, and nobody holds a reference into it any more.
        let _unmapped = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}

/// Every map that is shared through memory.
#[derive(Debug)]
pub struct Memory {
    /// Own identity, and the controller's sign of life.
    pub node: Shared<NodeRecord>,
    /// What is expected, by link.
    pub peers: Shared<PeerRecord>,
    /// What was heard, by link.
    pub links: Shared<LinkRecord>,
    /// The last arrivals, by link.
    pub arrivals: Shared<ArrivalRecord>,
    /// Inter-arrival histograms, by link.
    pub intervals: Shared<IntervalRecord>,
    /// Token buckets, by link.
    pub admission: Shared<AdmissionRecord>,
    /// Verdicts, by link.
    pub verdicts: Shared<VerdictRecord>,
    /// Verdicts, by node.
    pub peer_verdicts: Shared<VerdictRecord>,
    /// The judge's books.
    pub judge: Shared<JudgeRecord>,
    /// Sequence numbers, by link; nodes 0 is multicast.
    pub sequences: Shared<SequenceRecord>,
    /// What the core wrote down.
    pub membership: Shared<MembershipRecord>,
}

/// Entries of the maps for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of the maps that are indexed by node.
    pub nodes: u32,
    /// Entries of the maps that are indexed by link.
    pub links: u32,
}

impl Sizes {
    /// Room for node ids up to `largest_node`.
    #[must_use]
    pub fn for_nodes_up_to(largest_node: u16) -> Self {
        let nodes = u32::from(largest_node.min(ids::MAX_NODE)) + 1;
        Self { nodes, links: nodes * u32::from(ids::MAX_NETWORK) }
    }
}

impl Memory {
    /// Memory of this process alone.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn anonymous(sizes: Sizes) -> io::Result<Self> {
        let (nodes, links) = (sizes.nodes as usize, sizes.links as usize);
        Ok(Self {
            node: Shared::anonymous(1)?,
            peers: Shared::anonymous(links)?,
            links: Shared::anonymous(links)?,
            arrivals: Shared::anonymous(links)?,
            intervals: Shared::anonymous(links)?,
            admission: Shared::anonymous(links)?,
            verdicts: Shared::anonymous(links)?,
            peer_verdicts: Shared::anonymous(nodes)?,
            judge: Shared::anonymous(1)?,
            sequences: Shared::anonymous(links)?,
            membership: Shared::anonymous(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn records_come_back_as_written_and_the_end_is_the_end() {
        let links = Shared::<LinkRecord>::anonymous(3).expect("memory");
        let record = LinkRecord { lock: 2, received: 7, lost: 1, ..LinkRecord::zeroed() };
        links.write(1, &record);
        assert_eq!(links.read(1), Some(record));
        assert_eq!(links.read_locked(1), Some(record));
        assert_eq!(links.read(0), Some(LinkRecord::zeroed()));
        assert_eq!(links.read(3), None);
    }

    #[test]
    fn a_record_whose_writer_died_is_not_read() {
        let links = Shared::<LinkRecord>::anonymous(1).expect("memory");
        links.write(0, &LinkRecord { lock: 1, ..LinkRecord::zeroed() });
        assert_eq!(links.read_locked(0), None);
        links.update_locked(0, |record| record.received += 1);
        assert_eq!(links.read_locked(0).map(|record| (record.lock, record.received)), Some((2, 1)));
    }

    #[test]
    fn readers_never_see_half_an_update() {
        let links = Shared::<LinkRecord>::anonymous(1).expect("memory");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for count in 1..=50_000 {
                    links.update_locked(0, |record| {
                        record.received = count;
                        record.unicast.newest = count;
                        record.stamp_ns = count;
                    });
                }
            });
            let mut seen = 0;
            while !writer.is_finished() {
                if let Some(record) = links.read_locked(0) {
                    assert_eq!(record.received, record.unicast.newest);
                    assert_eq!(record.received, record.stamp_ns);
                    seen += 1;
                }
            }
            assert!(seen > 0, "the reader never saw a record");
        });
    }
}
