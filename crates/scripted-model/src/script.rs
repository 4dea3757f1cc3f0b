//! The script: an ordered list of rules.

use serde::{Deserialize, Serialize};

use crate::Reply;

/// An ordered list of rules, of which the first applicable one answers.
///
/// A script is built in Rust or parsed from JSON, in which unknown keys are errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Script {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// The models listed by `GET /models`; `scripted` if empty. Requests for other models are answered too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

impl Script {
    /// Returns a script without rules: every request gets the built-in answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a script that always gives the agent (see [`When::agent`]) the same reply.
    pub fn always(reply: impl Into<Reply>) -> Self {
        Self::new().rule(When::agent().reply(reply))
    }

    /// Adds a rule at the end.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds a model to the list.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.models.push(name.into());
        self
    }

    /// Parses a script from JSON.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Syntax`] if the text is not a script, [`ScriptError::Reply`] if a reply cannot be sent.
    pub fn from_json(json: &str) -> Result<Self, ScriptError> {
        let script: Self = serde_json::from_str(json)?;
        script.check()?;
        Ok(script)
    }

    /// Rejects replies that HTTP cannot carry.
    pub(crate) fn check(&self) -> Result<(), ScriptError> {
        for (index, rule) in self.rules.iter().enumerate() {
            if let Reply::Error(error) = &rule.reply
                && let Some(problem) = error.problem()
            {
                return Err(ScriptError::Reply { index, problem });
            }
        }
        Ok(())
    }
}

/// The reason why a script is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The text is not JSON, or not a script.
    #[error("read the script")]
    Syntax(#[from] serde_json::Error),
    /// A reply cannot be sent.
    #[error("rules[{index}] of the script is invalid: {problem}")]
    Reply {
        /// The index of the rule in the list, from 0.
        index: usize,
        /// The problem of its reply.
        problem: String,
    },
}

/// A rule: its conditions, its use limit and its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// The conditions, which must all hold.
    #[serde(default, skip_serializing_if = "When::is_any")]
    pub when: When,
    /// The maximum number of uses; unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The reply to requests that meet the conditions.
    pub reply: Reply,
}

impl Rule {
    /// Sets the maximum number of uses.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// The conditions of a rule; absent ones are always met.
///
/// ```
/// use opencode_run_scripted_model::{ErrorReply, Script, When};
///
/// let script = Script::new()
///     .rule(When::agent().reply(ErrorReply::new(429).header("retry-after", "1")).times(2))
///     .rule(When::agent().turn(1).reply("Hello! This is turn {turn}."))
///     .rule(When::title().reply("A greeting"));
/// # assert_eq!(script.rules.len(), 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct When {
    /// The last user message contains this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_user_contains: Option<String>,
    /// The system prompt contains this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_contains: Option<String>,
    /// The request is for this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the request offers tools. opencode's agents do; its request for a session title does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// The number of tool results after the last user message: 0 for the first request of a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_tools: Option<usize>,
    /// The number of user messages in the request: 1 in the first turn of a session. Anthropic clients merge
    /// consecutive messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
}

impl When {
    /// Returns conditions that every request meets, including opencode's title requests.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Returns the condition that tools are offered, which selects the requests of agents.
    #[must_use]
    pub fn agent() -> Self {
        Self { tools: Some(true), ..Self::default() }
    }

    /// Returns the condition that no tools are offered, which selects opencode's title requests.
    #[must_use]
    pub fn title() -> Self {
        Self { tools: Some(false), ..Self::default() }
    }

    /// Requires that the last user message contains this text.
    #[must_use]
    pub fn said(mut self, text: impl Into<String>) -> Self {
        self.last_user_contains = Some(text.into());
        self
    }

    /// Requires that the system prompt contains this text.
    #[must_use]
    pub fn told(mut self, text: impl Into<String>) -> Self {
        self.system_contains = Some(text.into());
        self
    }

    /// Requires that the request is for this model.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Requires this number of tool results after the last user message.
    #[must_use]
    pub fn after_tools(mut self, results: usize) -> Self {
        self.after_tools = Some(results);
        self
    }

    /// Requires this number of user messages.
    #[must_use]
    pub fn turn(mut self, user_messages: usize) -> Self {
        self.turn = Some(user_messages);
        self
    }

    /// Returns the rule that sends `reply` if these conditions are met.
    pub fn reply(self, reply: impl Into<Reply>) -> Rule {
        Rule { when: self, times: None, reply: reply.into() }
    }

    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{Answer, ErrorReply, Finish, Part, Usage};

    fn every_feature() -> Script {
        Script::new()
            .model("gpt-4")
            .rule(
                When::agent()
                    .said("a")
                    .told("b")
                    .model("gpt-4")
                    .after_tools(0)
                    .turn(1)
                    .reply(
                        Answer::new([
                            Part::reasoning("hm"),
                            Part::chunked_text("hello", 2, Duration::from_millis(5)),
                            Part::tool_call("bash", json!({"command": "pwd"})),
                            Part::pause(Duration::from_millis(7)),
                            Part::stall(),
                            Part::end_early(),
                            Part::drop_connection(),
                            Part::stream_error("overloaded"),
                        ])
                        .usage(Usage::new(1, 2).reasoning(3).cache_read(4).cache_write(5))
                        .finish(Finish::ContentFilter)
                        .delay(Duration::from_millis(9)),
                    )
                    .times(2),
            )
            .rule(When::any().reply(
                ErrorReply::new(429).message("slow down").header("retry-after", "1").delay(Duration::from_millis(3)),
            ))
    }

    #[test]
    fn script_survives_json() {
        let script = every_feature();
        let json = serde_json::to_string_pretty(&script).unwrap();
        assert_eq!(Script::from_json(&json).unwrap(), script);
        insta::assert_snapshot!(json);
    }

    #[test]
    fn unknown_keys_are_rejected() {
        for json in [
            r#"{"rule": []}"#,
            r#"{"rules": [{"reply": {"type": "answer"}, "time": 1}]}"#,
            r#"{"rules": [{"when": {"tool": true}, "reply": {"type": "answer"}}]}"#,
            r#"{"rules": [{"reply": {"type": "answer", "part": []}}]}"#,
            r#"{"rules": [{"reply": {"type": "error", "status": 400, "msg": ""}}]}"#,
            r#"{"rules": [{"reply": {"type": "answer", "parts": [{"type": "text", "text": "", "x": 1}]}}]}"#,
            r#"{"rules": [{"reply": {"type": "answer", "parts": [{"type": "stall", "x": 1}]}}]}"#,
            r#"{"rules": [{"reply": {"type": "answer", "parts": [{"type": "pause", "duration_ms": 1, "x": 1}]}}]}"#,
            r#"{"rules": [{"reply": {"type": "answer", "usage": {"inputs": 1}}}]}"#,
        ] {
            let error = Script::from_json(json).unwrap_err();
            assert!(matches!(error, ScriptError::Syntax(_)), "{json}: {error}");
        }
    }

    #[test]
    fn invalid_reply_is_reported() {
        let json = r#"{"rules": [{"reply": {"type": "error", "status": 42}}]}"#;
        assert_eq!(
            Script::from_json(json).unwrap_err().to_string(),
            "rules[0] of the script is invalid: the status 42 is not between 200 and 599"
        );
    }
}
