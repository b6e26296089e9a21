//! The data plane of one node: maps and programs in the kernel where possible, sockets where not, behind one face.

mod arrivals;
pub mod attach;
mod counts;
mod foreign;
pub mod kernel;
pub mod memory;
pub mod object;
pub mod peers;
pub mod pins;
mod preparation;
pub mod reattach;
pub mod receive;
mod scan;
mod settings;

use std::{collections::VecDeque, fs::File, sync::Arc};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapData, RingBuf};
use bytemuck::Zeroable as _;
use heartbeat_common::{
    notice::{Notice, RING_BYTES},
    records::{ActiveRecord, NodeRecord, TimingRecord},
};

pub use self::{
    attach::{Attachment, Mode},
    counts::{LocalCounts, total},
    kernel::KernelCounts,
    preparation::{Adoption, Preparation, prepare, room_for},
    settings::judging,
};
use self::{
    kernel::Kernel,
    memory::{Memory, Sizes},
    pins::Pins,
    reattach::Reattacher,
    receive::LocalTables,
    scan::UserJudge,
};
use crate::{
    config::{Config, Dataplane as Wanted, Machine},
    ethtool,
    keys::DerivedKeys,
    metronome::Parts,
    reload::{SharedPart, keyring::KeySlots},
};

/// What judges lateness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgeKind {
    /// A timer in the kernel.
    KernelTimer,
    /// The reactor.
    ReactorScan,
}

impl JudgeKind {
    /// The word of status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KernelTimer => "kernel-timer",
            Self::ReactorScan => "reactor",
        }
    }
}

/// The data plane.
pub struct Dataplane {
    /// The records.
    pub memory: Arc<Memory>,
    /// What became of an earlier controller's records.
    pub adoption: Adoption,
    /// The incarnation that goes on, or that was taken.
    pub incarnation: u64,
    /// How each network of this node is served.
    pub attachments: Vec<(u8, Attachment)>,
    /// Fallbacks that an operator must hear of, in words.
    pub degradations: Vec<String>,
    /// Tables for the checks in userspace.
    pub tables: LocalTables,
    judge: JudgeKind,
    user_judge: UserJudge,
    kernel: Option<Kernel>,
    ring: Option<RingBuf<MapData>>,
    /// Where things are pinned, and the lock on it.
    pins: Option<(Pins, File)>,
}

impl Dataplane {
    /// Loads, fills the maps and attaches. `new_incarnation` is asked where none can be adopted.
    ///
    /// # Errors
    /// With `dataplane = "native"` or `"generic"`: whatever prevents exactly that. With `"auto"`: only what prevents the
    /// socket data plane as well. Also when there is no new incarnation.
    pub fn start(
        config: &Config,
        machine: &Machine,
        keys: &[(u8, DerivedKeys)],
        preparation: Preparation,
        new_incarnation: impl FnOnce() -> Result<u64>,
        trace: bool,
    ) -> Result<Self> {
        let adopted = matches!(preparation.adoption, Adoption::Adopted(_));
        let mut degradations = Vec::new();
        let kernel = match &preparation.pins {
            None => None,
            Some((pins, _)) => match load(pins, preparation.sizes, adopted, trace) {
                Ok(loaded) => Some(loaded),
                Err(error) if config.local.dataplane == Wanted::Auto => {
                    degradations.push(format!("XDP cannot be used, heartbeats go through sockets: {error:#}"));
                    None
                }
                Err(error) => return Err(error),
            },
        };
        let (kernel, memory) = match kernel {
            Some((kernel, memory)) => (Some(kernel), memory),
            None => (None, Memory::anonymous(preparation.sizes).context("no memory for the records")?),
        };
        let mut adoption = preparation.adoption.clone();
        if kernel.is_none() && adopted {
            adoption = Adoption::Fresh(Some("its maps cannot be used without XDP".to_owned()));
        }
        let (adopted, incarnation) = match &adoption {
            Adoption::Adopted(record) => (true, record.incarnation),
            Adoption::Fresh(_) => (false, new_incarnation()?),
        };
        let tables = settings::local_tables(config, machine, keys, &preparation, incarnation);
        let timing = judging(config);
        let active = peers::active(config);
        if !adopted {
            peers::write_configured(&memory, &tables.peers);
        }
        write_node(&memory, &tables.node, adopted);
        let tables = LocalTables { node: memory.node.read(0).unwrap_or(tables.node), ..tables };
        let mut dataplane = Self {
            memory: Arc::new(memory),
            adoption,
            incarnation,
            attachments: Vec::new(),
            degradations,
            tables,
            judge: JudgeKind::ReactorScan,
            user_judge: UserJudge::new(timing, active.clone()),
            kernel,
            ring: None,
            pins: preparation.pins,
        };
        let ready = dataplane.fill_kernel(config, &timing, &active).and_then(|()| dataplane.attach(config, machine));
        if let (Err(_), false, Some((pins, _))) = (&ready, adopted, &dataplane.pins) {
            // Nothing of a failed start stays; what cannot be removed now is refused, and told, at the next start.
            let _left = pins.remove_all();
        }
        ready.map(|()| dataplane)
    }

    fn fill_kernel(&mut self, config: &Config, timing: &TimingRecord, active: &[ActiveRecord]) -> Result<()> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        kernel.set_keys(&self.tables.keys)?;
        kernel.set_networks(&self.tables.networks)?;
        kernel.set_judging(timing, active)?;
        self.ring = Some(kernel.take_ring()?);
        match kernel.start_judge() {
            Ok(()) => self.judge = JudgeKind::KernelTimer,
            Err(error) => {
                let fallback = "the kernel's timer cannot judge, the reactor does";
                self.degradations.push(format!("{fallback}: {error:#}"));
                tracing::warn!(cluster = %config.cluster_name, "{fallback}: {error:#}");
            }
        }
        Ok(())
    }

    fn attach(&mut self, config: &Config, machine: &Machine) -> Result<()> {
        let mut done: Vec<Attachment> = Vec::new();
        for interface in &machine.interfaces {
            let hidden = config.network(interface.network).and_then(|network| network.vlan).is_some_and(|_vlan| {
                // A driver that cannot be asked is taken at its word: most put tags into the frame when they have no offload.
                ethtool::hides_vlan_tags(&interface.attach.name).unwrap_or(false)
            });
            let known = done.iter().find(|attachment| attachment.interface == interface.attach).cloned();
            let attachment = match (&mut self.kernel, known) {
                _ if hidden => Attachment {
                    interface: interface.attach.clone(),
                    mode: Mode::Socket,
                    program_id: None,
                    steps_down: vec![format!(
                        "VLAN offload of {0} hides tags from XDP; `ethtool -K {0} rxvlan off` (and `txvlan off` at the other \
                         end of a veth) shows them",
                        interface.attach.name
                    )],
                    replaced: false,
                },
                (_, Some(attachment)) => attachment,
                (Some(kernel), None) => {
                    let pins = self.pins.as_ref().map(|(pins, _)| pins);
                    attach::attach(kernel.receiver()?, &interface.attach, config.local.dataplane, pins)
                }
                (None, None) => Attachment {
                    interface: interface.attach.clone(),
                    mode: Mode::Socket,
                    program_id: None,
                    steps_down: Vec::new(),
                    replaced: false,
                },
            };
            let wanted = config.local.dataplane;
            if attachment.mode == Mode::Socket && matches!(wanted, Wanted::Native | Wanted::Generic) {
                bail!(
                    "dataplane = \"{}\" is not possible, and nothing else is allowed: {}. Choose \"auto\", or mend it",
                    wanted.as_str(),
                    attachment.steps_down.join("; ")
                );
            }
            if !attachment.steps_down.is_empty() && !done.iter().any(|one| one.interface == attachment.interface) {
                self.degradations.push(format!(
                    "{} is served by {}: {}",
                    attachment.interface.name,
                    match attachment.mode {
                        Mode::Native => "native XDP",
                        Mode::Generic => "generic XDP",
                        Mode::Socket => "a socket",
                    },
                    attachment.steps_down.join("; ")
                ));
            }
            done.push(attachment.clone());
            self.attachments.push((interface.network, attachment));
        }
        if let Some((pins, _)) = &self.pins {
            for (ifindex, _, path) in pins.links() {
                let serves = |one: &Attachment| one.interface.index == ifindex && one.mode != Mode::Socket;
                if !done.iter().any(serves) {
                    attach::unpin(&path);
                }
            }
        }
        Ok(())
    }

    /// How a network of this node is served.
    #[must_use]
    pub fn mode(&self, network: u8) -> Mode {
        self.attachments.iter().find(|(id, _)| *id == network).map_or(Mode::Socket, |(_, attachment)| attachment.mode)
    }

    /// The worst mode in use: what `status` shows for the whole.
    #[must_use]
    pub fn worst_mode(&self) -> Mode {
        self.attachments.iter().map(|(_, attachment)| attachment.mode).max().unwrap_or(Mode::Socket)
    }

    /// What judges.
    #[must_use]
    pub fn judge(&self) -> JudgeKind {
        self.judge
    }

    /// Takes the records that an earlier controller did not: at most what the ring holds, so that a flood of new ones
    /// cannot keep a start up.
    pub fn take_unread(&mut self) -> VecDeque<Notice> {
        const CAPACITY: usize = RING_BYTES / size_of::<Notice>();
        let mut unread = VecDeque::new();
        let Some(ring) = &mut self.ring else { return unread };
        while unread.len() < CAPACITY {
            let Some(record) = ring.next() else { break };
            // A record of another size is of another program; the ABI in the pin path rules that out.
            unread.extend(bytemuck::try_pod_read_unaligned::<Notice>(&record));
        }
        unread
    }

    /// The ring of state changes, once; there is none without a kernel side.
    pub fn take_ring(&mut self) -> Option<RingBuf<MapData>> {
        self.ring.take()
    }

    /// The per-CPU counters, once; there are none without a kernel side.
    ///
    /// # Errors
    /// When the maps are not what they should be.
    pub fn take_counts(&mut self) -> Result<Option<KernelCounts>> {
        Ok(self.kernel.as_mut().map(Kernel::take_counts).transpose()?)
    }

    /// The loaded object, for the trace.
    pub fn object_mut(&mut self) -> Option<&mut aya::Ebpf> {
        self.kernel.as_mut().map(Kernel::object_mut)
    }

    /// Arms the kernel's judge again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restart_judge(&mut self) -> Result<()> {
        match &mut self.kernel {
            Some(kernel) => Ok(kernel.start_judge()?),
            None => Ok(()),
        }
    }

    /// When the reactor has to judge next, CLOCK_MONOTONIC nanoseconds; `None` when the kernel does.
    #[must_use]
    pub fn scan_due_ns(&self) -> Option<u64> {
        match self.judge {
            JudgeKind::KernelTimer => None,
            JudgeKind::ReactorScan => Some(self.user_judge.due_ns(&self.memory)),
        }
    }

    /// Judges everybody, where the kernel does not.
    pub fn scan(&mut self, now_ns: u64, notices: &mut VecDeque<Notice>) {
        if self.judge == JudgeKind::ReactorScan {
            self.user_judge.run(now_ns, &self.memory, notices);
        }
    }

    /// Accepts these keys and no others from now on. A key that was accepted and still is, is so all the time.
    ///
    /// # Errors
    /// When the kernel refuses; some may be accepted by then.
    pub fn change_keys(&mut self, keys: &KeySlots) -> Result<()> {
        if let Some(kernel) = &mut self.kernel {
            kernel.change_keys(&self.tables.keys, keys)?;
        }
        self.tables.keys = *keys;
        Ok(())
    }

    /// What is judged by.
    #[must_use]
    pub fn judging(&self) -> TimingRecord {
        self.user_judge.timing()
    }

    /// Follows another configuration of the same networks: who may be heard, who is watched, and `timing`, whose number of
    /// links is of no account.
    ///
    /// # Errors
    /// When the kernel refuses; peers are changed by then.
    pub fn switch(&mut self, timing: &TimingRecord, shared: &mut SharedPart) -> Result<()> {
        peers::change_configured(&self.memory, &self.tables.peers, &shared.peers);
        std::mem::swap(&mut self.tables.peers, &mut shared.peers);
        self.tables.node.config_digest = shared.digest;
        write_digest(&self.memory, &shared.digest);
        let known = self.user_judge.active();
        // Who is gone keeps its place, without anything accepted: the judge passes over it.
        let more: Vec<_> =
            shared.active.iter().filter(|new| !known.iter().any(|known| known.link == new.link)).copied().collect();
        self.change_watched(timing, &more)
    }

    /// Goes by other times; whom it watches stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn change_judging(&mut self, timing: &TimingRecord) -> Result<()> {
        self.change_watched(timing, &[])
    }

    fn change_watched(&mut self, timing: &TimingRecord, more: &[ActiveRecord]) -> Result<()> {
        let known = self.user_judge.active().len();
        let timing = TimingRecord { active_links: (known + more.len()) as u64, ..*timing };
        if let Some(kernel) = &mut self.kernel {
            kernel.change_judging(known, more, &timing)?;
        }
        self.user_judge.change(timing, more);
        Ok(())
    }

    /// Is there a kernel side?
    #[must_use]
    pub fn has_kernel(&self) -> bool {
        self.kernel.is_some()
    }

    /// What a metronome needs; `None` without a kernel side.
    ///
    /// # Errors
    /// When the kernel refuses its programs, or the directory for pins cannot be made.
    pub fn metronome_parts(&mut self) -> Result<Option<Parts>> {
        let (Some(kernel), Some((pins, _))) = (&mut self.kernel, &self.pins) else { return Ok(None) };
        let folder = pins.metronome();
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let programs = kernel.metronome_programs(&folder)?;
        Ok(Some(Parts { programs, records: kernel.metronome_records(self.memory.links.len())? }))
    }

    /// What keeps the interfaces served.
    ///
    /// # Errors
    /// When the kernel gives no second handle of the program or of NETWORKS.
    pub fn reattacher(&mut self, config: &Config, machine: &Machine) -> Result<Reattacher> {
        let kernel = match (&mut self.kernel, &self.pins) {
            (Some(kernel), Some((pins, _))) => {
                Some((kernel.receiver_handle(&pins.maps())?, pins.clone(), self.tables.networks))
            }
            _ => None,
        };
        Reattacher::new(kernel, config.local.dataplane, &machine.interfaces, &self.attachments)
    }

    /// Detaches and removes every pin: an orderly exit leaves nothing behind.
    ///
    /// # Errors
    /// When the pins cannot be removed.
    pub fn remove(self) -> Result<()> {
        match &self.pins {
            Some((pins, _)) => pins.remove_all().context("the pins of the data plane cannot be removed"),
            None => Ok(()),
        }
    }
}

fn load(pins: &Pins, sizes: Sizes, adopted: bool, trace: bool) -> Result<(Kernel, Memory)> {
    if !adopted {
        // The pinned attachments stay: the new program takes the place of the old one without a gap.
        pins.remove_maps().context("old pins cannot be removed")?;
    }
    pins.create().context("the directories for pins cannot be made")?;
    let kernel = Kernel::load(sizes, Some(&pins.maps()), trace).inspect_err(|_error| {
        if !adopted {
            // Nothing of a failed start stays; what cannot be removed now is refused, and told, at the next start.
            let _left = pins.remove_all();
        }
    })?;
    let memory = kernel.memory(sizes)?;
    Ok((kernel, memory))
}

/// Writes the configuration's digest, by which a restarted controller knows whether it may go on.
fn write_digest(memory: &Memory, digest: &[u8; 32]) {
    const WORD: usize = size_of::<u64>();
    for (place, bytes) in (0..).zip(digest.as_chunks::<WORD>().0) {
        let offset = std::mem::offset_of!(NodeRecord, config_digest) + place * WORD;
        if let Some(word) = memory.node.word(0, offset) {
            word.store(u64::from_ne_bytes(*bytes), std::sync::atomic::Ordering::SeqCst);
        }
    }
}

/// Writes who we are. Of an adopted record, what the earlier controller was in the middle of stays.
fn write_node(memory: &Memory, node: &NodeRecord, adopted: bool) {
    let old = memory.node.read(0).unwrap_or_else(NodeRecord::zeroed);
    let record = if adopted {
        NodeRecord {
            view: old.view,
            regroup_sequence: old.regroup_sequence,
            lease_end_ns: old.lease_end_ns,
            controller_pass_ns: old.controller_pass_ns,
            controller_beat: old.controller_beat,
            stage: old.stage,
            ..*node
        }
    } else {
        *node
    };
    memory.node.write(0, &record);
}
