use bytemuck::Zeroable as _;
use heartbeat_common::{
    auth::HeartbeatKey,
    records::{LinkRecord, PeerRecord},
};

use super::*;
use crate::{
    dataplane::memory::Sizes,
    keys::{Secret, cluster_id},
};

fn memory() -> Memory {
    Memory::anonymous(Sizes::for_nodes_up_to(4)).expect("memory")
}

/// docs/protocol.md: the vector that every implementation must reproduce, byte for byte.
#[test]
fn the_test_vector_of_the_protocol() {
    let secret: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).expect("small"));
    let keys = Secret::from_bytes(secret).derive(cluster_id("demo"));
    let signer = Signer {
        cluster_id: cluster_id("demo"),
        node: 1,
        key_id: 1,
        heartbeat_key: HeartbeatKey::from_bytes(keys.heartbeat_key),
        control_key: keys.control_key,
    };
    let envelope = Envelope {
        kind: KIND_HEARTBEAT,
        destination: 2,
        network: 1,
        incarnation: 1_700_000_000_000_000_000,
        sequence: 42,
        sent_ns: 123_456_789,
        view: 7,
    };
    let mut heartbeat = Heartbeat {
        header: signer.header(&envelope, 0, WIRE_LENGTH),
        echo_sent_ns: 987_654_321_u64.to_be_bytes(),
        echo_hold_us: 250_u32.to_be_bytes(),
        controller_age_ms: 3_u32.to_be_bytes(),
        controller_beat: 99_u64.to_be_bytes(),
        tag: [0; 16],
    };
    let tagged: &[u8; HEARTBEAT_TAGGED_LENGTH] = heartbeat.as_bytes().first_chunk().expect("long enough");
    heartbeat.tag = tag_bytes(signer.heartbeat_key, tagged).to_bytes();
    let expected = "434c4842010100012a97516c354b6884000100020100006017979cfe362a0000000000000000002a00000000075bcd15\
                    0000000000000007000000003ade68b1000000fa000000030000000000000063\
                    14b00a01ce23ecd79d09cedb71502f1c";
    assert_eq!(hex::encode(heartbeat.as_bytes()), expected);
}

#[test]
fn sequence_numbers_start_at_one_and_are_counted_for_each_destination() {
    let signer = Signer {
        cluster_id: [0; 8],
        node: 1,
        key_id: 1,
        heartbeat_key: HeartbeatKey::from_bytes([0; 16]),
        control_key: [0; 32],
    };
    let memory = memory();
    let node = NodeRecord { incarnation: 5, ..NodeRecord::zeroed() };
    let sequence = |destination, network| {
        u64::from_be_bytes(compose(&signer, &memory, &node, destination, network).header.sequence)
    };
    assert_eq!((sequence(2, 1), sequence(2, 1), sequence(2, 2), sequence(3, 1)), (1, 2, 1, 1));
    let group = compose(&signer, &memory, &node, ids::EVERY_NODE, 1);
    assert_eq!((group.header.flags, u64::from_be_bytes(group.header.sequence)), (FLAG_MULTICAST, 1));
    assert_eq!(u64::from_be_bytes(group.echo_sent_ns), 0);
}

#[test]
fn only_an_accepted_incarnation_is_echoed() {
    let memory = memory();
    let index = ids::link_index(2, 1);
    let peer = PeerRecord { incarnation: 9, epoch: 2, present: 1, ..PeerRecord::zeroed() };
    let link = LinkRecord { epoch: 2, stamp_ns: 1_000_000, sent_ns: 77, ..LinkRecord::zeroed() };
    memory.peers.write(index, &peer);
    memory.links.write(index, &link);
    assert_eq!(echo(&memory, index, 3_500_000), (77, 2_500));
    memory.peers.write(index, &PeerRecord { epoch: 3, ..peer });
    assert_eq!(echo(&memory, index, 3_500_000), (0, HOLD_UNKNOWN), "the record is of an earlier epoch");
    memory.peers.write(index, &PeerRecord { incarnation: 0, ..peer });
    assert_eq!(echo(&memory, index, 3_500_000), (0, HOLD_UNKNOWN), "nothing is accepted");
    memory.peers.write(index, &peer);
    assert_eq!(echo(&memory, index, u64::MAX).1, HOLD_UNKNOWN - 1, "saturates below unknown");
}
