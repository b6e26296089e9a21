//! Test support: namespaces and topology.
