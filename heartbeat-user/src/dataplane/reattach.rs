//! Attachments that somebody else takes away, and interfaces that are made anew under the same name: found out, and mended.
//!
//! The kernel tells nobody when an attachment is removed by force, so it is asked. An interface that is made anew has another
//! index, by which the program is attached, the NETWORKS map knows it, and sockets are bound.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, Map, MapData},
    programs::Xdp,
};
use heartbeat_common::records::NetworkTable;
use nix::net::if_::if_nametoindex;

use super::{
    attach::{self, Attachment, Mode},
    foreign,
    pins::Pins,
};
use crate::config::{Dataplane as Wanted, Interface, LocalInterface};

/// What is attached where, and the means to attach it again.
pub struct Reattacher {
    kernel: Option<Kernel>,
    wanted: Wanted,
    kept: Vec<Kept>,
}

struct Kernel {
    program: Xdp,
    program_id: u32,
    pins: Pins,
    networks: Array<MapData, NetworkTable>,
    table: NetworkTable,
}

struct Kept {
    interface: LocalInterface,
    attachment: Attachment,
    /// It should be attached, and is not.
    failing: bool,
}

/// What was found wrong with an interface, and what became of it.
#[derive(Clone, Debug)]
pub struct News {
    /// The network that the interface serves.
    pub network: u8,
    /// The interface has another index than before: sockets are still bound to the one that is gone.
    pub made_anew: bool,
    /// How it is served now.
    pub attachment: Attachment,
    /// Why heartbeats do not arrive by it; `None` once it is mended.
    pub failure: Option<String>,
    /// For people.
    pub text: String,
}

impl Reattacher {
    /// For these interfaces, as they are served now. `kernel` is a handle of the program, where it is pinned, and NETWORKS
    /// as it is; `None` without a kernel side.
    ///
    /// # Errors
    /// When the pinned map cannot be opened.
    pub(super) fn new(
        kernel: Option<(Xdp, Pins, NetworkTable)>,
        wanted: Wanted,
        interfaces: &[LocalInterface],
        attachments: &[(u8, Attachment)],
    ) -> Result<Self> {
        let kernel = kernel.map(|(program, pins, table)| Kernel::new(program, pins, table)).transpose()?;
        let kept = interfaces.iter().filter_map(|interface| {
            let (_, attachment) = attachments.iter().find(|(network, _)| *network == interface.network)?;
            Some(Kept { interface: interface.clone(), attachment: attachment.clone(), failing: false })
        });
        Ok(Self { kernel, wanted, kept: kept.collect() })
    }

    /// Looks at every interface, and mends what can be mended. An interface that is not there is left alone: that it is
    /// broken is told by others. What cannot be mended is told once, and tried again with every look.
    pub fn look(&mut self) -> Vec<News> {
        let (kernel, wanted) = (&mut self.kernel, self.wanted);
        self.kept.iter_mut().filter_map(|kept| kept.look(kernel.as_mut(), wanted)).collect()
    }
}

impl Kernel {
    fn new(program: Xdp, pins: Pins, table: NetworkTable) -> Result<Self> {
        let program_id = program.info().context("the kernel does not describe the program")?.id();
        let path = pins.maps().join("NETWORKS");
        let networks = open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(Self { program, program_id, pins, networks, table })
    }

    /// Makes sure that the program is on an interface. Several networks may share one.
    fn attach(&mut self, interface: &Interface, former: u32, wanted: Wanted) -> Attachment {
        let shown = foreign::program_id(interface.index).ok().flatten();
        if shown != Some(self.program_id) {
            // Pins of an attachment that is gone, or of an interface that is.
            for (index, _, path) in self.pins.links() {
                if index == interface.index || index == former {
                    attach::unpin(&path);
                }
            }
            return attach::attach(&mut self.program, interface, wanted, Some(&self.pins));
        }
        let links = self.pins.links();
        let mode = links.iter().find(|(index, _, _)| *index == interface.index).map_or("native", |(_, mode, _)| mode);
        Attachment {
            interface: interface.clone(),
            mode: if mode == Mode::Generic.as_str() { Mode::Generic } else { Mode::Native },
            program_id: Some(self.program_id),
            steps_down: Vec::new(),
            replaced: false,
        }
    }

    fn knows(&mut self, network: u8, index: u32) -> Result<(), String> {
        if let Some(record) = self.table.networks.get_mut(usize::from(network.saturating_sub(1))) {
            record.ifindex = index;
        }
        self.networks.set(0, self.table, 0).map_err(|error| format!("NETWORKS cannot be written: {error}"))
    }
}

fn open(path: &Path) -> Result<Array<MapData, NetworkTable>> {
    Ok(Array::try_from(Map::Array(MapData::from_pin(path)?))?)
}

impl Kept {
    fn look(&mut self, kernel: Option<&mut Kernel>, wanted: Wanted) -> Option<News> {
        let carrier = if_nametoindex(self.interface.carrier.name.as_str()).ok()?;
        let attach = if_nametoindex(self.interface.attach.name.as_str()).ok()?;
        let made_anew = carrier != self.interface.carrier.index || attach != self.interface.attach.index;
        let served = self.attachment.mode != Mode::Socket || self.failing;
        let lost = match &kernel {
            // A kernel that does not say has removed nothing.
            Some(kernel) if served => foreign::program_id(attach).ok()? != Some(kernel.program_id),
            Some(_) | None => false,
        };
        if !made_anew && !lost && !self.failing {
            return None;
        }
        let former = self.interface.attach.index;
        self.interface.carrier.index = carrier;
        self.interface.attach.index = attach;
        let mut failure = None;
        match kernel {
            Some(kernel) if served => {
                self.attachment = kernel.attach(&self.interface.attach, former, wanted);
                if made_anew {
                    failure = kernel.knows(self.interface.network, attach).err();
                }
                if self.attachment.mode == Mode::Socket {
                    failure = Some(self.attachment.steps_down.join("; "));
                }
            }
            Some(_) | None => self.attachment.interface.index = attach,
        }
        let was_failing = std::mem::replace(&mut self.failing, failure.is_some());
        if was_failing && self.failing && !made_anew {
            return None;
        }
        let (name, mode) = (&self.interface.attach.name, self.attachment.mode.as_str());
        let what = if made_anew {
            format!("The interface {name} was made anew")
        } else {
            format!("The XDP program of {name} was removed by somebody else")
        };
        let text = match &failure {
            Some(reason) => format!(
                "{what}, and cannot be attached again: {reason}. Heartbeats do not arrive there meanwhile; it is tried again"
            ),
            None => format!("{what}; it is served again ({mode})"),
        };
        let attachment = self.attachment.clone();
        Some(News { network: self.interface.network, made_anew, attachment, failure, text })
    }
}
