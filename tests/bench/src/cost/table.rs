//! The result as tables for people, in Markdown.

use super::{
    Measured, Report,
    cases::{Case, Group},
};
use crate::report;

/// Prints to stdout.
pub(super) fn print(report: &Report, cases: &[Case]) {
    report::print_machine(&report.machine);
    let rows = |group| {
        cases.iter().zip(&report.cases).filter(move |(case, _)| case.group == group).map(|(_, measured)| measured)
    };
    println!("{} repetitions a pass; nanoseconds\n", report.repeat);
    println!("| program and datagram | min | median | max | net min | net median | target |");
    println!("|---|---|---|---|---|---|---|");
    for measured in rows(Group::Baseline).chain(rows(Group::DataPlane)) {
        let target = match measured.target {
            Some(target) if measured.net_minimum <= target => format!("<= {target}: met"),
            Some(target) => format!("<= {target}: MISSED"),
            None => String::new(),
        };
        println!("{} {target} |", numbers(measured));
    }
    println!("\n| step | min | median | max | net min | net median | this step alone |");
    println!("|---|---|---|---|---|---|---|");
    let mut last = 0;
    for measured in rows(Group::Step) {
        let share = if measured.name.starts_with("alone") { measured.net_minimum } else { measured.net_minimum - last };
        last = measured.net_minimum;
        println!("{} {share} |", numbers(measured));
    }
}

fn numbers(measured: &Measured) -> String {
    let Measured { name, minimum, median, maximum, net_minimum, net_median, .. } = measured;
    format!("| {name} | {minimum} | {median} | {maximum} | {net_minimum} | {net_median} |")
}
