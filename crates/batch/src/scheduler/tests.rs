use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const PASSED: Outcome = Outcome::Ended(Standing::Passed);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(jobs: usize) -> Settings {
    Settings { jobs, start_spread: Duration::ZERO, ..Settings::default() }
}

fn with_tasks(settings: Settings, count: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(settings);
    let source = scheduler.source("code");
    for _ in 0..count {
        scheduler.add(source, 0, 0);
    }
    scheduler.close_input();
    scheduler
}

fn end(outcome: Outcome) -> Ended {
    Ended { outcome, cost: 0.0, tokens: 0 }
}

/// Starts as many as may start.
fn start_all(scheduler: &mut Scheduler, now: Duration) -> Vec<usize> {
    let mut started = Vec::new();
    while let Next::Start { task, .. } = scheduler.next(now) {
        started.push(task);
    }
    started
}

#[test]
fn tasks_start_by_priority_then_position() {
    let mut scheduler = Scheduler::new(settings(10));
    let one = scheduler.source("a");
    let other = scheduler.source("b");
    for (source, priority) in [(one, 0), (other, 0), (other, 5), (one, -1)] {
        scheduler.add(source, priority, 0);
    }
    assert_eq!(start_all(&mut scheduler, seconds(0)), [2, 0, 1, 3]);
}

#[test]
fn retry_holds_no_slot() {
    let mut scheduler = with_tasks(settings(1), 2);
    assert_eq!(scheduler.next(seconds(0)), Next::Start { task: 0, attempt: 1 });
    let After::Retry { at } = scheduler.finished(seconds(1), 0, end(Outcome::Ended(Standing::Infrastructure))) else {
        panic!("the task is retried")
    };
    assert_eq!(scheduler.next(seconds(1)), Next::Start { task: 1, attempt: 1 });
    scheduler.finished(seconds(1), 1, end(PASSED));
    assert_eq!(scheduler.next(seconds(1)), Next::Wait { until: Some(at) });
    assert_eq!(scheduler.next(at), Next::Start { task: 0, attempt: 2 });
    scheduler.finished(at, 0, end(Outcome::Ended(Standing::Infrastructure)));
    assert!(matches!(scheduler.next(at + seconds(600)), Next::Start { task: 0, attempt: 3 }));
    let after = scheduler.finished(at, 0, end(Outcome::Ended(Standing::Infrastructure)));
    assert_eq!(after, After::Done(Standing::Infrastructure));
    assert_eq!(scheduler.next(at), Next::Finished);
}

#[test]
fn rate_limit_pauses_only_its_source() {
    let mut scheduler = Scheduler::new(settings(2));
    let one = scheduler.source("a");
    let other = scheduler.source("b");
    for source in [one, one, other, one] {
        scheduler.add(source, 0, 0);
    }
    scheduler.close_input();
    assert_eq!(start_all(&mut scheduler, seconds(0)), [0, 1]);
    let limited = Outcome::RateLimited { retry_after: Some(seconds(30)) };
    for _ in 0..8 {
        let after = scheduler.finished(seconds(1), 0, end(limited));
        assert_eq!(after, After::Retry { at: seconds(31) });
        scheduler.states[0] = State::Running;
        scheduler.running += 1;
        scheduler.sources[0].running += 1;
        scheduler.sources[0].delayed -= 1;
    }
    scheduler.finished(seconds(1), 0, end(limited));
    assert_eq!(start_all(&mut scheduler, seconds(2)), [2], "the other source goes on");
    scheduler.finished(seconds(3), 2, end(PASSED));
    scheduler.finished(seconds(3), 1, end(PASSED));
    assert_eq!(scheduler.next(seconds(30)), Next::Wait { until: Some(seconds(31)) });
    // One burst lowers the limit once, from 2 to 1.6.
    assert_eq!(start_all(&mut scheduler, seconds(31)), [0]);
    assert_eq!(
        scheduler.finished(seconds(31), 0, end(PASSED)),
        After::Done(Standing::Passed),
        "no attempt was used up"
    );
}

#[test]
fn limit_grows_with_clean_rounds() {
    let mut source = Source::new(20);
    source.rate_limited(seconds(0), None);
    assert_eq!(source.limit(), 16);
    for _ in 0..16 {
        source.ended(Standing::Passed, 20);
    }
    assert_eq!(source.limit(), 16, "16.8");
    for _ in 0..200 {
        source.ended(Standing::Passed, 20);
    }
    assert_eq!(source.limit(), 20);
}

#[test]
fn failures_of_configuration_stop_their_source() {
    let mut scheduler = with_tasks(settings(1), 100);
    let other = scheduler.source("other");
    scheduler.add(other, 0, 0);
    for task in 0..3 {
        assert!(matches!(scheduler.next(seconds(0)), Next::Start { .. }));
        scheduler.finished(seconds(0), task, end(Outcome::Unusable(Standing::Configuration)));
    }
    assert_eq!(scheduler.next(seconds(0)), Next::Start { task: 100, attempt: 1 });
    scheduler.finished(seconds(0), 100, end(PASSED));
    assert_eq!(scheduler.next(seconds(0)), Next::Finished);
    let status = scheduler.status();
    assert_eq!((status.not_run, status.stopped_sources.as_slice()), (97, ["code".to_owned()].as_slice()));
}

#[test]
fn failed_starts_are_retried_before_they_stop_a_source() {
    let mut scheduler = with_tasks(settings(8), 100);
    let mut now = Duration::ZERO;
    let mut started = 0;
    loop {
        let running = start_all(&mut scheduler, now);
        started += running.len();
        if running.is_empty() {
            match scheduler.next(now) {
                Next::Wait { until } => now = until.expect("a retry"),
                next => break assert_eq!(next, Next::Finished),
            }
        }
        now += seconds(1);
        for task in running {
            scheduler.finished(now, task, end(Outcome::Unusable(Standing::Infrastructure)));
        }
    }
    let status = scheduler.status();
    assert_eq!(status.stopped_sources, ["code"]);
    // Other tasks start while the first ones wait for their retries, so more than nine attempts run; without the stop there
    // would be 300.
    assert!(status.totals.infrastructure >= 3 && started < 300, "{started} attempts, {status:?}");
}

#[test]
fn faults_of_tasks_stop_no_source() {
    let mut scheduler = with_tasks(settings(1), 5);
    for task in 0..5 {
        assert_eq!(scheduler.next(seconds(0)), Next::Start { task, attempt: 1 });
        scheduler.finished(seconds(0), task, end(Outcome::Ended(Standing::Configuration)));
    }
    assert!(scheduler.status().stopped_sources.is_empty());
}

#[test]
fn budget_reserves_for_running_tasks() {
    let mut scheduler = with_tasks(Settings { max_cost: Some(1.0), ..settings(8) }, 100);
    assert_eq!(start_all(&mut scheduler, seconds(0)).len(), 8);
    let cost = |cost| Ended { cost, ..end(PASSED) };
    scheduler.finished(seconds(1), 0, cost(0.1));
    scheduler.finished(seconds(1), 1, cost(0.1));
    // 0.2 spent, 6 running: two more would fit, but no third.
    assert_eq!(start_all(&mut scheduler, seconds(1)).len(), 2);
    for task in 2..10 {
        scheduler.finished(seconds(2), task, cost(0.1));
    }
    assert_eq!(scheduler.next(seconds(2)), Next::Finished);
    assert_eq!(scheduler.stop_reason(), Some(StopReason::Budget));
}

#[test]
fn fail_fast_accepts_count_or_percentage() {
    for (fail_fast, started) in [("2", 2), ("5%", 5)] {
        let settings = Settings { fail_fast: Some(fail_fast.parse().unwrap()), ..settings(1) };
        let mut scheduler = with_tasks(settings, 100);
        let mut count = 0;
        while let Next::Start { task, .. } = scheduler.next(seconds(0)) {
            count += 1;
            scheduler.finished(seconds(0), task, end(Outcome::Ended(Standing::Failed)));
        }
        assert_eq!((count, scheduler.stop_reason()), (started, Some(StopReason::FailFast)), "{fail_fast}");
    }
    assert!("0".parse::<FailFast>().is_err() && "101%".parse::<FailFast>().is_err());
}

#[test]
fn signals_escalate() {
    let mut scheduler = with_tasks(settings(1), 3);
    scheduler.next(seconds(0));
    let signals = [scheduler.signal(), scheduler.signal(), scheduler.signal(), scheduler.signal()];
    assert_eq!(signals, [Escalation::Drain, Escalation::Interrupt, Escalation::Kill, Escalation::Kill]);
    assert_eq!(scheduler.next(seconds(0)), Next::Wait { until: None });
    scheduler.finished(seconds(1), 0, end(Outcome::Ended(Standing::Infrastructure)));
    assert_eq!(scheduler.next(seconds(1)), Next::Finished, "no retry");
}

#[test]
fn user_controls_tasks() {
    let mut scheduler = with_tasks(settings(1), 3);
    scheduler.pause();
    assert_eq!(scheduler.next(seconds(0)), Next::Wait { until: None });
    scheduler.resume();
    assert!(scheduler.hold(Hold::Disk, true) && !scheduler.hold(Hold::Disk, true));
    assert_eq!(scheduler.next(seconds(0)), Next::Wait { until: None });
    scheduler.hold(Hold::Disk, false);
    assert_eq!(scheduler.cancel(0), Cancelled::Removed);
    assert_eq!(scheduler.next(seconds(0)), Next::Start { task: 1, attempt: 1 });
    scheduler.set_jobs(2);
    assert_eq!(scheduler.next(seconds(0)), Next::Start { task: 2, attempt: 1 });
    assert_eq!(scheduler.cancel(1), Cancelled::Interrupt);
    assert!(!scheduler.requeue(1, true));
    scheduler.finished(seconds(1), 1, end(Outcome::Ended(Standing::Interrupted)));
    scheduler.finished(seconds(1), 2, end(PASSED));
    assert!(scheduler.requeue(2, false) && scheduler.requeue(0, false));
    assert_eq!(scheduler.cancel(1), Cancelled::Over);
    assert_eq!(start_all(&mut scheduler, seconds(1)), [2, 0]);
    assert_eq!((scheduler.status().totals.cancelled, scheduler.status().totals.passed), (1, 0));
}

#[test]
fn first_starts_are_spread() {
    let mut scheduler = with_tasks(Settings { start_spread: seconds(3), ..settings(3) }, 10);
    assert!(matches!(scheduler.next(seconds(0)), Next::Start { .. }));
    let Next::Wait { until: Some(until) } = scheduler.next(seconds(0)) else { panic!("it waits") };
    assert!(until >= Duration::from_millis(500) && until < Duration::from_millis(1500));
    assert!(matches!(scheduler.next(until), Next::Start { .. }));
}

/// A simulated batch: its ledger survives crashes, the scheduler does not.
struct Simulation {
    random: fastrand::Rng,
    jobs: usize,
    tasks: usize,
    sources: usize,
    crashes: u32,
    /// The attempts with a line, and the last state of each task.
    lines: HashSet<(usize, u32)>,
    last: HashMap<usize, (u32, Standing)>,
    paused: Vec<Duration>,
}

impl Simulation {
    fn build(&self) -> Scheduler {
        let mut scheduler = Scheduler::new(Settings { max_attempts: 1000, ..settings(self.jobs) });
        for task in 0..self.tasks {
            let source = scheduler.source(&format!("s{}", task % self.sources));
            match self.last.get(&task) {
                Some((attempt, standing)) if standing.is_done() => scheduler.add_done(source, 0, *standing, *attempt),
                Some((attempt, _)) => scheduler.add(source, 0, *attempt),
                None => scheduler.add(source, 0, 0),
            };
        }
        scheduler.close_input();
        scheduler
    }

    fn outcome(&mut self) -> Outcome {
        match self.random.u32(0..100) {
            0..80 => PASSED,
            80..85 => Outcome::Ended(Standing::Failed),
            85..89 => Outcome::Ended(Standing::Infrastructure),
            // Attempts are never used up in the simulation.
            89 => Outcome::Unusable(Standing::Infrastructure),
            90..95 => Outcome::Overloaded,
            _ => Outcome::RateLimited { retry_after: self.random.bool().then(|| seconds(self.random.u64(1..20))) },
        }
    }

    fn run(mut self) {
        let mut scheduler = self.build();
        let mut now = Duration::ZERO;
        let mut running: BinaryHeap<Reverse<(Duration, usize, u32)>> = BinaryHeap::new();
        loop {
            match scheduler.next(now) {
                Next::Start { task, attempt } => {
                    assert!(running.len() < self.jobs, "no more than the jobs");
                    assert!(now >= self.paused[task % self.sources], "no start in a pause");
                    assert!(!self.lines.contains(&(task, attempt)), "each attempt once");
                    assert!(!self.last.get(&task).is_some_and(|(_, standing)| standing.is_done()), "done is done");
                    let time = Duration::from_millis(self.random.u64(100..20_000));
                    running.push(Reverse((now + time, task, attempt)));
                }
                Next::Finished => {
                    assert!(running.is_empty());
                    break;
                }
                Next::Wait { until } => {
                    let ends = running.peek().map(|Reverse((at, ..))| *at);
                    now = ends.into_iter().chain(until).min().expect("something happens later").max(now);
                    if self.crashes > 0 && self.random.u32(0..1000) == 0 {
                        self.crashes -= 1;
                        // An attempt that was running has no line, and runs again under the same number.
                        running.clear();
                        self.paused.fill(Duration::ZERO);
                        scheduler = self.build();
                        continue;
                    }
                    while let Some(Reverse((at, task, attempt))) = running.peek().copied().filter(|end| end.0.0 <= now)
                    {
                        running.pop();
                        let outcome = self.outcome();
                        assert!(self.lines.insert((task, attempt)), "one line an attempt");
                        let standing = match outcome {
                            Outcome::Ended(standing) | Outcome::Unusable(standing) => standing,
                            _ => Standing::Infrastructure,
                        };
                        self.last.insert(task, (attempt, standing));
                        scheduler.finished(at.max(now), task, end(outcome));
                        if let Outcome::RateLimited { retry_after: Some(after) } = outcome {
                            let paused = &mut self.paused[task % self.sources];
                            *paused = (*paused).max(now + after);
                        }
                    }
                }
            }
        }
        assert_eq!(self.last.len(), self.tasks, "every task ran");
        assert!(self.last.values().all(|(_, standing)| standing.is_done()), "and is done");
        let status = scheduler.status();
        assert_eq!((status.running, status.delayed, status.not_run), (0, 0, 0));
        assert_eq!(status.totals.counted(), self.tasks as u64);
    }
}

fn simulate(seed: u64, tasks: usize, jobs: usize, sources: usize, crashes: u32) {
    Simulation {
        random: fastrand::Rng::with_seed(seed),
        jobs,
        tasks,
        sources,
        crashes,
        lines: HashSet::new(),
        last: HashMap::new(),
        paused: vec![Duration::ZERO; sources],
    }
    .run();
}

#[test]
fn hundred_thousand_tasks_survive_crashes() {
    simulate(18, 100_000, 64, 5, 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_batch_finishes_every_task(seed: u64, tasks in 1_usize..300, jobs in 1_usize..20, sources in 1_usize..6, crashes in 0_u32..6) {
        simulate(seed, tasks, jobs, sources, crashes);
    }

    #[test]
    fn budget_is_exceeded_by_running_tasks_alone(seed: u64, jobs in 1_usize..20, limit in 1.0..20.0_f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scheduler = with_tasks(Settings { max_cost: Some(limit), ..settings(jobs) }, 500);
        let (mut running, mut spent): (Vec<usize>, f64) = (Vec::new(), 0.0);
        loop {
            match scheduler.next(seconds(0)) {
                Next::Start { task, .. } => {
                    prop_assert!(spent < limit, "started after the limit");
                    running.push(task);
                }
                Next::Wait { .. } => {
                    let task = running.swap_remove(random.usize(0..running.len()));
                    let cost = random.f64();
                    spent += cost;
                    scheduler.finished(seconds(0), task, Ended { outcome: PASSED, cost, tokens: 0 });
                }
                Next::Finished => break,
            }
        }
        prop_assert!(spent <= limit + f64::from(u32::try_from(jobs).unwrap()), "{spent} of {limit}");
    }
}
