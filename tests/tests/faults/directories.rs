//! Task directories whose path opencode changes or rejects.

use crate::support::{Case, Running, Transport};
use opencode_run_tests::serve_script::Serving;
use std::os::unix::ffi::OsStrExt;

const NAMES: [&str; 4] = ["a%2Fb", "a%20b", "100%", "a+b c"];

fn server_case(version: &str) -> Case {
    let serving = Serving::replaying("1.18.33/plain-text");
    Case::new(|script, _| script.version(version).on("serve", [serving.act()])).on(Transport::Serve)
}

#[test]
fn server_gets_each_directory_unchanged() {
    for name in NAMES {
        let case = server_case("1.1.65");
        let directory = case.sandbox.workspace().join(name);
        std::fs::create_dir(&directory).unwrap();
        let (outcome, object) = case.run_json(&["--dir", directory.to_str().unwrap(), "hello"]);
        outcome.assert_code(0);
        assert_eq!(object["task_dir"].as_str(), directory.to_str());
        let server = case.fake.log_of("serve").remove(0);
        let requests = server.requests_of("POST /session");
        assert_eq!(requests[0].directory.as_deref(), Some(directory.as_path()));
    }
}

#[test]
fn path_decoding_server_is_not_started() {
    for name in NAMES {
        let case = server_case("1.18.33");
        let directory = case.sandbox.workspace().join(name);
        std::fs::create_dir(&directory).unwrap();
        let outcome = case.run(&["--dir", directory.to_str().unwrap(), "hello"]);
        let is_escape = name.starts_with("a%2");
        outcome.assert_code(if is_escape { 2 } else { 0 });
        assert_eq!(case.fake.log_of("serve").len(), usize::from(!is_escape));
    }
}

#[test]
fn run_refuses_percent_escape_in_directory() {
    for name in NAMES {
        let case = Case::replaying("1.18.33/plain-text").on(Transport::Run);
        let directory = case.sandbox.workspace().join(name);
        std::fs::create_dir(&directory).unwrap();
        let outcome = case.run(&["--dir", directory.to_str().unwrap(), "hello"]);
        let is_escape = name.starts_with("a%2");
        outcome.assert_code(if is_escape { 2 } else { 0 });
        if is_escape {
            outcome.assert_says(&[directory.to_str().unwrap(), "another directory", "rename the directory"]);
            assert_eq!(case.fake.log_of("run").len(), 0);
        }
    }
}

#[test]
fn non_utf8_path_is_refused() {
    for transport in [Transport::Serve, Transport::Run] {
        let case = Case::replaying("1.18.33/plain-text").on(transport);
        let name = case.sandbox.workspace().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        std::fs::create_dir(&name).unwrap();
        std::fs::write(name.join("f"), "").unwrap();
        for (option, path) in [("--dir", name.clone()), ("--workspace", name.clone()), ("--file", name.join("f"))] {
            let mut command = case.command(&[option]);
            command.arg(&path).arg("hello");
            let outcome = Running::spawn(&mut command).wait();
            outcome.assert_code(2);
            outcome.assert_says(&["UTF-8"]);
        }
        assert!(std::fs::read_dir(&name).unwrap().count() == 1, "no task directory is left");
        assert_eq!(case.fake.log_of("serve").len() + case.fake.log_of("run").len(), 0);
    }
}
