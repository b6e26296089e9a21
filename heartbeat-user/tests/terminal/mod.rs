//! A program on a terminal of its own, and what it shows there.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

/// Longer than any answer takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at whether a process has ended: there is no event for it here.
const LOOK: u16 = 20;

/// The terminal, and the program whose controlling terminal it is.
pub(crate) struct Terminal {
    keyboard: File,
    /// Held open, so that it can be looked at when the program has ended.
    line: OwnedFd,
    program: Child,
    picture: vt100::Parser,
}

impl Terminal {
    /// Starts the program on a terminal of this size.
    pub(crate) fn start(program: Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        // Of a session of its own: only such a process has a terminal that signals it.
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            value.map(|value| leader.env(name, value));
        }
        leader.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        Self {
            keyboard: pair.master.into(),
            line: pair.slave,
            program: leader.spawn().unwrap(),
            picture: vt100::Parser::new(rows, columns, 0),
        }
    }

    /// Reads what the program draws until these words are shown.
    pub(crate) fn wait_for(&mut self, words: &str) {
        self.wait_until(words, |shown| shown.contains(words));
    }

    /// Reads what the program draws until it is as wanted; in between, half of a picture may be there.
    pub(crate) fn wait_until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_there(&self.shown()) {
            assert!(Instant::now() < end, "not there: {what}\n{}", self.shown());
            self.look();
        }
    }

    /// What is shown now.
    pub(crate) fn shown(&self) -> String {
        self.picture.screen().contents()
    }

    /// Whether a program draws on the whole of it: another screen, no cursor, keys passed on as they are.
    pub(crate) fn is_in_use(&self) -> bool {
        let keys = tcgetattr(&self.line).unwrap().local_flags;
        let signs = [
            self.picture.screen().alternate_screen(),
            self.picture.screen().hide_cursor(),
            !keys.contains(LocalFlags::ICANON | LocalFlags::ECHO),
        ];
        assert!(signs.iter().all(|sign| *sign == signs[0]), "half restored (screen, cursor, keys): {signs:?}");
        signs[0]
    }

    /// Presses a key, or several.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.program.id().try_into().unwrap()), signal).unwrap();
    }

    /// Gives the terminal another size, which its kernel tells the program.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.picture.screen_mut().set_size(rows, columns);
        let size = [rows.to_string(), columns.to_string()];
        let mut stty = Command::new("stty");
        stty.args(["rows", &size[0], "columns", &size[1]]).stdin(Stdio::from(self.line.try_clone().unwrap()));
        assert!(stty.status().unwrap().success());
    }

    /// Waits for the program's end and reads the rest of what it wrote; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it goes on:\n{}", self.shown());
            self.look();
        };
        while self.look() {}
        status.code()
    }

    /// Takes in what has been written, after a short wait if there is nothing; whether there was anything.
    fn look(&mut self) -> bool {
        let mut wanted = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
        poll(&mut wanted, PollTimeout::from(LOOK)).unwrap();
        let mut bytes = [0; 4096];
        match self.keyboard.read(&mut bytes) {
            Ok(count) => {
                self.picture.process(&bytes[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("the terminal cannot be read: {error}"),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only one that a failed test has left behind still runs.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
