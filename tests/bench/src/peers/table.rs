//! The tables.

use super::{
    Outcome,
    measure::{Cost, Fault},
};
use crate::distribution::Distribution;

const NOTHING: &str = "-";

pub(super) fn print(outcomes: &[Outcome]) {
    println!(
        "\nDetection, ms: median / max (noticed of repeated)\n\n| system | how | budget | link cut | SIGKILL | SIGSTOP |\n\
         |---|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let cells = Fault::ALL.map(|fault| detection(outcome.detections.get(&fault).map_or(&[], Vec::as_slice)));
        println!("| {} | {} | {:.1} | {} |", outcome.system, outcome.how, outcome.budget_ms, cells.join(" | "));
    }
    println!(
        "\nVerdicts against healthy peers, all nodes; `stopped`: by a survivor that was stopped for 1 s\n\n\
         | system | how | s each | idle | stress-ng | FIFO 50 bursts | stopped | flood | flood, frames a second | up after \
         the flood | CPU in the flood, ms/s |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let cells = outcome.steadiness.map_or_else(
            || [NOTHING; 9].join(" | "),
            |found| {
                let rate = found.flood_frames as f64 / found.seconds;
                let up = if found.up_after_flood { "yes" } else { "no" };
                format!(
                    "{} | {} | {} | {} | {} | {} | {rate:.0} | {up} | {:.1}",
                    found.seconds,
                    found.idle,
                    found.stress,
                    found.bursts,
                    found.stopped,
                    found.flood,
                    found.flood_cpu_ms
                )
            },
        );
        println!("| {} | {} | {cells} |", outcome.system, outcome.how);
    }
    println!(
        "\nCPU, ms a second: processes of the survivor + softirqs of the whole machine\n\n\
         | system | how | 1 peer | 3 peers | 7 peers |\n|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let cells = super::PEERS.map(|peers| cost(outcome.costs.iter().find(|cost| cost.peers == peers)));
        println!("| {} | {} | {} |", outcome.system, outcome.how, cells.join(" | "));
    }
    for outcome in outcomes {
        for line in outcome.remark.into_iter().chain(outcome.failures.iter().map(String::as_str)) {
            println!("\n{}, {}: {line}", outcome.system, outcome.how);
        }
    }
}

fn detection(times: &[Option<u64>]) -> String {
    let noticed = Distribution::of(times.iter().flatten().copied());
    if noticed.count == 0 {
        return if times.is_empty() { NOTHING.to_owned() } else { format!("not noticed (0 of {})", times.len()) };
    }
    let milliseconds = |ns: u64| ns as f64 / 1e6;
    let (median, max) = (milliseconds(noticed.median_ns), milliseconds(noticed.max_ns));
    format!("{median:.1} / {max:.1} ({} of {})", noticed.count, times.len())
}

fn cost(cost: Option<&Cost>) -> String {
    cost.map_or_else(|| NOTHING.to_owned(), |cost| format!("{:.1} + {:.1}", cost.processes_ms, cost.softirq_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_noticed_is_no_time() {
        assert_eq!(detection(&[Some(20_000_000), None, Some(30_000_000)]), "20.0 / 30.0 (2 of 3)");
        assert_eq!(detection(&[None]), "not noticed (0 of 1)");
        assert_eq!(detection(&[]), NOTHING);
    }
}
