//! Removes the key of a turn's model source from the turn's output.
//!
//! With the gateway the key never reaches opencode, so it can only be in an answer or a tool's output if the agent
//! found it elsewhere: in a file that the user left, or in the answer of another program.

use bytes::Bytes;
use opencode_run_core::{
    Ending, Event, Observed, PartId, PermissionRequest, RawJson, Redactor, RedactorStream, SecretString, SessionId,
    Signal, ToolCall, ToolState, TurnFailure,
};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Removes a secret from signals.
#[derive(Default)]
pub(crate) struct Redaction {
    /// Whether there is a secret; cached, since it is checked for every event.
    hides: bool,
    redactor: Redactor,
    /// The growing texts. The end of each may be the beginning of the secret, and is held back.
    growing: HashMap<Growing, RedactorStream>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Growing {
    sub_agent: Option<SessionId>,
    is_reasoning: bool,
    part: PartId,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redaction").finish_non_exhaustive()
    }
}

impl Redaction {
    /// Returns a redaction of this secret, if there is one.
    pub(crate) fn of(secret: Option<&SecretString>) -> Self {
        let redactor = Redactor::new(secret.cloned());
        Self { hides: !redactor.is_empty(), redactor, growing: HashMap::new() }
    }

    /// Returns the redacted signal, after the held-back ends of finished texts.
    pub(crate) fn apply(&mut self, signal: Signal) -> Vec<Signal> {
        if !self.hides {
            return vec![signal];
        }
        match signal {
            Signal::Event(observed) => self.event(*observed).into_iter().map(Signal::from).collect(),
            Signal::Structured(mut value) => {
                self.value(&mut value);
                vec![Signal::Structured(value)]
            }
            Signal::Ended(ending) => {
                let held: Vec<_> = self.growing.drain().collect();
                let mut signals: Vec<_> =
                    held.into_iter().filter_map(|(growing, stream)| rest(growing, stream)).collect();
                signals.push(Signal::Ended(self.ending(ending)));
                signals
            }
            other => vec![other],
        }
    }

    fn event(&mut self, mut observed: Observed) -> Option<Observed> {
        let sub_agent = observed.sub_agent.clone();
        if let Some((growing, delta)) = delta_of(&mut observed.event, sub_agent.as_ref()) {
            let stream = self.growing.entry(growing).or_insert_with(|| self.redactor.stream());
            let safe = stream.push(Bytes::copy_from_slice(delta.as_bytes()));
            if safe != delta.as_bytes() {
                // The raw JSON would show the removed text piece by piece.
                observed.raw = None;
                // A secret is UTF-8, and whole characters of it are held back.
                *delta = String::from_utf8_lossy(&safe).into_owned();
            }
            let says_something = !delta.is_empty();
            // Before 1.2 the raw JSON contains the whole text so far.
            observed.raw = observed.raw.map(|raw| self.raw(raw));
            return says_something.then_some(observed);
        }
        self.whole(&mut observed.event, sub_agent.as_ref());
        observed.raw = observed.raw.map(|raw| self.raw(raw));
        Some(observed)
    }

    /// Redacts an event that contains a complete text.
    fn whole(&mut self, event: &mut Event, sub_agent: Option<&SessionId>) {
        match event {
            Event::Text { part, text } => {
                self.growing.remove(&Growing {
                    sub_agent: sub_agent.cloned(),
                    is_reasoning: false,
                    part: part.clone(),
                });
                self.text(text);
            }
            Event::Reasoning { part, text } => {
                self.growing.remove(&Growing { sub_agent: sub_agent.cloned(), is_reasoning: true, part: part.clone() });
                self.text(text);
            }
            Event::Tool(call) => self.call(call),
            Event::Permission(ask) => self.ask(ask),
            Event::Question(ask) => self.texts(&mut ask.questions),
            Event::Retry { message, .. } => self.text(message),
            Event::Error(error) => {
                self.text(&mut error.message);
                self.texts(&mut error.url);
            }
            Event::Warning(warning) => {
                self.text(&mut warning.message);
                self.texts(&mut warning.hint);
            }
            Event::Unknown { raw, .. } => *raw = self.raw(raw.clone()),
            _ => {}
        }
    }

    /// Redacts a permission request before a handler sees it.
    pub(crate) fn ask(&self, ask: &mut PermissionRequest) {
        self.texts(&mut ask.patterns);
    }

    fn call(&self, call: &mut ToolCall) {
        self.value(&mut call.input);
        match &mut call.state {
            ToolState::Running { title, .. } => self.texts(title),
            ToolState::Completed { title, output } => {
                self.texts(title);
                self.text(output);
            }
            ToolState::Failed { error, .. } => self.text(error),
            _ => {}
        }
    }

    fn texts<'t>(&self, texts: impl IntoIterator<Item = &'t mut String>) {
        for text in texts {
            self.text(text);
        }
    }

    fn text(&self, text: &mut String) {
        if let Cow::Owned(redacted) = self.redactor.redact(text) {
            *text = redacted;
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(fields) => {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(name, mut value)| {
                        self.value(&mut value);
                        (self.redactor.redact(&name).into_owned(), value)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn raw(&self, raw: RawJson) -> RawJson {
        match self.redactor.redact(raw.get()) {
            Cow::Borrowed(_) => raw,
            // The replacement fits into any JSON string; opencode writes no secret outside of a string.
            Cow::Owned(redacted) => {
                RawJson::parse(redacted).or_else(|_| RawJson::parse("\"[redacted]\"".to_owned())).unwrap_or(raw)
            }
        }
    }

    fn ending(&self, ending: Ending) -> Ending {
        let Ending::Failed(failure) = ending else { return ending };
        let message = failure.to_string();
        let written = serde_json::to_value(&failure).ok();
        let redacted = written.and_then(|mut value| {
            self.value(&mut value);
            serde_json::from_value::<TurnFailure>(value).ok()
        });
        Ending::Failed(
            redacted.unwrap_or_else(|| TurnFailure::Opencode { message: self.redactor.redact(&message).into_owned() }),
        )
    }
}

/// Returns the text that an event appends to a growing one.
fn delta_of<'e>(event: &'e mut Event, sub_agent: Option<&SessionId>) -> Option<(Growing, &'e mut String)> {
    let (part, delta, is_reasoning) = match event {
        Event::TextDelta { part, delta } => (part, delta, false),
        Event::ReasoningDelta { part, delta } => (part, delta, true),
        _ => return None,
    };
    Some((Growing { sub_agent: sub_agent.cloned(), is_reasoning, part: part.clone() }, delta))
}

/// Returns the held-back end of a text that never ended.
fn rest(growing: Growing, mut stream: RedactorStream) -> Option<Signal> {
    let rest = stream.finish();
    if rest.is_empty() {
        return None;
    }
    let Growing { sub_agent, is_reasoning, part } = growing;
    let delta = String::from_utf8_lossy(&rest).into_owned();
    let event = if is_reasoning { Event::ReasoningDelta { part, delta } } else { Event::TextDelta { part, delta } };
    let mut observed = Observed::new(event);
    observed.sub_agent = sub_agent;
    Some(observed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{ReportedError, Warning, WarningCode};
    use proptest::prelude::*;
    use serde_json::json;

    const KEY: &str = "sk-se\"cret/1234567890";

    fn redaction() -> Redaction {
        Redaction::of(Some(&KEY.into()))
    }

    /// Returns a piece of a text, as versions write it whose raw JSON contains the whole text so far.
    fn delta(text: &str, range: std::ops::Range<usize>) -> Signal {
        let delta = text[range.clone()].to_owned();
        let raw = RawJson::parse(json!({ "text": text[..range.end], "delta": delta }).to_string()).unwrap();
        let event = Event::TextDelta { part: PartId::new("p"), delta };
        Observed::new(event).with_raw(raw).into()
    }

    /// Returns the text from the deltas, and all output as JSON.
    fn shown(signals: &[Signal]) -> (String, String) {
        let events =
            || signals.iter().filter_map(|signal| if let Signal::Event(event) = signal { Some(event) } else { None });
        let text = events().filter_map(|observed| match &observed.event {
            Event::TextDelta { delta, .. } => Some(delta.as_str()),
            _ => None,
        });
        let raws = events().filter_map(|observed| {
            let raw: Value = crate::json_text::parse_repaired(observed.raw.as_ref()?.get()).unwrap();
            raw["delta"].as_str().map(str::to_owned)
        });
        (text.collect(), raws.collect())
    }

    proptest! {
        #[test]
        fn key_in_pieces_is_redacted(cuts in proptest::collection::vec(0..60_usize, 0..12)) {
            let text = format!("the key is {KEY}, and again {KEY}\u{e9}");
            let mut ends: Vec<_> = cuts.into_iter().filter(|at| text.is_char_boundary(*at)).chain([0, text.len()]).collect();
            ends.sort_unstable();
            let mut redaction = redaction();
            let mut signals = Vec::new();
            for pair in ends.windows(2) {
                signals.extend(redaction.apply(delta(&text, pair[0]..pair[1])));
            }
            signals.extend(redaction.apply(Signal::Ended(Ending::Finished)));
            let (grown, raws) = shown(&signals);
            prop_assert_eq!(grown, "the key is [redacted], and again [redacted]\u{e9}");
            prop_assert!(!raws.contains(KEY), "{}", raws);
            prop_assert!(!format!("{signals:?}").contains("1234567890"), "{:?}", signals);
            prop_assert_eq!(signals.last(), Some(&Signal::Ended(Ending::Finished)));
        }
    }

    #[test]
    fn no_signal_contains_the_key() {
        let tool = |state| Event::Tool(ToolCall::new("c", "bash", json!({ KEY: [KEY] }), state));
        let error = ReportedError::new("APIError", KEY).url(KEY.to_owned());
        let raw = || RawJson::parse(json!({ "x": KEY }).to_string()).unwrap();
        let events = [
            Event::Text { part: PartId::new("p"), text: KEY.to_owned() },
            Event::Reasoning { part: PartId::new("p"), text: KEY.to_owned() },
            tool(ToolState::Completed { title: Some(KEY.to_owned()), output: format!("KEY={KEY}\n") }),
            tool(ToolState::Running { title: Some(KEY.to_owned()), limit: None }),
            tool(ToolState::Failed { error: KEY.to_owned(), refused: false }),
            Event::Retry { attempt: 1, message: KEY.to_owned(), next: None },
            Event::Error(error),
            Event::Warning(Warning::new(WarningCode::McpFailed, KEY).hint(KEY)),
            Event::Unknown { kind: "k".to_owned(), raw: raw() },
        ];
        let mut redaction = redaction();
        let written = KEY.replace('"', "\\\"");
        for event in events {
            let signals = redaction.apply(Observed::new(event).with_raw(raw()).into());
            let debug = format!("{signals:?}");
            assert!(!signals.is_empty() && debug.contains("[redacted]"), "{debug}");
            assert!(!debug.contains(KEY) && !debug.contains(&written), "{debug}");
        }
        let failure = TurnFailure::Provider { message: KEY.to_owned(), status: Some(401), retryable: None, url: None };
        let ended = redaction.apply(Signal::Ended(Ending::Failed(failure)));
        let redacted =
            TurnFailure::Provider { message: "[redacted]".to_owned(), status: Some(401), retryable: None, url: None };
        assert_eq!(ended, [Signal::Ended(Ending::Failed(redacted))]);
        let structured = redaction.apply(Signal::Structured(json!({ "key": KEY })));
        assert_eq!(structured, [Signal::Structured(json!({ "key": "[redacted]" }))]);
    }

    #[test]
    fn signals_without_key_are_unchanged() {
        let mut none = Redaction::of(None);
        assert_eq!(none.apply(delta(KEY, 0..KEY.len())), [delta(KEY, 0..KEY.len())]);
    }
}
