//! The one command surface of the workspace: what people type and what CI runs.

mod bench;
mod ci;
mod dist;
mod environment;
mod exec;
mod fuzz;
mod model;
mod run;
mod setup;
mod sim;
mod soak;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Arguments),
    Run(run::Arguments),
    Test(test::Arguments),
    Sim(sim::Arguments),
    Soak(soak::Arguments),
    Model(model::Arguments),
    Fuzz(fuzz::Arguments),
    Ci(ci::Arguments),
    Bench(bench::Arguments),
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_makes_sense() {
        super::Arguments::command().debug_assert();
    }
}
