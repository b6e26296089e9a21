//! What came of it, for people and as JSON.

use heartbeat_common::{
    notice::{NOTICE_LATE, NOTICE_LOCAL_STALL, Notice},
    records::JudgeRecord,
};
use serde::{Serialize, Serializer};

use super::{Crowd, NETWORKS, usage::Usage};
use crate::{
    paced::Sending,
    probe::{self, Gap},
};

/// A notice of the judge that a quiet machine would not have given.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    what: &'static str,
    node: u16,
    network: u8,
    /// Newest arrival, or when the judge was due.
    from_ns: u64,
    judged_ns: u64,
    /// A stop of a CPU, seen by the probe, lies in between.
    explained: bool,
}

impl Verdict {
    pub(super) fn new(notice: &Notice, gaps: &[Gap]) -> Self {
        let (what, from_ns) = match notice.kind {
            NOTICE_LATE => ("late", notice.stamp_ns),
            NOTICE_LOCAL_STALL => ("local stall", notice.deadline_ns),
            _ => ("silent", notice.stamp_ns),
        };
        let explained = gaps.iter().any(|gap| gap.overlaps(from_ns, notice.judged_ns));
        Self { what, node: notice.node, network: notice.network, from_ns, judged_ns: notice.judged_ns, explained }
    }
}

/// The numbers.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) crowd: Crowd,
    pub(super) sending: Sending,
    /// Runs of the program.
    pub(super) reached_xdp: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) contended: u64,
    /// Sequence numbers that the link records miss.
    pub(super) lost: u64,
    pub(super) reordered: u64,
    /// Records of state changes that did not fit the ring.
    pub(super) ring_full: u64,
    /// Memory of all maps of this process.
    pub(crate) map_bytes: u64,
    pub(super) nanoseconds_per_run: f64,
    #[serde(serialize_with = "judge")]
    pub(super) judge: Option<JudgeRecord>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) gaps: Vec<Gap>,
    pub(super) usage: Usage,
}

fn judge<S: Serializer>(judge: &Option<JudgeRecord>, serializer: S) -> Result<S::Ok, S::Error> {
    judge.map(|judge| (judge.scans, judge.latest_ns, judge.stalls.count, judge.stalls.longest_ns)).serialize(serializer)
}

impl Report {
    /// Prints to stdout.
    pub(crate) fn print(&self) {
        let Self { crowd, sending, reached_xdp, accepted, rejected, contended, lost, reordered, .. } = self;
        let Crowd { peers, interval_ns, seconds } = crowd;
        println!("\n{peers} peers at {} ms on {NETWORKS} networks, {seconds} s\n", interval_ns / 1_000_000);
        println!("| | |\n|---|---|");
        println!("| sent | {} ({} refused by the sending end) |", sending.sent, sending.refused);
        println!("| runs of the XDP program | {reached_xdp} |");
        println!("| accepted | {accepted} |");
        println!("| rejected, contended | {rejected}, {contended} |");
        println!("| missing in the link records, reordered | {lost}, {reordered} |");
        let behind = reached_xdp.saturating_sub(*accepted);
        println!("| lost of what reached XDP | {behind}: {} |", if behind == 0 { "met" } else { "MISSED" });
        let count = |what: &str, explained: bool| {
            self.verdicts.iter().filter(|verdict| verdict.what == what && verdict.explained == explained).count()
        };
        for what in ["late", "silent"] {
            let met = if count(what, false) == 0 { "met" } else { "MISSED" };
            println!("| called {what} | {}: {met} |", count(what, false));
            println!("| called {what} over a stop that the probe saw | {} |", count(what, true));
        }
        println!("| local stalls found by the judge | {} |", count("local stall", false) + count("local stall", true));
        println!("| of them seen by the probe | {} |", count("local stall", true));
        let longest_ms = self.gaps.iter().map(Gap::length_ns).max().unwrap_or(0) as f64 / 1e6;
        let threshold_ms = probe::GAP_NS / 1_000_000;
        println!(
            "| stops above {threshold_ms} ms that the probe saw, longest | {}, {longest_ms:.1} ms |",
            self.gaps.len()
        );
        println!(
            "| groups sent more than an eighth of an interval late, latest | {}, {:.1} ms |",
            sending.late_groups,
            sending.latest_ns as f64 / 1e6
        );
        if let Some(judge) = &self.judge {
            println!(
                "| scans of {} links, latest | {}, {:.2} ms |",
                crowd.links(),
                judge.scans,
                judge.latest_ns as f64 / 1e6
            );
        }
        let Usage { busy, softirq, steal } = self.usage;
        println!("| program, ns a run, share of one CPU | {:.0}, {:.2} % |", self.nanoseconds_per_run, self.share());
        let mebibytes = self.map_bytes as f64 / f64::from(1 << 20);
        println!(
            "| memory of the maps, MiB; records that the ring had no room for | {mebibytes:.1}; {} |",
            self.ring_full
        );
        println!("| whole machine, % of one CPU: busy, softirq, steal | {busy:.1}, {softirq:.1}, {steal:.1} |");
        // A local stall shorter than the probe's threshold is the judge's business, and no mistake.
        let accusations = self.verdicts.iter().filter(|verdict| verdict.what != "local stall");
        for verdict in accusations.filter(|verdict| !verdict.explained).take(10) {
            println!("\nunexplained: {verdict:?}");
        }
    }

    /// Heartbeats that reached the program and were not accepted.
    pub(crate) fn lost_behind_xdp(&self) -> u64 {
        self.reached_xdp.saturating_sub(self.accepted)
    }

    /// Verdicts against peers that beat, no stop of a CPU in between.
    pub(crate) fn accusations(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.what != "local stall" && !verdict.explained).count()
    }

    /// Row of a table of many crowds.
    pub(crate) fn row(&self) -> String {
        let judge_ms = self.judge.as_ref().map_or(0.0, |judge| judge.latest_ns as f64 / 1e6);
        let over_stops =
            self.verdicts.iter().filter(|verdict| verdict.what != "local stall" && verdict.explained).count();
        format!(
            "| {} | {} | {:.0} | {} | {} | {} | {over_stops} | {} | {:.0} | {:.2} | {:.1} | {judge_ms:.2} | {:.1} |",
            self.crowd.peers,
            self.crowd.interval_ns / 1_000_000,
            self.per_second(),
            self.reached_xdp,
            self.lost_behind_xdp(),
            self.accusations(),
            self.ring_full,
            self.nanoseconds_per_run,
            self.share(),
            self.usage.softirq,
            self.map_bytes as f64 / f64::from(1 << 20),
        )
    }

    /// Heartbeats that reached XDP in a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.reached_xdp as f64 / self.crowd.seconds.max(1) as f64
    }

    /// Percent of one CPU in the program.
    pub(crate) fn share(&self) -> f64 {
        self.per_second() * self.nanoseconds_per_run / 1e9 * 100.0
    }
}
