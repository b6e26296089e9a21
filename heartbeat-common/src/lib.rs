//! Contract between kernel and user side.
