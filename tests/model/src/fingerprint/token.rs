//! One value of a state, and what is hashed of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hasher,
};

use super::EPOCH_NS;

/// Incarnations lie above: node << [`CLASS_SHIFT`], then the count.
pub(super) const INCARNATIONS: u64 = 1 << 52;

/// Numbers of control messages lie above: pair of nodes << [`CLASS_SHIFT`], then the count.
pub(super) const MESSAGES: u64 = 1 << 56;

/// Room for the numbers of one kind.
pub(super) const CLASS_SHIFT: u32 = 32;

/// How far a time may be from [`EPOCH_NS`] and still be one.
const TIMES: u64 = 1 << 55;

/// Nothing looks further back: challenges live for 16 s, forming waits for 10 s.
const PAST_NS: i64 = 17_000_000_000;

/// No deadline but the end of a quarantine lies further ahead.
const FUTURE_NS: i64 = 30_000_000_000;

/// Distances of numbers up to here are told apart: the core compares, and adds one.
const GAP: u64 = 3;

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Told as it is.
    Plain(u64),
    /// A byte, which may be part of a nonce.
    Byte(u8),
    /// A time.
    Time(u64),
    /// A number of a kind: told by its rank.
    Ranked(u64, u64),
    /// Bytes of which only equality counts.
    Opaque(u64),
}

/// Kinds of numbers without a range of their own. View counters of one epoch are one kind.
pub(super) const EPOCHS: u64 = 1;
pub(super) const SEQUENCES: u64 = 2;
pub(super) const VIEWS: u64 = 1 << 33;

impl Token {
    /// The token of a number whose range tells its kind.
    pub(super) fn of(value: u64) -> Self {
        if value.abs_diff(EPOCH_NS) < TIMES {
            return Self::Time(value);
        }
        if (INCARNATIONS..INCARNATIONS << 1).contains(&value) || (MESSAGES..MESSAGES << 1).contains(&value) {
            return Self::Ranked(value >> CLASS_SHIFT, value & ((1 << CLASS_SHIFT) - 1));
        }
        Self::Plain(value)
    }
}

/// Hashes tokens in their order.
pub(super) fn hash<H: Hasher>(tokens: &[Token], now_ns: u64, hasher: &mut H) {
    let ranks = ranks(tokens);
    let mut opaque: HashMap<u64, u64> = HashMap::new();
    for token in tokens {
        match *token {
            Token::Plain(value) => hasher.write_u64(value),
            Token::Byte(value) => hasher.write_u8(value),
            Token::Time(time_ns) => {
                // Both lie near the epoch: the difference fits.
                let distance_ns = time_ns.wrapping_sub(now_ns).cast_signed();
                hasher.write_i64(distance_ns.clamp(-PAST_NS, FUTURE_NS));
            }
            Token::Ranked(kind, value) => hasher.write_u64(ranks.get(&(kind, value)).copied().unwrap_or(value)),
            Token::Opaque(value) => {
                let next = opaque.len() as u64;
                hasher.write_u64(*opaque.entry(value).or_insert(next));
            }
        }
    }
}

/// Rank of every number among those of its kind, with gaps of up to [`GAP`].
fn ranks(tokens: &[Token]) -> BTreeMap<(u64, u64), u64> {
    let numbers: BTreeSet<(u64, u64)> = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Ranked(kind, value) => Some((*kind, *value)),
            Token::Plain(_) | Token::Byte(_) | Token::Time(_) | Token::Opaque(_) => None,
        })
        .collect();
    let mut ranks = BTreeMap::new();
    let mut last: Option<(u64, u64, u64)> = None;
    for (kind, value) in numbers {
        let rank = match last {
            Some((same, below, rank)) if same == kind => rank + (value - below).min(GAP),
            Some(_) | None => 1,
        };
        ranks.insert((kind, value), rank);
        last = Some((kind, value, rank));
    }
    ranks
}
