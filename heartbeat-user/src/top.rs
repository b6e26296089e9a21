//! The live view: what a node tells in rounds (`state`), and how it is drawn (`screen`). The terminal belongs to the command line.

mod hearing;
mod links;
mod screen;
mod state;

pub use screen::screen;
pub use state::{Answer, Return, State};

#[cfg(test)]
mod tests;
