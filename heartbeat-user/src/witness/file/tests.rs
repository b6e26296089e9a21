//! Crashes between any two steps, races for one epoch, writers that are stuck, and directories that are not what they were.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Barrier},
};

use super::*;
use crate::witness::Holder;

const CLUSTER: [u8; 8] = *b"cluster!";

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(MARKER), "").unwrap();
    directory
}

fn witness(directory: &Path, node: u16) -> FileWitness {
    FileWitness::new(directory, CLUSTER, node)
}

fn claim(from_epoch: u64, node: u16) -> Claim {
    Claim { from_epoch, holder: Holder { node, incarnation: 100 + u64::from(node), view: 7 } }
}

fn held(epoch: u64, node: u16) -> Standing {
    Standing { epoch, content: Content::Held(claim(0, node).holder) }
}

fn attempt(witness: &mut FileWitness, claim: &Claim) -> Attempt {
    match witness.begin(claim).unwrap() {
        Begun::Attempt(attempt) => attempt,
        Begun::Lost(standing) => panic!("lost already: {standing:?}"),
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_record_goes_from_holder_to_holder() {
    let directory = directory();
    let (mut one, mut two) = (witness(directory.path(), 1), witness(directory.path(), 2));
    assert_eq!(one.read().unwrap(), Standing { epoch: 0, content: Content::Nobody });
    assert_eq!(one.advance(&claim(0, 1)).unwrap(), Advance::Won(1));
    assert_eq!(two.read().unwrap(), held(1, 1));
    assert_eq!(two.advance(&claim(0, 2)).unwrap(), Advance::Lost(held(1, 1)));
    assert_eq!(one.advance(&claim(1, 1)).unwrap(), Advance::Won(2));
    assert_eq!(two.advance(&claim(2, 2)).unwrap(), Advance::Won(3));
    assert_eq!(one.advance(&claim(2, 1)).unwrap(), Advance::Lost(held(3, 2)));
    assert_eq!(files(directory.path()).len(), 4, "no drafts stay: {:?}", files(directory.path()));
}

#[test]
fn of_eight_that_try_at_once_exactly_one_wins_every_epoch() {
    const ROUNDS: u64 = 40;
    let directory = directory();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (1..=8_u16)
        .map(|node| {
            let (path, barrier) = (directory.path().to_owned(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut witness = witness(&path, node);
                let mut won = 0;
                for epoch in 0..ROUNDS {
                    barrier.wait();
                    match witness.advance(&claim(epoch, node)).unwrap() {
                        Advance::Won(new) => {
                            assert_eq!(new, epoch + 1);
                            won += 1;
                        }
                        Advance::Lost(standing) => assert_eq!(standing.epoch, epoch + 1),
                    }
                    barrier.wait();
                }
                won
            })
        })
        .collect();
    let won: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(won, ROUNDS);
    assert_eq!(witness(directory.path(), 1).read().unwrap().epoch, ROUNDS);
}

/// The same between processes, which share no memory that could help.
#[test]
fn processes_race_as_threads_do() {
    const PATH: &str = "HEARTBEAT_WITNESS_RACE";
    if let Ok(argument) = std::env::var(PATH) {
        let (path, node) = argument.rsplit_once('=').unwrap();
        let node = node.parse().unwrap();
        let mut witness = witness(Path::new(path), node);
        for _attempt in 0..50 {
            let newest = witness.read().unwrap().epoch;
            let outcome = witness.advance(&claim(newest, node)).unwrap();
            if let Advance::Won(epoch) = outcome {
                println!("\nwon {epoch}");
            }
        }
        return;
    }
    let directory = directory();
    let children: Vec<_> = (1..=8_u16)
        .map(|node| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "witness::file::tests::processes_race_as_threads_do", "--nocapture"])
                .env(PATH, format!("{}={node}", directory.path().display()))
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut won = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        won.extend(text.lines().filter_map(|line| line.strip_prefix("won ")?.parse::<u64>().ok()));
    }
    let newest = witness(directory.path(), 1).read().unwrap().epoch;
    let different: std::collections::BTreeSet<u64> = won.iter().copied().collect();
    assert_eq!(different.len(), won.len(), "nobody won an epoch that somebody else had won");
    assert!(different.last().is_some_and(|last| *last <= newest));
    assert!(won.len() >= 50, "of the eight at least the slowest had fifty to itself or to share: {}", won.len());
}

#[test]
fn a_crash_after_any_step_leaves_a_whole_record_or_none() {
    for steps in 0..=4 {
        let directory = directory();
        let mut crashing = witness(directory.path(), 1);
        assert_eq!(crashing.advance(&claim(0, 1)).unwrap(), Advance::Won(1));
        let one = attempt(&mut crashing, &claim(1, 1));
        match steps {
            0 => {}
            // In the middle of the write.
            1 => fs::write(&one.draft, &one.text[..one.text.len() / 2]).unwrap(),
            _ => FileWitness::write(&one).unwrap(),
        }
        let took = steps >= 3 && FileWitness::link(&one).unwrap();
        if steps == 4 {
            crashing.sync_directory().unwrap();
        }
        drop(crashing);

        let mut other = witness(directory.path(), 2);
        let standing = other.read().unwrap();
        assert_eq!(standing, held(if took { 2 } else { 1 }, 1), "after {steps} steps");
        assert_eq!(other.advance(&claim(standing.epoch, 2)).unwrap(), Advance::Won(standing.epoch + 1));
        // The one that crashed comes back with a new incarnation, and leaves nothing of the old one.
        let mut again = witness(directory.path(), 1);
        let newest = again.read().unwrap().epoch;
        let holder = Holder { incarnation: 999, ..claim(0, 1).holder };
        assert_eq!(again.advance(&Claim { from_epoch: newest, holder }).unwrap(), Advance::Won(newest + 1));
        assert!(!files(directory.path()).iter().any(|name| name.contains("draft")), "{:?}", files(directory.path()));
    }
}

#[test]
fn a_write_that_was_stuck_for_long_neither_wins_nor_hides_the_newest() {
    let directory = directory();
    let mut stuck = witness(directory.path(), 1);
    let late = attempt(&mut stuck, &claim(0, 1));
    FileWitness::write(&late).unwrap();
    let mut others = witness(directory.path(), 2);
    assert_eq!(others.advance(&claim(0, 2)).unwrap(), Advance::Won(1));
    // As long as the epoch is kept, its name is taken.
    for epoch in 1..KEPT {
        assert_eq!(others.advance(&claim(epoch, 2)).unwrap(), Advance::Won(epoch + 1));
    }
    assert!(!FileWitness::link(&late).unwrap());
    // When it has been removed, linking succeeds, and is found to be too late.
    assert_eq!(others.advance(&claim(KEPT, 2)).unwrap(), Advance::Won(KEPT + 1));
    assert!(FileWitness::link(&late).unwrap());
    let outcome = stuck.confirm(&late, &claim(0, 1)).unwrap();
    assert_eq!(outcome, Advance::Lost(held(KEPT + 1, 2)));
    assert_eq!(others.read().unwrap(), held(KEPT + 1, 2));
    // And it is removed again.
    assert_eq!(others.advance(&claim(KEPT + 1, 2)).unwrap(), Advance::Won(KEPT + 2));
    let epochs = files(directory.path()).iter().filter(|name| name.len() == 16 + 1 + 20).count() as u64;
    assert_eq!(epochs, KEPT);
}

#[test]
fn a_stuck_write_of_an_earlier_process_cannot_link_once_the_node_is_back() {
    let directory = directory();
    let mut before = witness(directory.path(), 1);
    let stuck = attempt(&mut before, &claim(0, 1));
    FileWitness::write(&stuck).unwrap();
    let mut after = witness(directory.path(), 1);
    let holder = Holder { incarnation: 999, ..claim(0, 1).holder };
    let new = attempt(&mut after, &Claim { from_epoch: 0, holder });
    assert!(FileWitness::link(&stuck).is_err(), "its draft is gone");
    FileWitness::write(&new).unwrap();
    assert!(FileWitness::link(&new).unwrap());
}

#[test]
fn a_damaged_record_is_told_and_is_not_absent() {
    let directory = directory();
    let mut one = witness(directory.path(), 1);
    assert_eq!(one.advance(&claim(0, 1)).unwrap(), Advance::Won(1));
    let path = directory.path().join(one.names.epoch(1));
    let whole = fs::read(&path).unwrap();
    for damaged in [&b""[..], &whole[..whole.len() / 2], b"something else\n"] {
        fs::write(&path, damaged).unwrap();
        let standing = one.read().unwrap();
        assert_eq!(standing.epoch, 1);
        assert!(matches!(&standing.content, Content::Damaged(why) if why.contains(path.to_str().unwrap())));
        assert_eq!(witness(directory.path(), 2).advance(&claim(0, 2)).unwrap(), Advance::Lost(standing));
    }
    // Who has waited for it goes on behind it.
    assert_eq!(witness(directory.path(), 2).advance(&claim(1, 2)).unwrap(), Advance::Won(2));
}

#[test]
fn clusters_share_a_directory() {
    let directory = directory();
    let mut ours = witness(directory.path(), 1);
    let mut theirs = FileWitness::new(directory.path(), *b"another!", 1);
    assert_eq!(ours.advance(&claim(0, 1)).unwrap(), Advance::Won(1));
    assert_eq!(theirs.read().unwrap().epoch, 0);
    assert_eq!(theirs.advance(&claim(0, 1)).unwrap(), Advance::Won(1));
    assert_eq!(ours.read().unwrap().epoch, 1);
    for stranger in ["README", "636c757374657221.7", "636c757374657221.0000000000000000000x", "636c757374657221."] {
        fs::write(directory.path().join(stranger), "").unwrap();
    }
    assert_eq!(ours.read().unwrap(), held(1, 1));
}

#[test]
fn an_unmounted_directory_is_not_a_witness() {
    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path().to_owned(), empty.path().join("gone")] {
        let mut witness = witness(&path, 1);
        let error = witness.read().unwrap_err();
        assert!(matches!(error, WitnessError::NotAWitness { .. }) && error.to_string().contains("mounted"), "{error}");
        assert!(witness.advance(&claim(0, 1)).is_err());
    }
    assert!(files(empty.path()).is_empty(), "and nothing is written into it");
}

#[test]
fn a_directory_that_went_back_is_told() {
    let directory = directory();
    let mut one = witness(directory.path(), 1);
    for epoch in 0..3 {
        assert_eq!(one.advance(&claim(epoch, 1)).unwrap(), Advance::Won(epoch + 1));
    }
    fs::remove_file(directory.path().join(one.names.epoch(3))).unwrap();
    let error = one.advance(&claim(2, 1)).unwrap_err();
    assert!(matches!(error, WitnessError::WentBack { seen: 3, found: 2, .. }), "{error}");
    fs::remove_file(directory.path().join(MARKER)).unwrap();
    assert!(matches!(one.read().unwrap_err(), WitnessError::NotAWitness { .. }));
}

#[test]
fn a_pipe_or_a_link_in_place_of_a_record_blocks_nothing() {
    let directory = directory();
    let mut one = witness(directory.path(), 1);
    let path = directory.path().join(one.names.epoch(1));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(one.read().unwrap().content, Content::Damaged(_)));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(one.read().is_err());
}

#[test]
fn the_last_epoch_is_told() {
    let directory = directory();
    let mut one = witness(directory.path(), 1);
    fs::write(directory.path().join(one.names.epoch(u64::MAX)), "").unwrap();
    let standing = one.read().unwrap();
    assert_eq!(standing.epoch, u64::MAX);
    assert!(matches!(one.advance(&claim(u64::MAX, 1)).unwrap_err(), WitnessError::Exhausted { .. }));
}

#[test]
fn a_directory_that_refuses_is_an_error_and_no_answer() {
    if nix::unistd::geteuid().is_root() {
        // Root may write everywhere; what it cannot write into is a directory that is none.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(witness(&file, 1).advance(&claim(0, 1)).is_err());
        return;
    }
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut one = witness(directory.path(), 1);
    assert_eq!(one.read().unwrap().epoch, 0);
    assert!(matches!(one.advance(&claim(0, 1)).unwrap_err(), WitnessError::System { .. }));
}
