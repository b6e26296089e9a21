//! keepalived, whose VRRP and BFD are processes of their own below one that starts them.

mod bfd;
mod vrrp;

use std::fs;

use anyhow::{Context as _, Result};

pub(super) use self::{bfd::Bfd, vrrp::Vrrp};
use super::adapter::Place;

const PROGRAM: &str = "/usr/sbin/keepalived";
const PACKAGES: &[&str] = &["keepalived"];

/// What a careful operator sets for one of the two, by the name that its options begin with. With a real-time priority
/// keepalived asks the kernel to kill the process once it runs for 10 ms without a pause, which a busy machine makes it
/// do: the limit goes up to a second.
fn careful(place: &Place, part: &str) -> String {
    if place.careful {
        format!(" {part}_rt_priority 60\n {part}_rlimit_rttime 1000000\n {part}_no_swap\n")
    } else {
        String::new()
    }
}

/// Writes the configuration; returns the arguments that read it, in the foreground with the log on the terminal.
fn arguments(place: &Place, text: &str) -> Result<Vec<String>> {
    let configuration = place.file("keepalived.conf");
    fs::write(&configuration, text).with_context(|| format!("cannot write {configuration}"))?;
    let files = [("-f", configuration), ("-p", place.file("pid")), ("-r", place.file("vrrp-pid"))];
    let files = files.into_iter().chain([("-c", place.file("check-pid")), ("-b", place.file("bfd-pid"))]);
    let options = ["-n", "-l", "-D"].map(str::to_owned).into_iter();
    Ok(options.chain(files.flat_map(|(name, value)| [name.to_owned(), value])).collect())
}
