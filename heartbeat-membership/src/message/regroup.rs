//! Body of regroup (24).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | sequence; not 0 |
//! | 8 | 24 | sender's view, which is being regrouped: number (8), digest (16); zeros = forming |
//! | 32 | 1 | stage, 1 to 6 |
//! | 33 | 1 | reason, 1 to 8 |
//! | 34 | 1 | flags: bit 0 an answer that wants none; bit 1 a decision follows; bit 2 its view is forced |
//! | 35 | 1 | length m of a mask in bytes, 1 to 128; bit 0 of byte 0 is node 1 |
//! | 36 | 2 | node that caused the regroup; 0 = none |
//! | 38 | 2 | joining node; 0 = none |
//! | 40 | 8 | its incarnation |
//! | 48 | 4 | highest form epoch known to the sender |
//! | 52 | 1 | which masks follow: bit 0 pruning reached, 1 cleanup 1 reached, 2 cleanup 2 reached, 3 stabilized, 4 left, 5 may form, 6 members of the decision |
//! | 53 | 3 | reserved |
//! | 56 | 8 | highest number of a view that the sender is or was bound to; 0 = none |
//! | 64 | 24 | view decided on: number, digest; zeros where the decision is that nobody survives |
//! | 88 | 2 | who decided |
//! | 90 | 2 | number of rows |
//! | 92 | 2 | number of ages |
//! | 94 | 2 | reserved |
//! | 96 | m each | the masks named at 52, in that order; others are empty |
//! | | 10 each | ages: excluded node (2), age of its newest stamp at the sender in ns (8) |
//! | | 2 + m each | rows: node (2), whom it hears (m) |
//! | | 1 each | for each age: networks on which the sender still heard that node when it was bound, bit 0 = network 1 |
//! | | 32 | digest of the configuration that the view decided on changes to; zeros = the one in force |
//!
//! | | 2 | number of entries that follow; left out where there are none |
//! | | 2 + m each | node (2), whom it hears badly (m): not on every network, or not without a break |
//!
//! A body that ends before the last fields has zeros there.

use serde::{Deserialize, Serialize};

use super::codec::{BodyError, Reader, Writer};
use crate::ids::{ConfigDigest, Incarnation, MAX_NODES, NodeId};
use crate::nodeset::{MAX_MASK_BYTES, NodeSet};
use crate::regroup::stage::Stage;
use crate::view::{ViewDigest, ViewId};

/// Longest body that fits an unfragmented datagram over IPv6 on Ethernet: 1500 - 40 - 8 - 104 bytes.
pub const MAX_BODY: usize = 1348;

/// State of a regroup as one node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regroup {
    /// Generation: higher ones replace lower ones.
    pub sequence: u64,
    /// The view that is being regrouped.
    pub base: ViewId,
    /// Stage of the sender.
    pub stage: Stage,
    /// Why it began.
    pub reason: Reason,
    /// Sent in answer to a message: wants no answer itself.
    pub reply: bool,
    /// The node that caused it.
    pub trigger: Option<NodeId>,
    /// Who is to join.
    pub joiner: Option<(NodeId, Incarnation)>,
    /// Highest form epoch known.
    pub epoch: u32,
    /// Highest number of a view that the sender is or was bound to.
    pub bound: u64,
    /// Who has reached pruning, cleanup 1, cleanup 2, stabilized.
    pub reached: [NodeSet; 4],
    /// Members that left in order.
    pub left: NodeSet,
    /// Who may take part in forming.
    pub may_form: NodeSet,
    /// The decision, once known.
    pub decision: Option<Decision>,
    /// Ages of the newest stamps of excluded nodes at the sender, in ns.
    pub ages: Vec<(NodeId, u64)>,
    /// For each age: networks on which the sender still heard that node when it was bound, bit 0 = network 1.
    pub heard_on: Vec<u8>,
    /// Whom each node hears, the sender's own row first.
    pub rows: Vec<(NodeId, NodeSet)>,
    /// Whom each node hears badly; nodes that hear all others well are left out.
    pub weak: Vec<(NodeId, NodeSet)>,
}

/// What the decider decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The view to install; [`ViewId::NONE`] if nobody survives.
    pub view: ViewId,
    /// Its members.
    pub members: NodeSet,
    /// Who decided.
    pub decider: NodeId,
    /// The view is one that was formed by force, and has no majority yet.
    pub forced: bool,
    /// The staged configuration that comes into force with it.
    pub config: Option<ConfigDigest>,
}

/// Why a regroup began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A member is silent.
    Silent,
    /// A member left in order.
    Left,
    /// A member is back with another incarnation.
    Restarted,
    /// A member does not take part although it is heard.
    Mute,
    /// The controller of a member hangs.
    Hung,
    /// A node wants in.
    Join,
    /// No view yet.
    Form,
    /// All members have staged another configuration.
    Config,
}

impl Reason {
    const ALL: [Self; 8] =
        [Self::Silent, Self::Left, Self::Restarted, Self::Mute, Self::Hung, Self::Join, Self::Form, Self::Config];

    fn byte(self) -> u8 {
        match self {
            Self::Silent => 1,
            Self::Left => 2,
            Self::Restarted => 3,
            Self::Mute => 4,
            Self::Hung => 5,
            Self::Join => 6,
            Self::Form => 7,
            Self::Config => 8,
        }
    }
}

const REPLY: u8 = 1;
const DECIDED: u8 = 2;
const FORCED: u8 = 4;

impl Regroup {
    /// The body with masks of `mask_bytes` bytes; as many rows as fit, the first ones.
    #[must_use]
    pub fn encode(&self, mask_bytes: usize) -> Vec<u8> {
        let mask_bytes = mask_bytes.clamp(1, MAX_MASK_BYTES);
        let decision = self.decision.as_ref();
        let masks = self.masks();
        let present = masks.iter().enumerate().fold(0_u8, |bits, (bit, mask)| bits | u8::from(!mask.is_empty()) << bit);
        let fixed = 96 + present.count_ones() as usize * mask_bytes;
        // The config digest at the end always has room; an age takes a byte there as well.
        let fixed = fixed + 32;
        let ages = &self.ages[..self.ages.len().min((MAX_BODY - fixed) / 11)];
        let room = MAX_BODY - fixed - ages.len() * 11;
        let rows = &self.rows[..self.rows.len().min(room / (2 + mask_bytes))];

        let mut writer = Writer::default();
        writer.u64(self.sequence);
        write_view(&mut writer, &self.base);
        let flags = if self.reply { REPLY } else { 0 } | if decision.is_some() { DECIDED } else { 0 };
        let flags = flags | if decision.is_some_and(|decision| decision.forced) { FORCED } else { 0 };
        writer.u8(self.stage.byte()).u8(self.reason.byte()).u8(flags).u8(u8::try_from(mask_bytes).unwrap_or(128));
        writer.u16(self.trigger.map_or(0, |id| id.0));
        let (joiner, incarnation) = self.joiner.map_or((0, 0), |(id, incarnation)| (id.0, incarnation.0));
        writer.u16(joiner).u64(incarnation).u32(self.epoch).u8(present).zeros::<3>().u64(self.bound);
        write_view(&mut writer, &decision.map_or(ViewId::NONE, |decision| decision.view));
        writer.u16(decision.map_or(0, |decision| decision.decider.0));
        writer.u16(u16::try_from(rows.len()).unwrap_or(0)).u16(u16::try_from(ages.len()).unwrap_or(0)).zeros::<2>();
        for mask in masks.iter().filter(|mask| !mask.is_empty()) {
            writer.slice(&mask.to_mask(mask_bytes));
        }
        for (id, age_ns) in ages {
            writer.u16(id.0).u64(*age_ns);
        }
        for (id, row) in rows {
            writer.u16(id.0).slice(&row.to_mask(mask_bytes));
        }
        for index in 0..ages.len() {
            writer.u8(self.heard_on.get(index).copied().unwrap_or(0));
        }
        writer.array(&decision.and_then(|decision| decision.config).map_or([0; 32], |digest| digest.0));
        let left = (room - rows.len() * (2 + mask_bytes)).saturating_sub(2);
        let weak = &self.weak[..self.weak.len().min(left / (2 + mask_bytes))];
        if !weak.is_empty() {
            writer.u16(u16::try_from(weak.len()).unwrap_or(0));
        }
        for (id, set) in weak {
            writer.u16(id.0).slice(&set.to_mask(mask_bytes));
        }
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or a field is out of range.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let sequence = reader.u64()?;
        if sequence == 0 || sequence == u64::MAX {
            return Err(BodyError::Range("sequence"));
        }
        let base = read_view(&mut reader)?;
        let stage = Stage::from_byte(reader.u8()?).ok_or(BodyError::Range("stage"))?;
        let reason = reader.u8()?;
        let reason = Reason::ALL.into_iter().find(|known| known.byte() == reason).ok_or(BodyError::Range("reason"))?;
        let flags = reader.u8()?;
        let mask_bytes = usize::from(reader.u8()?);
        if !(1..=MAX_MASK_BYTES).contains(&mask_bytes) {
            return Err(BodyError::Range("mask length"));
        }
        let trigger = node_or_none(reader.u16()?, "trigger")?;
        let joiner = node_or_none(reader.u16()?, "joiner")?;
        let incarnation = reader.u64()?;
        if joiner.is_some() != (incarnation != 0) {
            return Err(BodyError::Range("joiner"));
        }
        let epoch = reader.u32()?;
        let present = reader.u8()?;
        reader.skip::<3>()?;
        let bound = reader.u64()?;
        let decided = read_view(&mut reader)?;
        let decider = node_or_none(reader.u16()?, "decider")?;
        let (row_count, age_count) = (reader.u16()?, reader.u16()?);
        if row_count > MAX_NODES || age_count > MAX_NODES {
            return Err(BodyError::Range("count"));
        }
        reader.skip::<2>()?;
        let mut masks = [NodeSet::EMPTY; 7];
        for (bit, mask) in masks.iter_mut().enumerate() {
            if present & (1 << bit) != 0 {
                *mask = read_mask(&mut reader, mask_bytes)?;
            }
        }
        let [pruning, cleanup1, cleanup2, stabilized, left, may_form, members] = masks;
        let mut decision = match (flags & DECIDED != 0, decider) {
            (false, _) => None,
            (true, Some(decider)) if members.is_empty() == (decided == ViewId::NONE) => {
                Some(Decision { view: decided, members, decider, forced: flags & FORCED != 0, config: None })
            }
            (true, Some(_) | None) => return Err(BodyError::Range("decision")),
        };
        let mut ages = Vec::new();
        for _ in 0..age_count {
            ages.push((node(reader.u16()?, "excluded node")?, reader.u64()?));
        }
        let mut rows: Vec<(NodeId, NodeSet)> = Vec::new();
        for _ in 0..row_count {
            rows.push((node(reader.u16()?, "row")?, read_mask(&mut reader, mask_bytes)?));
        }
        let heard_on = match reader.slice(ages.len()) {
            Ok(heard_on) => heard_on.to_vec(),
            Err(_) => vec![0; ages.len()],
        };
        let config = reader.array::<32>().unwrap_or([0; 32]);
        let weak = read_weak(&mut reader, mask_bytes)?;
        if let Some(decision) = &mut decision {
            decision.config = (config != [0; 32]).then_some(ConfigDigest(config));
        }
        Ok(Self {
            sequence,
            base,
            stage,
            reason,
            reply: flags & REPLY != 0,
            trigger,
            joiner: joiner.map(|id| (id, Incarnation(incarnation))),
            epoch,
            bound,
            reached: [pruning, cleanup1, cleanup2, stabilized],
            left,
            may_form,
            decision,
            ages,
            heard_on,
            rows,
            weak,
        })
    }

    fn masks(&self) -> [NodeSet; 7] {
        let [pruning, cleanup1, cleanup2, stabilized] = self.reached;
        let members = self.decision.map(|decision| decision.members).unwrap_or_default();
        [pruning, cleanup1, cleanup2, stabilized, self.left, self.may_form, members]
    }
}

fn write_view(writer: &mut Writer, view: &ViewId) {
    writer.u64(view.number).array(&view.digest.0);
}

fn read_view(reader: &mut Reader<'_>) -> Result<ViewId, BodyError> {
    Ok(ViewId { number: reader.u64()?, digest: ViewDigest(reader.array()?) })
}

/// Entries at the end of a body, if it goes on that far.
fn read_weak(reader: &mut Reader<'_>, mask_bytes: usize) -> Result<Vec<(NodeId, NodeSet)>, BodyError> {
    let Ok(count) = reader.u16() else { return Ok(Vec::new()) };
    if count > MAX_NODES {
        return Err(BodyError::Range("count"));
    }
    let mut weak = Vec::new();
    for _ in 0..count {
        weak.push((node(reader.u16()?, "row")?, read_mask(reader, mask_bytes)?));
    }
    Ok(weak)
}

fn read_mask(reader: &mut Reader<'_>, bytes: usize) -> Result<NodeSet, BodyError> {
    NodeSet::from_mask(reader.slice(bytes)?).ok_or(BodyError::Range("mask"))
}

fn node(id: u16, field: &'static str) -> Result<NodeId, BodyError> {
    let id = NodeId(id);
    if id.is_valid() { Ok(id) } else { Err(BodyError::Range(field)) }
}

fn node_or_none(id: u16, field: &'static str) -> Result<Option<NodeId>, BodyError> {
    if id == 0 { Ok(None) } else { node(id, field).map(Some) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ids: &[u16]) -> NodeSet {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn message() -> Regroup {
        let view = |number| ViewId { number, digest: ViewDigest([number as u8; 16]) };
        Regroup {
            sequence: 7,
            base: view(3),
            stage: Stage::Pruning,
            reason: Reason::Silent,
            reply: false,
            trigger: Some(NodeId(4)),
            joiner: Some((NodeId(9), Incarnation(77))),
            epoch: 2,
            bound: 4,
            reached: [set(&[1, 2]), NodeSet::EMPTY, NodeSet::EMPTY, NodeSet::EMPTY],
            left: NodeSet::EMPTY,
            may_form: NodeSet::EMPTY,
            decision: Some(Decision {
                view: view(4),
                members: set(&[1, 2, 3]),
                decider: NodeId(1),
                forced: true,
                config: Some(ConfigDigest([9; 32])),
            }),
            ages: vec![(NodeId(4), 123)],
            heard_on: vec![0b10],
            rows: vec![(NodeId(1), set(&[1, 2, 3])), (NodeId(2), set(&[1, 2, 9]))],
            weak: vec![(NodeId(2), set(&[1]))],
        }
    }

    #[test]
    fn bodies_survive_encoding_and_tolerate_added_fields() {
        let mut body = message().encode(2);
        assert_eq!(body.len(), 96 + 2 * 2 + 10 + 2 * 4 + 1 + 32 + 2 + 4);
        assert_eq!(Regroup::decode(&body), Ok(message()));
        body.extend([0xff; 20]);
        assert_eq!(Regroup::decode(&body), Ok(message()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let body = message().encode(2);
        let least = body.len() - 33 - 6;
        for length in (0..least).chain(body.len() - 4..body.len()) {
            assert_eq!(Regroup::decode(&body[..length]), Err(BodyError::Short), "{length}");
        }
        // What was added at the end may be missing.
        let earlier = Regroup::decode(&body[..least]).expect("a body without the added fields");
        assert_eq!((earlier.heard_on, earlier.decision.and_then(|decision| decision.config)), (vec![0], None));
    }

    #[test]
    fn lying_fields_are_refused() {
        for (offset, bytes, field) in [
            (0, &[0_u8; 8][..], "sequence"),
            (0, &[255; 8], "sequence"),
            (32, &[0], "stage"),
            (32, &[7], "stage"),
            (33, &[0], "reason"),
            (33, &[9], "reason"),
            (35, &[0], "mask length"),
            (35, &[129], "mask length"),
            (36, &[5, 0], "trigger"),
            (38, &[0, 0], "joiner"),
            (40, &[0; 8], "joiner"),
            (64, &[0; 24], "decision"),
            (88, &[0, 0], "decision"),
            (90, &[4, 1], "count"),
            (92, &[255, 255], "count"),
            (100, &[0, 0], "excluded node"),
            (110, &[4, 1], "row"),
        ] {
            let mut body = message().encode(2);
            body[offset..offset + bytes.len()].copy_from_slice(bytes);
            assert_eq!(Regroup::decode(&body), Err(BodyError::Range(field)), "{offset} {bytes:?}");
        }
    }

    #[test]
    fn the_largest_cluster_fits_one_datagram() {
        let all: NodeSet = (1..=MAX_NODES).map(NodeId).collect();
        let full = Regroup {
            reached: [all; 4],
            left: all,
            may_form: all,
            decision: Some(Decision { members: all, ..message().decision.expect("the example has one") }),
            ages: vec![(NodeId(5), 1); 1024],
            rows: vec![(NodeId(6), all); 1024],
            ..message()
        };
        let body = full.encode(MAX_MASK_BYTES);
        assert!(body.len() <= MAX_BODY);
        let back = Regroup::decode(&body).expect("what is encoded decodes");
        assert_eq!((back.decision, back.reached), (full.decision, full.reached));
        let activate = Regroup {
            reached: [NodeSet::EMPTY; 4],
            left: NodeSet::EMPTY,
            may_form: NodeSet::EMPTY,
            decision: None,
            ages: Vec::new(),
            ..full
        };
        let back = Regroup::decode(&activate.encode(MAX_MASK_BYTES)).expect("what is encoded decodes");
        assert_eq!(back.rows.len(), 9);
    }

    proptest! {
        #[test]
        fn decoding_is_total(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Regroup::decode(&body);
        }

        #[test]
        fn damaged_bodies_never_panic(offset in 0_usize..118, byte in any::<u8>()) {
            let mut body = message().encode(2);
            body[offset] = byte;
            let _ = Regroup::decode(&body);
        }
    }
}
