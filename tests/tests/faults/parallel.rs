//! Many parallel commands.

use crate::support::{Case, PLAIN, PLAIN_TEXT, Running, Transport, plain, spawn};
use opencode_run_tests::FakeScript;
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct};
use std::collections::BTreeSet;

/// The number of parallel commands.
const AT_ONCE: usize = 16;

#[test]
fn sixteen_commands_share_a_workspace() {
    let answers = [plain(0, 2), Act::Pause { ms: 300 }, spawn(SpawnKind::Setsid), plain(2, 3)];
    // Some of them find the database locked by another.
    let locks = |script: FakeScript, command: &str| (0..4).fold(script, |script, _| script.on(command, locked()));
    all_complete(&Case::new(|script, _| locks(script, "run").on("run", answers)), "run");
    let serving = Serving::doing([spawn(SpawnKind::Setsid).into(), TurnAct::replay(PLAIN)]);
    all_complete(
        &Case::new(|script, _| locks(script, "serve").on("serve", [serving.act()])).on(Transport::Serve),
        "serve",
    );
}

#[track_caller]
fn all_complete(case: &Case, command: &str) {
    let running: Vec<Running> =
        (0..AT_ONCE).map(|_| case.start(&["--save-markdown", "--output-format", "json", "hello"])).collect();
    let mut directories = BTreeSet::new();
    for outcome in running.into_iter().map(Running::wait) {
        outcome.assert_code(0);
        let object = outcome.object();
        assert_eq!((object["state"].as_str(), object["output"].as_str()), (Some("completed"), Some(PLAIN_TEXT)));
        let transcript = std::fs::read_to_string(object["transcript"].as_str().unwrap()).unwrap();
        assert!(transcript.contains(PLAIN_TEXT));
        directories.insert(object["task_dir"].as_str().unwrap().to_owned());
    }
    assert_eq!((directories.len(), case.task_dirs().len()), (AT_ONCE, AT_ONCE), "each has its own");
    assert_eq!(case.fake.log_of(command).len(), AT_ONCE + 4);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn end_of_one_command_spares_others() {
    let case = Case::new(|script, sandbox| {
        let file = |name: &str| Act::WriteFile { path: sandbox.path(name), text: String::new() };
        let go = Act::WaitForFile { path: sandbox.path("go") };
        let waits = [plain(0, 2), spawn(SpawnKind::Setsid), file("waits"), go, plain(2, 3)];
        let stalls = [plain(0, 2), spawn(SpawnKind::Setsid), file("ready"), Act::Stall {}];
        script.on("run", waits).on("run", stalls)
    });
    let first = case.start(&["hello"]);
    let waits = case.sandbox.path("waits");
    crate::support::wait_until("the first waits", || waits.exists());
    let second = case.start(&["hello"]);
    case.wait_until_ready();
    second.signal(rustix::process::Signal::INT);
    second.wait().assert_code(130);
    assert_eq!(case.fake.spawned().iter().filter(|process| process.is_alive()).count(), 1, "the first one's lives");
    std::fs::write(case.sandbox.path("go"), "").unwrap();
    first.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

/// Returns opencode's output and exit if another opencode writes to the database for too long.
fn locked() -> [Act; 2] {
    fails("database is locked")
}

/// Returns opencode's output and exit if another opencode creates the tables of a new database at the same time.
fn racing() -> [Act; 2] {
    fails("Failed query: \n        CREATE TABLE `workspace` (\n          `id` text PRIMARY KEY,\nparams: ")
}

fn fails(why: &str) -> [Act; 2] {
    let text = format!("\u{1b}[91m\u{1b}[1mError: \u{1b}[0mUnexpected error\n\n{why}\n");
    [Act::Stderr { text }, Act::Exit { code: 1 }]
}

#[test]
fn locked_database_is_waited_for() {
    let run = || Case::new(|script, _| script.on("run", locked()).on("run", racing()).replay("run", PLAIN));
    let serve = || {
        Case::new(|script, _| {
            script.on("serve", locked()).on("serve", racing()).on("serve", [Serving::replaying(PLAIN).act()])
        })
    };
    for (case, command) in [(run(), "run"), (serve().on(Transport::Serve), "serve")] {
        let (outcome, object) = case.run_json(&["hello"]);
        outcome.assert_code(0);
        assert_eq!((object["output"].as_str(), &object["error"]), (Some(PLAIN_TEXT), &serde_json::Value::Null));
        assert_eq!(case.fake.log_of(command).len(), 3, "{command}");
    }
}

#[test]
fn wait_for_locked_database_ends() {
    let run = Case::doing(locked());
    let serve = Case::new(|script, _| script.on("serve", locked())).on(Transport::Serve);
    std::thread::scope(|scope| {
        for (case, code, kind) in [(run, 1, "crashed"), (serve, 4, "opencode")] {
            scope.spawn(move || {
                let (outcome, object) = case.run_json(&["hello"]);
                outcome.assert_code(code);
                assert_eq!(object["error"]["kind"], kind, "{object}");
                assert!(object["error"]["message"].as_str().unwrap().contains("database is locked"), "{object}");
            });
        }
    });
}

#[test]
fn begun_turn_is_not_restarted() {
    let case =
        Case::new(|script, _| script.on("run", [vec![plain(0, 2)], locked().into()].concat()).replay("run", PLAIN));
    let (outcome, object) = case.run_json(&["hello"]);
    outcome.assert_code(1);
    assert_eq!((object["error"]["kind"].as_str(), object["output"].as_str()), (Some("crashed"), Some(PLAIN_TEXT)));
    assert_eq!(case.fake.log_of("run").len(), 1);
}
