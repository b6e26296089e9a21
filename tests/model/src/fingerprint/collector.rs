//! A serialiser that writes down the values of a state and nothing else.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};

use super::token::{EPOCHS, SEQUENCES, Token, VIEWS};

/// Fields that decide nothing in the model: constants; counters, texts and evidence for operators; what only saves
/// computing it again; states of networks; which of several rows a message begins with; copies of what stands elsewhere;
/// which of the last 64 messages arrived, for none arrives twice; the source of nonces, of which only equality counts.
const IGNORED: [&str; 24] = [
    "actions",
    "config",
    "decider_known",
    "electorate",
    "heard_on",
    "last_stall",
    "mask_bytes",
    "missed",
    "name",
    "networks",
    "nobody_lost",
    "nonces",
    "persisted",
    "queued_sends",
    "refused",
    "repeat_ns",
    "rotation",
    "rows_version",
    "seen",
    "settings",
    "stages",
    "told",
    "verdicts",
    "votes",
];

/// The same where another type has a field of that name that decides.
const IGNORED_IN: [(&str, &str); 2] = [("Link", "since_ns"), ("Regroup", "links")];

/// Fields that hold view numbers.
const VIEW_FIELDS: [&str; 4] = ["number", "highest_bound", "promise", "installed"];

/// Collects tokens.
#[derive(Debug, Default)]
pub(super) struct Collector {
    tokens: Vec<Token>,
    /// The field whose value comes next.
    field: &'static str,
}

/// A type that refuses to be serialised.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Collector {
    pub(super) fn into_tokens(self) -> Vec<Token> {
        self.tokens
    }

    fn plain(&mut self, value: u64) -> Result<(), Refused> {
        self.tokens.push(Token::Plain(value));
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, of: &'static str, name: &'static str, value: &T) -> Result<(), Refused> {
        if IGNORED.contains(&name) || IGNORED_IN.contains(&(of, name)) {
            return Ok(());
        }
        let outer = std::mem::replace(&mut self.field, name);
        let result = value.serialize(&mut *self);
        self.field = outer;
        result
    }

    fn compound(&mut self, of: &'static str, length: usize) -> Result<Compound<'_>, Refused> {
        self.plain(length as u64)?;
        let began = self.tokens.len();
        Ok(Compound { collector: self, of, began })
    }
}

/// A value that is made of values.
pub(super) struct Compound<'a> {
    collector: &'a mut Collector,
    /// Name of the type, where it has one.
    of: &'static str,
    began: usize,
}

impl Compound<'_> {
    /// Arrays of bytes are nonces and digests; arrays of words are masks, told in one token.
    fn close_array(self) {
        let tokens = &mut self.collector.tokens;
        let values = &tokens[self.began..];
        if values.len() < 16 {
            return;
        }
        let bytes = values.iter().all(|token| matches!(token, Token::Byte(_)));
        let words = values.iter().all(|token| matches!(token, Token::Plain(_)));
        if !bytes && !words {
            return;
        }
        let mut folded = 0_u64;
        for token in values {
            let value = match token {
                Token::Plain(value) | Token::Time(value) | Token::Ranked(_, value) | Token::Opaque(value) => *value,
                Token::Byte(byte) => u64::from(*byte),
            };
            // A multiplication that loses nothing, and a shift that mixes (as in splitmix64).
            folded = (folded ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            folded ^= folded >> 29;
        }
        tokens.truncate(self.began);
        tokens.push(if bytes { Token::Opaque(folded) } else { Token::Plain(folded) });
    }
}

impl<'a> ser::Serializer for &'a mut Collector {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.plain(u64::from(value))
    }

    fn serialize_i8(self, value: i8) -> Result<(), Refused> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), Refused> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), Refused> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), Refused> {
        self.plain(value.cast_unsigned())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Refused> {
        self.tokens.push(Token::Byte(value));
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Refused> {
        self.plain(u64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), Refused> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), Refused> {
        if value == 0 {
            return self.plain(0);
        }
        let token = match self.field {
            "sequence" => match Token::of(value) {
                Token::Plain(value) => Token::Ranked(SEQUENCES, value),
                // Of a control message on its way, whose numbers have a range.
                other @ (Token::Byte(_) | Token::Time(_) | Token::Ranked(..) | Token::Opaque(_)) => other,
            },
            "epoch" => Token::Ranked(EPOCHS, value),
            field if VIEW_FIELDS.contains(&field) => {
                self.tokens.push(Token::Ranked(EPOCHS, value >> 32));
                Token::Ranked(VIEWS + (value >> 32), value & 0xffff_ffff)
            }
            _ => Token::of(value),
        };
        self.tokens.push(token);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        self.plain(u64::from(value.to_bits()))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        self.plain(value.to_bits())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.plain(u64::from(value))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.tokens.extend(value.iter().map(|byte| Token::Byte(*byte)));
        self.plain(value.len() as u64)
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.plain(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.plain(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.plain(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.plain(0)
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Refused> {
        self.plain(u64::from(index))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.plain(u64::from(index))?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'a>, Refused> {
        self.compound("", length.unwrap_or(0))
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, Refused> {
        self.compound("", length)
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, Refused> {
        self.compound("", length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Refused> {
        self.plain(u64::from(index))?;
        self.compound("", length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'a>, Refused> {
        self.compound("", length.unwrap_or(0))
    }

    fn serialize_struct(self, of: &'static str, length: usize) -> Result<Compound<'a>, Refused> {
        self.compound(of, length)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Refused> {
        self.plain(u64::from(index))?;
        self.compound("", length)
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.collector)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.collector)
    }

    fn end(self) -> Result<(), Refused> {
        self.close_array();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.collector)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.collector)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        key.serialize(&mut *self.collector)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.collector)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.collector.field(self.of, name, value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.collector.field(self.of, name, value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}
