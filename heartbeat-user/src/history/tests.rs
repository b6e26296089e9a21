use super::*;

const MS: u64 = 1_000_000;

/// Arrivals by (stamp ms, sent ms, sequence), at an interval of 100 ms.
fn past(arrivals: &[(u64, u64, u64)]) -> Past {
    let arrivals = arrivals.iter().map(|(stamp, sent, sequence)| Arrival {
        stamp_ns: stamp * MS,
        sent_ns: sent * MS,
        sequence: *sequence,
    });
    Past { arrivals: arrivals.collect(), since_ns: 0, interval_ns: 100 * MS, longest_regular_ns: 112 * MS }
}

fn told(past: &Past) -> Vec<PastArrival> {
    past.told(2, "private", 5_000 * MS, usize::MAX).arrivals
}

#[test]
fn each_gap_is_explained() {
    // The second arrival of each row stands to the first one: gap, sequence numbers skipped, behind, cause.
    let table = [
        ((200, 1_100, 8), (Some(100), 0, false, None)),
        ((400, 1_300, 8), (Some(300), 0, false, Some(Cause::SentLate))),
        ((400, 1_100, 8), (Some(300), 0, false, Some(Cause::DelayedOnTheWay))),
        ((400, 1_300, 10), (Some(300), 2, false, Some(Cause::LostOnTheWay))),
        ((400, 1_600, 10), (Some(300), 2, false, Some(Cause::SentLate))),
        ((110, 900, 6), (None, 0, true, None)),
        // Multicast has numbers of its own.
        ((110, 1_001, 3), (Some(10), 0, false, None)),
    ];
    for (second, expected) in table {
        let arrivals = told(&past(&[(100, 1_000, 7), second]));
        assert_eq!((arrivals[0].gap_ns, arrivals[0].cause), (None, None));
        let PastArrival { gap_ns, skipped, behind, cause, .. } = arrivals[1];
        assert_eq!((gap_ns.map(|gap_ns| gap_ns / MS), skipped, behind, cause), expected, "{second:?}");
    }
}

#[test]
fn gaps_are_measured_from_the_newest_and_not_across_incarnations() {
    let mut past =
        past(&[(100, 1_000, 7), (200, 1_100, 8), (210, 1_050, 6), (300, 1_200, 9), (900, 50, 1), (1_000, 150, 2)]);
    past.since_ns = 800 * MS;
    let gaps: Vec<Option<u64>> = told(&past).iter().map(|arrival| arrival.gap_ns.map(|gap_ns| gap_ns / MS)).collect();
    assert_eq!(gaps, [None, Some(100), None, Some(100), None, Some(100)]);
    assert!(told(&past).iter().all(|arrival| arrival.cause.is_none()));
}

#[test]
fn a_limit_keeps_the_newest_with_their_gaps() {
    let history = past(&[(100, 1_000, 7), (200, 1_100, 8), (300, 1_200, 9)]).told(2, "private", 0, 1);
    assert_eq!(history.arrivals.len(), 1);
    assert_eq!((history.arrivals[0].sequence, history.arrivals[0].gap_ns), (9, Some(100 * MS)));
}

#[test]
fn events_carry_the_newest_before_the_verdict() {
    let arrivals: Vec<(u64, u64, u64)> = (1..=20).map(|number| (number * 100, number * 100, number)).collect();
    let evidence = Arrivals::before("private", &past(&arrivals).arrivals, 1_550 * MS);
    assert_eq!(evidence.sequence, (8..=15).collect::<Vec<_>>());
    assert_eq!((evidence.stamp_ns.len(), evidence.sent_ns.len()), (IN_EVENTS, IN_EVENTS));
    assert_eq!(evidence.stamp_ns.last(), Some(&(1_500 * MS)));
    let none = Arrivals::before("private", &past(&arrivals).arrivals, 50 * MS);
    assert!(none.stamp_ns.is_empty() && none.gaps_in_words().is_none());
    let two = Arrivals::before("private", &past(&[(100, 0, 1), (201, 0, 2), (300, 0, 3)]).arrivals, u64::MAX);
    assert_eq!(two.gaps_in_words().unwrap(), "the ones before came 101.0, 99.0 ms apart");
}

#[test]
fn the_table_fits_a_terminal_and_names_what_was_wrong() {
    // A link that was cut for a day, with numbers of three hundred years at ten a second; asked for two days later.
    let day = 86_400_000;
    let numbers = 99_999_999_999;
    let arrivals = [(100, 1_000, numbers), (day, day, numbers + 863_999), (2 * day, day + 100, numbers + 864_000)];
    let history = past(&arrivals).told(2, "management", 4 * day * MS, usize::MAX);
    let text = history.text("charlie", false);
    assert!(text.starts_with("charlie on management, interval 100ms\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for word in ["first", "others lost", "delayed on the way"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let empty = past(&[]).told(2, "private", 0, 9).text("bravo", false);
    assert_eq!(empty, "bravo on private, interval 100ms: nothing has arrived\n");
}
