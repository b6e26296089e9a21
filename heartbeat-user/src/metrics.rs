//! Metrics: what a node counts and measures, for Prometheus.
//!
//! Nothing is kept up to date for them: counters of the kernel's maps and of the threads are read when somebody asks.

pub mod families;
pub mod histogram;
pub mod round_trips;
mod scrape;
pub mod server;

pub use self::{
    families::{FAMILIES, Family, Kind},
    scrape::Scrape,
};
