use heartbeat_common::records::Arrival;
use ratatui::{Terminal, backend::TestBackend, widgets::Paragraph};

use super::*;
use crate::{
    event::{Draft, EventLog, Filter, kind},
    history::Past,
    status::{Interface, InterfaceState, LinkState, Network, NetworkState, NodeState, Removal, example},
};

const INTERVAL_NS: u64 = 1_200_000_000;

/// Three nodes on two networks, all well; alpha tells.
fn healthy() -> Answer {
    let mut status = example();
    let (node, link, network) = (status.nodes[0].clone(), status.links[0].clone(), status.networks[0].clone());
    let names = [(1, "alpha"), (2, "bravo"), (3, "charlie")];
    let networks = [(1, "private"), (2, "public")];
    status.view.members = vec![1, 2, 3];
    status.nodes = names.map(|(id, name)| crate::status::Node { id, name: name.to_owned(), ..node.clone() }).to_vec();
    status.networks = networks
        .map(|(id, name)| Network { id, name: name.to_owned(), state: NetworkState::Up, ..network.clone() })
        .to_vec();
    status.interfaces.clear();
    status.links.clear();
    let mut histories = Vec::new();
    let arrivals = (1..=64).map(|number| Arrival {
        stamp_ns: number * INTERVAL_NS,
        sent_ns: number * INTERVAL_NS,
        sequence: number,
    });
    let past = Past {
        arrivals: arrivals.collect(),
        since_ns: 0,
        interval_ns: INTERVAL_NS,
        longest_regular_ns: INTERVAL_NS + INTERVAL_NS / 8,
    };
    for (id, _) in names {
        for (_, network) in networks {
            let (network, state) = (network.to_owned(), InterfaceState::Up);
            let address = "10.0.0.2".to_owned();
            status.interfaces.push(Interface { node: id, network: network.clone(), state, address });
            if id != 1 {
                histories.push(past.told(id, &network, 65 * INTERVAL_NS, 64));
                let echoed_ms = Some(900.0);
                status.links.push(crate::status::Link { peer: id, network, echoed_ms, ..link.clone() });
            }
        }
    }
    Answer { status, histories, events: Vec::new() }
}

fn event(kind: &'static crate::event::Kind, text: &str) -> crate::event::Event {
    let directory = tempfile::tempdir().unwrap();
    let log = EventLog::open(1, directory.path()).unwrap();
    log.record(Draft::new(kind, 5, text));
    (*log.query(&Filter::default(), 1).remove(0)).clone()
}

/// What a terminal of this size shows, one string for each line.
fn shown(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            frame.render_widget(Paragraph::new(screen(state, area.width, area.height)), area);
        })
        .unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |line: &[ratatui::buffer::Cell]| line.iter().map(|cell| cell.symbol()).collect::<String>();
    cells.chunks(usize::from(width)).map(|cells| line(cells).trim_end().to_owned()).collect()
}

fn state(answer: Answer) -> State {
    let mut state = State::default();
    state.update(Ok(answer));
    state
}

fn has(lines: &[String], words: &str) {
    let wanted: Vec<&str> = words.split(' ').collect();
    let found = lines.iter().any(|line| {
        let line: Vec<&str> = line.split_whitespace().collect();
        line.windows(wanted.len()).any(|window| window == wanted)
    });
    assert!(found, "`{words}` in\n{}", lines.join("\n"));
}

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

#[test]
fn a_healthy_cluster() {
    let mut answer = healthy();
    answer.events.push(event(&kind::VIEW_INSTALLED, "the last of the events"));
    let state = state(answer);
    let expected = [
        "heartbeat top  cluster demo, node alpha (1)  q quits",
        "view       5 quorate, lease 10.2 s, alpha bravo charlie",
        "regroup    stabilized, sequence 9",
        "sender     realtime, RT 60, gap 10.0ms; reactor pass 0us, late 0us",
        "dataplane  native, kernel-timer; accepted 0, refused 0",
        "NODE       STATE       private          public",
        "alpha      up          up               up",
        "bravo      up          both ways        both ways",
        "charlie    up          both ways        both ways",
        "PEER       NETWORK    LINK      RECV  LOST   HEARD     RTT INTERVALS",
        "bravo      private    up         100     0   0.4ms    81us ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂",
        "bravo      public     up         100     0   0.4ms    81us ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂",
        "charlie    private    up         100     0   0.4ms    81us ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂",
        "charlie    public     up         100     0   0.4ms    81us ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂",
        "EVENTS",
    ];
    let lines = shown(&state, 80, 24);
    assert!(lines.iter().zip(&expected).all(|(line, expected)| line.starts_with(expected)), "{}", lines.join("\n"));
    assert!(lines[15].ends_with("9007 the last of the events"), "{}", lines[15]);
    let lines = shown(&state, 200, 50);
    assert!(lines[10].ends_with(&"▂".repeat(63)), "all 63 gaps: {}", lines[10]);
}

#[test]
fn a_link_that_is_lost() {
    let mut answer = healthy();
    answer.status.links[1].state = LinkState::Late;
    answer.status.links[1].echoed_ms = Some(9_000.0);
    answer.status.links[2].echoed_ms = None;
    // 5 intervals between two arrivals, and silence since then; a gap of 3 on a link that is up.
    answer.histories[1].arrivals[63].gap_ns = Some(5 * INTERVAL_NS);
    answer.histories[1].now_ns += 5 * INTERVAL_NS;
    answer.histories[2].now_ns += 2 * INTERVAL_NS;
    let state = state(answer);
    for (width, height) in SIZES {
        let lines = shown(&state, width, height);
        has(&lines, "bravo up both ways not at all");
        has(&lines, "charlie up only to here both ways");
        has(&lines, "bravo public late");
        let bars = |end: &str| lines.iter().filter(|line| line.ends_with(end)).count();
        assert_eq!((bars("▂██"), bars("▂▆"), bars("▂▂")), (1, 1, 2), "{}", lines.join("\n"));
    }
}

#[test]
fn a_node_that_is_removed() {
    let mut answer = healthy();
    answer.status.nodes[2].state = NodeState::Down;
    answer.status.links[2..].iter_mut().for_each(|link| (link.state, link.echoed_ms) = (LinkState::Init, None));
    answer.status.links[3].last_heard_ms = None;
    answer.status.removals.push(Removal { node: 3, incarnation: 7, safe_in_ms: 21_300 });
    answer.events.extend((0..60).map(|_| event(&kind::LINK_LOST, "before")));
    answer.events.push(event(&kind::NODE_REMOVED, "charlie was removed"));
    let state = state(answer);
    for (width, height) in SIZES {
        let lines = shown(&state, width, height);
        has(&lines, "charlie down not at all not yet");
        has(&lines, "charlie safe in 22 s");
        assert!(lines.last().unwrap().ends_with("1135 charlie was removed"), "{}", lines.join("\n"));
    }
}

#[test]
fn a_node_that_does_not_answer_and_comes_back() {
    let mut state = State::default();
    has(&shown(&state, 80, 24), "waiting for the first answer");
    let remedy = "is the node running? `systemctl status heartbeat-xdp` says so, and --socket names another";
    state.update(Err(remedy.to_owned()));
    let lines = shown(&state, 80, 24);
    assert_eq!(lines[1..3].join(" "), format!("NO ANSWER: {remedy}"), "nothing is below, nothing is cut");
    state.update(Ok(healthy()));
    state.update(Err("is the node running?".to_owned()));
    for (width, height) in SIZES {
        let lines = shown(&state, width, height);
        has(&lines, "NO ANSWER, what is below is old: is the node running?");
        has(&lines, "bravo up both ways both ways");
    }
    state.update(Ok(healthy()));
    has(&shown(&state, 80, 24), "was gone, is back as it was");
    state.update(Err("gone".to_owned()));
    let mut anew = healthy();
    anew.status.node.incarnation += 1;
    state.update(Ok(anew));
    has(&shown(&state, 80, 24), "restarted, a new incarnation");
}

#[test]
fn what_does_not_fit_is_counted_and_what_is_broken_comes_first() {
    let mut answer = healthy();
    let link = answer.status.links[0].clone();
    answer.status.links.extend((0..30).map(|_| link.clone()));
    answer.status.links[33].state = LinkState::Silent;
    answer.events.push(event(&kind::VIEW_INSTALLED, "still there"));
    let state = state(answer);
    let lines = shown(&state, 80, 24);
    let first = lines.iter().position(|line| line.starts_with("PEER")).unwrap() + 1;
    assert!(lines[first].contains("silent"), "{}", lines.join("\n"));
    let links = lines.iter().filter(|line| line.contains("81us")).count();
    has(&lines, &format!("and {} more links", 34 - links));
    assert!(lines.iter().any(|line| line.ends_with("still there")), "{}", lines.join("\n"));
    for (width, height) in [(1, 1), (20, 3), (80, 8)] {
        let lines = screen(&state, width, height);
        assert!(lines.len() <= usize::from(height) && lines.iter().all(|line| line.width() <= usize::from(width)));
    }
}

#[test]
fn eight_networks_and_many_nodes_fit_a_classic_terminal() {
    let mut answer = healthy();
    let (node, link) = (answer.status.nodes[1].clone(), answer.status.links[0].clone());
    let names = ["private", "public", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];
    answer.status.networks = (1..)
        .zip(names)
        .map(|(id, name)| Network {
            id,
            name: name.to_owned(),
            state: NetworkState::Up,
            ..answer.status.networks[0].clone()
        })
        .collect();
    for id in 4..=26 {
        answer.status.nodes.push(crate::status::Node { id, name: format!("node{id}"), ..node.clone() });
        answer.status.view.members.push(id);
        let on = |network: &str| crate::status::Link { peer: id, network: network.to_owned(), ..link.clone() };
        answer.status.links.extend(names.map(on));
    }
    answer.status.links.last_mut().unwrap().state = LinkState::Late;
    let state = state(answer);
    let lines = shown(&state, 80, 24);
    has(&lines, "NODE STATE priva~ public third fourth fifth sixth seven~ eighth");
    // Its last link is late: it comes right behind this node, whatever its number.
    let place = |name: &str| lines.iter().position(|line| line.starts_with(name)).unwrap();
    assert_eq!(place("node26 "), place("alpha ") + 1, "{}", lines.join("\n"));
    assert!(lines[place("node26 ")].ends_with(" none"), "{}", lines.join("\n"));
    has(&lines, "and 22 more nodes");
    has(&lines, "bravo charlie node4 node5 and 21 more");
    has(&shown(&state, 200, 50), "node26 up only to here");
}

#[test]
fn the_text_of_an_event_is_whole_and_the_newest_stay() {
    let mut answer = healthy();
    let long = "The interface of node bravo on network private has failed: its adapter, cable or switch port.";
    answer.events.extend((0..9).map(|_| event(&kind::INTERFACE_FAILED, long)));
    let lines = shown(&state(answer), 80, 24);
    let first = lines.iter().position(|line| line == "EVENTS").unwrap() + 1;
    assert_eq!(lines[first..].iter().filter(|line| line.contains(" 1127 ")).count(), 4, "{}", lines.join("\n"));
    assert_eq!(lines[first + 1], format!("{:18}adapter, cable or switch port.", ""));
}
