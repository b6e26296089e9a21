//! A sender in the kernel: live frames that the program `generator` fills, signs and sends, as fast as they go.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions},
};
use heartbeat_bench_ebpf::{SourceRecord, StreamRecord};

use crate::{
    arena::{MAC, Wire},
    cpu::{self, GENERATOR_CPU, Priority, THIS_THREAD},
    frames::{self, Beat},
    programs::Programs,
    scene,
};

/// Frames that the kernel makes before it hands them over: a quarter of a veth's ring.
const BATCH: u32 = 64;
/// Frames in one system call: about a second. Each call begins and ends with tens of milliseconds in which the kernel waits
/// for all CPUs and nothing is sent.
const FRAMES: u32 = 1 << 21;

/// What else the machine does must not decide what is offered.
const PRIORITY: Priority = Priority::Fifo(1);

/// A generator that is ready to send.
pub(crate) struct Generator {
    programs: Programs,
    frame: [u8; frames::LENGTH],
    context: [u8; CONTEXT_LENGTH],
}

/// Counts the heartbeats that a generator makes.
pub(crate) struct Made(Array<MapData, [u64; 2]>);

impl Made {
    /// Heartbeats so far.
    pub(crate) fn count(&self) -> Result<u64> {
        Ok(bytemuck::cast::<[u64; 2], StreamRecord>(self.0.get(&0, 0)?).made)
    }
}

/// Length of `struct xdp_md`.
const CONTEXT_LENGTH: usize = 24;

/// `struct xdp_md` as the kernel takes it: where the frame begins and ends, and the interface that it is sent back by.
fn context(ifindex: u32) -> [u8; CONTEXT_LENGTH] {
    let mut bytes = [0; CONTEXT_LENGTH];
    let length = u32::try_from(frames::LENGTH).unwrap_or(0);
    bytes[4..8].copy_from_slice(&length.to_ne_bytes());
    bytes[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

impl Generator {
    /// Speaks for `peers` on the network of `wire`.
    pub(crate) fn new(wire: &Wire, peers: &[u16]) -> Result<(Self, Made)> {
        let mut programs = Programs::open(peers, &[])?;
        let mut sources = programs.array::<[u64; 2]>("SOURCES")?;
        for (slot, node) in (0..).zip(peers) {
            let frame = frames::heartbeat(MAC, Beat::first(*node, wire.network));
            let source = SourceRecord {
                sequence: 0,
                address: u32::from_ne_bytes(scene::address(*node, wire.network)),
                checksum: u16::from_ne_bytes(frames::ipv4_checksum(&frame)),
                node: node.to_be(),
            };
            sources.set(slot, bytemuck::cast::<SourceRecord, [u64; 2]>(source), 0)?;
        }
        let stream = StreamRecord { sources: u32::try_from(peers.len())?, next: 0, made: 0 };
        programs.array::<[u64; 2]>("STREAM")?.set(0, bytemuck::cast::<StreamRecord, [u64; 2]>(stream), 0)?;
        programs.program("generator")?;
        let frame = frames::heartbeat(MAC, Beat::first(scene::FIRST_PEER, wire.network));
        let made = Made(programs.take_array("STREAM")?);
        Ok((Self { programs, frame, context: context(wire.sender_index()?) }, made))
    }

    /// Sends until `stop`.
    pub(crate) fn send(&mut self, stop: &AtomicBool) -> Result<()> {
        cpu::pin(THIS_THREAD, GENERATOR_CPU)?;
        cpu::schedule(THIS_THREAD, PRIORITY)?;
        while !stop.load(Ordering::Relaxed) {
            let options = TestRunOptions {
                data_in: Some(&self.frame),
                ctx_in: Some(&self.context),
                repeat: FRAMES,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            self.programs.program("generator")?.test_run(options).context("live frames cannot be sent")?;
        }
        Ok(())
    }
}
