//! `scale`: from 10 to 1,000 peers on two networks, and how what it costs grows with them.

use anyhow::Result;
use serde::Serialize;

use crate::{
    arena,
    report::{self, Machine},
    soak::{self, Crowd},
};

/// Steps of about the third root of ten.
const PEERS: [u16; 5] = [10, 32, 100, 316, 1000];

/// A node with more and more peers: lost, late, CPU and memory.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each number of peers and each interval
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Milliseconds between heartbeats of a peer on a network, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10], value_parser = clap::value_parser!(u64).range(1..=1000))]
    intervals_ms: Vec<u64>,
    /// Numbers of peers, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = PEERS, value_parser = clap::value_parser!(u16).range(1..=1000))]
    peers: Vec<u16>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    runs: Vec<soak::Report>,
    /// By interval: the exponent of the share of a CPU, and of the maps' memory, over the number of peers.
    exponents: Vec<(u64, f64, f64)>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arena::enter()?;
    println!(
        "| peers | interval, ms | heartbeats a second | reached XDP | lost behind it | called late or silent | over stops | \
         ring full | ns a run | program, % of a CPU | softirqs of the machine, % of a CPU | judge latest, ms | maps, MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let mut runs = Vec::new();
    let mut exponents = Vec::new();
    for interval_ms in &arguments.intervals_ms {
        let first = runs.len();
        for peers in &arguments.peers {
            let crowd = Crowd { peers: *peers, interval_ns: interval_ms * 1_000_000, seconds: arguments.seconds };
            let report = soak::measure(crowd)?;
            println!("{}", report.row());
            runs.push(report);
        }
        let of_interval = &runs[first..];
        let points = |cost: fn(&soak::Report) -> f64| -> Vec<(f64, f64)> {
            of_interval.iter().map(|report| (f64::from(report.crowd.peers), cost(report))).collect()
        };
        let shares = exponent(&points(soak::Report::share));
        let memory = exponent(&points(|report| report.map_bytes as f64));
        exponents.push((*interval_ms, shares, memory));
    }
    println!();
    for (interval_ms, share, memory) in &exponents {
        println!(
            "{interval_ms} ms: the program's share of a CPU grows with peers to the power {share:.2}, the maps' memory \
             {memory:.2}"
        );
    }
    let report = Report { machine: report::machine()?, runs, exponents };
    report::print_machine(&report.machine);
    report::save("scale", &report)
}

/// Slope of the least-squares line through the logarithms; 0 where there are fewer than two points.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logarithms: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logarithms.len() as f64;
    let (sum_x, sum_y) = logarithms.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count.max(1.0), sum_y / count.max(1.0));
    let covariance: f64 = logarithms.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logarithms.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        for power in [0.0_f64, 0.5, 1.0, 2.0] {
            let points: Vec<(f64, f64)> = [10.0_f64, 100.0, 1000.0].map(|x| (x, 3.0 * x.powf(power))).to_vec();
            assert!((exponent(&points) - power).abs() < 1e-9, "{power}");
        }
        assert_eq!(exponent(&[]), 0.0);
        assert_eq!(exponent(&[(10.0, 1.0)]), 0.0);
    }
}
