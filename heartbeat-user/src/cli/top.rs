//! `heartbeat top`: the terminal, and the rounds of questions.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{Event as Input, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::DefaultTerminal;
use ratatui::widgets::Paragraph;

use crate::api::{Client, ClientError, NodeName, Request, Streamed};
use crate::top::{Answer, State, screen};

pub(super) const HELP: &str = "\
Who hears whom on each network; each link with the gaps between its last
heartbeats (a regular one is two high, red: too long); the newest events; and
how well this node itself keeps time. Asked once a second. A node that is
started anew is found again, and the first line says so.

Keys: q or Ctrl-C quits.

Examples:
  heartbeat top
  heartbeat --socket /run/hb-b/heartbeat.sock top";

/// Between two rounds of questions: what is looked at changes no faster for people.
const ROUND: Duration = Duration::from_secs(1);
/// How long a key or a signal waits at most.
const GLANCE: Duration = Duration::from_millis(100);
/// Events asked for: more than the tallest terminal shows.
const EVENTS: u64 = 100;

type Round = Result<Answer, String>;

pub(super) fn top(socket: &Path) -> anyhow::Result<u8> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("`heartbeat top` draws on a terminal, and this is none (`heartbeat status --json` is for programs)");
    }
    // Before the thread is there: it inherits the mask, so that only the loop below sees them.
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
    signals.thread_block().context("cannot hold back signals")?;
    let ended = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot receive signals")?;
    // One round may wait; a further one is not asked for before that is drawn.
    let (sender, rounds) = sync_channel(1);
    let socket: PathBuf = socket.to_owned();
    std::thread::Builder::new()
        .name("questions".to_owned())
        .spawn(move || ask_in_rounds(&socket, &sender))
        .context("cannot start the thread that asks")?;
    on_the_terminal(|terminal| show(terminal, &rounds, &ended)).map(|()| 0)
}

/// Lends the terminal; it is as before afterwards, in a panic of any thread, too.
fn on_the_terminal<T>(draw: impl FnOnce(&mut DefaultTerminal) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    // The hook of ratatui leaves the cursor hidden.
    let restore = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = crossterm::execute!(io::stdout(), crossterm::cursor::Show);
        restore(panic);
    }));
    let outcome = draw(&mut terminal);
    ratatui::try_restore().context("cannot restore the terminal")?;
    outcome
}

/// Draws until somebody quits.
fn show(terminal: &mut DefaultTerminal, rounds: &Receiver<Round>, ended: &SignalFd) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut changed = true;
    loop {
        match rounds.try_recv() {
            Ok(round) => {
                state.update(round);
                changed = true;
            }
            Err(TryRecvError::Empty) => {}
            // It ends before this loop by a panic only.
            Err(TryRecvError::Disconnected) => bail!("the thread that asks the node has failed"),
        }
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| {
                let area = frame.area();
                frame.render_widget(Paragraph::new(screen(&state, area.width, area.height)), area);
            })?;
        }
        if ended.read_signal().context("cannot read signals")?.is_some() {
            return Ok(());
        }
        if poll(GLANCE)? {
            let input = read()?;
            if quits(&input) {
                return Ok(());
            }
            changed = matches!(input, Input::Resize(..));
        }
    }
}

/// In raw mode Ctrl-C is a key, and no signal.
fn quits(input: &Input) -> bool {
    let Input::Key(key) = input else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || control_c)
}

/// Until nobody takes an answer any more. A connection that fails is made anew in the next round.
fn ask_in_rounds(socket: &Path, rounds: &SyncSender<Round>) {
    let mut client = None;
    loop {
        let round = ask(socket, &mut client).map_err(|error| {
            client = None;
            error.to_string()
        });
        if rounds.send(round).is_err() {
            return;
        }
        std::thread::sleep(ROUND);
    }
}

fn ask(socket: &Path, connection: &mut Option<Client>) -> Result<Answer, ClientError> {
    let client = match connection {
        Some(client) => client,
        None => connection.insert(Client::connect(socket)?),
    };
    let status = client.status()?;
    let mut histories = Vec::new();
    for node in status.nodes.iter().filter(|node| status.links.iter().any(|link| link.peer == node.id)) {
        histories.extend(client.history(NodeName::Id(node.id), None, None)?);
    }
    client.request_events(&Request::Events {
        since: None,
        id: None,
        after: None,
        limit: Some(EVENTS),
        follow: false,
    })?;
    let mut events = Vec::new();
    while let Some(Streamed::Event(event)) = client.next_event(false)? {
        events.push(event);
    }
    Ok(Answer { status, histories, events })
}

#[cfg(test)]
#[path = "../../tests/terminal/mod.rs"]
#[allow(dead_code, reason = "the tests of the whole program press keys and resize, too")]
mod terminal;

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::terminal::Terminal;
    use super::*;

    /// Set for the process that panics on a terminal: this test, run again.
    const PANIC: &str = "HEARTBEAT_TEST_PANIC_ON_TERMINAL";

    #[test]
    fn the_terminal_is_as_before_when_a_thread_panics() {
        if std::env::var_os(PANIC).is_some() {
            let _never = on_the_terminal(|terminal| -> anyhow::Result<()> {
                terminal.draw(|frame| frame.render_widget(Paragraph::new("drawn"), frame.area()))?;
                read()?;
                let failing = std::thread::spawn(|| panic!("as it should"));
                assert!(failing.join().is_err());
                // The hook of the panic has restored it; nothing here does.
                std::process::exit(77)
            });
        }
        let name = "cli::top::tests::the_terminal_is_as_before_when_a_thread_panics";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name, "--nocapture"]).env(PANIC, "1");
        let mut terminal = Terminal::start(again, 24, 80);
        terminal.wait_for("drawn");
        assert!(terminal.is_in_use());
        terminal.press(b"x");
        assert_eq!(terminal.end(), Some(77));
        assert!(!terminal.is_in_use());
        assert!(terminal.shown().contains("as it should"), "{}", terminal.shown());
    }

    #[test]
    fn q_and_control_c_quit_and_nothing_else() {
        let key = |code, modifiers| quits(&Input::Key(KeyEvent::new(code, modifiers)));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
        assert!(!quits(&Input::Resize(80, 24)));
    }
}
