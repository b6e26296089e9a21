//! What an init system does, as far as nodes need it.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::{
    modules::WANTED,
    report::Booted,
    workplace::{output, program},
};

/// File systems of the kernel: kind and place.
const MOUNTS: [(&str, &str); 5] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")];

/// A machine that has been told to switch off does so within this.
const SWITCHING_OFF: Duration = Duration::from_secs(10);

/// Mounts the kernel's file systems.
///
/// # Errors
///
/// When the kernel refuses one; the message names it.
pub fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        let nothing = None::<&str>;
        mount(Some(kind), Path::new(place), Some(kind), MsFlags::empty(), nothing)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    Ok(())
}

/// Loads the modules that nodes need.
///
/// # Errors
///
/// When the kernel refuses one.
pub fn load_modules() -> Result<()> {
    for module in WANTED {
        output(program("modprobe").arg(module))?;
    }
    Ok(())
}

/// What kernel this is.
///
/// # Errors
///
/// When the kernel does not say.
pub fn describe() -> Result<Booted> {
    let read = |name: &str| {
        let path = format!("/proc/sys/kernel/{name}");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok::<_, anyhow::Error>(text.trim().to_owned())
    };
    let version = read("version")?;
    Ok(Booted {
        release: read("osrelease")?,
        realtime: version.contains("PREEMPT_RT"),
        version,
        cpus: std::thread::available_parallelism()
            .context("the kernel does not say how many processors there are")?
            .get(),
    })
}

/// Gives the machine's interface an address.
///
/// # Errors
///
/// When there is no such interface.
pub fn configure(interface: &str, address: &str) -> Result<()> {
    for words in [
        vec!["link", "set", "dev", "lo", "up"],
        vec!["address", "add", address, "dev", interface],
        vec!["link", "set", "dev", interface, "up"],
    ] {
        output(Command::new("/sbin/ip").args(words))?;
    }
    Ok(())
}

/// Switches the machine off.
///
/// # Errors
///
/// When it is still on some seconds later.
pub fn switch_off() -> Result<()> {
    fs::write("/proc/sysrq-trigger", "o").context("cannot ask for the power to be cut")?;
    let deadline = Instant::now() + SWITCHING_OFF;
    while Instant::now() < deadline {
        // Nothing is awaited: the power goes while this process sleeps.
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the machine is still on")
}
