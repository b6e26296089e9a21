//! Bodies of the handshake.
//!
//! Hello (16), 112 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | challenge, fresh |
//! | 16 | 8 | sender's incarnation, as in the header; not 0 |
//! | 24 | 8 | receiver's incarnation that the sender accepts; 0 = none |
//! | 32 | 8 | highest incarnation of the receiver that ever proved itself to the sender; 0 = none |
//! | 40 | 4 | ABI of the sender's kernel records |
//! | 44 | 4 | flags: bit 0 the sender is in a view; bit 1 two machines run as the receiver |
//! | 48 | 32 | digest of the sender's configuration |
//! | 80 | 32 | digest of its staged configuration; 0 = none |
//!
//! Hello-ack (17) and hello-done (18), 136 bytes and 32 for each network:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | challenge (ack); 0 in done |
//! | 16 | 16 | answer: the challenge that this message answers |
//! | 32 | 96 | sender's incarnation to staged digest, as in hello |
//! | 128 | 1 | number of networks, 0 to 8 |
//! | 129 | 7 | reserved |
//! | 136 | 32 each | network (1), reserved (7), next unicast (8), next multicast (8), next control sequence (8); none is 0 |
//!
//! In ack and done the receiver's incarnation is the one that the answered message named as its sender's.

use serde::{Deserialize, Serialize};

use super::codec::{BodyError, Reader, Writer};
use crate::ids::{ConfigDigest, Incarnation, MAX_NETWORKS, NetworkId};

/// First message of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What the answer must repeat.
    pub challenge: [u8; 16],
    /// Who speaks.
    pub statement: Statement,
}

/// Second and third message of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The sender's own challenge; zeros in hello-done.
    pub challenge: [u8; 16],
    /// The challenge that this message answers.
    pub answer: [u8; 16],
    /// Who speaks.
    pub statement: Statement,
    /// Where the receiver's windows for the sender start.
    pub next: Vec<NextSequences>,
}

/// What all three messages say about their sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// The receiver's incarnation as far as the sender knows; 0 = none.
    pub receiver: u64,
    /// Highest incarnation of the receiver that ever proved itself to the sender; 0 = none.
    pub highest: u64,
    /// Version of the sender's kernel records.
    pub abi: u32,
    /// The sender is in a view.
    pub in_view: bool,
    /// The sender has seen two machines that run as the receiver.
    pub duplicate: bool,
    /// Digest of the sender's configuration.
    pub digest: ConfigDigest,
    /// Digest of the sender's staged configuration.
    pub staged: Option<ConfigDigest>,
}

/// The next sequence numbers towards one peer on one network; each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextSequences {
    /// The network.
    pub network: NetworkId,
    /// Next unicast heartbeat.
    pub unicast: u64,
    /// Next multicast heartbeat.
    pub multicast: u64,
    /// Next control message.
    pub control: u64,
}

const IN_VIEW: u32 = 1;
const DUPLICATE: u32 = 2;

impl Hello {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(&self.challenge);
        self.statement.write(&mut writer);
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or a field is out of range.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        Ok(Self { challenge: reader.array()?, statement: Statement::read(&mut reader)? })
    }
}

impl Answer {
    /// The body. More than eight networks do not exist; further ones are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(&self.challenge).array(&self.answer);
        self.statement.write(&mut writer);
        let next = &self.next[..self.next.len().min(usize::from(MAX_NETWORKS))];
        writer.u8(u8::try_from(next.len()).unwrap_or(MAX_NETWORKS)).zeros::<7>();
        for entry in next {
            writer.u8(entry.network.0).zeros::<7>();
            writer.u64(entry.unicast).u64(entry.multicast).u64(entry.control);
        }
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short, a field is out of range, or a network is named twice.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let challenge = reader.array()?;
        let answer = reader.array()?;
        let statement = Statement::read(&mut reader)?;
        let count = reader.u8()?;
        if count > MAX_NETWORKS {
            return Err(BodyError::Range("networks"));
        }
        reader.skip::<7>()?;
        let mut next: Vec<NextSequences> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let network = NetworkId(reader.u8()?);
            reader.skip::<7>()?;
            let entry =
                NextSequences { network, unicast: reader.u64()?, multicast: reader.u64()?, control: reader.u64()? };
            if !network.is_valid() || next.iter().any(|other| other.network == network) {
                return Err(BodyError::Range("network"));
            }
            if entry.unicast == 0 || entry.multicast == 0 || entry.control == 0 {
                return Err(BodyError::Range("next sequence"));
            }
            next.push(entry);
        }
        Ok(Self { challenge, answer, statement, next })
    }
}

impl Statement {
    fn write(&self, writer: &mut Writer) {
        writer.u64(self.incarnation.0).u64(self.receiver).u64(self.highest).u32(self.abi);
        writer.u32(if self.in_view { IN_VIEW } else { 0 } | if self.duplicate { DUPLICATE } else { 0 });
        writer.array(&self.digest.0).array(&self.staged.map_or([0; 32], |digest| digest.0));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let incarnation = reader.u64()?;
        if incarnation == 0 {
            return Err(BodyError::Range("incarnation"));
        }
        let (receiver, highest, abi) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let flags = reader.u32()?;
        let digest = ConfigDigest(reader.array()?);
        let staged: [u8; 32] = reader.array()?;
        Ok(Self {
            incarnation: Incarnation(incarnation),
            receiver,
            highest,
            abi,
            in_view: flags & IN_VIEW != 0,
            duplicate: flags & DUPLICATE != 0,
            digest,
            staged: (staged != [0; 32]).then_some(ConfigDigest(staged)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statement() -> Statement {
        Statement {
            incarnation: Incarnation(0x0102_0304_0506_0708),
            receiver: 9,
            highest: 10,
            abi: 11,
            in_view: true,
            duplicate: true,
            digest: ConfigDigest([12; 32]),
            staged: None,
        }
    }

    fn answer() -> Answer {
        let next = |network| NextSequences { network: NetworkId(network), unicast: 1, multicast: 2, control: 3 };
        Answer { challenge: [1; 16], answer: [2; 16], statement: statement(), next: vec![next(1), next(8)] }
    }

    #[test]
    fn fields_stand_where_the_table_says() {
        let hello = Hello { challenge: [7; 16], statement: statement() }.encode();
        assert_eq!(hello.len(), 112);
        assert_eq!(hello[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hello[31], 9);
        assert_eq!(hello[39], 10);
        assert_eq!(hello[43], 11);
        assert_eq!(hello[47], 0b11);
        assert_eq!(hello[48..80], [12; 32]);
        assert_eq!(hello[80..112], [0; 32]);
        let ack = answer().encode();
        assert_eq!(ack.len(), 136 + 2 * 32);
        assert_eq!(ack[128], 2);
        assert_eq!((ack[136], ack[168]), (1, 8));
        assert_eq!((ack[151], ack[159], ack[167]), (1, 2, 3));
    }

    #[test]
    fn bodies_survive_encoding_and_tolerate_added_fields() {
        let hello = Hello { challenge: [7; 16], statement: statement() };
        let mut bytes = hello.encode();
        bytes.extend([0xff; 9]);
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        let mut bytes = answer().encode();
        bytes.extend([0xff; 9]);
        assert_eq!(Answer::decode(&bytes), Ok(answer()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let hello = Hello { challenge: [7; 16], statement: statement() }.encode();
        for length in 0..hello.len() {
            assert_eq!(Hello::decode(&hello[..length]), Err(BodyError::Short));
        }
        let ack = answer().encode();
        for length in 0..ack.len() {
            assert_eq!(Answer::decode(&ack[..length]), Err(BodyError::Short));
        }
    }

    #[test]
    fn lying_fields_are_refused() {
        let patched = |offset: usize, bytes: &[u8]| {
            let mut ack = answer().encode();
            ack[offset..offset + bytes.len()].copy_from_slice(bytes);
            Answer::decode(&ack)
        };
        assert_eq!(patched(32, &[0; 8]), Err(BodyError::Range("incarnation")));
        assert_eq!(patched(128, &[9]), Err(BodyError::Range("networks")));
        assert_eq!(patched(136, &[0]), Err(BodyError::Range("network")));
        assert_eq!(patched(136, &[9]), Err(BodyError::Range("network")));
        assert_eq!(patched(168, &[1]), Err(BodyError::Range("network")));
        assert_eq!(patched(144, &[0; 8]), Err(BodyError::Range("next sequence")));
    }

    proptest! {
        #[test]
        fn decoding_is_total(body in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Hello::decode(&body);
            if let Ok(answer) = Answer::decode(&body) {
                let again = Answer::decode(&answer.encode());
                prop_assert_eq!(again, Ok(answer));
            }
        }
    }
}
