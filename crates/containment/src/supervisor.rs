//! Lets an embedding program start its processes under a supervisor, by one line at the top of `fn main`.
//!
//! A library can neither adopt the orphans of its host nor outlive it; a second process can. So the program is executed
//! once more for each program that it starts, as the parent of that program: a subreaper that kills all descendants
//! of the program when that exits, and when its own parent ends for any reason: `exit`, a panic, Ctrl-C, SIGTERM, SIGHUP,
//! SIGKILL.
//!
//! ```no_run
//! use opencode_run_containment::supervisor;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     supervisor::init(); // first: this program may have been re-executed as the supervisor
//!     run()
//! }
//!
//! #[tokio::main]
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     Ok(())
//! }
//! ```
//!
//! Without this line a started program still ends with its parent, on every Unix, but processes that it started in
//! sessions of their own can survive if the parent is killed.

#[cfg(target_os = "linux")]
mod last_subreaper;
pub(crate) mod program;
#[cfg(target_os = "linux")]
mod run;

pub use program::Supervisor;
#[cfg(target_os = "linux")]
pub use run::{SupervisorError, supervise};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first argument of a supervisor process.
const ARGUMENT: &str = "__watch";
/// The executable of this program. Not opened by its path: an upgrade of the file while the program runs must not
/// change its supervisors.
const PROGRAM: &str = "/proc/self/exe";

/// The exit code of a supervisor that cannot start its program: the one of `opencode-run` for a missing opencode.
#[cfg(target_os = "linux")]
const NOT_STARTED: u8 = 4;

/// Whether this program calls [`init`], and so can be executed as a supervisor.
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// Starts every further program of this process under a supervisor, which is this program, executed again.
///
/// Call it as the first statement of `fn main`, before a runtime is built and before arguments are parsed. In a process
/// that was executed as a supervisor it does not return: every supervisor executes the part of `main` before this call
/// too. Inside `#[tokio::main]` it works, but then each supervisor also starts the threads of that runtime before it
/// gets here.
///
/// It changes the default of values that are created later, such as `Launch` of `opencode-run-process`; their methods that set a
/// supervisor still take precedence. It unblocks SIGCHLD if the program inherited it blocked, as every wait for a child
/// needs it. It installs no signal handler in the program and changes nothing else. Only Linux has supervisors; on
/// other systems it does nothing.
///
/// Do not call it from code that other executables load (a plugin, a Python module): the executable itself must call
/// it.
///
/// A supervisor that cannot start its program prints the reason to stderr and exits with code 4.
pub fn init() {
    #[cfg(target_os = "linux")]
    {
        unblock_child_signal();
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().is_some_and(|first| first == ARGUMENT) {
            run_as_supervisor(arguments);
        }
        // In a chroot or container without `/proc` the program cannot find itself.
        INITIALIZED.store(std::path::Path::new(PROGRAM).exists(), Ordering::Relaxed);
    }
}

/// Unblocks SIGCHLD: if it is blocked, a wait for a child never ends.
#[cfg(target_os = "linux")]
fn unblock_child_signal() {
    use nix::sys::signal::{SigSet, Signal};

    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if let Err(error) = signals.thread_unblock() {
        tracing::warn!("SIGCHLD may be blocked: {error}");
    }
}

/// Returns this program as a supervisor, or `None` if it has not called [`init`].
#[must_use]
pub fn current() -> Option<Supervisor> {
    INITIALIZED.load(Ordering::Relaxed).then(|| Supervisor::new(PROGRAM, [ARGUMENT]))
}

/// Makes this process a subreaper behind its supervisors, for a program that starts children only through this crate.
///
/// A supervisor runs as the same user as the commands below it, so these can kill it. Its orphans are then its program, and
/// untagged processes, which nothing else connects with a run. They are reparented to this process, and killed at the
/// end of the run.
///
/// **Every child of this process that this crate has not started counts as such an orphan and is killed** as soon as a
/// run ends. So a program that starts children of its own, or whose libraries do, must not call this function. Without
/// it, a process that kills its supervisor and has cleared its environment can survive.
///
/// Only Linux has subreapers; on other systems it does nothing.
///
/// # Errors
///
/// If the system call fails.
pub fn adopt_orphans() -> std::io::Result<()> {
    crate::system::adopt_orphans()
}

#[cfg(target_os = "linux")]
pub use last_subreaper::{Children, end_descendants};

#[cfg(target_os = "linux")]
#[expect(clippy::exit, reason = "the process is only a supervisor, and the caller's `main` must not continue")]
fn run_as_supervisor(arguments: impl Iterator<Item = std::ffi::OsString>) -> ! {
    use std::error::Error;
    use std::io::Write;

    let code = run::supervise_to_code(arguments).unwrap_or_else(|error| {
        // If stderr is closed, the exit code remains.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        writeln!(std::io::stderr(), "error: {error}{cause}").ok();
        NOT_STARTED
    });
    std::process::exit(code.into())
}
