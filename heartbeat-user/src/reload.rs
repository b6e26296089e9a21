//! Reading the configuration again while the node runs: what a new file changes at once, what waits until all members have
//! it, and what no running node can follow.

pub mod keyring;
mod log_level;
mod plan;
pub mod remembered;
pub mod shared;

pub use self::{
    keyring::Keyring,
    log_level::LogControl,
    plan::{Plan, Refused, plan},
    shared::SharedPart,
};
