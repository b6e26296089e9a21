//! The flight recorder: the last arrivals of a link, as the data plane remembers them.

use std::sync::atomic::{Ordering, fence};

use heartbeat_common::records::Arrival;

use super::memory::{Memory, READ_ATTEMPTS};

impl Memory {
    /// The remembered arrivals of a link, oldest first; those of earlier incarnations are among them. None beyond the end,
    /// or where the writer seems to have died in the middle.
    #[must_use]
    pub fn past_arrivals(&self, index: u32) -> Vec<Arrival> {
        for _attempt in 0..READ_ATTEMPTS {
            // In the kernel the link's lock covers them; in userspace they are written right behind it, so that only two
            // equal copies are a whole one.
            let Some(link) = self.links.read_locked(index) else { break };
            let (first, second) = (self.arrivals.read(index), self.arrivals.read(index));
            fence(Ordering::Acquire);
            let lock = self.links.word(index, 0).map(|lock| lock.load(Ordering::Relaxed));
            if let Some(record) = first.filter(|_| first == second && lock == Some(link.lock)) {
                let mut arrivals: Vec<Arrival> =
                    record.arrivals.into_iter().filter(|arrival| arrival.stamp_ns != 0).collect();
                arrivals.sort_by_key(|arrival| arrival.stamp_ns);
                return arrivals;
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use heartbeat_common::records::{ARRIVALS, ArrivalRecord, LinkRecord};

    use super::*;
    use crate::dataplane::memory::Sizes;

    #[test]
    fn they_come_oldest_first_wherever_the_ring_stands() {
        let memory = Memory::anonymous(Sizes { nodes: 2, links: 16 }).unwrap();
        assert!(memory.past_arrivals(9).is_empty() && memory.past_arrivals(99).is_empty());
        let mut record = ArrivalRecord::zeroed();
        for number in 1..=100_u64 {
            let slot = usize::try_from(number).unwrap() % ARRIVALS;
            record.arrivals[slot] = Arrival { stamp_ns: number * 10, sent_ns: number, sequence: number };
        }
        memory.arrivals.write(9, &record);
        let sequences: Vec<u64> = memory.past_arrivals(9).iter().map(|arrival| arrival.sequence).collect();
        assert_eq!(sequences, (37..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_that_is_being_written_is_not_read() {
        let memory = Memory::anonymous(Sizes { nodes: 2, links: 16 }).unwrap();
        let mut record = ArrivalRecord::zeroed();
        record.arrivals[0].stamp_ns = 5;
        memory.arrivals.write(9, &record);
        memory.links.write(9, &LinkRecord { lock: 1, ..LinkRecord::zeroed() });
        assert!(memory.past_arrivals(9).is_empty());
        memory.links.write(9, &LinkRecord { lock: 2, ..LinkRecord::zeroed() });
        assert_eq!(memory.past_arrivals(9).len(), 1);
    }
}
