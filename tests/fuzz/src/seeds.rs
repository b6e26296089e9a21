//! Inputs to begin with: what real nodes send and read.

use std::path::PathBuf;

use heartbeat_common::specimen::{cases, cases::Expected};

use crate::{control, core::PHASES};

/// The file that the packages install as an example.
const EXAMPLE: &str = include_str!("../../../dist/config/heartbeat.toml");

/// Every specimen that is not merely another one cut off: the fuzzer cuts by itself.
pub(crate) fn decode() -> Vec<(String, Vec<u8>)> {
    let telling = cases().into_iter().filter(|case| match case.expected {
        Expected::Heartbeat(_) | Expected::Control(..) => true,
        Expected::NotOurs | Expected::Refused(_) => !case.name.contains(" of ") && !case.name.contains(" and "),
    });
    telling.enumerate().map(|(index, case)| (format!("{index:03}"), case.bytes)).collect()
}

/// Bodies of a real cluster's messages, bare and sealed.
pub(crate) fn control() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, message) in messages().into_iter().enumerate() {
        let mut bare = vec![message.kind];
        bare.extend_from_slice(&message.sequence.to_be_bytes());
        bare.extend_from_slice(&message.body);
        seeds.push((format!("body-{index:03}"), bare));
        let mut sealed = Vec::new();
        if control::member().seal(&control::envelope(message.kind, 1), &message.body, &mut sealed).is_ok() {
            seeds.push((format!("sealed-{index:03}"), sealed));
        }
    }
    seeds
}

/// From each phase of a real cluster: what came next, and time.
pub(crate) fn core() -> Vec<(String, Vec<u8>)> {
    let phases = PHASES.iter().enumerate().filter_map(|(index, phase)| Some((u8::try_from(index).ok()?, phase)));
    let script = |(index, phase): (u8, &crate::core::Phase)| {
        let mut script = vec![index];
        for message in 0..phase.messages.len().min(24) {
            // A real message as it is, then a quarter of an interval.
            script.extend([0, u8::try_from(message).unwrap_or(0), 0, 0x13]);
        }
        (format!("{index:03}"), script)
    };
    phases.map(script).collect()
}

/// The example configuration, and its sections alone.
pub(crate) fn config() -> Vec<(String, Vec<u8>)> {
    // The key that the target provides.
    let example = EXAMPLE.replace("/etc/heartbeat-xdp/key", "key");
    let mut seeds = vec![("example".to_owned(), example.as_bytes().to_vec())];
    let uncommented: String = example.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    seeds.push(("uncommented".to_owned(), uncommented.into_bytes()));
    for (index, section) in example.split("\n\n").enumerate() {
        seeds.push((format!("section-{index:02}"), section.as_bytes().to_vec()));
    }
    seeds
}

/// Names the folder that a fuzzer writes its seeds into before it begins; nothing is written where it is not set.
pub const FOLDER_VARIABLE: &str = "HEARTBEAT_FUZZ_SEEDS";

/// Writes the seeds of a target, if they are wanted.
///
/// # Panics
/// If the folder cannot be written: a fuzzer without seeds would find nothing and look as if there were nothing to find.
pub fn write(target: &str) {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else { return };
    let target = crate::TARGETS.iter().find(|known| known.name == target).expect("a target of ours");
    std::fs::create_dir_all(&folder).expect("the folder of the seeds can be made");
    for (name, bytes) in (target.seeds)() {
        std::fs::write(folder.join(name), bytes).expect("a seed can be written");
    }
}

/// What once broke a rule, by target; each stays a test for ever.
#[must_use]
pub fn crashes(target: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crashes").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn messages() -> Vec<heartbeat_membership::ControlMessage> {
    let mut messages: Vec<_> = PHASES.iter().flat_map(|phase| &phase.messages).cloned().collect();
    messages.sort_by(|a, b| (a.kind, &a.body).cmp(&(b.kind, &b.body)));
    messages.dedup_by(|a, b| a.kind == b.kind && a.body == b.body);
    messages
}
