//! Recognizes lines on stderr with information that the events lack.

/// The meaning of a line for the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StderrLine {
    /// The requested agent does not exist or cannot run a turn; opencode would use another.
    AgentNotFound,
    /// A permission was requested and refused immediately.
    Refused { permission: String, patterns: Vec<String> },
    /// The session to continue does not exist.
    SessionNotFound,
    /// The model does not exist; with opencode's suggestions.
    ModelNotFound { message: String },
    /// The log explains an error that is reported without a reason.
    Explained { line: String },
    /// Another opencode has locked the database, or is just creating its tables.
    DatabaseBusy,
    /// Any other line.
    Other,
}

/// The error of the database while another process writes.
const LOCKED: &str = "database is locked";
/// The start of a database error. On a new database, opencodes that start at the same time fail because each creates
/// the same tables.
const FAILED_QUERY: &str = "Failed query:";

/// Removes the colours that opencode writes even without a terminal.
pub(crate) fn plain(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}

/// Classifies a line without colours.
pub(crate) fn read(line: &str) -> StderrLine {
    // The log quotes texts of others too: only lines that opencode prints for people are trusted.
    if let Some((_, message)) = line.split_once("ProviderModelNotFoundError: ")
        && message.starts_with("Model not found")
    {
        return StderrLine::ModelNotFound { message: model_message(message) };
    }
    // In the log, only the name of the error counts.
    if line.trim() == LOCKED
        || line.trim_start_matches("Error: ").starts_with(FAILED_QUERY)
        || line.contains("LockTimeoutError") && line.contains(LOCKED)
    {
        return StderrLine::DatabaseBusy;
    }
    if line.starts_with("timestamp=") && line.contains(" message=failed ref=") {
        return StderrLine::Explained { line: line.to_owned() };
    }
    if line.starts_with("timestamp=") || line.starts_with("ERROR ") {
        return StderrLine::Other;
    }
    if line.ends_with("Falling back to default agent") {
        return StderrLine::AgentNotFound;
    }
    if let Some((_, asked)) = line.split_once("permission requested: ")
        && let Some(asked) = asked.strip_suffix("; auto-rejecting")
    {
        let (permission, patterns) = asked.split_once(" (").unwrap_or((asked, ""));
        let patterns = patterns.strip_suffix(')').unwrap_or(patterns);
        return StderrLine::Refused {
            permission: permission.to_owned(),
            patterns: patterns.split(", ").filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect(),
        };
    }
    // Before 1.15 it is a field of an uncaught error.
    let message = line.trim_start().trim_start_matches("message: \"").trim_start_matches("Error: ");
    match message {
        message if message.starts_with("Session not found") => StderrLine::SessionNotFound,
        // Before 1.2 a session is a file.
        message if message.starts_with("Resource not found: ") && message.contains("/storage/session/") => {
            StderrLine::SessionNotFound
        }
        _ => StderrLine::Other,
    }
}

/// Extracts `Model not found: … Did you mean: …?` from a line of the log.
fn model_message(message: &str) -> String {
    let end = message.find(['"', ')', '\\', '\n']).unwrap_or(message.len());
    message[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_lines_are_classified() {
        let reject = "\u{1b}[93m\u{1b}[1m! \u{1b}[0mpermission requested: external_directory (/etc/*); auto-rejecting";
        assert_eq!(
            read(&plain(reject)),
            StderrLine::Refused { permission: "external_directory".to_owned(), patterns: vec!["/etc/*".to_owned()] }
        );
        let agent = "\u{1b}[93m\u{1b}[1m! \u{1b}[0m agent \"nosuch\" not found. Falling back to default agent";
        assert_eq!(read(&plain(agent)), StderrLine::AgentNotFound);
        let session = "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found";
        assert_eq!(read(&plain(session)), StderrLine::SessionNotFound);
        let log = "timestamp=2026-11-22T13:09:06.372Z level=ERROR run=010146e8 message=failed ref=err_c8bfcada \
                   error=\"ProviderModelNotFoundError: Model not found: nope/x. Did you mean: standardcompute?\" cause=\"x\"";
        let message = "Model not found: nope/x. Did you mean: standardcompute?".to_owned();
        assert_eq!(read(log), StderrLine::ModelNotFound { message });
        let log = "timestamp=2026-11-22T13:09:08.252Z level=ERROR message=failed error=\"ProviderModelNotFoundError: \
                   Model not found: stub/nope.\" cause=\"x\"";
        assert_eq!(read(log), StderrLine::ModelNotFound { message: "Model not found: stub/nope".to_owned() });
        assert_eq!(read("timestamp=1 level=ERROR message=\"Falling back to default agent"), StderrLine::Other);
        assert_eq!(read("anything else"), StderrLine::Other);
    }

    #[test]
    fn uncaught_error_lines_are_classified() {
        assert_eq!(read("ProviderModelNotFoundError: ProviderModelNotFoundError"), StderrLine::Other);
        assert_eq!(read("  message: \"Session not found: ses_1\","), StderrLine::SessionNotFound);
        let file = "  message: \"Resource not found: /h/opencode/storage/session/global/ses_1.json\",";
        assert_eq!(read(file), StderrLine::SessionNotFound);
        assert_eq!(read("  message: \"Resource not found: /h/opencode/storage/todo/ses_1.json\","), StderrLine::Other);
    }
}
