//! The node: data plane, sender, reactor, control socket.
