//! The command as a watcher: started again by itself, to be opencode's parent and to outlive its own.
//!
//! Only on Linux can a process adopt what its descendants set free. Elsewhere opencode is started without a watcher.

use crate::Watcher;
use std::process::ExitCode;

/// The first argument of a watcher. It is looked for before any other, so that a watcher is there within milliseconds, and
/// no help shows it.
const NAME: &str = "__watch";

/// Returns the watcher that opencode is started under.
pub(crate) fn watcher() -> Option<Watcher> {
    // Not by its path: whoever replaces the command while it runs does not replace its watcher.
    cfg!(target_os = "linux").then(|| Watcher::new("/proc/self/exe", [NAME]))
}

/// Is a watcher, where this process was started as one. Then returns how it ended.
#[cfg(target_os = "linux")]
pub(crate) fn main() -> Option<ExitCode> {
    use super::console::Console;
    use super::error::CommandError;
    use super::exit_code::Code;
    use opencode_run_core::FailureKind;

    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != NAME {
        return None;
    }
    Some(opencode_run_process::watch(arguments).unwrap_or_else(|error| {
        Console::error(&CommandError::of(FailureKind::Opencode, &error));
        Code::OPENCODE.into()
    }))
}

/// Is no watcher.
#[cfg(not(target_os = "linux"))]
pub(crate) fn main() -> Option<ExitCode> {
    None
}
