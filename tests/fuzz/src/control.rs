//! A datagram for the control socket.
//!
//! The input as it is must not open, except with the HMAC of the key that all members have. The input as a body, sealed
//! as a member would, must open to itself, and then go through the core's decoders: they may refuse it, but neither panic
//! nor accept what they cannot write again in the same way.

use heartbeat_common::{auth::HeartbeatKey, wire};
use heartbeat_membership::{
    Kind,
    message::{
        Answer, Hello, Join, Leave, Poison,
        connectivity::{Connectivity, NetworkStates},
        regroup::Regroup,
    },
};
use heartbeat_user::control::{self, BODY_LENGTH_MAX, Envelope, Signer};

use crate::bytes::Bytes;

/// Key of the members.
pub const CONTROL_KEY: [u8; 32] = [6; 32];

/// Widest mask that is written: every node that can be configured.
const MASK_BYTES: usize = 128;

/// A member.
#[must_use]
pub fn member() -> Signer {
    Signer {
        cluster_id: *b"cluster!",
        node: 3,
        key_id: 1,
        heartbeat_key: HeartbeatKey::from_bytes([5; 16]),
        control_key: CONTROL_KEY,
    }
}

/// Checks one datagram.
///
/// # Panics
/// If a rule is broken.
pub fn check(data: &[u8]) {
    let _ = control::key_slot(data);
    if let Some(opened) = control::open(data, &CONTROL_KEY) {
        // Only a seed can be one: nobody guesses an HMAC.
        let mut again = Vec::new();
        let header = data.get(..wire::HEADER_LENGTH).map_or(&[][..], |header| header);
        assert!(!header.is_empty() && opened.body.len() <= data.len(), "opened {data:02x?}");
        let _ = member().seal(&envelope(opened.kind, opened.sequence), opened.body, &mut again);
        decode(opened.kind, opened.body);
    }
    let mut bytes = Bytes::new(data);
    let (kind, sequence) = (bytes.byte(), bytes.long());
    let body = data.get(9..).unwrap_or_default();
    let mut message = Vec::new();
    match member().seal(&envelope(kind, sequence), body, &mut message) {
        Ok(()) => {
            let opened = control::open(&message, &CONTROL_KEY).expect("what was sealed opens");
            assert_eq!((opened.kind, opened.sequence, opened.body), (kind, sequence, body));
            decode(opened.kind, opened.body);
        }
        Err(_) => assert!(body.len() > BODY_LENGTH_MAX, "a body of {} bytes was refused", body.len()),
    }
}

/// The header of a message from the member.
#[must_use]
pub fn envelope(kind: u8, sequence: u64) -> Envelope {
    Envelope { kind, destination: 2, network: 1, incarnation: 9, sequence, sent_ns: 8, view: 0 }
}

/// What a body of this kind says is what it says when it is written and read once more.
fn decode(kind: u8, body: &[u8]) {
    macro_rules! stable {
        ($type:ty, $encode:expr) => {
            if let Ok(first) = <$type>::decode(body) {
                let again: Vec<u8> = $encode(&first);
                let second = <$type>::decode(&again).expect("what was written reads");
                // `Debug` shows every field, and not every type has more to compare by.
                assert_eq!(format!("{first:?}"), format!("{second:?}"));
            }
        };
    }
    match Kind::from_byte(kind) {
        Some(Kind::Hello) => stable!(Hello, Hello::encode),
        Some(Kind::HelloAck | Kind::HelloDone) => stable!(Answer, Answer::encode),
        Some(Kind::Connectivity) => stable!(Connectivity, |body: &Connectivity| body.encode(MASK_BYTES)),
        Some(Kind::NetworkStates) => stable!(NetworkStates, |body: &NetworkStates| body.encode(MASK_BYTES)),
        Some(Kind::Join) => stable!(Join, |body: &Join| body.encode(MASK_BYTES)),
        Some(Kind::Leave) => stable!(Leave, Leave::encode),
        Some(Kind::Poison) => stable!(Poison, Poison::encode),
        // Rows that do not fit one datagram are left out when it is written: they go into the next.
        Some(Kind::Regroup) => {
            if let Ok(first) = Regroup::decode(body) {
                let second = Regroup::decode(&first.encode(MASK_BYTES)).expect("what was written reads");
                assert_eq!((first.sequence, first.base, first.stage), (second.sequence, second.base, second.stage));
                assert_eq!((first.decision, first.reached), (second.decision, second.reached));
                assert!(first.rows.starts_with(&second.rows), "{first:?} became {second:?}");
            }
        }
        None => {}
    }
}
