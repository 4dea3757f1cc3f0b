//! Counts the cases by kind.

use crate::outcome::{GUARANTEED, Played};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::time::Duration;

/// The counts of all cases.
#[derive(Debug)]
pub(crate) struct Statistics {
    survived: u64,
    violations: u64,
    /// The number of cases by category and kind.
    kinds: BTreeMap<(&'static str, String), u64>,
    /// The number of cases by the command's end.
    ends: BTreeMap<String, u64>,
    /// The longest time from the fault to the command's end, and from that end until no process was alive.
    slowest_end: Duration,
    slowest_sweep: Duration,
    /// The number of cases in which the sum of both times exceeded the guaranteed three seconds, but not the slack.
    late: u64,
    report_interval: Duration,
    said: Duration,
}

impl Statistics {
    pub(crate) fn new(report_interval: Duration) -> Self {
        Self {
            survived: 0,
            violations: 0,
            kinds: BTreeMap::new(),
            ends: BTreeMap::new(),
            slowest_end: Duration::ZERO,
            slowest_sweep: Duration::ZERO,
            late: 0,
            report_interval,
            said: Duration::ZERO,
        }
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    /// Counts a case, and prints the progress at intervals. `played` is `None` after a violation.
    pub(crate) fn add(&mut self, plan: &Plan, played: Option<&Played>, elapsed: Duration) {
        match played {
            Some(played) => {
                self.survived += 1;
                *self.ends.entry(played.ended.clone()).or_default() += 1;
                self.slowest_end = self.slowest_end.max(played.took.unwrap_or_default());
                self.late += u64::from(played.is_late());
                self.slowest_sweep = self.slowest_sweep.max(played.all_exited);
            }
            None => self.violations += 1,
        }
        let transport = plan.transport.title();
        for (of_what, kind) in [
            ("fault", plan.fault.name()),
            ("opencode's behaviour", plan.course.name),
            ("left behind", plan.leaves),
            ("output format", plan.format.name()),
        ] {
            *self.kinds.entry((of_what, format!("{kind}, {transport}"))).or_default() += 1;
        }
        if elapsed >= self.said + self.report_interval {
            self.said = elapsed;
            println!("{}", self.line(elapsed));
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let survived = self.survived;
        let violations = self.violations;
        format!("{:>5} s: {survived} survived, {violations} violations", elapsed.as_secs())
    }

    /// Prints all counts.
    pub(crate) fn print(&self, elapsed: Duration) {
        let mut last = "";
        for ((of_what, kind), count) in &self.kinds {
            if *of_what != last {
                println!("{of_what}:");
                last = of_what;
            }
            println!("{count:>8}  {kind}");
        }
        println!("ends of the command:");
        for (end, count) in &self.ends {
            println!("{count:>8}  {end}");
        }
        println!(
            "the slowest end after what happened took {:.1} s, the slowest last process after that {:.1} s; {} ends took \
             longer than {} s in all",
            self.slowest_end.as_secs_f64(),
            self.slowest_sweep.as_secs_f64(),
            self.late,
            GUARANTEED.as_secs()
        );
        println!("{}", self.line(elapsed));
    }
}
