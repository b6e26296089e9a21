//! How much the program's own log says, and how that changes while it runs.

use std::{fmt, sync::Arc};

use crate::config::LogLevel;

/// Sets the level of the log; `None` is what the command line says.
#[derive(Clone)]
pub struct LogControl(Arc<dyn Fn(Option<LogLevel>) + Send + Sync>);

impl LogControl {
    /// Control by this function.
    #[must_use]
    pub fn new(set: impl Fn(Option<LogLevel>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }

    /// From now on.
    pub fn set(&self, level: Option<LogLevel>) {
        (self.0)(level);
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LogControl(..)")
    }
}
