//! A case: all of it follows from its number.

use crate::course::{self, Comes, Course};
use fastrand::Rng;
use opencode_run_tests::script::Act;
use std::path::Path;

/// How opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Run,
    Serve,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Serve => "serve",
        }
    }
}

/// What happens from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happens {
    Nothing,
    Interrupt,
    InterruptTwice,
    Terminate,
    HangUp,
    /// The command is killed.
    Kill,
    /// opencode is killed.
    KillOpencode,
    /// Nobody reads our stdout any more.
    CloseStdout,
    /// The limit on the whole turn, in milliseconds.
    Timeout(u64),
    /// The limit on the time without progress, in milliseconds.
    IdleTimeout(u64),
}

impl Happens {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Interrupt => "SIGINT",
            Self::InterruptTwice => "SIGINT twice",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
            Self::Kill => "SIGKILL",
            Self::KillOpencode => "SIGKILL to opencode",
            Self::CloseStdout => "stdout closed",
            Self::Timeout(_) => "--timeout",
            Self::IdleTimeout(_) => "--idle-timeout",
        }
    }
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So many milliseconds after the start of the command.
    Start(u64),
    /// So many milliseconds after opencode has come so far that there is something to end.
    Ready(u64),
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    StreamJson,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::StreamJson => "stream-json",
        }
    }
}

/// A case.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) case: u64,
    pub(crate) transport: Transport,
    pub(crate) format: Format,
    pub(crate) happens: Happens,
    pub(crate) when: When,
    /// What opencode leaves behind.
    pub(crate) leaves: &'static str,
    pub(crate) course: Course,
}

impl Plan {
    /// Draws the case of this number. By the file `ready` opencode says how far it is.
    pub(crate) fn draw(case: u64, ready: &Path) -> Self {
        let mut rng = Rng::with_seed(case);
        let transport = if rng.bool() { Transport::Run } else { Transport::Serve };
        let format = [Format::Json, Format::Json, Format::Text, Format::StreamJson][rng.usize(..4)];
        let (leaves, escape) = course::escape(&mut rng);
        let ready = Act::WriteFile { path: ready.to_owned(), text: String::new() };
        let course = match transport {
            Transport::Run => course::of_run(&mut rng, ready, escape),
            Transport::Serve => course::of_serve(&mut rng, ready, escape),
        };
        let happens = match rng.u8(..12) {
            0 | 1 if course.comes != Comes::Nothing => Happens::Nothing,
            0..=2 => Happens::Timeout(rng.u64(1000..4000)),
            3 => Happens::IdleTimeout(rng.u64(1000..3000)),
            4 | 5 => Happens::Interrupt,
            6 => Happens::InterruptTwice,
            7 => Happens::Terminate,
            8 => Happens::HangUp,
            9 => Happens::Kill,
            10 => Happens::KillOpencode,
            _ => Happens::CloseStdout,
        };
        let early = happens != Happens::KillOpencode && rng.u8(..3) == 0;
        let when = if early { When::Start(rng.u64(..1500)) } else { When::Ready(rng.u64(..300)) };
        Self { case, transport, format, happens, when, leaves, course }
    }
}
