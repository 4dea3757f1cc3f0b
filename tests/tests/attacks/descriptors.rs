//! Files that the caller opened for the command or the program must not reach its child processes.

use crate::faults_support::wait_until;
use opencode_run_tests::script::Act;
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin, locate, opencode_run_bin};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::process::{Child, Stdio};

const KEYS: &str = "MODEL_DEFAULT_BASEURL=http://127.0.0.1:9/v1\nMODEL_DEFAULT_MODEL=m-of-the-file\n\
                    MODEL_DEFAULT_APIKEY_COMMAND='ls -l /proc/self/fd >&2; echo sk-0123456789'\n";

fn sandbox() -> (Sandbox, Fake) {
    let sandbox = Sandbox::new();
    let ready = Act::WriteFile { path: sandbox.path("ready"), text: String::new() };
    let fake = FakeScript::new(&sandbox, fake_opencode_bin!()).on("run", [ready, Act::Stall {}]).write();
    (sandbox, fake)
}

/// Returns the targets of a process's descriptors.
fn open_files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())).collect()
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Asserts that neither opencode nor any process between it and `child` has an open file without a path.
#[track_caller]
fn assert_withheld(child: &Child, fake: &Fake) {
    let own = i32::try_from(child.id()).unwrap();
    assert!(open_files(own).iter().any(|file| is_secret(file)), "the caller gave it away");
    let mut process = i32::try_from(fake.log_of("run")[0].pid).unwrap();
    loop {
        let comm = fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
        // The command's worker reads the file.
        if process == own || comm.starts_with("opencode-run-un") {
            break;
        }
        let open = open_files(process);
        assert!(!open.iter().any(|file| is_secret(file)), "{comm}{open:?}");
        process = parent_of(process);
    }
}

fn is_secret(file: &str) -> bool {
    file.contains("memfd:keys") || file.contains("secret.env (deleted)")
}

/// Returns an open file without a path, which a child inherits.
fn memfd() -> OwnedFd {
    let memory = memfd_create("keys", MemfdFlags::empty()).unwrap();
    let mut file = File::from(memory);
    file.write_all(KEYS.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}

#[test]
fn callers_descriptors_reach_only_the_command() {
    for unlinked in [false, true] {
        let (sandbox, fake) = sandbox();
        let memory = memfd();
        let secret = sandbox.path("secret.env");
        fs::write(&secret, KEYS).unwrap();
        let (descriptor, open) = if unlinked {
            (3, format!("exec 3<{0}; rm {0}", secret.display()))
        } else {
            (memory.as_raw_fd(), ":".to_owned())
        };
        let mut command = sandbox.command("/bin/sh");
        command.args(["-c", &format!("{open}; exec \"$@\""), "sh"]).arg(opencode_run_bin!());
        command.args(["--transport", "run", "--opencode"]).arg(fake.executable());
        command.args(["--config", &format!("/dev/fd/{descriptor}"), "hello"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let ready = sandbox.path("ready");
        wait_until("the turn runs", || ready.exists());
        assert_withheld(&child, &fake);
        let model = fake.log_of("run")[0].flag("--model").map(str::to_owned);
        assert!(model.as_deref().is_some_and(|model| model.ends_with("/m-of-the-file")), "{model:?}");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        // The key command has listed its open files.
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("/dev/null") && !stderr.lines().any(is_secret), "{stderr}");
        sandbox.assert_nothing_alive();
    }
}

#[test]
fn embedding_programs_descriptors_stay_private() {
    for line in ["first", "none"] {
        let (sandbox, fake) = sandbox();
        let memory = memfd();
        let mut command = sandbox.command(locate("embedding-program", env!("CARGO_BIN_EXE_embedding-program")));
        command.arg("run").arg(fake.executable()).arg("exit").env("LINE", line);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let ready = sandbox.path("ready");
        wait_until("the turn runs", || ready.exists());
        assert_withheld(&child, &fake);
        let info = format!("/proc/{}/fdinfo/{}", child.id(), memory.as_raw_fd());
        let flags = fs::read_to_string(info).unwrap();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        assert_eq!(u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000, 0, "the library changed it");
        fs::write(sandbox.workspace().join("end"), "").unwrap();
        child.wait().unwrap();
        sandbox.assert_nothing_alive();
    }
}
