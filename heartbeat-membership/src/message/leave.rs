//! Body of leave (29), 8 bytes: offset 0, size 8, the incarnation that leaves; not 0.

use super::codec::{BodyError, Reader, Writer};
use crate::ids::Incarnation;

/// The sender has stopped acting and leaves in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The incarnation that leaves.
    pub incarnation: Incarnation,
}

impl Leave {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::default().u64(self.incarnation.0).finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or names incarnation 0.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        match Reader::new(body).u64()? {
            0 => Err(BodyError::Range("incarnation")),
            incarnation => Ok(Self { incarnation: Incarnation(incarnation) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_survive_encoding_and_bad_ones_are_refused() {
        let leave = Leave { incarnation: Incarnation(258) };
        assert_eq!(leave.encode(), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Leave::decode(&[0, 0, 0, 0, 0, 0, 1, 2, 0xff]), Ok(leave));
        assert_eq!(Leave::decode(&[0; 8]), Err(BodyError::Range("incarnation")));
        assert_eq!(Leave::decode(&[1; 7]), Err(BodyError::Short));
    }
}
