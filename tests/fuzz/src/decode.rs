//! A frame, through everything that the XDP program does with it.
//!
//! Nothing may panic or read beyond the end. And an oracle: what is found to be a heartbeat carries a tag that the plain
//! SipHash of its bytes confirms, was addressed to this node, and comes from a configured peer, whatever way through the
//! frame led there.

use std::sync::LazyLock;

use heartbeat_common::{
    auth, ids,
    specimen::{
        Outcome, World,
        world::{KEY, LARGEST_NODE, OWN_NODE, SECOND_KEY},
    },
    wire,
};

/// Interface of the specimens.
const IFINDEX: u32 = 7;

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(IFINDEX));

/// Checks one frame.
///
/// # Panics
/// If a rule is broken.
pub fn check(data: &[u8]) {
    match WORLD.outcome(IFINDEX, data) {
        Outcome::NotOurs | Outcome::Refused(_) => {}
        Outcome::Heartbeat(link, _) => prove::<{ wire::HEARTBEAT_TAGGED_LENGTH }>(data, link),
        Outcome::Control(link, kind) => {
            assert!(kind >= wire::KIND_CONTROL_FIRST, "kind {kind} is no control message");
            prove::<{ wire::HEADER_LENGTH }>(data, link);
        }
    }
}

/// Somewhere in the frame is a message that proves itself, from the peer of this link to this node.
fn prove<const TAGGED: usize>(data: &[u8], link: u32) {
    let proven = data.windows(TAGGED + 16).any(|message| {
        let (Some(covered), tag) = (message.first_chunk::<TAGGED>(), &message[TAGGED..]) else { return false };
        message.starts_with(&wire::MAGIC)
            && [KEY, SECOND_KEY].into_iter().any(|key| auth::tag_bytes(key, covered).to_bytes() == tag)
    });
    assert!(proven, "accepted on link {link} without a tag that verifies: {data:02x?}");
    let configured = (1..=LARGEST_NODE)
        .filter(|node| *node != OWN_NODE)
        .any(|node| (1..=ids::MAX_NETWORK).any(|network| ids::link_index(node, network) == link));
    assert!(configured, "link {link} is no peer's");
}
