//! What is kept for each node, found by its id.

use heartbeat_membership::NodeId;

/// A map from ids of nodes: they are small and mostly without gaps, and a large cluster asks a million times in an interval.
#[derive(Debug, Clone)]
pub struct ByNode<T>(Vec<Option<T>>);

impl<T> ByNode<T> {
    /// What is kept for a node.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&T> {
        self.0.get(usize::from(id.0))?.as_ref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut T> {
        self.0.get_mut(usize::from(id.0))?.as_mut()
    }

    /// What is kept for a node, or else `made`.
    pub fn get_or_insert_with(&mut self, id: NodeId, made: impl FnOnce() -> T) -> &mut T {
        let index = usize::from(id.0);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].get_or_insert_with(made)
    }

    /// Keeps this for a node.
    pub fn insert(&mut self, id: NodeId, value: T) {
        let index = usize::from(id.0);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> {
        (0..).zip(&self.0).filter_map(|(id, value)| Some((NodeId(id), value.as_ref()?)))
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut T)> {
        (0..).zip(&mut self.0).filter_map(|(id, value)| Some((NodeId(id), value.as_mut()?)))
    }
}

impl<T> Default for ByNode<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
