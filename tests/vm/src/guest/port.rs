//! The serial port that leads to the host.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
};

use anyhow::{Context as _, Result, bail};

use crate::report::{Report, SWITCH_OFF};

/// The first port is the kernel's console; on this one nobody else writes.
const DEVICE: &str = "/dev/ttyS1";

/// The port, open.
#[derive(Debug)]
pub struct Port {
    file: File,
}

impl Port {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When the machine has none.
    pub fn open() -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(DEVICE);
        Ok(Self { file: file.with_context(|| format!("cannot open {DEVICE}"))? })
    }

    /// Another handle, for another thread: a line is one write, and lines of two threads do not mix.
    ///
    /// # Errors
    ///
    /// When the system has no more handles.
    pub fn another(&self) -> Result<Self> {
        Ok(Self { file: self.file.try_clone().context("cannot duplicate the port's handle")? })
    }

    /// Tells the host.
    ///
    /// # Errors
    ///
    /// When the port does not take it.
    pub fn report(&mut self, report: &Report) -> Result<()> {
        let mut line = report.line();
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("cannot write to the port")
    }

    /// Waits until the host has read everything and says so.
    ///
    /// # Errors
    ///
    /// When the port is closed.
    pub fn wait_for_switch_off(&self) -> Result<()> {
        let file = self.file.try_clone().context("cannot duplicate the port's handle")?;
        for line in BufReader::new(file).lines() {
            if line.context("cannot read from the port")?.trim() == SWITCH_OFF {
                return Ok(());
            }
        }
        bail!("the port is closed")
    }
}
