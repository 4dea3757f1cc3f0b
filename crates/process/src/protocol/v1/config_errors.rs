//! The reasons why opencode rejects a configuration, in its own words.
//!
//! opencode quotes text that is not JSON, which may contain keys: only its error messages are returned.

/// The line above a quoted text that is not JSON.
const QUOTE: &str = "--- JSONC Input ---";
/// The line above the errors of that text.
const ERRORS: &str = "--- Errors ---";
/// The start of the message of `run` and `serve` for a file that is not JSON, before the path and [`NOT_JSON`].
const FILE: &str = "Config file at ";
const NOT_JSON: &str = " is not valid JSON";
/// The start of their message for any other problem, before the path; the problem follows on the same or the next
/// lines.
const INVALID: &str = "Configuration is invalid at ";
/// Their message for a file that cannot be read, with the path in parentheses.
const UNREADABLE: &str = "FileSystem.readFile (";
/// The names of configuration files.
const NAMES: [&str; 3] = ["opencode.json", "opencode.jsonc", "config.json"];
/// Problems that they print without one of these starts.
const OTHERS: [&str; 3] = ["Failed to load remote config", "Failed to parse frontmatter", "Directory \""];

/// Returns the reason from a program's stderr, on one line; `None` if it did not reject its configuration.
pub(crate) fn in_output(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().map(|line| line.trim_start_matches("Error: ").trim_end());
    loop {
        let line = lines.next()?;
        if is_log(line) {
            continue;
        }
        if let Some(rest) = line.strip_prefix(FILE)
            && let Some((path, _)) = rest.rsplit_once(NOT_JSON)
        {
            let errors = json_errors(&lines.collect::<Vec<_>>().join("\n"));
            return Some(join(path, errors));
        }
        if let Some(first) = line.strip_prefix(INVALID) {
            let issues = lines.take_while(|line| !is_log(line)).map(|line| line.trim_start_matches('↳').trim());
            return Some(join(first, issues.filter(|line| !line.is_empty()).map(str::to_owned)));
        }
        if let Some(path) = unreadable(line) {
            return Some(format!("{path}: it cannot be read"));
        }
        if OTHERS.iter().any(|other| line.starts_with(other)) {
            return Some(line.to_owned());
        }
    }
}

/// Returns the problems in the message of a configuration error.
pub(crate) fn in_message(message: &str) -> Vec<String> {
    if message.contains(QUOTE) {
        return json_errors(message);
    }
    message.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Returns the path of a configuration file that cannot be read.
pub(crate) fn unreadable(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(UNREADABLE)?;
    // A path may contain parentheses: it ends after its file's name.
    let end = NAMES.iter().filter_map(|name| Some(rest.find(&format!("/{name})"))? + 1 + name.len())).min()?;
    Some(&rest[..end])
}

/// Returns whether a line belongs to the log, which may quote any text.
fn is_log(line: &str) -> bool {
    ["timestamp=", "ERROR ", "WARN ", "INFO "].iter().any(|prefix| line.starts_with(prefix))
}

/// Returns the errors in a text that is not JSON, without the text.
fn json_errors(message: &str) -> Vec<String> {
    let lines: Vec<&str> = message.lines().collect();
    // The quoted text may contain the same heading: the last one counts. Without a heading, all of it may be quoted.
    let Some(heading) = lines.iter().rposition(|line| *line == ERRORS) else { return Vec::new() };
    // The indented line that contains the error follows each error.
    lines[heading..].iter().filter(|line| is_json_error(line)).map(|line| (*line).to_owned()).collect()
}

/// Returns whether a line is `NAME at line N, column N`.
fn is_json_error(line: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    line.split_once(" at line ").is_some_and(|(name, place)| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && place.split_once(", column ").is_some_and(|(line, column)| is_number(line) && is_number(column))
    })
}

/// Returns a file and its problems on one line.
pub(crate) fn join(path: &str, problems: impl IntoIterator<Item = String>) -> String {
    let problems = problems.into_iter().collect::<Vec<_>>().join("; ");
    match (problems.is_empty(), path.contains(": ")) {
        (false, _) => format!("{path}: {problems}"),
        // The first problem follows the path.
        (true, true) => path.to_owned(),
        (true, false) => format!("{path}: it is not accepted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_reasons_are_recognized() {
        let broken = "Error: Config file at /w/opencode.json is not valid JSON(C): \n--- JSONC Input ---\n{ \"apiKey\": \"sk-1\" \
                      \n--- Errors ---\n \"x\" 1 }\n--- Errors ---\nColonExpected at line 2, column 6\n   Line 2:  \"x\" 1 }\n   \
                      ^\nCloseBraceExpected at line 3, column 1\n   Line 3: sk-1\n--- End ---\n";
        let types = "Error: Configuration is invalid at /w/opencode.json\n↳ Expected string | undefined, got 7 model\n↳ Unrecognized \
                     key: \"nosuchkey\" \n";
        let log = "ERROR 2026-11-30T06:53:46 +2435ms service=default name=ConfigInvalidError stack=Configuration is invalid at /x\n    \
                   at load (src/config/config.ts:1329:15)\n";
        for (stderr, reason) in [
            (broken, "/w/opencode.json: ColonExpected at line 2, column 6; CloseBraceExpected at line 3, column 1"),
            (types, "/w/opencode.json: Expected string | undefined, got 7 model; Unrecognized key: \"nosuchkey\""),
            (
                "Error: Configuration is invalid at /w/opencode.json: bad file reference: \"{file:./missing}\" /w/missing does not \
                 exist\n",
                "/w/opencode.json: bad file reference: \"{file:./missing}\" /w/missing does not exist",
            ),
            (
                "Error: Unexpected error\n\nBadResource: FileSystem.readFile (/w (1)/opencode.json)\n",
                "/w (1)/opencode.json: it cannot be read",
            ),
            (
                "Error: Directory \"agnt\" in /w is not valid. Rename the directory to \"agent\" or remove it.",
                "Directory \"agnt\" in /w is not valid. Rename the directory to \"agent\" or remove it.",
            ),
            ("Error: Config file at /w/opencode.json is not valid JSON(C)", "/w/opencode.json: it is not accepted"),
        ] {
            assert_eq!(in_output(stderr).as_deref(), Some(reason), "{stderr}");
            assert_eq!(in_output(&format!("{log}{stderr}")).as_deref(), Some(reason), "{stderr}");
        }
        assert_eq!(in_output(log), None);
        assert_eq!(in_output("Error: Session not found\nBadResource: FileSystem.readFile (/w/picture.png)"), None);
    }

    #[test]
    fn invalid_json_is_never_quoted() {
        // The heading of the errors may be among the omitted lines.
        let cut = "Error: Config file at /x is not valid JSON(C): \n--- JSONC Input ---\n{\n… 900 lines omitted …\n\"apiKey\": \"sk-1\"\n";
        assert_eq!(in_output(cut).as_deref(), Some("/x: it is not accepted"));
        assert_eq!(in_message("\n--- JSONC Input ---\nsk-1 at line 1, column 2\n"), Vec::<String>::new());
    }
}
