//! stdout and stderr on the same terminal.

use crate::support::{Case, Running};

#[test]
fn message_starts_on_its_own_line() {
    let case = Case::replaying("1.18.33/tool-then-text");
    let screen = Running::spawn_on_terminal(&case.command(&["hello"])).screen();
    let lines: Vec<_> = screen.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("bash: ")) && lines.contains(&"I make a file."), "{screen}");
}
