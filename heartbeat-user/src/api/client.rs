//! The other end of the socket, for the command line: blocking, with errors that say what to do.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::operation::{Done, NodeName};
use super::protocol::{Failure, Request, Response, Streamed};
use crate::history::History;
use crate::status::{Link, Status};
use crate::why::{About, Why};

/// The node answers from memory; a machine that is stalled for longer is the operator's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The status of 1,024 nodes on 8 networks has about 4 MiB.
const LONGEST_ANSWER: u64 = 64 << 20;

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why a node did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "is the node running? There is no socket {} (start it with `heartbeat run --config FILE`, or name its socket \
         with --socket PATH: it is `heartbeat.sock` in the node's [local] run_dir)",
        path.display()
    )]
    NotRunning {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a socket, but nobody behind it.
    #[error("the node that made {} runs no longer (start it again: the socket is replaced)", path.display())]
    Dead {
        /// The socket.
        path: PathBuf,
    },
    /// The user may not talk to the node.
    #[error("you may not use {}: it belongs to {owner}, mode {mode:04o} ({remedy})", path.display())]
    Forbidden {
        /// The socket, or a directory above it that bars the way.
        path: PathBuf,
        /// Its owner and group.
        owner: String,
        /// Its permission bits.
        mode: u32,
        /// Who may.
        remedy: String,
    },
    /// The connection failed.
    #[error("the node behind {} does not answer: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error(
        "the answer of the node behind {} is not understood: {reason} (use the program that the node was installed with)",
        path.display()
    )]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl Client {
    /// Connects to the node behind `path`.
    ///
    /// # Errors
    ///
    /// [`ClientError`], except `Garbled` and `Refused`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| connect_error(path, error))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|source| ClientError::Broken { path: path.to_owned(), source })?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Everything at a glance.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.send(&Request::Status {})?;
        self.receive()
    }

    /// All links, with their histograms.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn links(&mut self) -> Result<Vec<Link>, ClientError> {
        self.send(&Request::Links {})?;
        self.receive()
    }

    /// The remembered arrivals of a peer's heartbeats, an entry for each network; the newest `limit` of each.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn history(
        &mut self,
        peer: NodeName,
        network: Option<String>,
        limit: Option<u64>,
    ) -> Result<Vec<History>, ClientError> {
        self.send(&Request::History { peer, network, limit })?;
        self.receive()
    }

    /// Everything that is counted and measured, as Prometheus reads it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn metrics(&mut self) -> Result<String, ClientError> {
        self.send(&Request::Metrics {})?;
        self.receive()
    }

    /// The evidence for a verdict.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn why(&mut self, about: Option<About>) -> Result<Why, ClientError> {
        self.send(&Request::Why { about })?;
        self.receive()
    }

    /// Gives an order, and waits for its outcome.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn order(&mut self, request: &Request) -> Result<Done, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// Waits until the node has closed the connection, as it does when it ends.
    ///
    /// # Errors
    ///
    /// [`ClientError::Broken`] if it has not within `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<(), ClientError> {
        self.stream.get_ref().set_read_timeout(Some(limit)).map_err(|source| self.broken(source))?;
        let mut rest = Vec::new();
        match (&mut self.stream).take(LONGEST_ANSWER).read_to_end(&mut rest) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// The answer to any request for one object, as the node wrote it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn raw(&mut self, request: &Request) -> Result<serde_json::Value, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// Asks for events; [`Client::next_event`] gives them.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn request_events(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request)
    }

    /// The next line of events; `wait` for as long as it takes, as with `follow`. Nothing once the node is gone.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn next_event(&mut self, wait: bool) -> Result<Option<Streamed>, ClientError> {
        let patience = if wait { None } else { Some(PATIENCE) };
        self.stream.get_ref().set_read_timeout(patience).map_err(|source| self.broken(source))?;
        match self.receive() {
            Ok(streamed) => Ok(Some(streamed)),
            Err(ClientError::Broken { source, .. })
                if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let written = self.stream.get_mut().write_all(request.to_line().as_bytes());
        match written {
            Ok(()) => Ok(()),
            // The node may have closed the connection after it had said why: that answer is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST_ANSWER);
        limited.read_until(b'\n', &mut line).map_err(|source| self.broken(source))?;
        if line.is_empty() {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice::<Response<T>>(&line) {
            Ok(Response::Ok(value)) => Ok(value),
            Ok(Response::Error(failure)) => Err(ClientError::Refused(failure)),
            Err(error) => Err(ClientError::Garbled { path: self.path.clone(), reason: error.to_string() }),
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        // What the socket calls "would block" is a time limit to the user.
        let source = if source.kind() == io::ErrorKind::WouldBlock {
            io::Error::other(format!("nothing came for {} s", PATIENCE.as_secs()))
        } else {
            source
        };
        ClientError::Broken { path: self.path.clone(), source }
    }
}

fn connect_error(path: &Path, error: io::Error) -> ClientError {
    let path = path.to_owned();
    if error.kind() == io::ErrorKind::NotFound {
        ClientError::NotRunning { path }
    } else if error.kind() == io::ErrorKind::ConnectionRefused {
        ClientError::Dead { path }
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        forbidden(path)
    } else {
        ClientError::Broken { path, source: error }
    }
}

/// Names who may, by the socket itself, or by the directory that hides it.
pub(super) fn forbidden(path: PathBuf) -> ClientError {
    let visible = path.ancestors().find_map(|ancestor| {
        let metadata = std::fs::metadata(ancestor).ok()?;
        Some((ancestor.to_owned(), metadata))
    });
    let Some((path, metadata)) = visible else {
        return ClientError::Broken { path, source: io::ErrorKind::PermissionDenied.into() };
    };
    let user = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
    let user = user.map_or_else(|| metadata.uid().to_string(), |user| user.name);
    let group = Group::from_gid(Gid::from_raw(metadata.gid())).ok().flatten();
    let group = group.map_or_else(|| metadata.gid().to_string(), |group| group.name);
    ClientError::Forbidden {
        path,
        owner: format!("{user}:{group}"),
        mode: metadata.permissions().mode() & 0o7777,
        remedy: format!("run this as user `{user}` or as a member of group `{group}`"),
    }
}
