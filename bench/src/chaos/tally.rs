//! How many cases there were, and of which kinds.

use crate::plan::Plan;
use crate::play::Played;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is counted.
#[derive(Debug)]
pub(crate) struct Tally {
    survived: u64,
    violations: u64,
    /// By what was done and what it was done to.
    kinds: BTreeMap<(&'static str, String), u64>,
    /// How the command ended, how often.
    ends: BTreeMap<String, u64>,
    /// The longest time from what happened to the command's end, and from there until nothing was alive.
    slowest_end: Duration,
    slowest_sweep: Duration,
    /// How often the two together took longer than the three seconds that are promised, by the slack of the machine.
    late: u64,
    say_every: Duration,
    said: Duration,
}

/// Within which time nothing is to be alive.
pub(crate) const PROMISED: Duration = Duration::from_secs(3);

impl Tally {
    pub(crate) fn new(say_every: Duration) -> Self {
        Self {
            survived: 0,
            violations: 0,
            kinds: BTreeMap::new(),
            ends: BTreeMap::new(),
            slowest_end: Duration::ZERO,
            slowest_sweep: Duration::ZERO,
            late: 0,
            say_every,
            said: Duration::ZERO,
        }
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    /// Counts a case, and says now and then how far it is. `played` is none where something was violated.
    pub(crate) fn add(&mut self, plan: &Plan, played: Option<&Played>, elapsed: Duration) {
        match played {
            Some(played) => {
                self.survived += 1;
                *self.ends.entry(played.ended.clone()).or_default() += 1;
                self.slowest_end = self.slowest_end.max(played.took.unwrap_or_default());
                self.late += u64::from(played.is_late());
                self.slowest_sweep = self.slowest_sweep.max(played.swept);
            }
            None => self.violations += 1,
        }
        let transport = plan.transport.name();
        for (of_what, kind) in [
            ("what happened", plan.happens.name()),
            ("what opencode did", plan.course.name),
            ("what it left behind", plan.leaves),
            ("what was printed", plan.format.name()),
        ] {
            *self.kinds.entry((of_what, format!("{kind}, {transport}"))).or_default() += 1;
        }
        if elapsed >= self.said + self.say_every {
            self.said = elapsed;
            println!("{}", self.line(elapsed));
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let (survived, violations) = (self.survived, self.violations);
        format!("{:>5} s: {survived} survived, {violations} violations", elapsed.as_secs())
    }

    /// Prints all of it.
    pub(crate) fn print(&self, elapsed: Duration) {
        let mut last = "";
        for ((of_what, kind), count) in &self.kinds {
            if *of_what != last {
                println!("{of_what}:");
                last = of_what;
            }
            println!("{count:>8}  {kind}");
        }
        println!("how the command ended:");
        for (end, count) in &self.ends {
            println!("{count:>8}  {end}");
        }
        println!(
            "the slowest end after what happened took {:.1} s, the slowest last process after that {:.1} s; {} ends took \
             longer than {} s in all",
            self.slowest_end.as_secs_f64(),
            self.slowest_sweep.as_secs_f64(),
            self.late,
            PROMISED.as_secs()
        );
        println!("{}", self.line(elapsed));
    }
}
