//! `GET /metrics` over HTTP: a bounded number of clients, each with a bounded time.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Clients at once: a few Prometheus servers, and somebody who looks.
const CLIENTS: usize = 16;
/// How long a client may be connected: it connects anew then, and one that does not read gives its place back.
const LONGEST: Duration = Duration::from_secs(120);
/// How long a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// Bytes of a request's head: ours have a few hundred.
const HEAD_BYTES: usize = 16 << 10;
/// Without file descriptors, accepting fails at once and again: that must not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The content type of Prometheus' text format.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What became of clients.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients that were let in.
    pub accepted: AtomicU64,
    /// Clients that were turned away, because there were too many.
    pub refused: AtomicU64,
    /// Clients that were cut off, because they took too long.
    pub slow: AtomicU64,
}

/// An address that is bound.
#[derive(Debug)]
pub struct Endpoint(std::net::TcpListener);

impl Endpoint {
    /// Binds the address.
    ///
    /// # Errors
    /// What the system says: the address is not here, or the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The address, with the port that the system chose where 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves what `read` gives until it is dropped; then clients are cut off.
///
/// # Errors
/// If the listener cannot be used by this runtime.
pub async fn serve<F>(endpoint: Endpoint, read: F, counters: Arc<Counters>) -> io::Result<()>
where
    F: Fn() -> String + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::from_std(endpoint.0)?;
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        counters.accepted.fetch_add(1, Ordering::Relaxed);
                        let (read, counters) = (read.clone(), Arc::clone(&counters));
                        sessions.spawn(async move {
                            if tokio::time::timeout(LONGEST, session(stream, read)).await.is_err() {
                                counters.slow.fetch_add(1, Ordering::Relaxed);
                            }
                            drop(place);
                        });
                    }
                    // Closed without a word: whoever asks for metrics too often asks again anyway.
                    Err(_) => {
                        counters.refused.fetch_add(1, Ordering::Relaxed);
                    }
                },
                Err(error) => {
                    tracing::warn!("no client of the metrics can be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Ended sessions are collected, so that the set does not grow.
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn session<F>(stream: TcpStream, read: F)
where
    F: Fn() -> String + Send + Sync,
{
    let service = service_fn(|request| {
        let response = answer(&request, &read);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong is the client's to see.
    let _ended = connection.await;
}

fn answer(request: &Request<Incoming>, read: impl Fn() -> String) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, text) = match request.uri().path() {
        _ if !is_read => (StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n".to_owned()),
        "/metrics" => (StatusCode::OK, read()),
        "/" => (StatusCode::OK, "The metrics are at /metrics.\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "The metrics are at /metrics.\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn start() -> (SocketAddr, Arc<Counters>) {
        let endpoint = Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = endpoint.address().unwrap();
        let counters = Arc::new(Counters::default());
        tokio::spawn(serve(endpoint, || "heartbeat_quorate 1\n".to_owned(), Arc::clone(&counters)));
        (address, counters)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_read_where_prometheus_looks() {
        let (address, counters) = start();
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("version=0.0.4") && answer.ends_with("\r\n\r\nheartbeat_quorate 1\n"), "{answer}");
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        let elsewhere = ask(address, "GET /other HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
        let post =
            ask(address, "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405") && post.contains("GET, HEAD"), "{post}");
        assert!(ask(address, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        assert_eq!(counters.accepted.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_turned_away_and_counted() {
        let (address, counters) = start();
        let mut idle = Vec::new();
        for _client in 0..CLIENTS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut late = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        // The connection is closed, or reset: either way there is no answer.
        let read = late.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty(), "{read:?}");
        assert_eq!(counters.refused.load(Ordering::Relaxed), 1);
        assert_eq!(counters.accepted.load(Ordering::Relaxed), CLIENTS as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_gives_its_place_back() {
        let (address, _counters) = start();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        let before = tokio::time::Instant::now();
        silent.read_to_end(&mut answer).await.unwrap();
        assert!(before.elapsed() <= LONGEST, "{:?}", before.elapsed());
    }
}
