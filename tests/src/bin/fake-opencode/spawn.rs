//! Starts processes that escape.

use crate::sleeper::{Mode, Orders};
use opencode_run_tests::pids::Pids;
use opencode_run_tests::script::{SLEEP_LIMIT_S, STORM_LIMIT, SpawnKind, beside};
use std::error::Error;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The maximum time in which a new process records itself.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The settings of every kind of spawned process.
pub(crate) struct How<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) ignore_signals: bool,
    pub(crate) hold_output: bool,
    pub(crate) count: u32,
}

/// Starts a process that keeps stdout and stderr open.
pub(crate) fn hold_output(script: &Path, directory: &Path, duration_s: u64) -> Result<(), Box<dyn Error>> {
    spawn(script, SpawnKind::Setsid, duration_s, &How { directory, ignore_signals: false, hold_output: true, count: 1 })
}

/// Starts a process and waits until it has recorded itself in the pids file.
pub(crate) fn spawn(script: &Path, kind: SpawnKind, duration_s: u64, how: &How<'_>) -> Result<(), Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let deadline = now + Duration::from_secs(duration_s.min(SLEEP_LIMIT_S));
    let pids = Pids::new(beside(script, "pids"));
    let tag = format!("{}.{}", std::process::id(), now.as_nanos());
    let orders = Orders {
        pids: pids.path().to_path_buf(),
        mode: match kind {
            SpawnKind::Child => Mode::Sleep,
            SpawnKind::Setsid | SpawnKind::ClearsEnvironment => Mode::SetsidSleep,
            SpawnKind::DoubleFork | SpawnKind::DoubleForkClearsEnvironment => Mode::Daemon,
            SpawnKind::ForkStorm => Mode::Storm,
            SpawnKind::Chain => Mode::Chain,
        },
        deadline_ms: u64::try_from(deadline.as_millis())?,
        ignore_signals: how.ignore_signals,
        hold_output: how.hold_output,
        budget: how.count.clamp(1, STORM_LIMIT),
        tag: tag.clone(),
    };
    let mut command = orders.command()?;
    command.current_dir(how.directory);
    if matches!(kind, SpawnKind::ClearsEnvironment | SpawnKind::DoubleForkClearsEnvironment) {
        command.env_clear();
    }
    let mut child = command.spawn()?;
    if orders.mode == Mode::Daemon {
        // The process in the middle exits immediately, so that the remaining process is reparented.
        child.wait()?;
    }
    wait_until_recorded(&pids, &tag)
}

/// Waits until the process is in the pids file, in which a test must find it; it may run well before that.
fn wait_until_recorded(pids: &Pids, tag: &str) -> Result<(), Box<dyn Error>> {
    let limit = Instant::now() + START_LIMIT;
    while !pids.read()?.iter().any(|process| process.tag == tag) {
        if Instant::now() > limit {
            return Err("see the spawned process in the pids file".into());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
