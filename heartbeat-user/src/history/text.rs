//! The history as a table.

use heartbeat_membership::Cause;

use super::{History, PastArrival};
use crate::status::{Colour, Table, milliseconds};

impl History {
    /// A heading and a line for each arrival, newest last.
    #[must_use]
    pub fn text(&self, peer: &str, coloured: bool) -> String {
        let heading = format!("{peer} on {}, interval {}", self.network, milliseconds(self.interval_ns));
        if self.arrivals.is_empty() {
            return format!("{heading}: nothing has arrived\n");
        }
        let mut table = Table::new(&[">AGO", ">SEQUENCE", ">GAP", ">TIMES", ">SENT GAP", ">SKIPPED", "NOTE"]);
        for arrival in &self.arrivals {
            let duration = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), milliseconds);
            let (note, colour) = note(arrival);
            let plain = |text: String| (text, Colour::Plain);
            table.row([
                plain(milliseconds(self.now_ns.saturating_sub(arrival.stamp_ns))),
                plain(arrival.sequence.to_string()),
                (duration(arrival.gap_ns), colour),
                (arrival.gap_ns.map_or_else(|| "-".to_owned(), |gap_ns| self.in_intervals(gap_ns)), colour),
                plain(duration(arrival.sent_gap_ns)),
                plain(if arrival.skipped == 0 { String::new() } else { arrival.skipped.to_string() }),
                (note.to_owned(), colour),
            ]);
        }
        format!("{heading}\n{}", table.render(coloured))
    }

    /// A duration in intervals, with two digits unless there are thousands.
    fn in_intervals(&self, nanoseconds: u64) -> String {
        let hundredths = u128::from(nanoseconds) * 100 / u128::from(self.interval_ns.max(1));
        let whole = hundredths / 100;
        if whole < 1_000 { format!("{whole}.{:02}", hundredths % 100) } else { whole.to_string() }
    }
}

fn note(arrival: &PastArrival) -> (&'static str, Colour) {
    match arrival.cause {
        _ if arrival.behind => ("behind a newer one", Colour::Notable),
        None if arrival.gap_ns.is_none() => ("first", Colour::Faint),
        None => ("", Colour::Plain),
        Some(Cause::SentLate) => ("sent late", Colour::Notable),
        Some(Cause::LostOnTheWay) => ("others lost", Colour::Bad),
        Some(Cause::DelayedOnTheWay) => ("delayed on the way", Colour::Notable),
        Some(Cause::HandledLateHere) => ("handled late here", Colour::Notable),
    }
}
