//! Parsing of the arguments.

use super::values::{duration, idle_limit};
use super::*;
use clap::error::ErrorKind;
use opencode_run_core::{Limit, ModelSourceType};
use std::time::Duration;

#[test]
fn argument_definition_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn message_may_contain_subcommand_name() {
    let cli = Cli::try_parse_from(["opencode-run", "fix", "the", "demo"]).unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.run.words, ["fix", "the", "demo"]);
}

#[test]
fn subcommand_after_option_is_rejected() {
    let misplaced = |arguments: &[&str]| {
        let arguments = [&["opencode-run"], arguments].concat();
        let cli = Cli::try_parse_from(&arguments).unwrap();
        cli.misplaced_subcommand(arguments.iter().map(OsString::from)).map(str::to_owned)
    };
    assert_eq!(misplaced(&["--model", "a/b", "resume", "dir"]).as_deref(), Some("resume"));
    assert_eq!(misplaced(&["-q", "doctor"]).as_deref(), Some("doctor"));
    for message in [&["-q", "--", "doctor"][..], &["-q", "doctor the build"], &["-q", "the", "demo"], &["doctor"]] {
        assert_eq!(misplaced(message), None, "{message:?}");
    }
}

#[test]
fn resume_rejects_other_directories() {
    let resume = |more: &[&str]| Cli::try_parse_from([&["opencode-run", "resume"], more].concat());
    let Some(Command::Resume(args)) = resume(&["dir", "go", "on", "--session", "ses_1"]).unwrap().command else {
        panic!("another command");
    };
    assert_eq!((args.task_dir, args.run.words), ("dir".into(), vec!["go".to_owned(), "on".to_owned()]));
    for wrong in [&["dir", "--dir", "x"][..], &["dir", "--workspace=x"], &["dir", "--no-journal"], &[]] {
        assert!(resume(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn save_markdown_path_requires_equals() {
    let path = |args: &[&str]| Cli::try_parse_from(args).unwrap().run.output.save_markdown;
    assert_eq!(path(&["opencode-run", "m"]), None);
    assert_eq!(path(&["opencode-run", "--save-markdown", "m"]), Some(None));
    assert_eq!(path(&["opencode-run", "--save-markdown=x.md", "m"]), Some(Some("x.md".into())));
}

#[test]
fn durations_require_units() {
    assert_eq!(duration("8s"), Ok(Duration::from_secs(8)));
    assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
    assert!(duration("10").is_err() && duration("0s").is_err() && duration("soon").is_err());
    assert_eq!(idle_limit("2m"), Ok(Limit::At(Duration::from_mins(2))));
    assert_eq!(idle_limit("0"), Ok(Limit::Off));
    let default = Cli::try_parse_from(["opencode-run", "m"]).unwrap().run.task.idle_timeout;
    assert_eq!(default, Limit::At(opencode_run_core::Limits::DEFAULT_IDLE));
}

#[test]
fn free_text_may_begin_with_a_hyphen() {
    let run = |arguments: &[&str]| Cli::try_parse_from([&["opencode-run"], arguments].concat()).unwrap().run;
    for text in ["- be brief", "-x", "--", "--- a\n+++ b", "-q fast"] {
        assert_eq!(run(&["--context", text, "m"]).task.instructions.context.as_deref(), Some(text));
        assert_eq!(run(&["--message", text]).message.as_deref(), Some(text));
        assert_eq!(run(&["--title", text, "m"]).task.title.as_deref(), Some(text));
    }
    // Every option of free text is in this list: a new one must be added, and must allow hyphens.
    let command = Cli::command();
    let texts = command.get_arguments().filter(|arg| arg.is_allow_hyphen_values_set()).map(|arg| arg.get_id().as_str());
    assert_eq!(texts.collect::<Vec<_>>(), ["message", "title", "context"]);
}

#[test]
fn mark_of_list_items_is_removed_from_free_text() {
    let command = Cli::command();
    for text in command.get_arguments().filter(|arg| arg.is_allow_hyphen_values_set()) {
        let option = format!("--{}", text.get_long().unwrap());
        let arguments = ["opencode-run", &option, "- be brief", "- fix it"];
        // `--message` takes no words beside it.
        let arguments = if option == "--message" { &arguments[..3] } else { &arguments[..] };
        let cli = Cli::read(arguments.iter().map(OsString::from)).unwrap();
        assert!(!format!("{cli:?}").contains("fdd0"), "{option} is missing in free_text.rs");
    }
}

#[test]
fn option_instead_of_text_is_found() {
    let missing = |arguments: &[&str]| {
        let found = Cli::missing_text(arguments.iter().map(OsString::from))?;
        Some((found.option, found.next))
    };
    assert_eq!(missing(&["--context", "--lean", "m"]), Some(("--context".to_owned(), "--lean".to_owned())));
    assert_eq!(missing(&["--title", "--output-format=json"]).unwrap().1, "--output-format=json");
    assert_eq!(missing(&["--message", "-q"]).unwrap().1, "-q");
    for fine in [&["--context=--lean", "m"][..], &["--context", "-q fast"], &["m", "--", "--context", "--lean"]] {
        assert_eq!(missing(fine), None, "{fine:?}");
    }
}

#[test]
fn message_may_begin_like_list_item() {
    let read = |arguments: &[&str]| Cli::read([&["opencode-run"], arguments].concat().into_iter().map(OsString::from));
    let run = read(&["--lean", "- fix it\n- test it", "-q", "and", "-"]).unwrap().run;
    assert_eq!(run.words, ["- fix it\n- test it", "and", "-"]);
    assert!(run.task.lean && run.output.console.quiet);
    let Some(Command::Resume(args)) = read(&["resume", "dir", "- go on", "--lean"]).unwrap().command else {
        panic!("another command");
    };
    assert_eq!((args.run.words, args.run.task.lean), (vec!["- go on".to_owned()], true));
    let run = read(&["--context", "- be brief", "--title=- x", "- fix it"]).unwrap().run;
    assert_eq!(
        (run.task.instructions.context.as_deref(), run.task.title.as_deref()),
        (Some("- be brief"), Some("- x"))
    );
    // The value of another option keeps its text or is rejected, but never gets the mark.
    for option in ["--file", "--dir", "--workspace", "--agent", "--json-schema", "--task-name"] {
        let read = read(&[option, "- x", "m"]);
        assert!(read.is_err() || !format!("{:?}", read.unwrap()).contains("fdd0"), "{option}");
    }
    for wrong in [&["--leen", "- fix it"][..], &["- fix it", "-x"], &["--no-such"], &["resume", "dir", "- a", "--leen"]]
    {
        let error = read(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{wrong:?}");
    }
}

#[test]
fn short_help_fits_a_screen() {
    let help = Cli::command().term_width(100).render_help().to_string();
    assert!(help.lines().count() <= 54, "{help}");
    assert!(help.contains("--max-cost") && !help.contains("--no-gateway"), "{help}");
}

#[test]
fn long_help_groups_every_option() {
    for command in std::iter::once(&Cli::command()).chain(Cli::command().get_subcommands()) {
        let ungrouped = command.get_arguments().filter(|arg| arg.get_help_heading().is_none() && !arg.is_positional());
        let allowed = ["message", "files", "json_schema"];
        if command.get_arguments().any(|arg| arg.get_id() == "idle_timeout") {
            let unexpected: Vec<_> =
                ungrouped.map(|arg| arg.get_id().as_str()).filter(|id| !allowed.contains(id)).collect();
            assert!(unexpected.is_empty(), "{}: {unexpected:?}", command.get_name());
        }
    }
}

#[test]
fn aliases_set_same_option() {
    let read = |arguments: &[&str]| Cli::try_parse_from([&["opencode-run", "m"], arguments].concat()).unwrap().run;
    assert!(read(&["--progress"]).output.no_wait);
    assert_eq!(read(&["--system-prompt", "- brief"]).task.instructions.context.as_deref(), Some("- brief"));
    assert_eq!(read(&["--system-prompt-file", "x"]).task.instructions.context_file, Some("x".into()));
    assert_eq!(read(&["--role", "code"]).task.model_source_type, Some(ModelSourceType::Code));
}
