//! `heartbeat-vm`, see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat_vm::command::main()
}
