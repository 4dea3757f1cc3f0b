//! Chooses the reply to a request.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Answer, RecordedRequest, Reply, Rule, Script, Usage, When, dialogue::Dialogue};

/// The rules of a running script with their use counts.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Vec<(Rule, AtomicU64)>,
    models: Vec<String>,
    echo: Reply,
    title: Reply,
}

impl Rulebook {
    pub(crate) fn new(script: Script) -> Self {
        let mut models = script.models;
        if models.is_empty() {
            models.push("scripted".to_owned());
        }
        let rules = script.rules.into_iter();
        Self {
            rules: rules.map(|rule| (rule, AtomicU64::new(0))).collect(),
            models,
            echo: Answer::text("You said: {last_user}").usage(Usage::new(100, 10)).into(),
            title: Answer::text("Scripted session").usage(Usage::new(50, 2)).into(),
        }
    }

    pub(crate) fn models(&self) -> &[String] {
        &self.models
    }

    /// Returns the reply of the first applicable rule, otherwise a built-in one.
    pub(crate) fn choose(&self, request: &RecordedRequest, dialogue: &Dialogue<'_>) -> &Reply {
        self.rules
            .iter()
            .find(|(rule, used)| is_met(&rule.when, request, dialogue) && take(used, rule.times))
            .map_or_else(
                || {
                    if request.has_tools() { &self.echo } else { &self.title }
                },
                |(rule, _)| &rule.reply,
            )
    }
}

fn is_met(when: &When, request: &RecordedRequest, dialogue: &Dialogue<'_>) -> bool {
    when.tools.is_none_or(|tools| tools == request.has_tools())
        && when.model.as_deref().is_none_or(|model| model == request.model())
        && when.turn.is_none_or(|turn| turn == dialogue.turn())
        && when.after_tools.is_none_or(|results| results == dialogue.after_tools())
        && when.last_user_contains.as_deref().is_none_or(|text| dialogue.last_user_text().contains(text))
        && when.system_contains.as_deref().is_none_or(|text| dialogue.system_contains(text))
}

/// Counts a use of a rule, unless its limit is reached; two requests never share the last use.
fn take(used: &AtomicU64, limit: Option<u64>) -> bool {
    let Some(limit) = limit else { return true };
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < limit).then_some(used + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Protocol;

    fn request(tools: bool, messages: &Value) -> RecordedRequest {
        let tools = if tools { json!([{"type": "function"}]) } else { json!([]) };
        RecordedRequest {
            elapsed: std::time::Duration::ZERO,
            protocol: Some(Protocol::OpenAi),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            headers: std::collections::BTreeMap::new(),
            body: json!({"model": "gpt-4", "tools": tools, "messages": messages}),
        }
    }

    fn said(tools: bool, text: &str) -> RecordedRequest {
        request(tools, &json!([{"role": "user", "content": text}]))
    }

    fn chosen(rulebook: &Rulebook, request: &RecordedRequest) -> Reply {
        rulebook.choose(request, &request.dialogue()).clone()
    }

    #[test]
    fn first_applicable_rule_answers() {
        let script = Script::new()
            .rule(When::agent().said("hello").reply("one").times(2))
            .rule(When::agent().said("hello").reply("two"))
            .rule(When::any().model("other").reply("three"));
        let rulebook = Rulebook::new(script);
        let title = chosen(&rulebook, &said(false, "hello"));
        assert_eq!(title, rulebook.title);
        let replies: Vec<_> = (0..4).map(|_| chosen(&rulebook, &said(true, "oh hello"))).collect();
        assert_eq!(replies, ["one", "one", "two", "two"].map(Reply::from));
        assert_eq!(chosen(&rulebook, &said(true, "bye")), rulebook.echo);
    }

    #[test]
    fn rule_with_zero_times_never_applies() {
        let rulebook = Rulebook::new(Script::new().rule(When::any().reply("never").times(0)));
        assert_eq!(chosen(&rulebook, &said(true, "x")), rulebook.echo);
    }

    #[test]
    fn tool_results_of_turn_are_counted() {
        let script = Script::new()
            .rule(When::any().after_tools(0).reply("none"))
            .rule(When::any().after_tools(1).reply("one"))
            .rule(When::any().turn(2).reply("second turn"));
        let rulebook = Rulebook::new(script);
        let user = json!({"role": "user", "content": "x"});
        let result = json!({"role": "tool", "tool_call_id": "c", "content": "y"});
        let reply = |messages: Value| chosen(&rulebook, &request(true, &messages));
        assert_eq!(reply(json!([user, result, result, user])), Reply::from("none"));
        assert_eq!(reply(json!([user, result, user, result])), Reply::from("one"));
        assert_eq!(reply(json!([user, user, result, result])), Reply::from("second turn"));
        assert_eq!(reply(json!([user, result, result])), rulebook.echo);
    }

    #[test]
    fn system_prompt_and_model_are_conditions() {
        let script = Script::new().rule(When::any().told("terse").model("gpt-4").reply("yes"));
        let rulebook = Rulebook::new(script);
        let terse = json!([{"role": "system", "content": "be terse"}, {"role": "user", "content": "x"}]);
        assert_eq!(chosen(&rulebook, &request(false, &terse)), Reply::from("yes"));
        assert_eq!(chosen(&rulebook, &said(false, "terse")), rulebook.title);
    }
}
