//! Reading and writing big-endian fields of a body.

/// A body that cannot be used; no state was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body ends before its last field.
    #[error("body ends early")]
    Short,
    /// A field has a value that no sender may write.
    #[error("field `{0}` is out of range")]
    Range(&'static str),
}

/// Reads fields in order; every read can fail, none can panic.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// Appends fields in order.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BodyError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, BodyError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8], BodyError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BodyError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BodyError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn skip<const N: usize>(&mut self) -> Result<(), BodyError> {
        self.array::<N>().map(|_| ())
    }
}

impl Writer {
    pub(crate) fn array<const N: usize>(&mut self, bytes: &[u8; N]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn slice(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn zeros<const N: usize>(&mut self) -> &mut Self {
        self.array(&[0; N])
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}
