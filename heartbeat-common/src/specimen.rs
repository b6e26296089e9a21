//! Specimens for tests: one node's tables, frames that suit them, and frames with every fault.
//!
//! Host tests and tests of the XDP program run the same specimens; nothing here is part of a production build.

pub mod cases;
pub mod faults;
pub mod frame;
pub mod world;

pub use self::{
    cases::{Case, cases},
    faults::{FAULTS, Fault},
    frame::{Content, Frame, Message},
    world::{Outcome, World},
};
