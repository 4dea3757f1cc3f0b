//! Runs a batch: passes time, signals and ended attempts to the scheduler, and acts on its decisions.

mod attempt;
mod control;
mod event;
mod folder;
mod host;
mod plan;
mod resources;
mod shell;
mod steps;
mod throttles;

pub use self::attempt::{Activity, Attempt, AttemptEnd, AttemptRunner, Stop};
pub use self::control::{ControlError, ControlMessage, ControlRequest, request, serve};
pub use self::event::{BatchEvent, BatchFailure, Running, Summary};
pub use self::folder::BatchFolder;
pub use self::host::{HostRunner, HostRunnerOptions, Keep};
pub use self::plan::{Plan, PlanError, Redo};
pub use self::shell::{Batch, BatchOptions, TaskLine};
pub use self::throttles::{RateLimit, Throttles};
