//! The eBPF object: what is loaded, under which names, with which sizes.

use std::path::Path;

use aya::{Ebpf, EbpfLoader, maps::Map, programs::ProgramError};

use heartbeat_common::{
    judge::scan::PeerSoFar,
    metronome::{MetronomeBooks, MetronomeRecord, TargetRecord},
    records::{
        ActiveRecord, AdmissionRecord, ArrivalRecord, CounterRecord, IntervalRecord, JudgeRecord, KeyRecord,
        LinkRecord, MembershipRecord, NetworkTable, NodeRecord, PeerRecord, RejectRecord, SequenceRecord, TimingRecord,
        VerdictRecord,
    },
};

use super::memory::Sizes;

/// The object as it runs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/heartbeat.o"));
/// The object that prints each verdict.
static TRACE_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/heartbeat-trace.o"));

/// The program that is attached.
pub const PROGRAM_HEARTBEAT: &str = "heartbeat";
/// The program that arms the judge.
pub const PROGRAM_JUDGE: &str = "judge";

/// The metronome's program before its queueing discipline.
pub const PROGRAM_GATE: &str = "gate";
/// The metronome's program behind it.
pub const PROGRAM_TICK: &str = "tick";

/// How many elements a map has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// As the object says.
    Fixed,
    /// One for each link.
    Links,
    /// One for each node.
    Nodes,
}

/// Every map of the object with the size of its values, in the order in which they are listed to operators.
pub const MAPS: [(&str, Entries, u32); 23] = [
    ("NODE", Entries::Fixed, size::<NodeRecord>()),
    ("MEMBERSHIP", Entries::Fixed, size::<MembershipRecord>()),
    ("NETWORKS", Entries::Fixed, size::<NetworkTable>()),
    ("PEERS", Entries::Links, size::<PeerRecord>()),
    ("KEYS", Entries::Fixed, size::<KeyRecord>()),
    ("TIMING", Entries::Fixed, size::<TimingRecord>()),
    ("ACTIVE", Entries::Links, size::<ActiveRecord>()),
    ("SEQ", Entries::Links, size::<SequenceRecord>()),
    ("LINKS", Entries::Links, size::<LinkRecord>()),
    ("ARRIVALS", Entries::Links, size::<ArrivalRecord>()),
    ("INTERVALS", Entries::Links, size::<IntervalRecord>()),
    ("ADMISSION", Entries::Links, size::<AdmissionRecord>()),
    ("REJECTS", Entries::Fixed, size::<RejectRecord>()),
    ("COUNTERS", Entries::Fixed, size::<CounterRecord>()),
    ("VERDICTS", Entries::Links, size::<VerdictRecord>()),
    ("PEER_VERDICTS", Entries::Nodes, size::<VerdictRecord>()),
    ("JUDGE_STATE", Entries::Fixed, size::<JudgeRecord>()),
    ("JUDGE", Entries::Fixed, TIMER_SIZE),
    ("JUDGE_SCAN", Entries::Fixed, SCAN_SIZE),
    ("METRONOME", Entries::Fixed, size::<MetronomeRecord>()),
    ("TARGETS", Entries::Links, size::<TargetRecord>()),
    ("METRONOME_BOOKS", Entries::Fixed, size::<MetronomeBooks>()),
    ("EVENTS", Entries::Fixed, 0),
];

/// `struct bpf_timer` of the kernel's UAPI.
const TIMER_SIZE: u32 = 16;
/// Scratch of the judge: two words, and what it knows of the peer at hand.
const SCAN_SIZE: u32 = 16 + size::<PeerSoFar>();

const fn size<T>() -> u32 {
    // No record is larger than 64 KiB.
    size_of::<T>() as u32
}

/// The object could not be loaded; nothing is attached, maps that were new are gone again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object, its maps or its BTF were refused.
    #[error("the eBPF object was not accepted: {0}")]
    Object(String),
    /// The verifier refused a program.
    #[error("the kernel refused the program `{program}`: {reason}\n{log}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// The error of the system call.
        reason: String,
        /// The last lines of the verifier's log.
        log: String,
    },
    /// The object lacks something that this controller needs: they do not belong together.
    #[error("the eBPF object has no `{0}`: controller and object do not belong together")]
    Missing(&'static str),
}

/// Creates the maps, or reopens those that are pinned in `pin_dir`, and pins the new ones there. Programs are not loaded yet.
///
/// # Errors
/// [`LoadError::Object`].
pub fn open(sizes: Sizes, pin_dir: Option<&Path>, trace: bool) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    for (name, entries, _) in MAPS {
        match entries {
            Entries::Fixed => {}
            Entries::Links => {
                loader.map_max_entries(name, sizes.links);
            }
            Entries::Nodes => {
                loader.map_max_entries(name, sizes.nodes);
            }
        }
        if let Some(pin_dir) = pin_dir {
            loader.map_pin_path(name, pin_dir.join(name));
        }
    }
    loader.load(if trace { TRACE_OBJECT } else { OBJECT }).map_err(|error| LoadError::Object(chain(&error)))
}

/// The map of that name.
///
/// # Errors
/// [`LoadError::Missing`].
pub fn map<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Map, LoadError> {
    ebpf.map(name).ok_or(LoadError::Missing(name))
}

/// What the verifier or the kernel said about a program, shortened to what tells: the last lines of the log.
#[must_use]
pub fn program_error(program: &'static str, error: &ProgramError) -> LoadError {
    /// The verdict stands at the end; above it are the instructions that led there.
    const LINES: usize = 20;
    /// An answer that needs no instructions to be understood: PREEMPT_RT kernels have no timers for programs.
    const NO_TIMERS: &str = "bpf_timer cannot be used for PREEMPT_RT";
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        if let Some(line) = lines.iter().find(|line| line.contains(NO_TIMERS)) {
            return LoadError::Program { program, reason: io_error.to_string(), log: (*line).to_owned() };
        }
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        return LoadError::Program { program, reason: io_error.to_string(), log: tail };
    }
    LoadError::Program { program, reason: chain(error), log: String::new() }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The errno at the bottom of an error chain, where there is one.
#[must_use]
pub fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && let Some(code) = io.raw_os_error()
        {
            return Some(code);
        }
        current = cause.source();
    }
    None
}
