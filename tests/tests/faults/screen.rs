//! The command on a terminal with an emulated screen.

use crate::support::{HANG, Outcome, Running};
use rustix::process::Signal;
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vt100::Parser;

/// The number of lines kept above the screen.
const SCROLLBACK: usize = 200;

/// A command on a terminal.
pub(crate) struct Screen {
    running: Running,
    terminal: File,
    /// The modes of the terminal before the command.
    before: Termios,
    state: Arc<Mutex<State>>,
    reader: JoinHandle<()>,
}

struct State {
    parser: Parser,
    bytes: Vec<u8>,
}

impl Screen {
    /// Starts a command on a terminal of this many rows and columns.
    pub(crate) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let (mut running, before) = Running::spawn_on_terminal_with(command, size(rows, columns));
        let terminal = running.take_terminal();
        let parser = Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), SCROLLBACK);
        let state = Arc::new(Mutex::new(State { parser, bytes: Vec::new() }));
        let mut output = terminal.try_clone().unwrap();
        let shown = Arc::clone(&state);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            // Reading fails when the other end is closed.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut state = shown.lock().unwrap();
                state.parser.process(&bytes[..count]);
                state.bytes.extend_from_slice(&bytes[..count]);
            }
        });
        Self { running, terminal, before, state, reader }
    }

    /// Returns the lines on the screen.
    pub(crate) fn contents(&self) -> String {
        self.state.lock().unwrap().parser.screen().contents()
    }

    /// Waits until the screen shows a text.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, |contents| contents.contains(text));
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let what = || format!("{what}; the screen shows\n{}", self.contents());
        let began = std::time::Instant::now();
        while !condition(&self.contents()) {
            assert!(began.elapsed() < HANG, "waited in vain for {}", what());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub(crate) fn type_in(&self, keys: &str) {
        (&self.terminal).write_all(keys.as_bytes()).unwrap();
    }

    /// Returns whether the terminal has the modes that it had before the command.
    pub(crate) fn is_restored(&self) -> bool {
        modes_of(&self.terminal) == text_of(&self.before)
    }

    /// Returns whether a line editor has the terminal.
    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Returns the id of the process that the test started.
    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Kills the second process of the command, which does the work.
    pub(crate) fn kill_worker(&self) {
        let worker = opencode_run_tests::worker_of(self.id()).unwrap().try_into().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    }

    /// Resizes the window.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.terminal, size(rows, columns)).unwrap();
        self.state.lock().unwrap().parser.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
    }

    /// Waits for the exit while the terminal stays open, and asserts that the command has restored the terminal.
    /// Returns the final screen and all output.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let Self { running, terminal, before, state, reader } = self;
        let outcome = running.wait();
        let modes = modes_of(&terminal);
        drop(terminal);
        reader.join().unwrap();
        let state = state.lock().unwrap();
        let bytes = String::from_utf8_lossy(&state.bytes).into_owned();
        assert_eq!(modes, text_of(&before), "the modes of the terminal: {bytes:?}");
        assert_clean(&bytes);
        Ended { outcome, contents: state.parser.screen().contents(), bytes }
    }
}

/// Asserts that the output leaves no bracketed paste, hidden cursor or style behind.
#[track_caller]
fn assert_clean(bytes: &str) {
    for (on, off) in [("\u{1b}[?2004h", "\u{1b}[?2004l"), ("\u{1b}[?25l", "\u{1b}[?25h")] {
        assert!(bytes.rfind(on) <= bytes.rfind(off), "{on:?} is not undone: {bytes:?}");
    }
    let styles = bytes.split("\u{1b}[").filter_map(|rest| rest.split_once('m')).map(|(style, _)| style);
    let last = styles.filter(|style| style.chars().all(|c| c.is_ascii_digit() || c == ';')).last();
    assert!(matches!(last, None | Some("" | "0")), "the style {last:?} is left: {bytes:?}");
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) contents: String,
    pub(crate) bytes: String,
}

fn modes_of(terminal: &File) -> String {
    text_of(&tcgetattr(terminal).unwrap())
}

fn text_of(modes: &Termios) -> String {
    format!("{modes:?}")
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
