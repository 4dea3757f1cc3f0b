//! A case, derived from its number.

use crate::course::{self, Course, Expected};
use crate::course2;
use fastrand::Rng;
use opencode_run_tests::script::Act;
use std::path::Path;

/// How opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Run,
    Serve,
    /// A server of opencode 2.
    Serve2,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Serve | Self::Serve2 => "serve",
        }
    }

    /// Returns the name in statistics.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Serve => "serve",
            Self::Serve2 => "serve of opencode 2",
        }
    }
}

/// The fault that is injected from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Interrupt,
    InterruptTwice,
    Terminate,
    HangUp,
    /// The command is killed.
    Kill,
    /// opencode is killed.
    KillOpencode,
    /// The reader of our stdout is gone.
    CloseStdout,
    /// The limit on the whole turn, in milliseconds.
    Timeout(u64),
    /// The limit on the time without progress, in milliseconds.
    IdleTimeout(u64),
}

impl Fault {
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

/// The time of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Milliseconds after the start of the command.
    Start(u64),
    /// Milliseconds after opencode has started a process that the fault can end.
    Ready(u64),
}

/// The output format.
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

/// A chaos case: a course of opencode, a fault, and when it is injected.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) case: u64,
    pub(crate) transport: Transport,
    pub(crate) format: Format,
    pub(crate) fault: Fault,
    pub(crate) when: When,
    /// The processes that opencode leaves behind.
    pub(crate) leaves: &'static str,
    pub(crate) course: Course,
}

impl Plan {
    /// Draws the case of this number, on this generation of opencode or on any. opencode creates the file `ready` when there is something to end.
    pub(crate) fn draw(case: u64, generation: Option<u8>, ready: &Path) -> Self {
        let mut rng = Rng::with_seed(case);
        let transport = match (rng.u8(..3), generation) {
            (_, Some(2)) | (2, None) => Transport::Serve2,
            (0, _) => Transport::Run,
            _ => Transport::Serve,
        };
        let format = [Format::Json, Format::Json, Format::Text, Format::StreamJson][rng.usize(..4)];
        let (leaves, escape) = course::escape(&mut rng);
        let ready = Act::WriteFile { path: ready.to_owned(), text: String::new() };
        let course = match transport {
            Transport::Run => course::of_run(&mut rng, ready, escape),
            Transport::Serve => course::of_serve(&mut rng, ready, escape),
            Transport::Serve2 => course2::of_serve(&mut rng, ready, escape),
        };
        let fault = match rng.u8(..12) {
            0 | 1 if course.expected != Expected::Nothing => Fault::Nothing,
            0..=2 => Fault::Timeout(rng.u64(1000..4000)),
            3 => Fault::IdleTimeout(rng.u64(1000..3000)),
            4 | 5 => Fault::Interrupt,
            6 => Fault::InterruptTwice,
            7 => Fault::Terminate,
            8 => Fault::HangUp,
            9 => Fault::Kill,
            10 => Fault::KillOpencode,
            _ => Fault::CloseStdout,
        };
        let early = fault != Fault::KillOpencode && rng.u8(..3) == 0;
        let when = if early { When::Start(rng.u64(..1500)) } else { When::Ready(rng.u64(..300)) };
        Self { case, transport, format, fault, when, leaves, course }
    }
}
