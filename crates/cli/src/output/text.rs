//! The answer as text while it streams.

use opencode_run_core::{Event, PartId, TurnEvent};

/// Converts events into consecutive pieces of the turn's output.
///
/// All pieces together are exactly [`TurnRecord::output`](opencode_run_core::TurnRecord::output).
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    /// The current text, and the number of its UTF-16 code units that were written.
    ///
    /// opencode counts in UTF-16: a surrogate pair that it splits arrives as two U+FFFD in the deltas, and intact
    /// in the final text.
    current: Option<(PartId, usize)>,
    any: bool,
}

impl TextStream {
    /// Returns the addition of an event to the output.
    pub(crate) fn piece(&mut self, event: &TurnEvent) -> String {
        if event.observed.sub_agent.is_some() {
            return String::new();
        }
        match &event.observed.event {
            Event::TextDelta { part, delta } => self.add(part, 0, delta, true),
            Event::Text { part, text } => {
                let written = self.current.as_ref().filter(|(current, _)| current == part).map_or(0, |(_, len)| *len);
                self.add(part, written, text, false)
            }
            _ => String::new(),
        }
    }

    fn add(&mut self, part: &PartId, written: usize, text: &str, grows: bool) -> String {
        let same = self.current.as_ref().is_some_and(|(current, _)| current == part);
        let news = if grows { text } else { skip_utf16(text, written) };
        if news.is_empty() {
            return String::new();
        }
        let mut piece = String::new();
        if same {
            if let Some((_, length)) = &mut self.current {
                *length += utf16_len(news);
            }
        } else {
            if self.any {
                piece.push_str("\n\n");
            }
            self.current = Some((part.clone(), utf16_len(news)));
        }
        self.any = true;
        piece.push_str(news);
        piece
    }

    /// Returns whether anything was written.
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Returns the text after the first `units` UTF-16 code units.
fn skip_utf16(text: &str, units: usize) -> &str {
    let mut rest = text.chars();
    let mut skipped = 0;
    while skipped < units
        && let Some(next) = rest.next()
    {
        skipped += next.len_utf16();
    }
    rest.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Input, Observed, Prompt, SessionId, TurnMachine};
    use std::time::{Duration, SystemTime};

    fn delta(part: &str, delta: &str) -> Event {
        Event::TextDelta { part: PartId::new(part), delta: delta.to_owned() }
    }

    fn text(part: &str, text: &str) -> Event {
        Event::Text { part: PartId::new(part), text: text.to_owned() }
    }

    #[test]
    fn pieces_add_up_to_output() {
        let events = [
            text("a", "whole"),
            delta("b", "it "),
            delta("b", "grows"),
            text("b", "it grows on"),
            text("c", ""),
            Event::StepStart,
            delta("d", ""),
            delta("d", "end"),
            text("d", "end"),
        ];
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        let mut stream = TextStream::default();
        let mut printed = String::new();
        for event in events {
            let observed = Observed::new(event);
            let event = TurnEvent::new(0, Duration::ZERO, observed.clone());
            printed.push_str(&stream.piece(&event));
            turn.apply(Duration::ZERO, &Input::Event(observed));
        }
        assert_eq!(printed, turn.record().output());
        assert_eq!(printed, "whole\n\nit grows on\n\nend");
    }

    #[test]
    fn surrogate_pair_split_between_deltas_loses_no_text() {
        let mut stream = TextStream::default();
        let mut piece = |event| stream.piece(&TurnEvent::new(0, Duration::ZERO, Observed::new(event)));
        let halves = [delta("a", "x\u{fffd}"), delta("a", "\u{fffd}y"), text("a", "x\u{1f600}yz")];
        let printed: String = halves.into_iter().map(&mut piece).collect();
        assert_eq!(printed, "x\u{fffd}\u{fffd}yz");
    }

    #[test]
    fn sub_agent_text_is_not_printed() {
        let mut stream = TextStream::default();
        let observed = Observed::new(text("a", "x")).from_sub_agent(SessionId::new("ses_2"));
        assert_eq!(stream.piece(&TurnEvent::new(0, Duration::ZERO, observed)), "");
        assert!(!stream.any());
    }
}
