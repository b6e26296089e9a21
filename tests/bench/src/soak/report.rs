//! What came of it, for people and as JSON.

use heartbeat_common::{
    notice::{NOTICE_LATE, NOTICE_LOCAL_STALL, Notice},
    records::JudgeRecord,
};
use serde::{Serialize, Serializer};

use super::usage::Usage;
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
    pub(super) seconds: u64,
    pub(super) sending: Sending,
    /// Runs of the program.
    pub(super) reached_xdp: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) contended: u64,
    /// Sequence numbers that the link records miss.
    pub(super) lost: u64,
    pub(super) reordered: u64,
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
        let Self { seconds, sending, reached_xdp, accepted, rejected, contended, lost, reordered, .. } = self;
        println!("\n200 peers at 10 ms on 2 networks, {seconds} s\n");
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
            "| groups sent more than 1.25 ms late, latest | {}, {:.1} ms |",
            sending.late_groups,
            sending.latest_ns as f64 / 1e6
        );
        if let Some(judge) = &self.judge {
            println!("| scans of 400 links, latest | {}, {:.2} ms |", judge.scans, judge.latest_ns as f64 / 1e6);
        }
        let Usage { busy, softirq, steal } = self.usage;
        println!("| program, ns a run, share of one CPU | {:.0}, {:.2} % |", self.nanoseconds_per_run, self.share());
        println!("| whole machine, % of one CPU: busy, softirq, steal | {busy:.1}, {softirq:.1}, {steal:.1} |");
        // A local stall shorter than the probe's threshold is the judge's business, and no mistake.
        let accusations = self.verdicts.iter().filter(|verdict| verdict.what != "local stall");
        for verdict in accusations.filter(|verdict| !verdict.explained).take(10) {
            println!("\nunexplained: {verdict:?}");
        }
    }

    /// Percent of one CPU in the program.
    fn share(&self) -> f64 {
        let per_second = self.reached_xdp as f64 / self.seconds.max(1) as f64;
        per_second * self.nanoseconds_per_run / 1e9 * 100.0
    }
}
