//! Captures that a test writes, and what tshark with the dissector says about them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The dissector as it is shipped.
pub(crate) fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/wireshark/heartbeat.lua")
}

/// A capture file; removed on drop.
pub(crate) struct Capture {
    directory: tempfile::TempDir,
    frames: usize,
}

impl Capture {
    /// Frames with the nanosecond at which each was captured.
    pub(crate) fn of(frames: &[(u64, Vec<u8>)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Classic format with nanoseconds, version 2.4, Ethernet (https://www.tcpdump.org/manpages/pcap-savefile.5.html).
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            bytes.extend(word.to_le_bytes());
        }
        for (time_ns, frame) in frames {
            let length = u32::try_from(frame.len()).unwrap();
            let (second, rest) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
            for word in [u32::try_from(second).unwrap(), u32::try_from(rest).unwrap(), length, length] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(frame);
        }
        fs::write(directory.path().join("capture.pcap"), bytes).unwrap();
        Self { directory, frames: frames.len() }
    }

    /// Frames a microsecond apart.
    pub(crate) fn in_order(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let frames: Vec<_> = (0..).step_by(1_000).zip(frames).collect();
        Self::of(&frames)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("capture.pcap")
    }

    /// Values of the named fields, frame by frame; a field that a frame has several times has several values.
    pub(crate) fn fields(&self, names: &[&str]) -> Vec<BTreeMap<String, Vec<String>>> {
        let mut command = tshark(&script(), &self.path());
        command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=;"]);
        for name in names {
            command.args(["-e", name]);
        }
        let lines = run(command);
        let frames: Vec<_> = lines
            .lines()
            .map(|line| {
                let values = line.split('\t').map(|cell| cell.split(';').filter(|value| !value.is_empty()));
                names.iter().zip(values).map(|(name, values)| ((*name).to_owned(), values.map(str::to_owned).collect()))
            })
            .map(Iterator::collect)
            .collect();
        assert_eq!(frames.len(), self.frames, "a line for each frame");
        frames
    }

    /// Everything that it shows about every frame, with this script.
    pub(crate) fn everything(&self, script: &Path) -> String {
        let mut command = tshark(script, &self.path());
        command.arg("-V");
        run(command)
    }

    /// The columns Protocol and Info of every frame, with or without the dissector.
    pub(crate) fn columns(&self, script: Option<&Path>) -> Vec<String> {
        let nothing = self.directory.path().join("nothing.lua");
        fs::write(&nothing, "").unwrap();
        let mut command = tshark(script.unwrap_or(&nothing), &self.path());
        command.args(["-T", "fields", "-E", "separator=/s", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info"]);
        run(command).lines().map(str::to_owned).collect()
    }
}

/// tshark on a capture, without what the user or the machine may have configured.
pub(crate) fn tshark(script: &Path, capture: &Path) -> Command {
    let mut command = Command::new("tshark");
    let home = capture.parent().unwrap();
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env_remove("WIRESHARK_CONFIG_DIR");
    command.arg("-n").arg("-X").arg(format!("lua_script:{}", script.display())).arg("-r").arg(capture);
    command
}

/// What it prints, warnings of the script's loading included.
pub(crate) fn run(mut command: Command) -> String {
    let output = command.output().expect("tshark (package tshark) cannot be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    assert!(!stderr.contains("lua"), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}
