//! Wall-clock time of an event, and its text form.

use std::fmt;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// RFC 3339 in UTC with all nine digits, so that texts sort as times do.
const JSON_FORM: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
/// The form that readers of cluster logs parse.
const CLUSTER_LOG_FORM: &[BorrowedFormatItem<'_>] =
    format_description!("[year]/[month]/[day]-[hour]:[minute]:[second].[subsecond digits:3]");
const SHORT_FORM: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");

/// Nanoseconds since 1970 in UTC. Only for people and files: nothing decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time this many nanoseconds after 1970.
    #[must_use]
    pub fn from_unix_ns(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn unix_ns(self) -> u64 {
        self.0
    }

    /// The present.
    #[must_use]
    pub fn now() -> Self {
        Self(clock_ns(ClockId::CLOCK_REALTIME))
    }

    /// The wall-clock time of a moment of `CLOCK_MONOTONIC`, as the wall clock stands now.
    #[must_use]
    pub fn of_monotonic(mono_ns: u64) -> Self {
        let (real, mono) = (clock_ns(ClockId::CLOCK_REALTIME), clock_ns(ClockId::CLOCK_MONOTONIC));
        Self(if mono_ns <= mono { real.saturating_sub(mono - mono_ns) } else { real.saturating_add(mono_ns - mono) })
    }

    /// Reads RFC 3339, with any offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(time.unix_timestamp_nanos()).ok().map(Self)
    }

    /// `2026/11/23-02:00:00.123`, in UTC.
    #[must_use]
    pub fn cluster_log_text(self) -> String {
        self.formatted(CLUSTER_LOG_FORM)
    }

    /// `02:00:00.123`, in UTC, for tables.
    #[must_use]
    pub fn short_text(self) -> String {
        self.formatted(SHORT_FORM)
    }

    fn formatted(self, form: &[BorrowedFormatItem<'_>]) -> String {
        // Every u64 of nanoseconds lies before the year 2555, which all forms can write.
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .ok()
            .and_then(|time| time.format(form).ok())
            .unwrap_or_default()
    }
}

/// Reading these clocks fails only for a clock that the kernel does not have.
fn clock_ns(clock: ClockId) -> u64 {
    clock_gettime(clock)
        .ok()
        .and_then(|time| {
            let seconds = u64::try_from(time.tv_sec()).ok()?;
            seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec()).ok()?)
        })
        .unwrap_or_default()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.formatted(JSON_FORM))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time in RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T02:00:00.123456789Z.
    const TIME: Timestamp = Timestamp(1_795_399_200_123_456_789);

    #[test]
    fn writes_all_its_forms() {
        assert_eq!(TIME.to_string(), "2026-11-23T02:00:00.123456789Z");
        assert_eq!(TIME.cluster_log_text(), "2026/11/23-02:00:00.123");
        assert_eq!(TIME.short_text(), "02:00:00.123");
        assert_eq!(Timestamp(1_000_000_000).to_string(), "1970-01-01T00:00:01.000000000Z");
        assert_ne!(Timestamp(u64::MAX).to_string(), "");
    }

    #[test]
    fn reads_what_it_writes_and_other_offsets() {
        assert_eq!(Timestamp::parse(&TIME.to_string()), Some(TIME));
        assert_eq!(Timestamp::parse("2026-11-23T03:00:00.123456789+01:00"), Some(TIME));
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn monotonic_moments_become_wall_clock_times() {
        let mono = clock_ns(ClockId::CLOCK_MONOTONIC);
        let (before, now) = (Timestamp::of_monotonic(mono - 1_000_000_000), Timestamp::now());
        let age = now.0 - before.0;
        assert!((1_000_000_000..2_000_000_000).contains(&age), "{age}");
    }
}
