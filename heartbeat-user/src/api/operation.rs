//! What an operator may order over the socket, and who may.

use std::fmt;

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

use super::protocol::Failure;
use crate::status::View;

/// A node by its id or its name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeName {
    /// Its id.
    Id(u16),
    /// Its name.
    Name(String),
}

/// An order that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Leave the cluster in order; the process ends.
    Leave,
    /// Form without a majority, on the operator's word that all other nodes are off.
    FormForced,
    /// The operator, or a fencing agent, says that the node is off.
    ConfirmFenced(NodeName),
    /// Let a quarantined node in again.
    ClearQuarantine(NodeName),
}

/// The answer to an order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The request's name.
    pub done: String,
    /// What state things are in now, for people.
    pub text: String,
    /// The view of the node that answers.
    pub view: View,
}

/// Whoever is at the other end of the socket, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id; `None` where the kernel did not say.
    pub uid: Option<u32>,
}

impl NodeName {
    /// As typed by a person: digits are an id, everything else is a name.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(formatter, "{id}"),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

impl Operation {
    /// The name of its request.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::FormForced => "form",
            Self::ConfirmFenced(_) => "confirm_fenced",
            Self::ClearQuarantine(_) => "clear_quarantine",
        }
    }
}

impl Caller {
    /// Whether this caller may change anything: root, or the user that the node runs as. The socket's group may look.
    ///
    /// # Errors
    ///
    /// Who may instead.
    pub fn may_change(self) -> Result<(), Failure> {
        let owner = Uid::effective();
        if self.uid.is_some_and(|uid| uid == 0 || uid == owner.as_raw()) {
            return Ok(());
        }
        let name = User::from_uid(owner).ok().flatten().map_or_else(|| owner.to_string(), |user| user.name);
        Err(Failure::new(
            format!("{self} may look at this node and change nothing"),
            format!("run this as root, or as user `{name}`, as whom the node runs"),
        ))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(uid) = self.uid else { return formatter.write_str("an unknown user") };
        match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
            Some(user) => write!(formatter, "user `{}` (uid {uid})", user.name),
            None => write!(formatter, "the user with uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_id_and_everything_else_a_name() {
        assert_eq!(NodeName::typed("3"), NodeName::Id(3));
        for name in ["charlie", "3a", "-3", "70000"] {
            assert_eq!(NodeName::typed(name), NodeName::Name(name.to_owned()));
        }
        let read = |text: &str| serde_json::from_str::<NodeName>(text).unwrap();
        assert_eq!((read("3"), read("\"3a\"")), (NodeName::Id(3), NodeName::Name("3a".to_owned())));
    }

    #[test]
    fn root_and_the_nodes_own_user_may_change_and_others_are_told_who_may() {
        let may = |uid| Caller { uid }.may_change();
        assert_eq!(may(Some(0)), Ok(()));
        assert_eq!(may(Some(Uid::effective().as_raw())), Ok(()));
        for uid in [None, Some(4_000_000_000)] {
            let failure = may(uid).unwrap_err();
            assert!(failure.message.contains("change nothing") && failure.remedy.contains("as root"), "{failure}");
        }
    }
}
