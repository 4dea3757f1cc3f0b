//! The arguments of `opencode run`.

use crate::Version;
use opencode_run_core::TurnRequest;
use std::ffi::OsString;

/// The arguments that list the models, one name per line.
pub(crate) const MODELS: [&str; 1] = ["models"];

/// The versions that introduced or renamed the argument that allows all permission requests except denied ones.
const APPROVALS: [(Version, &str); 2] =
    [(Version::new(1, 17, 12), "--auto"), (Version::new(1, 14, 41), "--dangerously-skip-permissions")];

/// Returns the argument with which `run` allows all permission requests, if the version has one.
pub(crate) fn approval(version: Version) -> Option<&'static str> {
    APPROVALS.iter().find(|(since, _)| version >= *since).map(|(_, name)| *name)
}

/// Returns the arguments of a turn. The message is not among them: on the command line opencode would quote it, through
/// stdin it arrives verbatim.
pub(crate) fn run(request: &TurnRequest, model: Option<&str>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["run", "--format", "json", "--thinking"].map(Into::into).into();
    // `run` reports an unknown model only in its log.
    arguments.extend(["--print-logs", "--log-level", "ERROR"].map(Into::into));
    let mut option = |name: &str, value: &str| arguments.push(format!("--{name}={value}").into());
    if let Some(model) = model {
        option("model", model);
    }
    if let Some(agent) = &request.prompt.options.agent {
        option("agent", agent);
    }
    if let Some(variant) = &request.prompt.options.variant {
        option("variant", variant);
    }
    match &request.session {
        Some(session) => option("session", session.as_str()),
        // A session with a title needs no request for one.
        None => option("title", &request.title()),
    }
    for file in &request.prompt.files {
        let mut argument = OsString::from("--file=");
        argument.push(file);
        arguments.push(argument);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Prompt, SessionId, Task};

    fn arguments(request: &TurnRequest, model: Option<&str>) -> String {
        let all: Vec<_> = run(request, model).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        all.join(" ")
    }

    #[test]
    fn first_turn_titles_the_session() {
        let request = TurnRequest::new(Prompt::new("secret message"), Task::new("fix", "/w/task_fix_00000000"));
        assert_eq!(
            arguments(&request, None),
            "run --format json --thinking --print-logs --log-level ERROR --title=task_fix_00000000"
        );
    }

    #[test]
    fn approval_argument_depends_on_version() {
        assert_eq!(approval(Version::new(1, 18, 33)), Some("--auto"));
        assert_eq!(approval(Version::new(1, 15, 13)), Some("--dangerously-skip-permissions"));
        assert_eq!(approval(Version::new(1, 3, 2)), None);
    }

    #[test]
    fn each_option_is_one_argument() {
        let prompt = Prompt::new("m").agent("--x").variant("high").title("a b").file("/a b").file("-f");
        let request = TurnRequest::new(prompt.clone(), Task::new("fix", "/w/t"));
        assert_eq!(
            arguments(&request, Some("p/m")),
            "run --format json --thinking --print-logs --log-level ERROR --model=p/m --agent=--x --variant=high \
             --title=a b --file=/a b --file=-f"
        );
        let later = request.session(Some(SessionId::new("ses_1")));
        assert!(arguments(&later, None).contains("--session=ses_1") && !arguments(&later, None).contains("--title"));
    }
}
