//! Every target with every seed, with mutations of them, with noise, and with what once broke a rule. No fuzzer is needed.

use heartbeat_fuzz::{TARGETS, Target, seeds};

/// Mutations of each seed. The fuzzers make millions; these show that the targets work.
const MUTATIONS: u64 = 8;

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// splitmix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

/// Changes a few bytes, cuts, or repeats a piece.
fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let position = random.below(bytes.len());
        match random.below(4) {
            0 => bytes.truncate(position),
            1 => {
                let piece = bytes[position..].to_vec();
                bytes.extend(piece);
            }
            _ => {
                let value = random.next().to_le_bytes()[0];
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= value;
                }
            }
        }
    }
    bytes
}

fn hold(name: &str, enough: usize) {
    let target = target(name);
    let seeds = (target.seeds)();
    assert!(seeds.len() >= enough, "only {} seeds", seeds.len());
    for (_, bytes) in &seeds {
        (target.check)(bytes);
    }
    let mut random = Random(1);
    for (_, bytes) in &seeds {
        for _ in 0..MUTATIONS {
            (target.check)(&mutate(bytes, &mut random));
        }
    }
    for length in 0..400 {
        let noise: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
        (target.check)(&noise);
    }
    for path in seeds::crashes(name) {
        println!("{}", path.display());
        (target.check)(&std::fs::read(path).expect("a file of ours"));
    }
}

#[test]
fn decode_holds() {
    hold("decode", 200);
}

#[test]
fn control_holds() {
    hold("control", 50);
}

#[test]
fn core_holds() {
    hold("core", 50);
}

#[test]
fn config_holds() {
    hold("config", 5);
}
