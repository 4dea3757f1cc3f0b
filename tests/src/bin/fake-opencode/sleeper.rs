//! The hidden mode in which the fake is a spawned, sleeping process.

use opencode_run_tests::pids::Pids;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::error::Error;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first word of the command line in this mode; the second is the [`Orders`] as JSON.
pub(crate) const HIDDEN: &str = "__fake_opencode_sleeper";

/// The number of parallel children of a process in a fork bomb.
const STORM_WIDTH: usize = 2;

/// The orders of a spawned process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// The file in which the process records its pid.
    pub(crate) pids: PathBuf,
    pub(crate) mode: Mode,
    /// The time at which the process exits, in milliseconds since 1970: absolute, so that no descendant lives longer.
    pub(crate) deadline_ms: u64,
    pub(crate) ignore_signals: bool,
    pub(crate) hold_output: bool,
    /// The maximum number of processes, including this one.
    pub(crate) budget: u32,
    /// A tag by which the starter finds the process in the pids file.
    pub(crate) tag: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Sleeps.
    Sleep,
    /// Creates a session, then sleeps.
    SetsidSleep,
    /// Creates a session, starts a sleeping process, and exits.
    Daemon,
    /// Starts others of its kind and replaces those that exit.
    Storm,
    /// Starts the next one of its kind, then sleeps.
    Chain,
}

impl Orders {
    /// Returns the command that executes these orders.
    pub(crate) fn command(&self) -> Result<Command, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(HIDDEN).arg(serde_json::to_string(self)?).stdin(Stdio::null());
        if !self.hold_output {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Ok(command)
    }
}

/// Executes the orders on the command line.
pub(crate) fn main(argv: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let orders: Orders = serde_json::from_str(argv.first().map_or("", String::as_str))?;
    if orders.mode != Mode::Sleep {
        rustix::process::setsid().ok();
    }
    if orders.mode == Mode::Daemon {
        Orders { mode: Mode::Sleep, ..orders }.command()?.spawn()?;
        return Ok(ExitCode::SUCCESS);
    }
    if orders.ignore_signals {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::default())?;
        }
    }
    Pids::new(orders.pids.clone()).record(&format!("{:?}", orders.mode), &orders.tag)?;
    if orders.mode == Mode::Storm {
        storm(&orders)?;
    } else {
        if orders.mode == Mode::Chain && orders.budget > 1 {
            Orders { budget: orders.budget - 1, ..orders.clone() }.command()?.spawn()?;
        }
        sleep_until_deadline(&orders);
    }
    Ok(ExitCode::SUCCESS)
}

/// Sleeps in short steps, since a suspended machine must not lengthen the sleep.
fn sleep_until_deadline(orders: &Orders) {
    while !is_over(orders) {
        sleep(Duration::from_millis(20));
    }
}

fn is_over(orders: &Orders) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now >= Duration::from_millis(orders.deadline_ms)
}

/// Keeps [`STORM_WIDTH`] children of its kind while the budget and the time allow.
///
/// Each child gets a fixed share of the budget, so that the total never exceeds the initial budget.
fn storm(orders: &Orders) -> Result<(), Box<dyn Error>> {
    let mut left = orders.budget.saturating_sub(1);
    let share = (left / 4).max(1);
    let mut children: Vec<Child> = Vec::new();
    while !is_over(orders) {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if children.len() < STORM_WIDTH && left > 0 {
            let budget = share.min(left);
            left -= budget;
            children.push(Orders { budget, ..orders.clone() }.command()?.spawn()?);
        } else {
            sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}
