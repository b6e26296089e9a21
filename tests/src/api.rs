//! A node's control socket: one JSON request a line, one JSON answer a line, or a stream of them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The version of requests that is spoken here.
const VERSION: u64 = 1;

/// A node answers from memory; one that takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Sends one request and returns the answer.
///
/// # Errors
///
/// When nobody listens, the answer does not come within `limit`, or the node refuses: then with its words.
pub fn request(socket: &Path, request: &Value, limit: Duration) -> Result<Value> {
    let mut connection = Connection::open(socket, request, Some(limit))?;
    connection.next()?.with_context(|| format!("{} closed without an answer", socket.display()))
}

/// A connection on which answers keep coming.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    /// Connects and sends the request, such as `{"request": "links"}`; the version is added. Each answer is waited for at most as long as `limit`, if there is one.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub fn open(socket: &Path, request: &Value, limit: Option<Duration>) -> Result<Self> {
        let mut stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(limit).context("cannot limit the time to wait")?;
        let mut request = request.clone();
        request["v"] = VERSION.into();
        stream.write_all(format!("{request}\n").as_bytes()).context("cannot send the request")?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// The next answer; `None` once the node has closed the connection.
    ///
    /// # Errors
    ///
    /// When the node refuses: then with its words; or when the answer is not of the agreed form.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide that it waits")]
    pub fn next(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("no answer")? == 0 {
            return Ok(None);
        }
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
        if let Some(error) = answer.get("error") {
            let words = |field| error.get(field).and_then(Value::as_str).unwrap_or_default();
            bail!("the node refuses: {} ({})", words("message"), words("remedy"));
        }
        match answer.get_mut("ok") {
            Some(ok) => Ok(Some(ok.take())),
            None => bail!("neither `ok` nor `error`: {line}"),
        }
    }
}
