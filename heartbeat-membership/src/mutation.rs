//! Rules that can be broken on purpose. A checker that misses one of them checks nothing.

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Exactly half of the votes is a majority.
    HalfIsMajority,
    /// A new incarnation forms without having waited for earlier leases to end.
    NoWait,
    /// A node that announced pruning for one decision goes on listening to whom it leaves out, and may obey another.
    NoBinding,
    /// The tie-breaker's half may form.
    TieBreakerForms,
    /// A poison stops whichever incarnation receives it.
    AnyPoison,
}
