//! What came out of one rung, and the table of all.

use serde::Serialize;

use super::{gaps::SendGaps, rung::Rung, verdicts::Verdicts, witness::Witness};
use crate::{distribution::Distribution, probe::Gap, removal::Removal};

/// One rung of one cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The rung.
    pub rung: Rung,
    /// Nodes of the cluster.
    pub nodes: u16,
    /// `[local] sender`.
    pub sender: String,
    /// What the nodes say that sends.
    pub engine: String,
    /// Nanoseconds between heartbeats.
    pub interval_ns: u64,
    /// How long the load lasted, seconds.
    pub seconds: f64,
    /// True and false verdicts.
    pub verdicts: Verdicts,
    /// Gaps between heartbeats of a link as they were sent, and the stops that they fell into.
    pub send_gaps: SendGaps,
    /// Longest gap that any sender measured of itself, over stops or not.
    pub longest_send_gap_ns: u64,
    /// Longest time between two arrivals on a link that was not cut, as the kernel of a receiver saw it.
    pub longest_arrival_gap_ns: u64,
    /// Latest run of any judge.
    pub judge_latest_ns: u64,
    /// Of a node that was cut off under load; none where nodes without a guard did not manage it.
    pub removals: Vec<Removal>,
    /// From the last heartbeat of such a node to the last survivor's 1135.
    pub told: Distribution,
    /// From the time at which the last survivor's verdict fell due to the view on all of them.
    pub agreed: Distribution,
    /// From the kill of a controller to the last survivor's 1135; `None` on rungs where none is killed for good.
    pub kill_told_ns: Option<u64>,
    /// That the load was there.
    pub witness: Witness,
    /// Stops of a CPU that the probe saw.
    pub stops: Vec<Gap>,
}

impl Outcome {
    /// In one line.
    pub(super) fn line(&self) -> String {
        let counts = &self.verdicts.accusations;
        let intervals = |ns: u64| ns as f64 / self.interval_ns as f64;
        let milliseconds = |ns: u64| ns as f64 / 1e6;
        let gaps = &self.send_gaps;
        let gaps = format!(
            "longest send gap {:.2} intervals of {} ({} above 2), over stops {:.2} ({} above 2)",
            intervals(gaps.longest_ns),
            gaps.pairs,
            gaps.above_two,
            intervals(gaps.longest_over_stops_ns),
            gaps.above_two_over_stops,
        );
        let removals = format!(
            "{} removals, told after {:.2} ms, view {:.2} ms after the verdict was due (median; max {:.2})",
            self.removals.len(),
            milliseconds(self.told.median_ns),
            milliseconds(self.agreed.median_ns),
            milliseconds(self.agreed.max_ns),
        );
        let kill = self.kill_told_ns.map(|ns| format!("; a kill told after {:.2} ms", milliseconds(ns)));
        let kill = kill.unwrap_or_default();
        let late_starts = match self.witness.late_starts {
            0 => String::new(),
            starts => format!("; {starts} starts after the end of the lease, their removals not counted"),
        };
        format!(
            "false 1123 {}, 1135 {}, 1177 {} ({} over stops); {gaps}; {removals}{kill}{late_starts}",
            counts.late,
            counts.removed,
            counts.quorum_lost,
            self.verdicts.over_stops.total(),
        )
    }
}

/// The table, in milliseconds where nothing else is said.
pub(super) fn print(outcomes: &[Outcome]) {
    println!(
        "\n| nodes | interval | sender | rung | false 1123, 1135, 1177 | over stops | longest send gap (above 2 intervals) | over stops | longest arrival gap | verdict \
         error p99, max (us) | judge latest | removal told, median, max | view after verdict, median, max | kill told | longest stop of a CPU | plain thread's gap | CPUs busy % |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let milliseconds = |ns: u64| format!("{:.2}", ns as f64 / 1e6);
        let microseconds = |ns: u64| format!("{:.0}", ns as f64 / 1e3);
        let two = |times: &Distribution| match times.count {
            0 => "-".to_owned(),
            _ => format!("{}, {}", milliseconds(times.median_ns), milliseconds(times.max_ns)),
        };
        let counts = &outcome.verdicts.accusations;
        let note = match (outcome.rung.is_judged(), outcome.witness.late_starts) {
            (false, _) => " (not judged)".to_owned(),
            (true, 0) => String::new(),
            (true, starts) => format!(" ({starts} late starts)"),
        };
        println!(
            "| {} | {} | {} | {} | {}, {}, {}{note} | {} | {} ({}) | {} ({}) | {} | {}, {} | {} | {} | {} | {} | {} | {} | {:.0} |",
            outcome.nodes,
            outcome.interval_ns / 1_000_000,
            outcome.engine,
            outcome.rung.name(),
            counts.late,
            counts.removed,
            counts.quorum_lost,
            outcome.verdicts.over_stops.total(),
            milliseconds(outcome.send_gaps.longest_ns),
            outcome.send_gaps.above_two,
            milliseconds(outcome.send_gaps.longest_over_stops_ns),
            outcome.send_gaps.above_two_over_stops,
            milliseconds(outcome.longest_arrival_gap_ns),
            microseconds(outcome.verdicts.error.p99_ns),
            microseconds(outcome.verdicts.error.max_ns),
            milliseconds(outcome.judge_latest_ns),
            two(&outcome.told),
            two(&outcome.agreed),
            outcome.kill_told_ns.map_or_else(|| "-".to_owned(), milliseconds),
            milliseconds(outcome.stops.iter().map(Gap::length_ns).max().unwrap_or_default()),
            milliseconds(outcome.witness.plain_gap_ns),
            outcome.witness.busy_percent,
        );
    }
}
