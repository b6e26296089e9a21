//! The protocol core of the heartbeat data plane: pure state machines.
//!
//! Nothing here reads a clock, draws a random number, sends, logs or sleeps. Time and a seed are arguments, effects are
//! data. The same code runs in production, in the simulator and under replay of a recorded run: equal configuration,
//! identity, seed and inputs give equal actions.
//!
//! The loop that drives it:
//!
//! ```
//! use heartbeat_membership::{
//!     Action, ConfigDigest, CoreConfig, Identity, Incarnation, Input, NetworkConfig, NetworkId, NetworkRole, Node,
//!     NodeConfig, NodeId, Now, Timing,
//! };
//!
//! let networks = vec![NetworkConfig { id: NetworkId(1), name: "private".into(), role: NetworkRole::Internal }];
//! let node = |id, name: &str| NodeConfig { id: NodeId(id), name: name.into(), votes: 1, networks: vec![NetworkId(1)] };
//! let timing = Timing {
//!     interval_ns: 1_200_000_000, late_after: 2, lost_after: 6, grace_ns: 7_200_000_000, hang_timeout_ns: 60_000_000_000,
//! };
//! let config = CoreConfig {
//!     local: NodeId(1), nodes: vec![node(1, "alpha"), node(2, "bravo")], networks, timing,
//!     digest: ConfigDigest([0; 32]), abi: 1,
//! };
//! let identity = Identity { incarnation: Incarnation(1_700_000_000_000_000_000), adopted: Vec::new() };
//! let mut now = Now { mono_ns: 5, boot_ns: 5 };
//! let mut core = Node::new(config, identity, [7; 32], now)?;
//! for _pass in 0..3 {
//!     while let Some(action) = core.poll_action() {
//!         match action {
//!             Action::Send { peer, network, kind, body } => { let _ = (peer, network, kind.byte(), body); }
//!             Action::AcceptIncarnation { .. } | Action::ClearIncarnation { .. } => { /* write the kernel's PEERS map */ }
//!             Action::TakeIncarnation { at_least: _ } => { /* persist, then Input::IncarnationTaken */ }
//!             Action::Event(event) => println!("{} {}", event.id.number(), event.text),
//!             Action::Membership(_) => { /* only for a core that was built with membership */ }
//!             Action::Stop => break,
//!         }
//!     }
//!     // Wait for a ring record, a control message or this deadline, whichever comes first.
//!     let Some((deadline_ns, _why)) = core.poll_timeout() else { break };
//!     now = Now { mono_ns: deadline_ns, boot_ns: deadline_ns };
//!     core.handle(now, Input::Timer);
//! }
//! # Ok::<(), heartbeat_membership::ConfigError>(())
//! ```

#![forbid(unsafe_code)]

pub mod action;
mod cause;
pub mod config;
pub mod event;
pub mod evidence;
mod handshake;
pub mod ids;
pub mod input;
mod lease;
pub mod link;
pub mod membership;
pub mod message;
pub mod mutation;
pub mod network_state;
mod node;
pub mod nodeset;
mod nonce;
mod peer;
mod peers;
mod quarantine;
pub mod quorum;
pub mod refusal;
pub mod regroup;
pub mod snapshot;
pub mod staging;
pub mod time;
pub mod view;
mod window;
pub mod witness;

pub use action::Action;
pub use config::{ConfigError, CoreConfig, NetworkConfig, NetworkRole, NodeConfig, Timing};
pub use event::{Cause, Detail, Enforcement, Event, EventId, Severity};
pub use evidence::{LinkEvidence, LinkVerdict, StageTime, SurvivorReport, VoteCount};
pub use ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
pub use input::{
    AdoptedLink, AdoptedPeer, ControlMessage, Identity, Input, LateVerdict, LocalStall, Restored, SilentVerdict,
    StallSource,
};
pub use link::LinkState;
pub use membership::{
    Echo, HaltReason, MembershipAction, MembershipInput, MembershipSnapshot, Newest, Record, Removal, Settings,
    StagedSnapshot,
};
pub use message::{Kind, NextSequences};
pub use network_state::{InterfaceState, NetworkReport, NetworkState};
pub use node::{Node, Reason};
pub use nodeset::NodeSet;
pub use quorum::{Arbiter, Rule, Votes};
pub use refusal::Refusal;
pub use regroup::Stage;
pub use snapshot::{LinkSnapshot, PeerSnapshot, Snapshot};
pub use staging::{StageError, Staged};
pub use time::Now;
pub use view::{View, ViewId};
pub use witness::{WitnessAnswer, WitnessHolder, WitnessOutcome, WitnessRequest, WitnessSnapshot};
