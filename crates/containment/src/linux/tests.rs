//! Tests with real processes, and with bystanders: processes that do not belong to a run and must survive.

use super::known::KnownProcesses;
use super::table::{EXEC_TIMEOUT, Identity, memory, status};
use super::tools::{OwnProcesses, ToolProcesses};
use crate::child::start_child;
use crate::command::command_in_own_group;
use crate::environment_tag::EnvironmentTag;
use crate::start_time::StartTime;
use crate::stop_signal::StopSignal;
use crate::tool_process::ToolProcess;
use crate::tools::kill_tools;
use crate::tree::{KILL_TIMEOUT, ProcessTree, SUPERVISOR_TIMEOUT};
use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

fn start(tag: &EnvironmentTag, script: &str) -> Child {
    Command::new("sh").args(["-c", script]).env(EnvironmentTag::VARIABLE, tag.nested_in(None)).spawn().unwrap()
}

fn alive(tag: &EnvironmentTag) -> usize {
    KnownProcesses::without_leader().members(tag).len()
}

fn found(tree: &mut ProcessTree) -> Vec<Identity> {
    let (processes, tag) = tree.processes();
    processes.members(tag)
}

fn tree_size(tree: &mut ProcessTree) -> usize {
    found(tree).len()
}

fn identity(child: &Child) -> Identity {
    status(child.id().try_into().unwrap()).unwrap().identity
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes that do not belong to the run. Dropping them kills them.
struct Bystanders(Vec<Child>);

impl Bystanders {
    /// Starts bystanders without a tag, and with almost the same tag.
    fn beside(tag: &EnvironmentTag) -> Self {
        let value = tag.nested_in(None).into_string().unwrap();
        let nearly = [
            (EnvironmentTag::VARIABLE, format!("{value}0")),
            (EnvironmentTag::VARIABLE, format!("0{value}")),
            (EnvironmentTag::VARIABLE, value[..value.len() - 1].to_owned()),
            (EnvironmentTag::VARIABLE, format!(":{}", EnvironmentTag::new().nested_in(None).into_string().unwrap())),
            ("OPENCODE_RUN_MARKER_", value.clone()),
            ("X_OPENCODE_RUN_MARKER", value.clone()),
            ("X", format!("{}={value}", EnvironmentTag::VARIABLE)),
        ];
        let sleep = |name: &str, value: &str| Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        // The tag in its arguments is not in its environment.
        let argument = format!("{}={value}", EnvironmentTag::VARIABLE);
        let reads = Command::new("sh").args(["-c", "read -r _", &argument]).stdin(Stdio::piped()).spawn().unwrap();
        let mut all: Vec<Child> = nearly.iter().map(|(name, value)| sleep(name, value)).collect();
        all.extend([sleep("X", "y"), reads]);
        Self(all)
    }

    fn assert_unharmed(&mut self) {
        for bystander in &mut self.0 {
            let id = bystander.id();
            assert!(bystander.try_wait().unwrap().is_none(), "a bystander was killed");
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            assert!(!stat.contains(") T "), "a bystander was stopped: {stat}");
        }
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for bystander in &mut self.0 {
            bystander.kill().ok();
            bystander.wait().ok();
        }
    }
}

/// Kills the process tree of `script`, and checks that all of its processes are dead and all bystanders alive.
async fn kills(script: &str, members: usize) {
    let tag = EnvironmentTag::new();
    let mut bystanders = Bystanders::beside(&tag);
    let mut leader = start(&tag, script);
    let mut tree = ProcessTree::new(tag.clone(), leader.id());
    wait_until("all have started", || alive(&tag) >= members);
    tree.record_descendants().await;
    assert_eq!(tree.kill_all().await, 0);
    assert_eq!(alive(&tag), 0);
    leader.wait().unwrap();
    bystanders.assert_unharmed();
}

#[tokio::test]
async fn kills_children_in_own_sessions() {
    kills("setsid sleep 60 & setsid sh -c 'sleep 60 & sleep 60' & wait", 5).await;
}

#[tokio::test]
async fn kills_signal_ignoring_and_orphaned_processes() {
    kills("(trap '' INT TERM HUP; sleep 60; sleep 60) & (setsid sleep 60 &) ; wait", 3).await;
}

#[tokio::test]
async fn kills_untagged_descendants() {
    let tag = EnvironmentTag::new();
    let mut leader = start(&tag, "env -i sleep 61.25 & wait");
    let mut tree = ProcessTree::new(tag.clone(), leader.id());
    wait_until("the child has started", || tree_size(&mut tree) == 2);
    tree.record_descendants().await;
    assert_eq!(tree.kill_all().await, 0);
    assert_eq!(tree_size(&mut tree), 0);
    leader.wait().unwrap();
}

#[tokio::test]
async fn kills_a_fork_bomb() {
    // Bounded by itself: at most 400 forks, each of which sleeps for at most five seconds.
    kills("n=0; while [ $n -lt 400 ]; do n=$((n+1)); (setsid sleep 5 &); done; wait", 20).await;
}

#[test]
fn dropped_tree_is_killed() {
    let tag = EnvironmentTag::new();
    let mut leader = start(&tag, "setsid sleep 60 & wait");
    let tree = ProcessTree::new(tag.clone(), leader.id());
    wait_until("both have started", || alive(&tag) >= 2);
    drop(tree);
    assert_eq!(alive(&tag), 0);
    leader.wait().unwrap();
}

#[test]
fn exited_leader_is_not_signalled() {
    let tag = EnvironmentTag::new();
    let mut leader = start(&tag, "exit 0");
    let mut tree = ProcessTree::supervised(tag, leader.id());
    leader.wait().unwrap();
    tree.signal_leader(StopSignal::Terminate);
    tree.signal_leader(StopSignal::Interrupt);
    tree.processes().0.request_kill();
}

/// Simulates a reused id: the recorded process has another start time.
#[test]
fn reused_id_is_not_signalled() {
    let tag = EnvironmentTag::new();
    let mut bystanders = Bystanders::beside(&tag);
    for bystander in &bystanders.0 {
        let was = Identity { started: identity(bystander).started - 1, ..identity(bystander) };
        was.send(rustix::process::Signal::STOP);
        was.send(rustix::process::Signal::KILL);
        let mut tree = ProcessTree::supervised(tag.clone(), bystander.id());
        tree.processes().0.leader = Some(was);
        tree.processes().0.known = HashSet::from([was]);
        tree.processes().0.record_descendants(&tag);
        tree.signal_leader(StopSignal::Interrupt);
        tree.signal_leader(StopSignal::Terminate);
        assert_eq!(tree.processes().0.kill_all(&tag), 0);
        drop(tree);
    }
    bystanders.assert_unharmed();
}

#[test]
fn children_of_reused_id_are_spared() {
    let tag = EnvironmentTag::new();
    let mut other = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
    let mut tree = ProcessTree::new(tag.clone(), other.id());
    wait_until("its child has started", || tree_size(&mut tree) == 2);
    let was = Identity { started: identity(&other).started - 1, ..identity(&other) };
    tree.processes().0.leader = Some(was);
    tree.processes().0.known = HashSet::from([was]);
    assert_eq!(tree_size(&mut tree), 0);
    tree.processes().0.known = HashSet::from([identity(&other)]);
    assert_eq!(tree.processes().0.kill_all(&tag), 2);
    other.wait().unwrap();
}

/// Starts a server whose script starts helpers and tools; returns it with its own processes.
fn start_server(tag: &EnvironmentTag, home: &Path, script: &str) -> (Child, OwnProcesses) {
    let mut server = Command::new("sh");
    server.args(["-c", &format!("read -r _; {script}")]).stdin(Stdio::piped()).current_dir(home);
    server.env(EnvironmentTag::VARIABLE, tag.nested_in(None));
    let mut server = std::os::unix::process::CommandExt::process_group(&mut server, 0).spawn().unwrap();
    let own_processes = OwnProcesses::of(server.id());
    // The end of stdin makes the script start helpers and tools.
    drop(server.stdin.take());
    (server, own_processes)
}

#[tokio::test]
async fn tools_are_killed_and_helpers_spared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let tag = EnvironmentTag::new();
    let before = StartTime::now();
    let script = format!(
        "cd {folder}
         (cd /; setsid sh -c 'sleep 60 & wait' & exec sleep 60) &
         setsid sh -c 'exec sleep 60' &
         exec_away='cd /; exec sleep 60'
         setsid sh -c \"$exec_away\" &
         (cd /; exec env -i setsid sh -c 'sleep 60 & wait') &
         wait",
        folder = folder.display()
    );
    let (mut server, own_processes) = start_server(&tag, Path::new("/"), &script);
    let mut tree = ProcessTree::new(tag.clone(), server.id());
    // The server; its helper with two processes; two tools; a tool without a tag and its child.
    wait_until("all have started", || tree_size(&mut tree) == 8);
    std::thread::sleep(Duration::from_millis(20));
    let all_left = |tools: &[ToolProcess]| vec![true; tools.len()];
    kill_tools(&tag, own_processes.clone(), StartTime::now(), all_left).await;
    assert_eq!(tree_size(&mut tree), 8, "they are older");
    kill_tools(&tag, own_processes.clone(), before, |tools| vec![false; tools.len()]).await;
    assert_eq!(tree_size(&mut tree), 8, "they were not left");
    let theirs = folder.clone();
    let in_the_folder =
        move |tools: &[ToolProcess]| tools.iter().map(|tool| tool.directory == Some(theirs.clone())).collect();
    kill_tools(&tag, own_processes.clone(), before, in_the_folder).await;
    assert_eq!(tree_size(&mut tree), 7);
    kill_tools(&tag, own_processes, before, all_left).await;
    assert_eq!(tree_size(&mut tree), 4, "the server, and its helper with what that started");
    assert!(server.try_wait().unwrap().is_none());
    drop(tree);
    server.wait().unwrap();
}

#[tokio::test]
async fn tool_in_removed_directory_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap().join("removed");
    std::fs::create_dir(&place).unwrap();
    let tag = EnvironmentTag::new();
    let before = StartTime::now();
    let script = format!("cd {}; setsid sleep 60 & wait", place.display());
    let (mut server, own_processes) = start_server(&tag, Path::new("/"), &script);
    let mut tree = ProcessTree::new(tag.clone(), server.id());
    wait_until("the tool works there", || {
        let members = found(&mut tree);
        members.iter().filter(|process| process.directory().as_ref() == Some(&place)).count() == 2
    });
    std::fs::remove_dir(&place).unwrap();
    let is_there =
        move |tools: &[ToolProcess]| tools.iter().map(|tool| tool.directory.as_ref() == Some(&place)).collect();
    wait_until("the tool has a session of its own", || tree_size(&mut tree) == 2);
    kill_tools(&tag, own_processes, before, is_there).await;
    wait_until("the tool is gone", || tree_size(&mut tree) <= 1);
    drop(tree);
    server.wait().unwrap();
}

#[tokio::test]
async fn tools_below_reused_id_are_spared() {
    let tag = EnvironmentTag::new();
    let before = StartTime::now();
    let (mut other, own_processes) = start_server(&tag, Path::new("/"), "setsid sleep 60 & wait");
    let mut tree = ProcessTree::new(tag.clone(), other.id());
    let is = identity(&other);
    wait_until("its tool has a session of its own", || {
        let members = found(&mut tree);
        members.iter().any(|process| status(process.id).is_some_and(|tool| *process != is && tool.group == process.id))
    });
    let all_left = |tools: &[ToolProcess]| vec![true; tools.len()];
    let was = own_processes.clone().reused(Identity { started: is.started - 1, ..is });
    assert_eq!(ToolProcesses::new(EnvironmentTag::new(), was, before).kill_all(all_left), 0);
    assert_eq!(tree_size(&mut tree), 2);
    assert_eq!(ToolProcesses::new(EnvironmentTag::new(), own_processes, before).kill_all(all_left), 1, "its tool");
    drop(tree);
    other.wait().unwrap();
}

/// Plays a turn that is dropped with its runtime: the tree's scan happens later, on another thread.
#[tokio::test]
async fn dropped_child_lives_until_tree_scan() {
    let tag = EnvironmentTag::new();
    let mut command = command_in_own_group(Path::new("/bin/sh"), None);
    command.args(["-c", "env -i setsid sleep 61.5 & wait"]).env(EnvironmentTag::VARIABLE, tag.nested_in(None));
    let child = start_child(|| command.spawn()).unwrap();
    let mut tree = ProcessTree::new(tag.clone(), child.id().unwrap());
    wait_until("the descendant has started", || tree_size(&mut tree) == 2);
    let members = found(&mut tree);
    drop(child);
    std::thread::sleep(Duration::from_millis(100));
    drop(tree);
    wait_until("nothing is left", || !members.iter().any(|process| process.is_alive()));
}

/// Within a runtime, the drop returns before a slow process is gone.
#[tokio::test]
async fn dropped_tree_does_not_block_runtime() {
    let tag = EnvironmentTag::new();
    let mut leader = start(&tag, "trap '' USR1; setsid sleep 60 & wait; sleep 60");
    // The leader is not a supervisor and ignores the request, so that the kill waits.
    let tree = ProcessTree::supervised(tag.clone(), leader.id());
    wait_until("both have started", || alive(&tag) >= 2);
    let began = Instant::now();
    drop(tree);
    assert!(began.elapsed() < SUPERVISOR_TIMEOUT, "{:?}", began.elapsed());
    assert!(alive(&tag) > 0, "it is not over yet");
    while alive(&tag) > 0 {
        assert!(began.elapsed() < KILL_TIMEOUT * 10);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    leader.wait().unwrap();
}

#[test]
fn runtime_shutdown_waits_for_dropped_trees() {
    for mut builder in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let tag = EnvironmentTag::new();
        let mut leaders = [(); 2].map(|()| start(&tag, "setsid sleep 60 & wait"));
        wait_until("all have started", || alive(&tag) >= 4);
        let [dropped, held] =
            [&leaders[0], &leaders[1]].map(|leader| ProcessTree::new(EnvironmentTag::new(), leader.id()));
        let runtime = builder.build().unwrap();
        // A task that never ends is dropped with the runtime.
        runtime.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        runtime.block_on(async move { drop(dropped) });
        drop(runtime);
        assert_eq!(alive(&tag), 0);
        for leader in &mut leaders {
            leader.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn cancelled_kill_continues_and_is_awaited() {
    let tag = EnvironmentTag::new();
    let mut leader = start(&tag, "setsid sleep 60 & wait");
    let mut tree = ProcessTree::new(tag.clone(), leader.id());
    wait_until("both have started", || alive(&tag) >= 2);
    {
        let mut kill_all = std::pin::pin!(tree.kill_all());
        assert!(kill_all.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(tree.kill_all().await, 0);
    assert_eq!(alive(&tag), 0);
    leader.wait().unwrap();
}

#[test]
fn memory_is_summed_over_the_group() {
    let group = |script: &str| {
        let mut command = Command::new("sh");
        std::os::unix::process::CommandExt::process_group(command.args(["-c", script]), 0).spawn().unwrap()
    };
    let mut alone = group("exec sleep 60");
    let mut two = group("sleep 60 & wait");
    wait_until("the memory of both is more", || memory(two.id()) > memory(alone.id()));
    assert!(memory(alone.id()).unwrap() > 100_000);
    drop(ProcessTree::new(EnvironmentTag::new(), two.id()));
    alone.kill().unwrap();
    for child in [&mut alone, &mut two] {
        child.wait().unwrap();
    }
    assert_eq!(memory(alone.id()), None);
}

#[test]
fn tag_survives_repeated_exec() {
    let tag = EnvironmentTag::new();
    let mut bystanders = Bystanders::beside(&tag);
    let script = r#"exec sh -c "$0" "$0""#;
    let variable = tag.nested_in(None);
    let mut child =
        Command::new("sh").args(["-c", script, script]).env(EnvironmentTag::VARIABLE, variable).spawn().unwrap();
    let mut tree = ProcessTree::new(tag.clone(), child.id());
    let process = identity(&child);
    for look in 0..5000 {
        assert!(process.has_tag(&tag, Instant::now() + EXEC_TIMEOUT), "not seen at look {look}");
    }
    tree.processes().0.kill_all(&tag);
    child.wait().unwrap();
    assert_eq!(alive(&tag), 0);
    bystanders.assert_unharmed();
}
