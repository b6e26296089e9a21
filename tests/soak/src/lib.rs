//! Random faults on real nodes: cuts, losses, stops, deaths, restarts, reloads and floods, by a plan that a seed makes.
//!
//! [`plan`] says what goes wrong and when, [`run`] does it, mends everything after each round, and has everything that was
//! logged and recorded checked at the end.

pub mod events;
pub mod plan;
pub mod run;

pub use run::{Report, Settings, soak};
