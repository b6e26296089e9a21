//! `heartbeat-bench`, see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat_bench::main()
}
