//! The `heartbeat` program: see [`heartbeat_user::cli`].

fn main() -> std::process::ExitCode {
    heartbeat_user::cli::main()
}
