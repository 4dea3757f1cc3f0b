//! Processes of a turn that leave the task's directory, in a chat whose server continues: they end with their turn. The
//! server's own processes do not.

use crate::faults_support::{Case, PLAIN, Running, spawn, wait_until};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use std::io::Write;
use std::process::Stdio;

fn elsewhere(kind: SpawnKind) -> TurnAct {
    Act::In { directory: "/".into(), act: Box::new(spawn(kind)) }.into()
}

/// Returns for each process that the fake spawned, in order, whether it is alive.
fn alive(case: &Case) -> Vec<bool> {
    case.fake.spawned().iter().map(opencode_run_tests::pids::Spawned::is_alive).collect()
}

#[test]
fn escaped_process_ends_with_its_turn() {
    let away = [
        SpawnKind::Setsid,
        SpawnKind::DoubleFork,
        SpawnKind::ClearsEnvironment,
        SpawnKind::DoubleForkClearsEnvironment,
    ];
    let case = Case::new(|script, sandbox| {
        let file = |name: &str| Act::WriteFile { path: sandbox.path(name), text: String::new() };
        let go = |name: &str| Act::WaitForFile { path: sandbox.path(name) };
        // One process in the server's process group, like an MCP server.
        let first = [spawn(SpawnKind::Child).into()].into_iter().chain(away.map(elsewhere));
        let first = first.chain([file("first").into(), go("end first").into(), TurnAct::replay(PLAIN)]);
        let second = [elsewhere(SpawnKind::Setsid), file("second").into(), go("end second").into()];
        let second = second.into_iter().chain([TurnAct::replay(PLAIN)]);
        let third = [file("third").into(), go("end third").into(), TurnAct::replay(PLAIN)];
        let serving = Serving::default()
            .turn(TurnRule::every(first).turn(0))
            .turn(TurnRule::every(second).turn(1))
            .turn(TurnRule::every(third));
        // One that was started before any turn, in its own session. The kernel counts start times in steps of 10 ms, and a process
        // of the turn's first step counts as the turn's.
        script.on("serve", [spawn(SpawnKind::Setsid), Act::Pause { ms: 50 }, serving.act()])
    });
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["chat", "--transport", "serve", "--opencode"]).arg(case.fake.executable());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = command.spawn().unwrap();
    let mut stdin = chat.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\nthree\n").unwrap();
    drop(stdin);
    let chat = Running::from_child(chat);
    let until = |name: &str| {
        let file = case.sandbox.path(name);
        wait_until(name, || file.exists());
    };
    let end = |name: &str| std::fs::write(case.sandbox.path(name), "").unwrap();

    until("first");
    assert_eq!(alive(&case), [true; 6], "what was started before, the helper, and four tools");
    end("end first");
    until("second");
    assert_eq!(alive(&case), [true, true, false, false, false, false, true]);
    end("end second");
    until("third");
    assert_eq!(alive(&case), [true, true, false, false, false, false, false]);
    end("end third");
    chat.wait().assert_code(0);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn escaped_fork_bomb_ends_with_turn() {
    let case = Case::new(|script, sandbox| {
        let second = Act::WriteFile { path: sandbox.path("second"), text: String::new() };
        let go = Act::WaitForFile { path: sandbox.path("go") };
        let serving = Serving::default()
            .turn(TurnRule::every([elsewhere(SpawnKind::ForkStorm), TurnAct::replay(PLAIN)]).turn(0))
            .turn(TurnRule::every([second.into(), go.into(), TurnAct::replay(PLAIN)]));
        script.on("serve", [serving.act()])
    });
    let mut command = case.sandbox.command(opencode_run_bin!());
    command.args(["chat", "--transport", "serve", "--opencode"]).arg(case.fake.executable());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = command.spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let chat = Running::from_child(chat);
    let second = case.sandbox.path("second");
    wait_until("the second turn", || second.exists());
    let left = alive(&case).into_iter().filter(|alive| *alive).count();
    std::fs::write(case.sandbox.path("go"), "").unwrap();
    chat.wait().assert_code(0);
    assert_eq!(left, 0);
    case.sandbox.assert_nothing_alive();
}
