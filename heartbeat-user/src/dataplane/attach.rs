//! The attach ladder: native, then generic; each step down is told.

use std::path::PathBuf;

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{object, pins::Pins};
use crate::config::{Dataplane as Wanted, Interface};

/// How frames of an interface reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, after the socket buffer was made.
    Generic,
    /// A UDP socket.
    Socket,
}

impl Mode {
    /// The word of configuration, status and pins.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        }
    }

    fn of_pin(word: &str) -> Option<Self> {
        match word {
            "native" => Some(Self::Native),
            "generic" => Some(Self::Generic),
            _ => None,
        }
    }
}

/// How one interface is served.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The interface.
    pub interface: Interface,
    /// How.
    pub mode: Mode,
    /// Id of the XDP program; `None` with sockets.
    pub program_id: Option<u32>,
    /// Why it is not a better mode, one line for each step down.
    pub steps_down: Vec<String>,
    /// An earlier controller's attachment was replaced without a gap.
    pub replaced: bool,
}

/// Attaches the program to one interface, in the best mode that `wanted` allows and the interface supports.
///
/// Returns [`Mode::Socket`] when neither works; with `wanted` native or generic the caller turns that into an error.
pub fn attach(program: &mut Xdp, interface: &Interface, wanted: Wanted, pins: Option<&Pins>) -> Attachment {
    let mut steps_down = Vec::new();
    let modes: &[Mode] = match wanted {
        Wanted::Auto => &[Mode::Native, Mode::Generic],
        Wanted::Native => &[Mode::Native],
        Wanted::Generic => &[Mode::Generic],
        Wanted::Socket => &[],
    };
    let program_id = program.info().ok().map(|info| info.id());
    let done = |mode, replaced, steps_down| Attachment {
        interface: interface.clone(),
        mode,
        program_id: if mode == Mode::Socket { None } else { program_id },
        steps_down,
        replaced,
    };
    if let Some(pins) = pins {
        for (_, word, path) in pins.links().into_iter().filter(|(ifindex, _, _)| *ifindex == interface.index) {
            match Mode::of_pin(&word).filter(|mode| modes.contains(mode)) {
                Some(mode) if replace(program, path.clone()) => {
                    if mode == Mode::Generic && wanted == Wanted::Auto {
                        steps_down.push(format!(
                            "generic XDP on {} goes on as the earlier controller attached it; an orderly restart tries \
                             native XDP again",
                            interface.name
                        ));
                    }
                    return done(mode, true, steps_down);
                }
                // Of a mode that is not wanted now, or of an interface that has been made anew since.
                Some(_) | None => unpin(&path),
            }
        }
    }
    for mode in modes {
        match attach_new(program, interface, *mode, pins) {
            Ok(()) => return done(*mode, false, steps_down),
            Err(reason) => steps_down.push(format!("{} XDP on {}: {reason}", mode.as_str(), interface.name)),
        }
    }
    done(Mode::Socket, false, steps_down)
}

/// Puts the new program in the place of the old one, atomically.
fn replace(program: &mut Xdp, path: PathBuf) -> bool {
    let Ok(pinned) = PinnedLink::from_pin(&path) else { return false };
    let Ok(link) = XdpLink::try_from(FdLink::from(pinned)) else { return false };
    let Ok(id) = program.attach_to_link(link) else { return false };
    // The pin keeps the attachment; the descriptor is not needed.
    program.take_link(id).is_ok()
}

fn attach_new(program: &mut Xdp, interface: &Interface, mode: Mode, pins: Option<&Pins>) -> Result<(), String> {
    let aya_mode = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
        Mode::Socket => return Ok(()),
    };
    let id = program
        .attach_to_if_index(interface.index, aya_mode)
        .map_err(|error| explain(interface, object::errno(&error), &error.to_string()))?;
    let Some(pins) = pins else { return Ok(()) };
    let link = program.take_link(id).map_err(|error| error.to_string())?;
    let link = FdLink::try_from(link).map_err(|_| {
        "this kernel attaches XDP without a link, which does not outlive the controller; 5.9 or newer is needed"
            .to_owned()
    })?;
    let path = pins.link(interface.index, mode.as_str());
    link.pin(&path).map(drop).map_err(|error| format!("it cannot be pinned at {}: {error}", path.display()))
}

/// Removes a pin; the attachment goes with it when nobody else holds it.
pub fn unpin(path: &std::path::Path) {
    // A pin that is gone already is what was wanted.
    let _gone = std::fs::remove_file(path);
}

fn explain(interface: &Interface, errno: Option<i32>, text: &str) -> String {
    match errno {
        Some(libc::EBUSY | libc::EEXIST) => {
            let other = super::foreign::attached_program(interface.index)
                .map_or_else(|| "another XDP program".to_owned(), |program| program.to_string());
            format!(
                "{other} is attached already; it stays. Detach it (`bpftool net`, `ip link set dev {} xdp off`) or choose \
                 another interface",
                interface.name
            )
        }
        Some(libc::EOPNOTSUPP) => "the driver does not support it".to_owned(),
        Some(libc::ERANGE) => "the MTU or the receive buffers are too large for it".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "not permitted: CAP_NET_ADMIN and CAP_BPF are needed".to_owned(),
        Some(code) => format!("{text}: {}", std::io::Error::from_raw_os_error(code)),
        None => text.to_owned(),
    }
}
