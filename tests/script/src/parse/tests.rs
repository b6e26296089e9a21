use super::*;
use crate::language::{Arbiter, Deed, Expected, Only, Span};

const SETUP: &str = "nodes 4\nnetworks private,public\n";

fn steps(lines: &str) -> Vec<What> {
    let text = format!("{SETUP}{lines}\nexpect nobody quorate\n");
    let script = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    script.steps.into_iter().map(|step| step.what).collect()
}

fn problem(text: &str) -> ParseError {
    match parse(text) {
        Err(error) => error,
        Ok(script) => panic!("understood as {script:?}"),
    }
}

#[test]
fn the_setup_has_the_defaults_of_the_program() {
    let script = parse(&format!("# a title\n\n{SETUP}expect nobody quorate # why\n")).unwrap();
    let setup = &script.setup;
    assert_eq!((setup.nodes, setup.networks.len(), setup.interval_ns), (4, 2, 1_200_000_000));
    assert_eq!((setup.late_after, setup.lost_after, setup.arbiter), (2, 6, Arbiter::TieBreaker(None)));
    assert_eq!((script.steps[0].line, script.steps[0].text.as_str()), (5, "expect nobody quorate"));
}

#[test]
fn every_line_of_the_setup_counts() {
    let text = "nodes 3\nnetworks private\ninterval 1.2s real 100ms\nlate after 3\nlost after 9\ntie-breaker 2\n\
                only simulator: it takes a watchdog: a device\nexpect quorate 1\n";
    let setup = parse(text).unwrap().setup;
    assert_eq!((setup.interval_ns, setup.real_interval_ns), (1_200_000_000, 100_000_000));
    assert_eq!((setup.late_after, setup.lost_after, setup.arbiter), (3, 9, Arbiter::TieBreaker(Some(2))));
    assert_eq!(setup.only, Some(Only::Simulator("it takes a watchdog: a device".to_owned())));
}

#[test]
fn ways_are_what_they_say() {
    let cut = |line: &str| {
        let step = steps(line).remove(0);
        let What::Deed(Deed::Cut { ways, networks } | Deed::Heal { ways, networks }) = step else { panic!("{step:?}") };
        (ways, networks)
    };
    assert_eq!(cut("cut 1-2 on public"), (vec![(1, 2), (2, 1)], vec![2]));
    assert_eq!(cut("cut 2>1"), (vec![(2, 1)], vec![1, 2]));
    assert_eq!(cut("cut 4 on private").0, [(4, 1), (1, 4), (4, 2), (2, 4), (4, 3), (3, 4)]);
    assert_eq!(cut("cut all").0.len(), 12);
    assert_eq!(cut("heal").0.len(), 12);
    assert_eq!(cut("heal 1-2 on private"), (vec![(1, 2), (2, 1)], vec![1]));
    let (ways, _) = cut("partition 1,2|3|4");
    assert_eq!(ways.len(), 10, "{ways:?}");
    assert!(!ways.contains(&(1, 2)) && ways.contains(&(4, 3)));
}

#[test]
fn expectations_are_what_they_say() {
    let expected = |line: &str| {
        let step = steps(line).remove(0);
        let What::Expect(expectation) = step else { panic!("{step:?}") };
        expectation
    };
    let one = expected("expect once 1123 on 1,2 about 3 via private at 2i..2.5i after the last heartbeat within 4s");
    assert_eq!(one.within, Some(Span::Nanoseconds(4_000_000_000)));
    let Expected::Logged { pattern, times, after_heartbeat } = one.what else { panic!("not an event") };
    assert_eq!((pattern.ids, pattern.on, pattern.about), (vec![1123], vec![1, 2], vec![3]));
    assert_eq!((pattern.network.as_deref(), times), (Some("private"), Some(1)));
    assert_eq!(after_heartbeat, Some((Span::Intervals(2_000), Span::Intervals(2_500))));
    let never = expected("expect no 1135,1177").what;
    assert!(matches!(never, Expected::Never(pattern) if pattern.ids.len() == 2 && pattern.on.len() == 4));
    assert!(matches!(expected("expect 1123 then 1122 on 1 about 2").what, Expected::Ordered { second: 1122, .. }));
    assert!(matches!(expected("expect nobody quorate within 3i").what, Expected::Quorate(none) if none.is_empty()));
    assert!(matches!(expected("expect same incarnation of all").what, Expected::Incarnation { new: false, .. }));
}

#[test]
fn mistakes_name_line_word_and_what_is_allowed() {
    let with = |line: &str| format!("{SETUP}{line}\nexpect nobody quorate\n");
    let cases: [(String, usize, &[&str]); 16] = [
        (with("expct 1135 on 1"), 3, &["`expct`", "cut, partition, heal", "expect"]),
        (with("stop 5"), 3, &["`5`", "1 to 4"]),
        (with("cut 1-2 on third"), 3, &["`third`", "private, public"]),
        (with("cut 1-1"), 3, &["itself"]),
        (with("partition 1,2|3"), 3, &["`1,2|3`", "one side"]),
        (with("partition 1,2|2,3,4"), 3, &["one side"]),
        (with("tick 5"), 3, &["`5`", "ms, s or i"]),
        (with("expect 1136 on 1"), 3, &["`1136`", "1006, 1122, 1123"]),
        (with("expect once 1135"), 3, &["on NODES"]),
        (with("expect 1135 on 1 on 2"), 3, &["`on`", "about, via, at, within"]),
        (with("expect members 1,1 on 2"), 3, &["twice"]),
        (with("expect network public broken on 1"), 3, &["`broken`", "up, partitioned, down, unavailable"]),
        (with("stop 1 2"), 3, &["end before `2`"]),
        (with("mark\nnodes 3"), 4, &["`nodes` belongs to the setup"]),
        (format!("{SETUP}tick 1s\n"), 3, &["is an `expect`"]),
        ("nodes 3\nstop 1\nexpect out 1\n".to_owned(), 2, &["networks"]),
    ];
    for (text, line, named) in cases {
        let error = problem(&text);
        assert_eq!(error.line, line, "{error}");
        for part in named {
            assert!(error.to_string().contains(part), "no {part:?} in: {error}");
        }
    }
    for text in [
        "nodes 0\n",
        "nodes 3\nnodes 3\n",
        "networks public\n",
        "interval 61s\n",
        "interval 3i\n",
        "lost after 1\n",
        "witness disk\n",
        "tie-breaker 2\nwitness file\n",
        "only simulator:\n",
        "only demo: x\n",
        "",
    ] {
        problem(text);
    }
    problem("nodes 2\nnetworks private\nlate after 6\nexpect quorate 1\n");
    problem("nodes 2\nnetworks private\ntie-breaker 3\nexpect quorate 1\n");
}
