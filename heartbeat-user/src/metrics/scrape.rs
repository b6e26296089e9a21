//! One reading of all metrics, and its text.

use std::fmt;

use heartbeat_common::records::INTERVAL_BUCKETS;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    families::{FAMILIES, Family, Kind},
    histogram::Buckets,
};

/// Exponents of the smallest and the largest bound that are shown, for what is measured in microseconds and for what is in
/// milliseconds: the rest of the 40 buckets is empty on every network.
const SHORT: std::ops::RangeInclusive<usize> = 10..=34;
const LONG: std::ops::RangeInclusive<usize> = 14..=37;

/// All samples of one reading.
#[derive(Debug)]
pub struct Scrape {
    /// In the order of [`FAMILIES`].
    families: Vec<Vec<Sample>>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Histogram(Box<Buckets>),
}

impl Default for Scrape {
    fn default() -> Self {
        Self { families: FAMILIES.iter().map(|_| Vec::new()).collect() }
    }
}

impl Scrape {
    /// A whole number: a counter, or a gauge.
    pub fn whole(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        self.add(family, labels, Value::Whole(value));
    }

    /// 1 or 0.
    pub fn flag(&mut self, family: &'static Family, labels: &[&str], value: bool) {
        self.add(family, labels, Value::Whole(u64::from(value)));
    }

    /// A time, in nanoseconds; it is shown in seconds.
    pub fn time(&mut self, family: &'static Family, labels: &[&str], nanoseconds: u64) {
        self.add(family, labels, Value::Real(seconds(nanoseconds)));
    }

    /// A histogram of times.
    pub fn histogram(&mut self, family: &'static Family, labels: &[&str], buckets: Buckets) {
        self.add(family, labels, Value::Histogram(Box::new(buckets)));
    }

    /// One sample for each of `words`, with the word as the last label: 1 for the one that holds.
    pub fn state<'words>(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        words: impl Iterator<Item = &'words str>,
        holds: &str,
    ) {
        let mut labels = labels.to_vec();
        for word in words {
            labels.push(word);
            self.flag(family, &labels, word == holds);
            labels.pop();
        }
    }

    fn add(&mut self, family: &'static Family, labels: &[&str], value: Value) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let labels = family.labels.iter().copied().zip(labels.iter().map(|label| (*label).to_owned())).collect();
        let place = FAMILIES.iter().position(|known| std::ptr::eq(*known, family));
        if let Some(samples) = place.and_then(|place| self.families.get_mut(place)) {
            samples.push(Sample { labels, value });
        }
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String cannot fail, and nothing else here does.
        let _written = prometheus_text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (family, samples) in FAMILIES.iter().zip(&self.families).filter(|(_, samples)| !samples.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            // The encoder puts the ending of counters behind the name.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let help = family.meaning.strip_suffix('.').unwrap_or(family.meaning);
            let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
            for sample in samples {
                if sample.labels.is_empty() {
                    sample.encode(family, &mut encoder)?;
                } else {
                    sample.encode(family, &mut encoder.encode_family(&sample.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, family: &Family, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (&self.value, family.kind) {
            (Value::Whole(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, u64, f64>(value, None),
            (Value::Real(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, f64, f64>(value, None),
            (Value::Whole(value), Kind::Gauge | Kind::Histogram) => encoder.encode_gauge(value),
            (Value::Real(value), Kind::Gauge | Kind::Histogram) => encoder.encode_gauge(value),
            (Value::Histogram(buckets), Kind::Counter | Kind::Gauge | Kind::Histogram) => {
                let bounds = if std::ptr::eq(family, &super::families::INTER_ARRIVAL) { LONG } else { SHORT };
                let shown = bounded(buckets, bounds);
                encoder.encode_histogram::<NoLabelSet>(seconds(buckets.sum_ns), buckets.count(), &shown, None)
            }
        }
    }
}

/// Upper bounds in seconds, and what lies between each and the one before.
fn bounded(buckets: &Buckets, exponents: std::ops::RangeInclusive<usize>) -> Vec<(f64, u64)> {
    let (first, last) = (*exponents.start(), *exponents.end());
    let mut shown: Vec<(f64, u64)> = exponents.map(|exponent| (seconds(1 << exponent), 0)).collect();
    shown.push((f64::INFINITY, 0));
    for (bucket, count) in buckets.counts.iter().enumerate().take(INTERVAL_BUCKETS) {
        // Bucket n ends at 2^(n+1).
        let place = (bucket + 1).clamp(first, last + 1) - first;
        if let Some((_, sum)) = shown.get_mut(place) {
            *sum += count;
        }
    }
    shown
}

#[expect(clippy::cast_precision_loss, reason = "a time of more than 104 days may be off by a nanosecond")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families;

    fn scrape() -> Scrape {
        let mut scrape = Scrape::default();
        scrape.whole(&families::ACCEPTED, &[], 12);
        scrape.whole(&families::REJECTS, &["bad_tag"], 3);
        scrape.whole(&families::REJECTS, &["odd \"word\" \\ and\nline"], 4);
        scrape.time(&families::LEASE_LEFT, &[], 1_500_000_000);
        scrape.state(&families::NETWORK_STATE, &["private"], ["up", "down"].into_iter(), "down");
        let mut counts = [0; INTERVAL_BUCKETS];
        (counts[0], counts[20], counts[INTERVAL_BUCKETS - 1]) = (1, 2, 4);
        scrape.histogram(&families::INTER_ARRIVAL, &["bravo", "private"], Buckets { counts, sum_ns: 5_000_000_000 });
        scrape
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = scrape().text();
        for line in [
            "heartbeat_accepted_total 12",
            "heartbeat_rejects_total{reason=\"bad_tag\"} 3",
            "heartbeat_rejects_total{reason=\"odd \\\"word\\\" \\\\ and\\nline\"} 4",
            "# TYPE heartbeat_lease_left_seconds gauge",
            "heartbeat_lease_left_seconds 1.5",
            "heartbeat_network_state{network=\"private\",state=\"up\"} 0",
            "heartbeat_network_state{network=\"private\",state=\"down\"} 1",
            "heartbeat_inter_arrival_seconds_sum{peer=\"bravo\",network=\"private\"} 5.0",
            "heartbeat_inter_arrival_seconds_count{peer=\"bravo\",network=\"private\"} 7",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        let buckets: Vec<&str> = text.lines().filter(|line| line.contains("_bucket")).collect();
        assert_eq!(buckets.len(), 25, "{buckets:#?}");
        assert!(buckets[0].ends_with(" 1") && buckets[7].ends_with(" 3"), "{buckets:#?}");
        assert!(buckets[24].contains("le=\"+Inf\"") && buckets[24].ends_with(" 7"), "{buckets:#?}");
    }

    #[test]
    fn families_without_a_sample_are_left_out() {
        let text = scrape().text();
        assert!(!text.contains("heartbeat_view_number"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), 5, "{text}");
    }
}
