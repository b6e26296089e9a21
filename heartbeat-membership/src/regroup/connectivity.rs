//! Who can talk to whom, and the best group in which everyone can talk to everyone.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::nodeset::NodeSet;
use crate::quorum::Votes;

/// Calls of the clique search before it gives way to the greedy rule. A graph that a real fault makes needs a few
/// dozen; 20,000 take about 10 ms and bound what a hostile pattern can cost the reactor.
const SEARCH_BUDGET: u32 = 20_000;

/// Everyone of `everyone` who is joined to `start` by a chain of pairs that hear each other, `start` included. `everyone`
/// are nodes that have a row.
#[must_use]
pub fn component(rows: &BTreeMap<NodeId, NodeSet>, everyone: &NodeSet, start: NodeId) -> NodeSet {
    let mut unreached = everyone.without(&NodeSet::of(start));
    let mut frontier = if everyone.contains(start) { vec![start] } else { Vec::new() };
    while let Some(id) = frontier.pop() {
        let row = rows.get(&id).copied().unwrap_or_default();
        for other in row.and(&unreached).iter() {
            if rows.get(&other).is_some_and(|row| row.contains(id)) {
                unreached.remove(other);
                frontier.push(other);
            }
        }
        if unreached.is_empty() {
            break;
        }
    }
    everyone.without(&unreached).or(&NodeSet::of(start))
}

/// The symmetric relation: a pair counts only if each hears the other.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    neighbours: BTreeMap<NodeId, NodeSet>,
    /// Whom each hears badly.
    weak: BTreeMap<NodeId, NodeSet>,
}

impl Graph {
    /// From the rows of those who reported: row of `i` = whom `i` hears.
    #[must_use]
    pub fn from_rows(rows: &BTreeMap<NodeId, NodeSet>) -> Self {
        // Whom each is heard by, in one pass over all rows.
        let mut heard_by: BTreeMap<NodeId, NodeSet> = BTreeMap::new();
        let full = rows.values().fold(None, |all: Option<NodeSet>, row| Some(all.map_or(*row, |all| all.and(row))));
        for (id, row) in rows {
            // Whoever is in every row is heard by all: most are, and need no look at each bit.
            for other in row.without(&full.unwrap_or_default()).iter() {
                heard_by.entry(other).or_default().insert(*id);
            }
        }
        let reporters: NodeSet = rows.keys().copied().collect();
        let both = |id: NodeId, row: &NodeSet| {
            let by = if full.is_some_and(|full| full.contains(id)) {
                reporters
            } else {
                heard_by.get(&id).copied().unwrap_or_default()
            };
            let mut both = row.and(&by);
            both.remove(id);
            both
        };
        Self { neighbours: rows.iter().map(|(id, row)| (*id, both(*id, row))).collect(), weak: BTreeMap::new() }
    }

    /// With what each says of the condition of its links: whom it hears, but not on every network, or not without a break.
    #[must_use]
    pub fn with_condition(mut self, weak: &BTreeMap<NodeId, NodeSet>) -> Self {
        self.weak.clone_from(weak);
        self
    }

    /// Pairs of a group of which one hears the other badly.
    fn weak_pairs(&self, group: &NodeSet) -> usize {
        let says = |by: NodeId| self.weak.get(&by).map(|weak| weak.and(group)).unwrap_or_default();
        let weak_of = |id: NodeId| {
            group.iter().filter(|other| *other > id && (says(id).contains(*other) || says(*other).contains(id))).count()
        };
        if self.weak.is_empty() { 0 } else { group.iter().map(weak_of).sum() }
    }

    /// Whether everyone in the set can talk to everyone else in it.
    #[must_use]
    pub fn is_clique(&self, set: &NodeSet) -> bool {
        set.iter().all(|id| set.without(&NodeSet::of(id)).is_subset(&self.of(id)))
    }

    /// The best fully connected group inside `among` that `allowed` accepts; `None` if it accepts none.
    ///
    /// Ranked by votes, then number of nodes, then the tie-breaker being in, then fewest pairs of which one hears the other
    /// badly, then the smallest sorted list of ids. The witness's vote is the decider's: each group that counts it has it.
    /// Past the search budget each node in turn seeds a group that grows by the neighbour with most neighbours; the
    /// best of those is taken.
    #[must_use]
    pub fn best_group(&self, among: &NodeSet, votes: &Votes, allowed: impl Fn(&NodeSet) -> bool) -> Option<NodeSet> {
        let mut best = None;
        let mut consider = |group: NodeSet| {
            if allowed(&group) && best.as_ref().is_none_or(|best| self.outranks(&group, best, votes)) {
                best = Some(group);
            }
        };
        if self.is_clique(among) {
            consider(*among);
            return best;
        }
        let mut search = Search { graph: self, budget: SEARCH_BUDGET, found: &mut consider };
        search.expand(NodeSet::EMPTY, *among, NodeSet::EMPTY);
        if search.budget == 0 {
            among.iter().for_each(|seed| consider(self.grow(seed, among)));
        }
        best
    }

    fn outranks(&self, a: &NodeSet, b: &NodeSet, votes: &Votes) -> bool {
        let tie = |set: &NodeSet| votes.tie_breaker().is_some_and(|id| set.contains(id));
        let rank = |set: &NodeSet| (votes.of(set), set.len(), tie(set), std::cmp::Reverse(self.weak_pairs(set)));
        match rank(a).cmp(&rank(b)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => a.iter().lt(b.iter()),
        }
    }

    fn of(&self, id: NodeId) -> NodeSet {
        self.neighbours.get(&id).copied().unwrap_or_default()
    }

    fn grow(&self, seed: NodeId, among: &NodeSet) -> NodeSet {
        let mut group = NodeSet::of(seed);
        let mut candidates = self.of(seed).and(among);
        while let Some(next) =
            candidates.iter().max_by_key(|id| (self.of(*id).and(&candidates).len(), std::cmp::Reverse(*id)))
        {
            group.insert(next);
            candidates = candidates.and(&self.of(next));
        }
        group
    }
}

/// Bron and Kerbosch (1973) with pivoting.
struct Search<'a, F: FnMut(NodeSet)> {
    graph: &'a Graph,
    budget: u32,
    found: &'a mut F,
}

impl<F: FnMut(NodeSet)> Search<'_, F> {
    fn expand(&mut self, group: NodeSet, mut candidates: NodeSet, mut done: NodeSet) {
        if self.budget == 0 {
            return;
        }
        self.budget -= 1;
        let open = candidates.or(&done);
        let Some(pivot) = open.iter().max_by_key(|id| self.graph.of(*id).and(&candidates).len()) else {
            (self.found)(group);
            return;
        };
        for id in candidates.without(&self.graph.of(pivot)).iter() {
            let near = self.graph.of(id);
            self.expand(group.or(&NodeSet::of(id)), candidates.and(&near), done.and(&near));
            candidates.remove(id);
            done.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_component_is_what_pairs_of_the_graph_reach(
            rows in prop::collection::btree_map(1_u16..=12, prop::collection::btree_set(1_u16..=12, 0..6), 0..12),
            start in 1_u16..=12,
        ) {
            let set = |ids: &std::collections::BTreeSet<u16>| ids.iter().map(|id| NodeId(*id)).collect::<NodeSet>();
            let rows: BTreeMap<_, _> = rows.iter().map(|(id, row)| (NodeId(*id), set(row))).collect();
            let everyone: NodeSet = rows.keys().copied().collect();
            let start = NodeId(start);
            let graph = Graph::from_rows(&rows);
            let mut reached = NodeSet::of(start);
            for _ in 0..everyone.len() {
                reached = reached.iter().fold(reached, |reached, id| reached.or(&graph.of(id)));
            }
            prop_assert_eq!(component(&rows, &everyone, start), reached);
        }
    }
}
