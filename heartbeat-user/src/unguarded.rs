//! The program `heartbeat-unguarded`: the node without one of its guards, so that a test can show that the guard is needed.

fn main() -> std::process::ExitCode {
    heartbeat_user::cli::main()
}
