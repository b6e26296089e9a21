//! Standard output and error, where a reader that has had enough is no failure.

use std::io::{self, IsTerminal as _, Write as _};

/// Writes text, and pushes it out: followers are read line by line.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line to standard error.
pub(super) fn complain(line: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(format!("{line}\n").as_bytes())
}

/// Whether to use colours: on a terminal, unless the user wants none (<https://no-color.org>).
pub(super) fn coloured() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && io::stdout().is_terminal()
}

/// Whether the reader of standard output closed it, as `head` does.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
