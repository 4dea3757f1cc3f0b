//! Real processes, and bystanders among them.

use super::super::*;
use super::table::{Identity, status};
use std::collections::HashSet;
use std::process::{Child, Command, Stdio};

fn start(marker: &Marker, script: &str) -> Child {
    Command::new("sh").args(["-c", script]).env(Marker::VARIABLE, marker.nested_in(None)).spawn().unwrap()
}

fn alive(marker: &Marker) -> usize {
    super::Tree { leader: None, known: HashSet::new() }.members(marker).len()
}

fn tree_size(tree: &Tree) -> usize {
    tree.system.members(&tree.marker).len()
}

fn identity(child: &Child) -> Identity {
    status(child.id().try_into().unwrap()).unwrap().identity
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes of somebody else's. Dropping them asserts that they live, and ends them.
struct Bystanders(Vec<Child>);

impl Bystanders {
    /// One that bears nothing, and some that bear what is nearly the marker.
    fn beside(marker: &Marker) -> Self {
        let value = marker.nested_in(None).into_string().unwrap();
        let nearly = [
            (Marker::VARIABLE, format!("{value}0")),
            (Marker::VARIABLE, format!("0{value}")),
            (Marker::VARIABLE, value[..value.len() - 1].to_owned()),
            (Marker::VARIABLE, format!(":{}", Marker::new().nested_in(None).into_string().unwrap())),
            ("OPENCODE_RUN_MARKER_", value.clone()),
            ("X_OPENCODE_RUN_MARKER", value.clone()),
            ("X", format!("{}={value}", Marker::VARIABLE)),
        ];
        let sleep = |name: &str, value: &str| Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        // What stands in its arguments is not in its environment.
        let argument = format!("{}={value}", Marker::VARIABLE);
        let reads = Command::new("sh").args(["-c", "read -r _", &argument]).stdin(Stdio::piped()).spawn().unwrap();
        let mut all: Vec<Child> = nearly.iter().map(|(name, value)| sleep(name, value)).collect();
        all.extend([sleep("X", "y"), reads]);
        Self(all)
    }

    fn assert_unharmed(&mut self) {
        for bystander in &mut self.0 {
            let id = bystander.id();
            assert!(bystander.try_wait().unwrap().is_none(), "somebody else's process was ended");
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            assert!(!stat.contains(") T "), "somebody else's process was stopped: {stat}");
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

/// Sweeps what `script` starts and checks that nobody is left, and that bystanders are.
async fn sweeps(script: &str, members: usize) {
    let marker = Marker::new();
    let mut bystanders = Bystanders::beside(&marker);
    let mut leader = start(&marker, script);
    let mut tree = Tree::new(marker.clone(), leader.id());
    wait_until("all have started", || alive(&marker) >= members);
    tree.remember();
    assert_eq!(tree.sweep().await, 0);
    assert_eq!(alive(&marker), 0);
    leader.wait().unwrap();
    bystanders.assert_unharmed();
}

#[tokio::test]
async fn ends_children_in_sessions_of_their_own() {
    sweeps("setsid sleep 60 & setsid sh -c 'sleep 60 & sleep 60' & wait", 5).await;
}

#[tokio::test]
async fn ends_what_ignores_signals_and_what_init_adopted() {
    sweeps("(trap '' INT TERM HUP; sleep 60; sleep 60) & (setsid sleep 60 &) ; wait", 3).await;
}

#[tokio::test]
async fn ends_what_cleared_its_environment_by_descent() {
    let marker = Marker::new();
    let mut leader = start(&marker, "env -i sleep 61.25 & wait");
    let mut tree = Tree::new(marker.clone(), leader.id());
    wait_until("the child has started", || tree_size(&tree) == 2);
    tree.remember();
    assert_eq!(tree.sweep().await, 0);
    assert_eq!(tree_size(&tree), 0);
    leader.wait().unwrap();
}

#[tokio::test]
async fn ends_what_forks_as_fast_as_it_can() {
    // Bounded by itself: 400 forks at most, each of which sleeps for five seconds at most.
    sweeps("n=0; while [ $n -lt 400 ]; do n=$((n+1)); (setsid sleep 5 &); done; wait", 20).await;
}

#[test]
fn dropping_a_tree_ends_it() {
    let marker = Marker::new();
    let mut leader = start(&marker, "setsid sleep 60 & wait");
    let tree = Tree::new(marker.clone(), leader.id());
    wait_until("both have started", || alive(&marker) >= 2);
    drop(tree);
    assert_eq!(alive(&marker), 0);
    leader.wait().unwrap();
}

#[test]
fn a_leader_that_is_gone_is_not_signalled() {
    let marker = Marker::new();
    let mut leader = start(&marker, "exit 0");
    let tree = Tree::watched(marker, leader.id());
    leader.wait().unwrap();
    tree.signal_leader(Signal::Terminate);
    tree.signal_leader(Signal::Interrupt);
    tree.system.ask_watcher();
}

/// What an id that was used again looks like: the process that was known has another start.
#[test]
fn an_id_that_another_process_has_by_now_is_not_signalled() {
    let marker = Marker::new();
    let mut bystanders = Bystanders::beside(&marker);
    for bystander in &bystanders.0 {
        let was = Identity { started: identity(bystander).started - 1, ..identity(bystander) };
        was.send(rustix::process::Signal::STOP);
        was.send(rustix::process::Signal::KILL);
        let mut tree = Tree::watched(marker.clone(), bystander.id());
        tree.system.leader = Some(was);
        tree.system.known = HashSet::from([was]);
        tree.remember();
        tree.signal_leader(Signal::Interrupt);
        tree.signal_leader(Signal::Terminate);
        assert_eq!(tree.system.kill_all(&tree.marker), 0);
        drop(tree);
    }
    bystanders.assert_unharmed();
}

#[test]
fn who_descends_from_an_id_that_was_used_again_is_not_ours() {
    let marker = Marker::new();
    let mut other = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
    let mut tree = Tree::new(marker, other.id());
    wait_until("its child has started", || tree_size(&tree) == 2);
    let was = Identity { started: identity(&other).started - 1, ..identity(&other) };
    tree.system.leader = Some(was);
    tree.system.known = HashSet::from([was]);
    assert_eq!(tree_size(&tree), 0);
    tree.system.known = HashSet::from([identity(&other)]);
    assert_eq!(tree.system.kill_all(&tree.marker), 2);
    other.wait().unwrap();
}

#[tokio::test]
async fn of_a_server_only_the_tools_that_work_in_the_directory_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    for (server, task, helper_works_for) in [("home", "task", 2), ("task", "task", 1)] {
        let (home, task) = (folder.join(server), folder.join(task));
        std::fs::create_dir_all(task.join("below")).unwrap();
        std::fs::create_dir_all(&home).unwrap();
        let marker = Marker::new();
        let task_path = task.display();
        let script = format!(
            "(cd {task_path}; setsid sleep 60 & exec sleep 60) &
             setsid sh -c 'cd {task_path}/below; exec sleep 60' &
             (cd {task_path}; exec env -i setsid sh -c 'sleep 60 & wait') &
             setsid sh -c 'cd /; exec sleep 60' &
             wait"
        );
        let mut server = Command::new("sh");
        server.args(["-c", &script]).env(Marker::VARIABLE, marker.nested_in(None)).current_dir(&home);
        let mut server = std::os::unix::process::CommandExt::process_group(&mut server, 0).spawn().unwrap();
        let tree = Tree::new(marker.clone(), server.id());
        // The server, its helper with one that works for it, the tool below, the tool without a marker, one elsewhere.
        wait_until("all have started", || tree_size(&tree) == 7);
        sweep_directories(&marker, Leader::new(server.id()), vec![task.clone()]).await;
        // Where the server works in the directory, its helper cannot be told from it, and a tool not from what works for it.
        assert_eq!(tree_size(&tree), 2 + helper_works_for);
        assert!(server.try_wait().unwrap().is_none());
        drop(tree);
        server.wait().unwrap();
    }
}

#[test]
fn what_works_for_an_id_that_was_used_again_is_not_swept() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let mut other = Command::new("sh");
    other.args(["-c", "setsid sleep 60 & wait"]).current_dir(&place);
    let mut other = std::os::unix::process::CommandExt::process_group(&mut other, 0).spawn().unwrap();
    let tree = Tree::new(Marker::new(), other.id());
    let is = identity(&other);
    let is_tool =
        |process: &Identity| status(process.id).is_some_and(|tool| *process != is && tool.group == process.id);
    wait_until("its tool has a session of its own", || tree.system.members(&tree.marker).iter().any(is_tool));
    let kill_all = |leader| super::Part::new(super::Leader(Some(leader)), vec![place.clone()]).kill_all(&Marker::new());
    assert_eq!(kill_all(Identity { started: is.started - 1, ..is }), 0);
    assert_eq!(tree_size(&tree), 2);
    assert_eq!(kill_all(is), 1, "its tool");
    drop(tree);
    other.wait().unwrap();
}

#[test]
fn the_memory_of_a_leader_is_that_of_its_group() {
    let group = |script: &str| {
        let mut command = Command::new("sh");
        std::os::unix::process::CommandExt::process_group(command.args(["-c", script]), 0).spawn().unwrap()
    };
    let (mut alone, mut two) = (group("exec sleep 60"), group("sleep 60 & wait"));
    wait_until("the memory of both is more", || memory(two.id()) > memory(alone.id()));
    assert!(memory(alone.id()).unwrap() > 100_000);
    drop(Tree::new(Marker::new(), two.id()));
    alone.kill().unwrap();
    for child in [&mut alone, &mut two] {
        child.wait().unwrap();
    }
    assert_eq!(memory(alone.id()), None);
}

#[test]
fn what_becomes_one_program_after_another_bears_the_marker_throughout() {
    let marker = Marker::new();
    let mut bystanders = Bystanders::beside(&marker);
    let script = r#"exec sh -c "$0" "$0""#;
    let variable = marker.nested_in(None);
    let mut child = Command::new("sh").args(["-c", script, script]).env(Marker::VARIABLE, variable).spawn().unwrap();
    let mut tree = Tree::new(marker.clone(), child.id());
    let process = identity(&child);
    for look in 0..5000 {
        assert!(super::bears(process, &marker), "not seen at look {look}");
    }
    tree.system.kill_all(&marker);
    child.wait().unwrap();
    assert_eq!(alive(&marker), 0);
    bystanders.assert_unharmed();
}
