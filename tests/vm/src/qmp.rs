//! QEMU's control socket: one JSON command a line, one answer a line, notices in between.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// QEMU makes its socket within this.
const STARTING: Duration = Duration::from_secs(20);
/// It answers from memory; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether the socket is there.
const PAUSE: Duration = Duration::from_millis(10);
/// Notices that may stand before an answer.
const MOST_NOTICES: usize = 100;

/// A connection, ready for commands.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects, as soon as QEMU has made its socket.
    ///
    /// # Errors
    ///
    /// When it does not in time, or does not speak as agreed.
    pub fn connect(socket: &Path) -> Result<Self> {
        let deadline = Instant::now() + STARTING;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                // A socket that appears gives no sign.
                Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(error) => return Err(error).with_context(|| format!("cannot connect to {}", socket.display())),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).context("cannot limit the time to wait")?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU does not greet: {greeting}");
        }
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Stops the whole machine, its clocks included.
    ///
    /// # Errors
    ///
    /// When QEMU refuses, or the machine runs on.
    pub fn stop(&mut self) -> Result<()> {
        self.execute("stop")?;
        self.expect_status("paused")
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When QEMU refuses, or the machine stays where it is.
    pub fn go_on(&mut self) -> Result<()> {
        self.execute("cont")?;
        self.expect_status("running")
    }

    fn expect_status(&mut self, expected: &str) -> Result<()> {
        let answer = self.execute("query-status")?;
        if answer["status"] != expected {
            bail!("the machine should be {expected}: {answer}");
        }
        Ok(())
    }

    fn execute(&mut self, command: &str) -> Result<Value> {
        let line = json!({ "execute": command });
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).context("cannot write to QEMU")?;
        for _ in 0..MOST_NOTICES {
            let mut answer = self.read()?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses `{command}`: {error}");
            }
        }
        bail!("QEMU does not answer `{command}`")
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU has closed its socket");
        }
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn notices_are_passed_over_and_refusals_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let machine = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut commands = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"{\"QMP\":{}}\n").unwrap();
            for answers in [
                "{\"return\":{}}\n",
                "{\"event\":\"STOP\"}\n{\"return\":{}}\n",
                "{\"return\":{\"status\":\"paused\"}}\n",
                "{\"error\":{\"desc\":\"no\"}}\n",
            ] {
                commands.next().unwrap().unwrap();
                stream.write_all(answers.as_bytes()).unwrap();
            }
        });
        let mut qmp = Qmp::connect(&path).unwrap();
        qmp.stop().unwrap();
        let error = qmp.go_on().unwrap_err().to_string();
        assert!(error.contains("cont"), "{error}");
        machine.join().unwrap();
    }
}
