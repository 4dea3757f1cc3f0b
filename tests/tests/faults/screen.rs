//! The command on a terminal with an emulated screen.

use crate::support::{HANG, Outcome, Running};
use rustix::process::Signal;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
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
        let mut running = Running::spawn_on_terminal_of(command, size(rows, columns));
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
        Self { running, terminal, state, reader }
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

    /// Returns whether the terminal echoes input and is in line mode.
    pub(crate) fn is_restored(&self) -> bool {
        modes_are_restored(&self.terminal)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Kills the second process of the command, which does the work.
    pub(crate) fn kill_worker(&self) {
        let monitor = self.running.child.id();
        let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
        let worker: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    }

    /// Waits for the end of the command while its terminal stays open, and asserts that the terminal is restored then.
    #[track_caller]
    pub(crate) fn wait_restored(self) -> Ended {
        let Self { running, terminal, state, reader } = self;
        let outcome = running.wait();
        assert!(modes_are_restored(&terminal), "{:?}", state.lock().unwrap().parser.screen().contents());
        drop(terminal);
        reader.join().unwrap();
        let state = state.lock().unwrap();
        let bytes = String::from_utf8_lossy(&state.bytes).into_owned();
        Ended { outcome, contents: state.parser.screen().contents(), bytes }
    }

    /// Resizes the window.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.terminal, size(rows, columns)).unwrap();
        self.state.lock().unwrap().parser.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
    }

    /// Waits for the exit; returns it with the final screen and all output.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let Self { running, terminal, state, reader } = self;
        let outcome = running.wait();
        drop(terminal);
        reader.join().unwrap();
        let state = state.lock().unwrap();
        let bytes = String::from_utf8_lossy(&state.bytes).into_owned();
        Ended { outcome, contents: state.parser.screen().contents(), bytes }
    }
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) contents: String,
    pub(crate) bytes: String,
}

fn modes_are_restored(terminal: &File) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
