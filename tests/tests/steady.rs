//! The reactor's passes while nothing happens: they ask the allocator for nothing.
//!
//! Two nodes in this process, over the socket data plane, so that even receiving heartbeats is the reactor's. What a control
//! message costs is not counted against it: each node sends one and receives one in every four intervals.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use heartbeat_user::{
    api::{Client, Request, socket_path},
    clock,
    config::Config,
    daemon::{self, RunOptions},
    status::Status,
};
use nix::sched::{CloneFlags, unshare};

const INTERVAL_MS: u64 = 200;
/// Long enough for five control messages in each direction.
const WATCHED: Duration = Duration::from_millis(20 * INTERVAL_MS);
/// Allocations of one message follow each other within this.
const BURST_NS: u64 = 5_000_000;
const REMEMBERED: usize = 4_096;

/// The system's allocator, and when the watched threads asked it for memory.
struct Watching;

static WATCHED_THREADS: [AtomicI32; 2] = [const { AtomicI32::new(0) }; 2];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static TIMES: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];

fn note() {
    let first = WATCHED_THREADS[0].load(Ordering::Relaxed);
    if first == 0 {
        return;
    }
    // SAFETY: takes nothing and touches nothing of this process.
    let thread = unsafe { libc::gettid() };
    if thread == first || thread == WATCHED_THREADS[1].load(Ordering::Relaxed) {
        let index = COUNT.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = TIMES.get(index) {
            slot.store(clock::monotonic_ns(), Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged; `note` allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[test]
fn a_pass_without_news_allocates_nothing() {
    // Loopback of our own: nobody else's addresses, nobody else's port.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for arguments in [&["link", "set", "lo", "up"][..], &["addr", "add", "127.0.0.2/8", "dev", "lo"]] {
        assert!(Command::new("ip").args(arguments).status().unwrap().success());
    }
    let directory = tempfile::tempdir().unwrap();
    let nodes = ["alpha", "bravo"];
    let files = nodes.map(|name| write_config(directory.path(), name));
    let threads: Vec<_> = files
        .iter()
        .map(|file| {
            let config = Config::load(file).unwrap();
            std::thread::spawn(move || daemon::run(config, RunOptions::default()))
        })
        .collect();
    let sockets = nodes.map(|name| socket_path(&directory.path().join(name).join("run")));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sockets.iter().all(|socket| status(socket).is_some_and(|status| status.view.members == [1, 2])) {
        assert!(Instant::now() < deadline, "no view of both");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Buffers grow to what they need: the 16 remembered heartbeats of each link, the longest message.
    std::thread::sleep(Duration::from_millis(20 * INTERVAL_MS));

    let before = sockets.each_ref().map(|socket| passes(&status(socket).unwrap()));
    let reactors = reactor_threads();
    assert_eq!(reactors.len(), 2, "{reactors:?}");
    WATCHED_THREADS[1].store(reactors[1], Ordering::Relaxed);
    WATCHED_THREADS[0].store(reactors[0], Ordering::Relaxed);
    std::thread::sleep(WATCHED);
    WATCHED_THREADS[0].store(0, Ordering::Relaxed);
    let after = sockets.each_ref().map(|socket| passes(&status(socket).unwrap()));

    let passes: u64 = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    let allocations = COUNT.load(Ordering::Relaxed);
    assert!(allocations < REMEMBERED, "{allocations} allocations in {passes} passes");
    let times: Vec<u64> = TIMES.iter().take(allocations).map(|slot| slot.load(Ordering::Relaxed)).collect();
    let bursts = 1 + times.windows(2).filter(|pair| pair[1] - pair[0] > BURST_NS).count();
    println!("{allocations} allocations in {bursts} bursts, {passes} passes");
    // In five periods of four intervals each of two nodes sends one message and receives one, and may publish a snapshot of
    // changed counters a pass later.
    assert!(bursts <= 2 * 2 * 6, "{bursts} bursts in {passes} passes at {times:?}");
    // Both the judge and the datagrams wake it: the witness that passes went on meanwhile.
    assert!(passes >= 4 * bursts as u64 && passes >= 80, "{passes} passes, {bursts} bursts");
    assert!(allocations > 0, "not even a control message allocated: nothing was watched");

    for socket in &sockets {
        Client::connect(socket).unwrap().order(&Request::Leave {}).unwrap();
    }
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
}

fn status(socket: &Path) -> Option<Status> {
    Client::connect(socket).ok()?.status().ok()
}

fn passes(status: &Status) -> u64 {
    status.counters["reactor_passes"]
}

/// Thread ids of the reactors in this process.
fn reactor_threads() -> Vec<i32> {
    let is_reactor = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "heartbeat-react")
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks.filter(is_reactor).map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

fn write_config(directory: &Path, name: &str) -> PathBuf {
    let place = directory.join(name);
    std::fs::create_dir(&place).unwrap();
    let key = directory.join("key");
    if !key.exists() {
        heartbeat_user::keys::Secret::generate().unwrap().write_new(&key).unwrap();
    }
    let mut text = format!(
        "[cluster]\nname = \"steady\"\nsend_key = 1\nkey = [{{ id = 1, file = \"{}\" }}]\n[timing]\ninterval = \
         \"{INTERVAL_MS}ms\"\n[quorum]\ntwo_node = \"tie-breaker\"\n[[network]]\nid = 1\nname = \"private\"\nrole = \
         \"internal\"\n",
        key.display()
    );
    for (id, node) in [(1, "alpha"), (2, "bravo")] {
        write!(text, "[[node]]\nid = {id}\nname = \"{node}\"\naddresses = {{ private = \"127.0.0.{id}\" }}\n").unwrap();
    }
    write!(text, "[local]\nnode = \"{name}\"\ndataplane = \"socket\"\n").unwrap();
    for kind in ["run", "state", "bpf"] {
        writeln!(text, "{kind}_dir = \"{}\"", place.join(kind).display()).unwrap();
    }
    let file = place.join("heartbeat.toml");
    std::fs::write(&file, text).unwrap();
    file
}
