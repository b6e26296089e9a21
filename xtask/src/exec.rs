//! Running other programs: each command is shown before it runs, and a failure names the command and its status.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::environment;

/// A command with the PATH of [`environment::search_path`].
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", environment::search_path());
    command
}

/// Like [`command`], as root: through sudo unless this process is root already.
pub(crate) fn privileged(program: &str) -> Command {
    if environment::is_root() {
        return command(program);
    }
    let mut sudo = command("sudo");
    sudo.arg(program);
    sudo
}

/// Shows the command on stderr, runs it and waits.
///
/// # Errors
///
/// When the program cannot be started or does not exit with 0.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// What a command that only looks prints on stdout; nothing is shown.
///
/// # Errors
///
/// When the program cannot be started, does not exit with 0 (its stderr is in the message), or prints no UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", show(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", show(command)))
}

/// Where the shell would find `program`.
pub(crate) fn find_program(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&environment::search_path())
        .map(|directory| directory.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn not_started(command: &Command) -> String {
    format!("cannot start `{}`", show(command))
}

/// The command as it would be typed in a shell, variables that were set for it first.
pub(crate) fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(key, value)| {
        // PATH is set on every command and would bury the rest.
        let value = value.filter(|_| key != "PATH")?;
        Some(format!("{}={}", key.display(), quote(value)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quote);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_command_and_status() {
        let error = exec(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c 'exit 3'` failed: exit status: 3");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("heartbeat-no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "cannot start `heartbeat-no-such-program`");
    }

    #[test]
    fn a_quiet_command_reports_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err().to_string();
        assert!(error.ends_with("failed: exit status: 1\nwhy"), "{error}");
    }

    #[test]
    fn shown_commands_can_be_pasted() {
        let mut command = command("cargo");
        command.env("LLVM_PREFIX", "/usr/lib/llvm-22").args(["install", "it's", ""]);
        assert_eq!(show(&command), r"LLVM_PREFIX=/usr/lib/llvm-22 cargo install 'it'\''s' ''");
    }
}
