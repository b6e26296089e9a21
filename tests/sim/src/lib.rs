//! A simulator for the protocol core: real cores, simulated kernels, clocks, disks and networks, one seed, and the
//! invariants of docs/membership.md checked after every step in true time.

pub mod by_node;
pub mod campaign;
pub mod check;
pub mod clock;
pub mod faults;
pub mod kernel;
pub mod large;
pub mod machine;
pub mod random;
pub mod run;
pub mod witness;
pub mod world;
