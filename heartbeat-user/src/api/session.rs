//! One client: reads requests line by line, answers each before it reads the next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::operation::{Caller, Operation};
use super::protocol::{Failure, Request, Response, Streamed, filter};
use super::server::{Counters, Source};
use crate::event::{Filter, Followed, Follower};

/// The longest request has a few hundred bytes.
const LONGEST_REQUEST: u64 = 64 << 10;
/// A client that asks nothing for so long has been forgotten by its user, and takes a place.
const IDLE: Duration = Duration::from_secs(60);
/// A client that takes no byte for so long does not read.
const SLOW: Duration = Duration::from_secs(5);

/// The client is not to be served any longer.
struct Gone;

struct Session<'node, S> {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    source: &'node S,
    counters: &'node Counters,
    caller: Caller,
}

pub(super) async fn session<S: Source>(stream: UnixStream, source: &S, counters: &Counters) {
    // Without an answer of the kernel nobody is trusted with more than looking.
    let caller = Caller { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) };
    let (reader, writer) = stream.into_split();
    let mut session = Session { reader: BufReader::new(reader), writer, source, counters, caller };
    while session.serve_one().await.is_ok() {}
}

impl<S: Source> Session<'_, S> {
    async fn serve_one(&mut self) -> Result<(), Gone> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_REQUEST + 1);
        match timeout(IDLE, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Err(Gone),
        }
        if line.len() as u64 > LONGEST_REQUEST {
            let message = format!("a request has at most {LONGEST_REQUEST} bytes");
            self.refuse(Failure::new(message, "send one JSON object a line")).await?;
            return Err(Gone);
        }
        match Request::parse(&line) {
            Ok(Request::Status {}) => self.answer(&self.source.status()).await,
            Ok(Request::Links {}) => self.answer(&self.source.links()).await,
            Ok(Request::History { peer, network, limit }) => {
                let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
                match self.source.history(&peer, network.as_deref(), limit) {
                    Ok(histories) => self.answer(&histories).await,
                    Err(failure) => self.refuse(failure).await,
                }
            }
            Ok(Request::Metrics {}) => self.answer(&self.source.metrics()).await,
            Ok(Request::Events { since, id, after, limit, follow }) => {
                let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
                self.events(filter(since, id, after), limit, follow).await
            }
            Ok(Request::Why { about }) => match self.source.why(about.as_ref()) {
                Ok(why) => self.answer(&why).await,
                Err(failure) => self.refuse(failure).await,
            },
            Ok(Request::Leave {}) => self.operate(Operation::Leave).await,
            Ok(Request::Form { force: true }) => self.operate(Operation::FormForced).await,
            Ok(Request::Form { force: false }) => {
                let message = "a cluster forms by itself once a majority of the votes is there";
                self.refuse(Failure::new(message, "force says, on your word, that all other nodes are off")).await
            }
            Ok(Request::ConfirmFenced { node }) => self.operate(Operation::ConfirmFenced(node)).await,
            Ok(Request::ClearQuarantine { node }) => self.operate(Operation::ClearQuarantine(node)).await,
            Err(failure) => self.refuse(failure).await,
        }
    }

    async fn operate(&mut self, operation: Operation) -> Result<(), Gone> {
        let done = match self.caller.may_change() {
            Ok(()) => self.source.operate(operation, self.caller).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(done) => self.answer(&done).await,
            Err(failure) => self.refuse(failure).await,
        }
    }

    async fn events(&mut self, filter: Filter, limit: usize, follow: bool) -> Result<(), Gone> {
        let (events, follower) = if follow {
            let (events, follower) = self.source.events().follow(filter, limit);
            (events, Some(follower))
        } else {
            (self.source.events().query(&filter, limit), None)
        };
        let count = events.len() as u64;
        for event in events {
            self.answer(&Streamed::Event((*event).clone())).await?;
        }
        match follower {
            Some(follower) => self.follow(follower).await,
            None => self.answer(&Streamed::End(count)).await,
        }
    }

    /// Ends when the client closes its side, or sends anything.
    async fn follow(&mut self, mut follower: Follower) -> Result<(), Gone> {
        loop {
            tokio::select! {
                followed = follower.next() => match followed {
                    Some(Followed::Event(event)) => self.answer(&Streamed::Event((*event).clone())).await?,
                    Some(Followed::Lagged(missed)) => self.answer(&Streamed::Lagged(missed)).await?,
                    None => return Err(Gone),
                },
                _ = self.reader.fill_buf() => return Err(Gone),
            }
        }
    }

    async fn answer<T: Serialize>(&mut self, value: &T) -> Result<(), Gone> {
        match Response::Ok(value).to_line() {
            Ok(line) => self.write(&line).await,
            Err(error) => {
                let message = format!("the answer cannot be written: {error}");
                self.refuse(Failure::new(message, "report it: this is a defect")).await
            }
        }
    }

    async fn refuse(&mut self, failure: Failure) -> Result<(), Gone> {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        match Response::<()>::Error(failure).to_line() {
            Ok(line) => self.write(&line).await,
            Err(_) => Err(Gone),
        }
    }

    async fn write(&mut self, line: &str) -> Result<(), Gone> {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match timeout(SLOW, self.writer.write(rest)).await {
                Ok(Ok(written)) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                Ok(Ok(_) | Err(_)) => return Err(Gone),
                Err(_) => {
                    self.counters.slow.fetch_add(1, Ordering::Relaxed);
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }
}
