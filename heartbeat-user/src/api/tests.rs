//! A real socket with a real server, and clients of all manners.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use heartbeat_common::records::Arrival;
use serde_json::{Value, json};

use super::*;
use crate::event::{Draft, EventLog, Filter, kind};
use crate::history::{History, Past};
use crate::status::{Link, Status};
use crate::why::{About, Names, Why, explain};

struct Fixed {
    status: Status,
    events: EventLog,
}

impl Source for Fixed {
    fn status(&self) -> Status {
        self.status.clone()
    }

    fn links(&self) -> Vec<Link> {
        let mut links = self.status.links.clone();
        links.iter_mut().for_each(|link| link.intervals = Some(vec![1, 2, 3]));
        links
    }

    fn history(&self, peer: &NodeName, network: Option<&str>, limit: usize) -> Result<Vec<History>, Failure> {
        if *peer != NodeName::Name("bravo".to_owned()) || network.is_some_and(|network| network != "private") {
            return Err(Failure::new("there is no such link", "known: bravo on private"));
        }
        let mut history = Past { interval_ns: 100_000_000, longest_regular_ns: 112_500_000, ..Past::default() };
        history.arrivals = (1..=3)
            .map(|sequence| Arrival { stamp_ns: sequence * 100_000_000, sent_ns: sequence * 100_000_000, sequence })
            .collect();
        Ok(vec![history.told(2, "private", 400_000_000, limit)])
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn metrics(&self) -> String {
        "heartbeat_quorate 1\n".to_owned()
    }

    fn why(&self, about: Option<&About>) -> Result<Why, Failure> {
        let nodes = [(1, "alpha".to_owned()), (2, "bravo".to_owned())].into();
        let networks = [(1, "private".to_owned())].into();
        let events = self.events.query(&Filter::default(), usize::MAX);
        explain(&events, about, Names { local: 1, nodes: &nodes, networks: &networks })
    }

    async fn operate(&self, operation: Operation, caller: Caller) -> Result<Done, Failure> {
        let text = format!("{operation:?} by {:?}", caller.uid);
        if operation == Operation::ConfirmFenced(NodeName::Id(9)) {
            return Err(Failure::new("there is no node 9", "known: alpha (1)"));
        }
        Ok(Done { done: operation.name().to_owned(), text, view: self.status.view.clone() })
    }
}

/// A served directory; the server ends with it.
struct Node {
    directory: tempfile::TempDir,
    source: Arc<Fixed>,
    counters: Arc<Counters>,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Arc::new(Fixed {
            status: crate::status::example(),
            events: EventLog::open(1, &directory.path().join("state")).unwrap(),
        });
        let counters = Arc::new(Counters::default());
        let listener = Listener::bind(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&source), Arc::clone(&counters)));
        Self { directory, source, counters, _runtime: runtime }
    }

    fn path(&self) -> PathBuf {
        socket_path(self.directory.path())
    }

    fn connect(&self) -> Client {
        Client::connect(&self.path()).unwrap()
    }

    /// A connection on which a test writes what it likes.
    fn plain(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        BufReader::new(stream)
    }
}

fn answer(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

fn ask(stream: &mut BufReader<UnixStream>, line: &str) -> Value {
    stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    answer(stream)
}

/// Waits for a counter of another thread, with a bound.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn status_and_links_come_over_the_socket() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.status().unwrap(), crate::status::example());
    assert_eq!(client.links().unwrap()[0].intervals, Some(vec![1, 2, 3]));
    assert_eq!(client.raw(&Request::Status {}).unwrap()["node"]["name"], json!("alpha"));
}

#[test]
fn the_last_arrivals_come_over_the_socket() {
    let node = Node::start();
    let mut client = node.connect();
    let bravo = || NodeName::Name("bravo".to_owned());
    let sequences = |histories: Vec<History>| {
        let arrivals = histories.into_iter().flat_map(|history| history.arrivals);
        arrivals.map(|arrival| arrival.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences(client.history(bravo(), None, None).unwrap()), [1, 2, 3]);
    assert_eq!(sequences(client.history(bravo(), Some("private".to_owned()), Some(2)).unwrap()), [2, 3]);
    let refused = client.history(bravo(), Some("public".to_owned()), None).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(failure) if failure.remedy.contains("private")), "{refused}");
    let mut stream = node.plain();
    let told = ask(&mut stream, r#"{"v":1,"request":"history","peer":"bravo","limit":1}"#);
    let only = json!({"stamp_ns":300_000_000,"sent_ns":300_000_000,"sequence":3,"gap_ns":100_000_000,
        "sent_gap_ns":100_000_000,"skipped":0,"behind":false,"cause":null});
    let expected =
        json!([{"peer":2,"network":"private","interval_ns":100_000_000,"now_ns":400_000_000,"arrivals":[only]}]);
    assert_eq!(told["ok"], expected);
    let refused = ask(&mut stream, r#"{"v":1,"request":"history"}"#);
    assert!(refused["error"]["message"].as_str().unwrap().contains("missing field `peer`"), "{refused}");
}

#[test]
fn the_socket_is_for_owner_and_group() {
    let node = Node::start();
    assert_eq!(std::fs::metadata(node.path()).unwrap().permissions().mode() & 0o7777, 0o660);
}

#[test]
fn events_are_filtered_and_ended() {
    let node = Node::start();
    for number in 0..5 {
        node.source.events.record(Draft::new(&kind::LINK_LOST, 5, number.to_string()));
    }
    node.source.events.record(Draft::new(&kind::LINK_RESTORED, 5, "back"));
    let mut stream = node.plain();
    let first = ask(&mut stream, r#"{"v":1,"request":"events","id":1123,"limit":2}"#);
    assert_eq!(first["ok"]["event"]["text"], json!("3"));
    assert_eq!(answer(&mut stream)["ok"]["event"]["text"], json!("4"));
    assert_eq!(answer(&mut stream), json!({"ok":{"end":2}}));
    let first = ask(&mut stream, r#"{"v":1,"request":"events","after":5}"#);
    assert_eq!(first["ok"]["event"]["name"], json!("link_restored"));
    assert_eq!(answer(&mut stream), json!({"ok":{"end":1}}));
}

#[test]
fn a_follower_sees_past_and_future() {
    let node = Node::start();
    node.source.events.record(Draft::new(&kind::LINK_LOST, 5, "past"));
    let mut client = node.connect();
    let request = Request::Events { since: None, id: None, after: None, limit: None, follow: true };
    client.request_events(&request).unwrap();
    let text = |streamed: Option<Streamed>| match streamed {
        Some(Streamed::Event(event)) => event.text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(client.next_event(true).unwrap()), "past");
    node.source.events.record(Draft::new(&kind::LINK_RESTORED, 6, "future"));
    assert_eq!(text(client.next_event(true).unwrap()), "future");
    drop(node);
    assert_eq!(client.next_event(true).unwrap(), None, "the end of the node is the end of the stream");
}

#[test]
fn bad_requests_are_refused_and_the_connection_goes_on() {
    let node = Node::start();
    let mut stream = node.plain();
    for (line, expected) in [
        ("hello", "this is no request"),
        ("[]", "this is no request"),
        ("{}", "the version is missing"),
        (r#"{"request":"status"}"#, "the version is missing"),
        (r#"{"v":2,"request":"status"}"#, "version 2 is not spoken here"),
        (r#"{"v":"1","request":"status"}"#, "is not spoken here"),
        (r#"{"v":1}"#, "not known here"),
        (r#"{"v":1,"request":"shutdown"}"#, "not known here: unknown variant `shutdown`"),
        (r#"{"v":1,"request":"status","node":3}"#, "unknown field `node`"),
        (r#"{"v":1,"request":"events","id":-1}"#, "not known here"),
        (r#"{"v":1,"request":"events","since":"yesterday"}"#, "is not a time in RFC 3339"),
    ] {
        let error = &ask(&mut stream, line)["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{line}: {error}");
        assert_ne!(error["remedy"], json!(""), "{line}");
    }
    assert_eq!(node.counters.failed.load(Ordering::Relaxed), 11);
    assert_eq!(ask(&mut stream, r#"{"v":1,"request":"status"}"#)["ok"]["cluster"], json!("demo"));
}

#[test]
fn orders_reach_the_node_and_their_outcome_comes_back() {
    let node = Node::start();
    let mut stream = node.plain();
    let uid = nix::unistd::Uid::effective().as_raw();
    for (line, done, text) in [
        (r#"{"v":1,"request":"leave"}"#, "leave", "Leave"),
        (r#"{"v":1,"request":"form","force":true}"#, "form", "FormForced"),
        (r#"{"v":1,"request":"confirm_fenced","node":3}"#, "confirm_fenced", "ConfirmFenced(Id(3))"),
        (r#"{"v":1,"request":"clear_quarantine","node":"c"}"#, "clear_quarantine", r#"ClearQuarantine(Name("c"))"#),
    ] {
        let answer = &ask(&mut stream, line)["ok"];
        let text = format!("{text} by Some({uid})");
        assert_eq!((&answer["done"], &answer["text"]), (&json!(done), &json!(text)), "{answer}");
        assert_eq!(answer["view"]["number"], json!(5), "{answer}");
    }
    let refused = ask(&mut stream, r#"{"v":1,"request":"confirm_fenced","node":9}"#);
    assert_eq!(refused["error"]["message"], json!("there is no node 9"));
    for without_word in [r#"{"v":1,"request":"form"}"#, r#"{"v":1,"request":"form","force":false}"#] {
        let refused = ask(&mut stream, without_word);
        assert!(refused["error"]["remedy"].as_str().unwrap_or_default().contains("on your word"), "{refused}");
    }
}

#[test]
fn a_request_without_end_is_cut_off() {
    let node = Node::start();
    let mut stream = node.plain();
    let endless = vec![b' '; (64 << 10) + 1];
    stream.get_mut().write_all(&endless).unwrap();
    assert_eq!(answer(&mut stream)["error"]["message"], json!("a request has at most 65536 bytes"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is closed");
}

#[test]
fn too_many_clients_are_turned_away_with_a_reason_until_some_leave() {
    let node = Node::start();
    let clients: Vec<Client> = (0..64).map(|_| node.connect()).collect();
    until("64 clients", || node.counters.accepted.load(Ordering::Relaxed) == 64);
    let error = node.connect().status().unwrap_err();
    assert!(matches!(&error, ClientError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("64 clients are connected already"), "{error}");
    assert_eq!(node.counters.refused.load(Ordering::Relaxed), 1);
    drop(clients);
    until("a place", || node.connect().status().is_ok());
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_counted_and_disturbs_nobody() {
    let node = Node::start();
    let mut silent = node.plain();
    silent.get_mut().write_all(b"{\"v\":1,\"request\":\"events\",\"follow\":true}\n").unwrap();
    until("the follower", || node.counters.accepted.load(Ordering::Relaxed) == 1);
    // More than any socket buffer holds.
    let long = "x".repeat(64 << 10);
    let flooded = Instant::now();
    for _ in 0..100 {
        node.source.events.record(Draft::new(&kind::LINK_LOST, 5, long.as_str()));
    }
    node.connect().status().unwrap();
    assert!(flooded.elapsed() < Duration::from_secs(4), "neither the log nor another client waits for it");
    until("the slow client's end", || node.counters.slow.load(Ordering::Relaxed) == 1);
}

/// Time stands still until nobody has anything to do, then jumps to the next limit.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_nothing_is_cut_off_after_a_minute() {
    use tokio::io::AsyncReadExt as _;
    let directory = tempfile::tempdir().unwrap();
    let events = EventLog::open(1, directory.path()).unwrap();
    let source = Arc::new(Fixed { status: crate::status::example(), events });
    let listener = Listener::bind(directory.path()).unwrap();
    let path = listener.path().to_owned();
    let server = tokio::spawn(serve(listener, source, Arc::new(Counters::default())));
    let began = tokio::time::Instant::now();
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(began.elapsed().as_secs(), 60);
    server.abort();
}

#[test]
fn errors_of_connecting_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(directory.path());
    let message = Client::connect(&path).unwrap_err().to_string();
    assert!(message.contains("is the node running?") && message.contains(path.to_str().unwrap()), "{message}");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let message = Client::connect(&path).unwrap_err().to_string();
    assert!(message.contains("runs no longer"), "{message}");
    let message = forbidden_message(&path);
    assert!(message.contains("mode") && message.contains("member of group"), "{message}");
}

fn forbidden_message(path: &Path) -> String {
    client::forbidden(path.to_owned()).to_string()
}

#[test]
fn an_answer_that_makes_no_sense_is_called_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(directory.path());
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"ok\":17}\n").unwrap();
        // Until the client is gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = Client::connect(&path).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::Garbled { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn one_directory_has_one_node_and_a_dead_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let first = Listener::bind(directory.path()).unwrap();
    let message = Listener::bind(directory.path()).unwrap_err().to_string();
    assert!(message.contains("runs already") && message.contains(&std::process::id().to_string()), "{message}");
    assert!(first.path().exists(), "the living one keeps its socket");
    drop(first);
    assert!(!socket_path(directory.path()).exists());
    // What a killed node leaves: the socket, the lock file without its lock, perhaps the unfinished socket.
    drop(std::os::unix::net::UnixListener::bind(socket_path(directory.path())).unwrap());
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("new.sock")).unwrap());
    let second = Listener::bind(directory.path()).unwrap();
    UnixStream::connect(second.path()).unwrap();
}
