//! Writes the man pages and shell completions of `heartbeat` into a folder: `man/`, `bash/`, `zsh/`, `fish/`.
//!
//! They are made of the command line itself, so they cannot say something else. The program does not carry them.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use clap_mangen::Man;
use heartbeat_user::cli::Cli;

const PROGRAM: &str = "heartbeat";

/// What --help does not say, at the end of heartbeat(1).
const FILES: &str = r".SH FILES
.TP
\fI/etc/heartbeat\-xdp/heartbeat.toml\fR
The configuration that heartbeat\-xdp.service runs with.
.TP
\fI/run/heartbeat/heartbeat.sock\fR
The control socket of a node with the default run_dir.
.TP
\fI/var/lib/heartbeat\fR
The incarnation and the event log, in the default state_dir.
.TP
\fI/sys/fs/bpf/heartbeat\fR
Pinned maps and attachments, in the default bpf_dir.
.TP
\fI/usr/share/doc/heartbeat\-xdp\fR
What everything means: configuration.md, operations.md, events.md and the others.
";

/// Writes the man pages and shell completions of `heartbeat`.
#[derive(Parser)]
struct Arguments {
    /// Folder to write into; made where it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { out } = Arguments::parse();
    let folder = |name: &str| -> Result<PathBuf> {
        let path = out.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    let man = folder("man")?;
    clap_mangen::generate_to(Cli::command(), &man).context("cannot write the man pages")?;
    let page = man.join(Man::new(Cli::command()).get_filename());
    let mut page = fs::OpenOptions::new().append(true).open(&page).with_context(|| page.display().to_string())?;
    page.write_all(FILES.as_bytes()).context("cannot write the files of the man page")?;
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        clap_complete::generate_to(shell, &mut Cli::command(), PROGRAM, folder(name)?)
            .with_context(|| format!("cannot write the completions for {name}"))?;
    }
    Ok(())
}
