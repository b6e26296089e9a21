//! Body of join (28): a node without a view asks to be let in.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | incarnation that asks; not 0 |
//! | 8 | 8 | highest regroup sequence it has seen |
//! | 16 | 4 | highest form epoch it knows |
//! | 20 | 1 | length m of the mask, 1 to 128 |
//! | 21 | 3 | reserved |
//! | 24 | m | whom it hears |

use super::codec::{BodyError, Reader, Writer};
use crate::ids::Incarnation;
use crate::nodeset::{MAX_MASK_BYTES, NodeSet};

/// A request to be let into the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Who asks.
    pub incarnation: Incarnation,
    /// The joining regroup must be above this.
    pub sequence: u64,
    /// Highest form epoch it knows.
    pub epoch: u32,
    /// Whom it hears: there is no point in a regroup before it hears every member.
    pub hears: NodeSet,
}

impl Join {
    /// The body with a mask of `mask_bytes` bytes.
    #[must_use]
    pub fn encode(&self, mask_bytes: usize) -> Vec<u8> {
        let mask_bytes = mask_bytes.clamp(1, MAX_MASK_BYTES);
        let mut writer = Writer::default();
        writer.u64(self.incarnation.0).u64(self.sequence).u32(self.epoch);
        writer.u8(u8::try_from(mask_bytes).unwrap_or(128)).zeros::<3>().slice(&self.hears.to_mask(mask_bytes));
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or a field is out of range.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let (incarnation, sequence, epoch) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let mask_bytes = usize::from(reader.u8()?);
        reader.skip::<3>()?;
        if incarnation == 0 {
            return Err(BodyError::Range("incarnation"));
        }
        if !(1..=MAX_MASK_BYTES).contains(&mask_bytes) {
            return Err(BodyError::Range("mask length"));
        }
        let hears = NodeSet::from_mask(reader.slice(mask_bytes)?).ok_or(BodyError::Range("mask"))?;
        Ok(Self { incarnation: Incarnation(incarnation), sequence, epoch, hears })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    #[test]
    fn bodies_survive_encoding_and_bad_ones_are_refused() {
        let join = Join {
            incarnation: Incarnation(5),
            sequence: 6,
            epoch: 7,
            hears: [NodeId(1), NodeId(9)].into_iter().collect(),
        };
        let body = join.encode(2);
        assert_eq!(body.len(), 26);
        assert_eq!(Join::decode(&body), Ok(join));
        for length in 0..body.len() {
            assert_eq!(Join::decode(&body[..length]), Err(BodyError::Short));
        }
        let mut zero = body.clone();
        zero[..8].fill(0);
        assert_eq!(Join::decode(&zero), Err(BodyError::Range("incarnation")));
        let mut long = body;
        long[20] = 129;
        assert_eq!(Join::decode(&long), Err(BodyError::Range("mask length")));
    }
}
