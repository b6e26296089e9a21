//! Body of poison (30), 32 bytes: the incarnation that it concerns (8, not 0), then the view that it is no member of:
//! number (8), digest (16).

use super::codec::{BodyError, Reader, Writer};
use crate::ids::Incarnation;
use crate::view::{ViewDigest, ViewId};

/// The receiver has been removed and must stop at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poison {
    /// The incarnation that was removed: a later one is not meant.
    pub incarnation: Incarnation,
    /// The sender's view.
    pub view: ViewId,
}

impl Poison {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::default().u64(self.incarnation.0).u64(self.view.number).array(&self.view.digest.0).finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or names incarnation 0.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let incarnation = reader.u64()?;
        let view = ViewId { number: reader.u64()?, digest: ViewDigest(reader.array()?) };
        if incarnation == 0 {
            return Err(BodyError::Range("incarnation"));
        }
        Ok(Self { incarnation: Incarnation(incarnation), view })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_survive_encoding_and_bad_ones_are_refused() {
        let view = ViewId { number: 2, digest: ViewDigest([3; 16]) };
        let poison = Poison { incarnation: Incarnation(1), view };
        let body = poison.encode();
        assert_eq!(body.len(), 32);
        assert_eq!(Poison::decode(&body), Ok(poison));
        assert_eq!(Poison::decode(&body[..31]), Err(BodyError::Short));
        assert_eq!(Poison::decode(&[0; 32]), Err(BodyError::Range("incarnation")));
    }
}
