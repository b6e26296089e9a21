//! Clocks of simulated machines: each at its own offset and rate.

use heartbeat_membership::Now;

/// Rates are parts per million away from true time.
const MILLION: i128 = 1_000_000;

/// A clock that drifts.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    boot_true_ns: u64,
    rate_ppm: i64,
    /// Time for which it stood still while the world went on.
    stood_ns: u64,
    /// It stands still since this true time.
    stands_since_ns: Option<u64>,
}

impl Clock {
    /// A machine that booted at `boot_true_ns` and runs `rate_ppm` fast.
    #[must_use]
    pub fn new(boot_true_ns: u64, rate_ppm: i64) -> Self {
        Self { boot_true_ns, rate_ppm, stood_ns: 0, stands_since_ns: None }
    }

    /// The machine is switched off and on again: the clock starts anew, at its own rate.
    pub fn reboot(&mut self, true_ns: u64) {
        *self = Self::new(true_ns, self.rate_ppm);
    }

    /// It stands still from here on.
    pub fn stop(&mut self, true_ns: u64) {
        self.stands_since_ns.get_or_insert(true_ns);
    }

    /// It goes on; for how long it stood.
    pub fn resume(&mut self, true_ns: u64) -> u64 {
        let length_ns = self.stands_since_ns.take().map_or(0, |since_ns| true_ns.saturating_sub(since_ns));
        self.stood_ns += length_ns;
        length_ns
    }

    /// Both local clocks at a true time. Machines boot with 1 s on the clock, so that no stamp is 0.
    #[must_use]
    pub fn at(&self, true_ns: u64) -> Now {
        let true_ns = self.stands_since_ns.unwrap_or(true_ns);
        let age = i128::from(true_ns.saturating_sub(self.boot_true_ns).saturating_sub(self.stood_ns));
        let local = age + age * i128::from(self.rate_ppm) / MILLION;
        let mono_ns = u64::try_from(local).unwrap_or(0).saturating_add(1_000_000_000);
        Now { mono_ns, boot_ns: mono_ns }
    }

    /// The first true time at which the local clock shows at least `mono_ns`; of one that stands still, if it went on now.
    #[must_use]
    pub fn to_true(&self, mono_ns: u64) -> u64 {
        let local = i128::from(mono_ns.saturating_sub(1_000_000_000));
        let scale = MILLION + i128::from(self.rate_ppm);
        let age = (local * MILLION + scale - 1) / scale;
        let mut true_ns =
            u64::try_from(age).unwrap_or(u64::MAX).saturating_add(self.boot_true_ns).saturating_add(self.stood_ns);
        // Division rounds towards zero on the way back: step over it.
        let runs = Self { stands_since_ns: None, ..*self };
        while runs.at(true_ns).mono_ns < mono_ns && true_ns < u64::MAX / 2 {
            true_ns += 1;
        }
        true_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stood_goes_on_where_it_stopped() {
        let mut clock = Clock::new(0, 5_000);
        let before = clock.at(4_000_000_000).mono_ns;
        clock.stop(4_000_000_000);
        assert_eq!(clock.at(9_000_000_000).mono_ns, before);
        assert!(clock.to_true(before + 1_000) > 4_000_000_000);
        assert_eq!(clock.resume(9_000_000_000), 5_000_000_000);
        assert_eq!(clock.at(9_000_000_000).mono_ns, before);
        assert!(clock.to_true(before + 1_000) > 9_000_000_000);
        clock.reboot(10_000_000_000);
        assert_eq!(clock.at(10_000_000_000).mono_ns, 1_000_000_000);
    }

    #[test]
    fn a_deadline_is_never_reported_early_nor_much_too_late() {
        for rate_ppm in [-10_000, -1, 0, 1, 10_000] {
            let clock = Clock::new(12_345, rate_ppm);
            for mono_ns in [1_000_000_000, 1_000_000_001, 5_000_000_007, 99_000_000_003] {
                let true_ns = clock.to_true(mono_ns);
                assert!(clock.at(true_ns).mono_ns >= mono_ns);
                assert!(clock.at(true_ns.saturating_sub(3)).mono_ns <= mono_ns);
            }
        }
    }
}
