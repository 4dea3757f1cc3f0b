//! What the end of the process says about the end of the turn.

use super::api::explain;
use super::config_errors;
use super::stderr::StderrLine;
use crate::json_text::parse;
use crate::resource_limits::error_summary;
use opencode_run_core::{Ending, Event, ProcessExit, ReportedError, SessionId, TurnFailure};
use serde::Deserialize;

/// What was seen of a turn that bears on its end.
#[derive(Debug, Default)]
pub(crate) struct EndEvidence {
    error: Option<ReportedError>,
    recovered: bool,
    model_not_found: Option<String>,
    session: Session,
    /// The reason that the log gives for an error that is reported without one.
    explained: Option<TurnFailure>,
}

/// What is known of the session to go on with.
#[derive(Debug, Default, PartialEq, Eq)]
enum Session {
    #[default]
    Unknown,
    Missing,
    /// A step began in it. What is said of sessions from then on is about others.
    AtWork,
}

impl EndEvidence {
    /// Notes an event.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Error(error) => self.error = Some(error.clone()),
            // A further step means that opencode got over it.
            Event::StepStart => {
                self.recovered |= self.error.take().is_some();
                self.session = Session::AtWork;
            }
            _ => {}
        }
    }

    /// Notes a line on stderr.
    pub(crate) fn stderr(&mut self, line: StderrLine) {
        match line {
            StderrLine::ModelNotFound { message } => self.model_not_found = Some(message),
            StderrLine::SessionNotFound if self.session == Session::Unknown => self.session = Session::Missing,
            StderrLine::Explained { line } => self.explained = explain(&line),
            StderrLine::SessionNotFound
            | StderrLine::AgentNotFound
            | StderrLine::Refused { .. }
            | StderrLine::DatabaseBusy
            | StderrLine::Other => {}
        }
    }

    /// Returns the evidence of the process's end.
    ///
    /// Exit code 0 alone proves nothing, which is for the turn's state machine to weigh, unless an error was the last that was
    /// seen: some versions exit with it all the same. Any other end is a failure, and what was seen says which.
    pub(crate) fn ending(self, exit: ProcessExit, session: Option<&SessionId>, stderr: &str) -> Ending {
        // `run` exits with 1 also after an error that it got over, such as a context that had to be compacted.
        let recovered = self.recovered && self.error.is_none() && exit == ProcessExit::Code(1);
        let is_well = exit == ProcessExit::Code(0) || recovered;
        let before_any_step = self.session != Session::AtWork;
        let refused = if is_well || !before_any_step { None } else { config_errors::in_output(stderr) };
        let missing = session.filter(|_| self.session == Session::Missing);
        let failure = if let (false, Some(message)) = (is_well, self.model_not_found) {
            TurnFailure::ModelNotFound { message }
        } else if let Some(message) = refused {
            TurnFailure::Configuration { message }
        } else if let Some(error) = self.error {
            self.explained.filter(|_| error.message.starts_with(UNEXPLAINED)).unwrap_or_else(|| failure_of(error))
        } else if let Some(session) = missing {
            TurnFailure::SessionNotFound { session: session.clone() }
        } else if is_well {
            return Ending::Finished;
        } else {
            TurnFailure::Crashed { exit, stderr: error_summary(stderr) }
        };
        Ending::Failed(failure)
    }
}

/// How an error begins whose reason is in the log alone.
const UNEXPLAINED: &str = "Unexpected server error";
/// How the message of an error for a model that does not exist begins; the error has no name of its own.
const NO_MODEL: &str = "Model not found: ";

/// How the messages of errors begin that opencode's SDK reports for a stream that it cannot read.
const UNREADABLE: [&str; 4] =
    ["JSON parsing failed", "Type validation failed", "Expected 'function.name'", "Expected 'id'"];

/// What a provider sends in the middle of its stream is reported under no name of its own, as the JSON that came.
#[derive(Deserialize)]
struct StreamedError {
    message: String,
}

/// Takes an error that opencode reported for the failure of the turn.
pub(crate) fn failure_of(error: ReportedError) -> TurnFailure {
    if error.message.starts_with(NO_MODEL) {
        // It ends with a full stop, or with a question where there are some that may have been meant.
        return TurnFailure::ModelNotFound { message: error.message.trim_end_matches('.').to_owned() };
    }
    if UNREADABLE.iter().any(|beginning| error.message.starts_with(beginning)) {
        // The rest is the schema that the SDK wanted, in many lines.
        let first = error.message.lines().next().unwrap_or_default();
        return TurnFailure::MalformedAnswer { message: format!("its stream cannot be read: {first}") };
    }
    match parse::<StreamedError>(&error.message) {
        Ok(StreamedError { message }) if error.name == "UnknownError" => {
            let ReportedError { status, retryable, url, .. } = error;
            TurnFailure::Provider { message, status, retryable, url }
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> Event {
        Event::Error(ReportedError::new(name, "boom").status(400).retryable(false))
    }

    #[test]
    fn exit_code_0_is_left_to_the_turn_to_weigh_unless_an_error_was_last() {
        let mut seen = EndEvidence::default();
        assert_eq!(EndEvidence::default().ending(ProcessExit::Code(0), None, ""), Ending::Finished);
        seen.event(&error("APIError"));
        assert!(matches!(seen.ending(ProcessExit::Code(0), None, ""), Ending::Failed(_)));
    }

    #[test]
    fn an_exit_without_a_reason_is_a_crash_with_what_stderr_says() {
        let ending = EndEvidence::default().ending(ProcessExit::Signal(11), None, "segfault");
        let failure = TurnFailure::Crashed { exit: ProcessExit::Signal(11), stderr: "segfault".to_owned() };
        assert_eq!(ending, Ending::Failed(failure));
    }

    #[test]
    fn the_log_knows_better_than_an_unexpected_server_error() {
        let mut seen = EndEvidence::default();
        seen.event(&error("UnknownError"));
        seen.stderr(StderrLine::ModelNotFound { message: "Model not found: a/b".to_owned() });
        let failure = TurnFailure::ModelNotFound { message: "Model not found: a/b".to_owned() };
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Failed(failure));
    }

    #[test]
    fn refused_configuration_is_the_reason_before_any_step() {
        let stderr = "Error: Configuration is invalid at /w/opencode.json\n↳ Expected string, got 7 model\n";
        let message = "/w/opencode.json: Expected string, got 7 model".to_owned();
        let ending = |seen: EndEvidence| seen.ending(ProcessExit::Code(1), None, stderr);
        assert_eq!(ending(EndEvidence::default()), Ending::Failed(TurnFailure::Configuration { message }));
        let mut seen = EndEvidence::default();
        seen.event(&Event::StepStart);
        assert!(matches!(ending(seen), Ending::Failed(TurnFailure::Crashed { .. })));
    }

    #[test]
    fn error_without_a_reason_has_that_of_the_log() {
        let mut seen = EndEvidence::default();
        let message = "Unexpected server error. Check server logs for details.".to_owned();
        let name = "UnknownError".to_owned();
        seen.event(&Event::Error(ReportedError::new(name, message)));
        seen.stderr(super::super::stderr::read(
            "timestamp=1 level=ERROR run=1 message=failed ref=err_1 error=\"Error: no \\\"x\\\"\" cause=\"y\"",
        ));
        let failure = TurnFailure::Opencode { message: "no \"x\"".to_owned() };
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Failed(failure));
    }

    #[test]
    fn an_error_out_of_the_middle_of_a_stream_is_the_providers() {
        let ending = |name: &str, message: &str| {
            let error = ReportedError::new(name, message);
            let mut seen = EndEvidence::default();
            seen.event(&Event::Error(error));
            match seen.ending(ProcessExit::Code(1), None, "") {
                Ending::Failed(failure) => failure.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let json = r#"{"message":"overloaded","type":"server_error"}"#;
        assert_eq!(ending("UnknownError", json), "the model's provider failed: overloaded");
        assert_eq!(ending("UnknownError", "oh"), "opencode failed: UnknownError: oh");
        assert_eq!(ending("UnknownError", "{}"), "opencode failed: UnknownError: {}");
    }

    #[test]
    fn unreadable_stream_is_a_failure_of_the_provider() {
        for message in [
            "Expected 'function.name' to be a string.",
            "JSON parsing failed: Text: {\"a.\nError message: JSON Parse error: Unterminated string",
            "Type validation failed: Value: {\"foo\":1}.\nError message: [\n  {}\n]",
        ] {
            let first = message.lines().next().unwrap();
            let error = ReportedError::new("UnknownError", message);
            let message = format!("its stream cannot be read: {first}");
            assert_eq!(failure_of(error), TurnFailure::MalformedAnswer { message });
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_told_by_the_message() {
        for (said, message) in [
            ("Model not found: stub/nope.", "Model not found: stub/nope"),
            ("Model not found: stub/gpt. Did you mean: gpt-4?", "Model not found: stub/gpt. Did you mean: gpt-4?"),
        ] {
            let error = ReportedError::new("UnknownError", said);
            assert_eq!(failure_of(error), TurnFailure::ModelNotFound { message: message.to_owned() });
        }
    }

    #[test]
    fn a_session_that_is_not_there_is_named_whatever_the_exit_code() {
        let session = SessionId::new("ses_1");
        let failure = TurnFailure::SessionNotFound { session: session.clone() };
        for code in [0, 1] {
            let mut seen = EndEvidence::default();
            seen.stderr(StderrLine::SessionNotFound);
            let ending = seen.ending(ProcessExit::Code(code), Some(&session), "");
            assert_eq!(ending, Ending::Failed(failure.clone()));
        }
    }

    #[test]
    fn what_a_turn_at_work_says_of_sessions_is_not_about_its_own() {
        for said_first in [true, false] {
            let mut seen = EndEvidence::default();
            if said_first {
                seen.stderr(StderrLine::SessionNotFound);
            }
            seen.event(&Event::StepStart);
            seen.stderr(StderrLine::SessionNotFound);
            let ending = seen.ending(ProcessExit::Code(0), Some(&SessionId::new("ses_1")), "");
            assert_eq!(ending, Ending::Finished);
        }
    }

    #[test]
    fn an_error_that_opencode_got_over_is_not_the_reason() {
        let mut seen = EndEvidence::default();
        seen.event(&error("APIError"));
        seen.event(&Event::StepStart);
        assert_eq!(seen.ending(ProcessExit::Code(1), None, ""), Ending::Finished);
    }
}
