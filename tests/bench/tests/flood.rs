//! The flood in short: each frame that XDP dropped is in a counter, and nobody is accused for garbage.

use heartbeat_bench::flood::{Garbage, Plan, flood};

const PLAN: Plan = Plan { nodes: 3, interval_ms: 50, seconds: 3 };
/// This many frames a second are a flood, on a slow machine too.
const FLOOD: f64 = 20_000.0;

#[track_caller]
fn is_explained_and_accuses_nobody(kind: Garbage) {
    let outcome = flood(PLAN, kind).expect("a flood that can be poured");
    println!("{outcome:#?}");
    let books = &outcome.books;
    assert!(outcome.sent as f64 / outcome.seconds > FLOOD, "{outcome:#?}");
    assert!(books.accepted > 0 && books.contended == 0, "{outcome:#?}");
    assert_eq!(books.unexplained(), 0, "{outcome:#?}");
    assert_eq!(outcome.accusations.total(), 0, "{outcome:#?}");
    let refused: u64 = books.refused.values().sum();
    if kind.is_refused() {
        // Of what was not refused there was no room; of our own frames there was none for a few at most.
        assert!(refused + books.no_room >= outcome.sent, "{outcome:#?}");
    } else {
        assert!(books.reached > books.dropped, "fragments pass: {outcome:#?}");
    }
    assert!(kind == Garbage::Fragment || refused > 0, "{outcome:#?}");
}

#[test]
fn bad_tags() {
    is_explained_and_accuses_nobody(Garbage::BadTag);
}

#[test]
fn replays() {
    is_explained_and_accuses_nobody(Garbage::Replay);
}

#[test]
fn all_kinds_in_turn() {
    is_explained_and_accuses_nobody(Garbage::Mixed);
}
