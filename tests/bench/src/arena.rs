//! A network of this process alone: a namespace without a name, with pairs of virtual Ethernet in it. It is gone with the
//! last thread inside.

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
    unistd::Pid,
};

use crate::{cpu, scene};

/// One pair: what goes into `sender` comes out of `receiver`.
pub(crate) struct Wire {
    /// Name of the end that a generator uses.
    pub(crate) sender: String,
    /// Name of the end that the node under test has.
    pub(crate) receiver: String,
    /// Network id.
    pub(crate) network: u8,
}

/// MAC address of every receiving end.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Moves this process, which must have one thread yet, into a namespace of its own, with a /sys that shows it.
pub(crate) fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make a namespace (this takes root)")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("cannot make mounts private")?;
    let sysfs = Some("sysfs");
    mount(sysfs, "/sys", sysfs, MsFlags::empty(), None::<&str>).context("cannot mount /sys of the namespace")?;
    turn_off_ipv6()
}

/// Moves the calling thread into yet another namespace.
pub(crate) fn enter_another() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make the generator's namespace")?;
    turn_off_ipv6()
}

/// Without IPv6 the kernel sends nothing of its own: what passes is what the benchmark counts.
fn turn_off_ipv6() -> Result<()> {
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        if fs::exists(&path).unwrap_or(false) {
            fs::write(&path, "1").with_context(|| format!("cannot write {path}"))?;
        }
    }
    Ok(())
}

/// Generic receive offload, which makes a veth poll with NAPI even without an XDP program (linux/ethtool.h).
fn turn_on_gro(interface: &str) -> Result<()> {
    const ETHTOOL_SGRO: u32 = 0x2c;
    let mut value = [ETHTOOL_SGRO, 1];
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: names of the kernel end with one.
    for (slot, byte) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("no socket to ask through")?;
    // SAFETY: the request names an interface and points to an `ethtool_value`, both alive during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    ensure!(result == 0, "GRO cannot be turned on at {interface}: {}", io::Error::last_os_error());
    Ok(())
}

impl Wire {
    /// Makes the pair. The receiving end polls with NAPI, with and without an XDP program.
    pub(crate) fn lay(network: u8) -> Result<Self> {
        // Kernel threads bear the name of the interface, and are visible to everybody: the process's id makes it unique.
        let pid = std::process::id();
        let wire = Self { sender: format!("hb{pid}s{network}"), receiver: format!("hb{pid}r{network}"), network };
        let (sender, receiver) = (&wire.sender, &wire.receiver);
        let [a, b, c, d] = scene::address(scene::NODE, network);
        let [m0, m1, m2, m3, m4, m5] = MAC;
        ip(&[
            format!(
                "link add name {sender} numtxqueues 1 numrxqueues 1 type veth peer name {receiver} numtxqueues 1 \
                 numrxqueues 1 address {m0:02x}:{m1:02x}:{m2:02x}:{m3:02x}:{m4:02x}:{m5:02x}"
            ),
            format!("link set dev {sender} arp off"),
            format!("link set dev {receiver} arp off"),
            format!("address add {a}.{b}.{c}.{d}/24 dev {receiver}"),
        ])?;
        turn_on_gro(receiver)?;
        ip(&[format!("link set dev {sender} up"), format!("link set dev {receiver} up"), "link set lo up".to_owned()])?;
        Ok(wire)
    }

    /// Index of the receiving end.
    pub(crate) fn receiver_index(&self) -> Result<u32> {
        if_nametoindex(self.receiver.as_str()).with_context(|| format!("there is no interface {}", self.receiver))
    }

    /// Index of the sending end, in the namespace of the calling thread.
    pub(crate) fn sender_index(&self) -> Result<u32> {
        if_nametoindex(self.sender.as_str()).with_context(|| format!("there is no interface {}", self.sender))
    }

    /// Moves the sending end into the namespace of another thread of this process.
    pub(crate) fn give_sender_to(&self, thread: Pid) -> Result<()> {
        let namespace = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        ip(&[format!("link set dev {} netns {namespace}", self.sender)])
    }

    /// Lets a kernel thread poll the receiving end, and returns it.
    pub(crate) fn poll_in_thread(&self) -> Result<Pid> {
        let path = format!("/sys/class/net/{}/threaded", self.receiver);
        fs::write(&path, "1").with_context(|| format!("cannot write {path}"))?;
        cpu::napi_thread(&self.receiver)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // One end takes the other with it. It is gone already where the namespace of the other end is.
        if self.receiver_index().is_ok()
            && let Err(error) = ip(&[format!("link del dev {}", self.receiver)])
        {
            eprintln!("{} stays until the end: {error:#}", self.receiver);
        }
    }
}

/// Runs these commands in one `ip`, in the namespace of the calling thread.
pub(crate) fn ip(lines: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `ip` (package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all((lines.join("\n") + "\n").as_bytes()).context("cannot write to `ip -batch`")?;
    }
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    ensure!(output.status.success(), "`ip -batch` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
