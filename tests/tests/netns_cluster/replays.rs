//! Heartbeats and control messages of the past, sent again after one side has restarted.

use std::time::Duration;

use heartbeat_common::{records::LinkRecord, reject::Reject, wire::KIND_LEAVE};
use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST, LINK_RESTORED},
    topology::TopologySpec,
};

use crate::{
    frames::Captured,
    nodes::{
        NODE_LEFT, PATIENCE, incarnation, is_network_state, links_between, links_of, prepared, spec, start_all, status,
        wait_for_view,
    },
    packets::Packets,
    pinned,
};

/// A controller that is killed is back before its lease has ended.
const INTERVAL: Duration = Duration::from_millis(300);
/// Heartbeats that are sent again.
const REPLAYED: usize = 10;

/// Everything that node 2 ever sent to node 1 on the first network.
struct Recording {
    cluster: Cluster,
    capture: Packets,
    past: Vec<Captured>,
}

impl Recording {
    fn start() -> Self {
        let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
        let capture = Packets::open(cluster.topology().network(1), "bravo");
        start_all(&mut cluster);
        // A heartbeat that came before it could be accepted has not been counted, and may still be: it is no replay.
        let is_control = |frame: &[u8]| is_of_node_2(frame) && !is_heartbeat_of_node_2(frame);
        let first = capture.drain(is_control);
        let frames = capture.collect(REPLAYED, Duration::from_secs(30), is_heartbeat_of_node_2);
        let past = first.iter().chain(&frames).filter_map(|frame| Captured::parse(frame)).collect();
        Self { cluster, capture, past }
    }

    fn record_more(&mut self) {
        let frames = self.capture.drain(is_of_node_2);
        self.past.extend(frames.iter().filter_map(|frame| Captured::parse(frame)));
    }

    /// Restarts a node in order, and waits until everybody hears it.
    fn restart(&mut self, node: u16) {
        self.cluster.node_mut(node).terminate().unwrap();
        let place = self.cluster.events().len();
        self.cluster.start_node(node, &[]).unwrap();
        let all = ["private", "public"].map(|network| links_between(node.into(), &[1, 2, 3], network));
        let contact = |events: &[Event]| {
            let restored = links_of(events, LINK_RESTORED);
            all.iter().flatten().all(|link| restored.contains(link))
        };
        self.cluster.events().wait_until(place, PATIENCE, "contact after the restart", contact).unwrap();
        wait_for_view(&self.cluster);
    }

    /// Cuts node 2 off from node 1 on the first network, so that its link record there stands still.
    fn cut(&self) {
        let place = self.cluster.events().len();
        self.cluster.topology().cut_one_way(1, 2, 1).unwrap();
        let lost = |event: &Event| {
            (event.id(), event.node(), event.peer(), event.network()) == (LINK_LOST, 1, Some(2), Some("private"))
        };
        self.cluster.events().wait_for(place, PATIENCE, "1123 of the cut", lost).unwrap();
    }

    fn record(&self) -> LinkRecord {
        pinned::link(&self.cluster, 1, 2, 1)
    }

    fn refused(&self, reasons: &[Reject]) -> u64 {
        let status = status(&self.cluster, 1);
        reasons.iter().map(|reason| status["rejects"][reason.name()].as_u64().unwrap()).sum()
    }

    /// Sends `frames` again: each is refused for one of `reasons`, none counts.
    fn replay_is_refused(&self, frames: &[&Captured], reasons: &[Reject]) {
        assert_eq!(frames.len(), REPLAYED);
        let outside = Packets::open(self.cluster.topology().network(1), "bridge");
        let place = self.cluster.events().len();
        let (before, refused) = (self.record(), self.refused(reasons));
        for message in frames {
            outside.send(&message.frame);
        }
        let expected = refused + u64::try_from(frames.len()).unwrap();
        let begin = std::time::Instant::now();
        while self.refused(reasons) < expected && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.refused(reasons), expected, "of {} frames", frames.len());
        let after = self.record();
        assert_eq!(
            (after.stamp_ns, after.received, after.epoch, after.unicast, after.echo_stamp_ns),
            (before.stamp_ns, before.received, before.epoch, before.unicast, before.echo_stamp_ns)
        );
        self.nothing_changed(place);
    }

    /// No contact is reported, no leave is believed.
    fn nothing_changed(&self, place: usize) {
        // A wrong belief gets the time to show.
        std::thread::sleep(3 * INTERVAL);
        let events = self.cluster.events().since(place);
        let wrong: Vec<_> = events
            .iter()
            .filter(|event| event.node() == 1 && event.peer() == Some(2))
            .filter(|event| event.id() == NODE_LEFT || event.network() == Some("private"))
            .filter(|event| !is_network_state(event))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn heartbeats_of(&self, incarnation: u64) -> Vec<&Captured> {
        let heartbeats = self.past.iter().filter(|message| message.header.kind == 1);
        heartbeats.filter(|message| message.incarnation() == incarnation).take(REPLAYED).collect()
    }

    fn control(&self, incarnation: u64) -> Vec<&Captured> {
        let control = self.past.iter().filter(|message| message.header.kind >= 16);
        control.filter(|message| message.incarnation() == incarnation).collect()
    }
}

fn is_heartbeat_of_node_2(frame: &[u8]) -> bool {
    Captured::parse(frame).is_some_and(|message| message.header.kind == 1 && message.is_between(2, 1))
}

fn is_of_node_2(frame: &[u8]) -> bool {
    Captured::parse(frame).is_some_and(|message| message.is_between(2, 1))
}

#[test]
fn after_a_restart_of_the_sender() {
    let mut recording = Recording::start();
    let old = incarnation(&recording.cluster, 2);
    recording.restart(2);
    recording.record_more();
    let new = incarnation(&recording.cluster, 2);
    assert!(new > old);
    recording.cut();
    recording.replay_is_refused(&recording.heartbeats_of(old), &[Reject::WrongIncarnation]);

    // The announcement of leaving, too, was made by the earlier incarnation, and the handshake with it is over.
    let control = recording.control(old);
    assert!(control.iter().any(|message| message.header.kind == KIND_LEAVE), "the leave was recorded");
    let place = recording.cluster.events().len();
    let outside = Packets::open(recording.cluster.topology().network(1), "bridge");
    for message in control {
        outside.send(&message.frame);
    }
    recording.nothing_changed(place);
    let nodes = status(&recording.cluster, 1)["nodes"].clone();
    let shown = nodes.as_array().unwrap().iter().find(|node| node["id"] == 2).unwrap();
    assert_eq!(shown["incarnation"].as_u64(), Some(new), "{shown}");
}

#[test]
fn after_a_restart_of_the_receiver() {
    let mut recording = Recording::start();
    let sender = incarnation(&recording.cluster, 2);
    recording.restart(1);
    recording.cut();
    assert_eq!(incarnation(&recording.cluster, 2), sender, "it lived through that");
    recording.replay_is_refused(&recording.heartbeats_of(sender), &[Reject::Duplicate, Reject::TooOld]);
}

#[test]
fn after_a_receiver_that_was_killed_goes_on() {
    let mut recording = Recording::start();
    let sender = incarnation(&recording.cluster, 2);
    let receiver = incarnation(&recording.cluster, 1);
    recording.cluster.node_mut(1).kill().unwrap();
    recording.cluster.start_node(1, &[]).unwrap();
    // The control socket answers once the controller has taken over.
    let begin = std::time::Instant::now();
    let answered = || recording.cluster.node(1).request(&serde_json::json!({"request": "status"}));
    while answered().is_err() && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(incarnation(&recording.cluster, 1), receiver, "it goes on");
    recording.cut();
    recording.replay_is_refused(&recording.heartbeats_of(sender), &[Reject::Duplicate, Reject::TooOld]);
}
