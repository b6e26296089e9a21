//! How long the packet is, and at what rate the queueing discipline lets it through, so that it comes out once in a lap.

use heartbeat_common::metronome::FRAME_LENGTH_IPV6;

/// Longest packet: an Ethernet frame.
const LENGTH_MAX: u32 = 1514;
/// Heartbeats that one lap sends: about 60 us in a softirq. Beyond that an interval has several laps.
const TARGETS_PER_LAP: u32 = 64;
/// A shorter lap costs more in timers than it spreads.
const LAP_MIN_NS: u64 = 1_000_000;

/// What the queueing discipline and the program are set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of the packet, Ethernet header included.
    pub length: u32,
    /// Bytes per second.
    pub rate: u32,
    /// Bytes of the bucket: one and a half packets, so that lateness is made up for, but never two packets leave at once.
    pub burst: u32,
    /// Targets of one lap.
    pub per_lap: u32,
    /// Time of a lap.
    pub lap_ns: u64,
}

impl Pace {
    /// For an interval and a number of targets, both at least 1.
    #[must_use]
    pub fn new(interval_ns: u64, targets: u32) -> Self {
        let targets = targets.max(1);
        let wanted = targets.div_ceil(TARGETS_PER_LAP);
        let possible = u32::try_from((interval_ns / LAP_MIN_NS).max(1)).unwrap_or(u32::MAX);
        let per_lap = targets.div_ceil(wanted.min(possible));
        // Not `wanted` laps: rounding up may have left the last ones empty.
        let lap_ns = (interval_ns / u64::from(targets.div_ceil(per_lap))).max(1);
        let (length, rate) = length_and_rate(lap_ns);
        Self { length, rate, burst: length + length / 2, per_lap, lap_ns }
    }
}

/// Rates are whole bytes per second, which at long intervals are coarse: the length is chosen so that both fit.
fn length_and_rate(lap_ns: u64) -> (u32, u32) {
    const SECOND: u64 = 1_000_000_000;
    let candidate = |length: u32| {
        let bytes = u64::from(length) * SECOND;
        let rate = ((bytes + lap_ns / 2) / lap_ns).clamp(1, u64::from(u32::MAX));
        let error_ns = (bytes / rate).abs_diff(lap_ns);
        (error_ns, length, u32::try_from(rate).unwrap_or(u32::MAX))
    };
    let (_, length, rate) = (FRAME_LENGTH_IPV6..=LENGTH_MAX).map(candidate).min().unwrap_or((0, FRAME_LENGTH_IPV6, 1));
    (length, rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_comes_out_once_in_a_lap() {
        for interval_ms in (1..200).chain([250, 333, 500, 777, 1_000, 1_200, 5_000, 9_999, 30_000, 60_000]) {
            for targets in [1, 2, 64, 65, 128, 1_000, 8_184] {
                let interval_ns = interval_ms * 1_000_000;
                let pace = Pace::new(interval_ns, targets);
                let lap_ns = u64::from(pace.length) * 1_000_000_000 / u64::from(pace.rate);
                let laps = u64::from(targets.div_ceil(pace.per_lap));
                // Of 10 s this is 2 ms, far below the slack of a verdict.
                assert!((laps * lap_ns).abs_diff(interval_ns) <= interval_ns / 5_000 + laps, "{interval_ms}: {pace:?}");
                assert!((158..=1514).contains(&pace.length) && pace.burst < 2 * pace.length);
                assert!(laps == 1 || pace.lap_ns >= LAP_MIN_NS, "{interval_ms} {targets}: {pace:?}");
            }
        }
    }

    #[test]
    fn many_targets_are_spread_over_the_interval() {
        assert_eq!(Pace::new(100_000_000, 64).per_lap, 64);
        let spread = Pace::new(100_000_000, 1_000);
        assert_eq!((spread.per_lap, spread.lap_ns), (63, 6_250_000));
        // At a millisecond there is nothing to spread over.
        assert_eq!(Pace::new(1_000_000, 1_000).per_lap, 1_000);
    }
}
