//! Detection times against what is measured.

use super::{NAME_THE_CONFIG, START_THE_NODE};
use crate::config::format_duration_ns;
use crate::doctor::{Facts, Findings};

/// Longer than this nobody waits for a takeover by choice.
const LONGEST_NS: u64 = 20_000_000_000;
/// Arrivals before the tail of a histogram says anything.
const ENOUGH: u64 = 1_000;
/// One arrival in so many may come later than what counts as usual.
const TAIL: u64 = 1_000;

pub(super) fn detection_time(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    if config.silent_timeout_ns > LONGEST_NS {
        found.wrong(
            format!("a dead node is noticed after {}", format_duration_ns(config.silent_timeout_ns)),
            "shorten [timing] interval or lost_after: the kernel stamps arrivals, so that a busy machine is no reason",
        );
    }
}

pub(super) fn jitter(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    for link in &node.links {
        let Some(gap_ns) = link.intervals.as_deref().and_then(usual_longest_gap_ns) else { continue };
        if gap_ns >= config.late_timeout_ns {
            found.wrong(
                format!(
                    "one heartbeat in {TAIL} from node {} on {} comes {} or more after the one before; late is {}",
                    link.peer,
                    link.network,
                    format_duration_ns(gap_ns),
                    format_duration_ns(config.late_timeout_ns)
                ),
                "raise [timing] late_after or interval, or find out what delays them: `heartbeat links`, `heartbeat why`",
            );
        }
    }
}

/// Lower end of the bin of powers of two that one in [`TAIL`] gaps reaches; nothing before there are enough.
fn usual_longest_gap_ns(bins: &[u64]) -> Option<u64> {
    let total: u64 = bins.iter().sum();
    if total < ENOUGH {
        return None;
    }
    let mut beyond = 0;
    for (bin, count) in bins.iter().enumerate().rev() {
        beyond += count;
        if beyond > total / TAIL {
            return Some(1_u64.checked_shl(u32::try_from(bin).ok()?).unwrap_or(u64::MAX));
        }
    }
    None
}
