//! Control messages on the wire: header, header tag, body, HMAC (docs/protocol.md).

use heartbeat_common::{
    auth::{HeartbeatKey, tag_bytes},
    wire::{
        self, CONTROL_BODY_OFFSET, CONTROL_LENGTH_MIN, CONTROL_MAC_LENGTH, HEADER_LENGTH, Header, MESSAGE_LENGTH_MAX,
    },
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Longest body: what is left of one unfragmented datagram.
pub const BODY_LENGTH_MAX: usize = MESSAGE_LENGTH_MAX - CONTROL_LENGTH_MIN;

/// The body does not fit one datagram; nothing was sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a control message of kind {kind} has a body of {length} bytes; {max} fit one datagram", max = BODY_LENGTH_MAX)]
pub struct TooLong {
    /// Its kind.
    pub kind: u8,
    /// Length of the body.
    pub length: usize,
}

/// Who sends, and with which keys.
#[derive(Clone)]
pub struct Signer {
    /// Cluster id.
    pub cluster_id: [u8; 8],
    /// Own node id.
    pub node: u16,
    /// Slot of the keys.
    pub key_id: u8,
    /// Key of tags.
    pub heartbeat_key: HeartbeatKey,
    /// Key of HMACs.
    pub control_key: [u8; 32],
}

/// What differs from message to message.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Kind, 16 or above.
    pub kind: u8,
    /// Receiving node.
    pub destination: u16,
    /// Network.
    pub network: u8,
    /// Own incarnation.
    pub incarnation: u64,
    /// Sequence number of control messages towards the destination.
    pub sequence: u64,
    /// CLOCK_MONOTONIC nanoseconds.
    pub sent_ns: u64,
    /// Number of the own view.
    pub view: u64,
}

impl Signer {
    /// The header of a message of `length` bytes.
    #[must_use]
    pub fn header(&self, envelope: &Envelope, flags: u8, length: u16) -> Header {
        Header {
            magic: wire::MAGIC,
            version: wire::VERSION,
            kind: envelope.kind,
            flags,
            key_id: self.key_id,
            cluster_id: self.cluster_id,
            source: self.node.to_be_bytes(),
            destination: envelope.destination.to_be_bytes(),
            network: envelope.network,
            reserved: 0,
            length: length.to_be_bytes(),
            incarnation: envelope.incarnation.to_be_bytes(),
            sequence: envelope.sequence.to_be_bytes(),
            sent_ns: envelope.sent_ns.to_be_bytes(),
            view: envelope.view.to_be_bytes(),
        }
    }

    /// The bytes of a control message, written into `out`.
    ///
    /// # Errors
    /// [`TooLong`]; `out` is empty then.
    pub fn seal(&self, envelope: &Envelope, body: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.clear();
        let length = CONTROL_LENGTH_MIN + body.len();
        let too_long = TooLong { kind: envelope.kind, length: body.len() };
        if length > MESSAGE_LENGTH_MAX {
            return Err(too_long);
        }
        let Ok(wire_length) = u16::try_from(length) else { return Err(too_long) };
        let header: [u8; HEADER_LENGTH] = bytemuck::cast(self.header(envelope, 0, wire_length));
        out.extend_from_slice(&header);
        out.extend_from_slice(&tag_bytes(self.heartbeat_key, &header).to_bytes());
        out.extend_from_slice(body);
        let mac = authenticator(&self.control_key).chain_update(out.as_slice()).finalize().into_bytes();
        out.extend_from_slice(&mac);
        Ok(())
    }
}

/// A control message whose HMAC has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Source node.
    pub source: u16,
    /// Network.
    pub network: u8,
    /// Kind.
    pub kind: u8,
    /// Incarnation of the source.
    pub incarnation: u64,
    /// Sequence number.
    pub sequence: u64,
    /// Number of the source's view.
    pub view: u64,
    /// What the message says.
    pub body: &'a [u8],
}

/// Verifies the HMAC of a message whose header has been checked already, and splits it. `None`: it does not verify, or is
/// too short to be one.
#[must_use]
pub fn open<'a>(message: &'a [u8], control_key: &[u8; 32]) -> Option<Opened<'a>> {
    let body_end = message.len().checked_sub(CONTROL_MAC_LENGTH)?;
    let (covered, mac) = message.split_at(body_end);
    let body = covered.get(CONTROL_BODY_OFFSET..)?;
    // Compared in constant time.
    authenticator(control_key).chain_update(covered).verify_slice(mac).ok()?;
    let header: &[u8; HEADER_LENGTH] = covered.first_chunk()?;
    let header: Header = bytemuck::cast(*header);
    Some(Opened {
        source: u16::from_be_bytes(header.source),
        network: header.network,
        kind: header.kind,
        incarnation: u64::from_be_bytes(header.incarnation),
        sequence: u64::from_be_bytes(header.sequence),
        view: u64::from_be_bytes(header.view),
        body,
    })
}

/// The slot of the key that a message names, before anything has been verified.
#[must_use]
pub fn key_slot(message: &[u8]) -> Option<u8> {
    message.get(std::mem::offset_of!(Header, key_id)).copied()
}

fn authenticator(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes keys of every length; 32 bytes are one.
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer {
            cluster_id: *b"cluster!",
            node: 3,
            key_id: 1,
            heartbeat_key: HeartbeatKey::from_bytes([5; 16]),
            control_key: [6; 32],
        }
    }

    const ENVELOPE: Envelope =
        Envelope { kind: 16, destination: 2, network: 1, incarnation: 9, sequence: 4, sent_ns: 8, view: 0 };

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let mut message = Vec::new();
        signer().seal(&ENVELOPE, b"body", &mut message).expect("fits");
        let opened = open(&message, &[6; 32]).expect("opens");
        assert_eq!((opened.source, opened.kind, opened.sequence, opened.body), (3, 16, 4, b"body".as_slice()));
        assert!(open(&message, &[7; 32]).is_none(), "another key");
        for position in 0..message.len() {
            let mut changed = message.clone();
            changed[position] ^= 1;
            assert!(open(&changed, &[6; 32]).is_none(), "byte {position} changed");
        }
        for length in 0..message.len() {
            assert!(open(&message[..length], &[6; 32]).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused() {
        let mut message = Vec::new();
        signer().seal(&ENVELOPE, &[0; BODY_LENGTH_MAX], &mut message).expect("fits");
        assert_eq!(message.len(), MESSAGE_LENGTH_MAX);
        let error = signer().seal(&ENVELOPE, &[0; BODY_LENGTH_MAX + 1], &mut message).expect_err("too long");
        assert_eq!(error.length, BODY_LENGTH_MAX + 1);
        assert!(message.is_empty());
    }
}
