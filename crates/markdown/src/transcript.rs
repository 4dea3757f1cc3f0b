//! The whole transcript: the title, the facts and the turns.

use crate::MarkdownOptions;
use crate::figures::{cost, duration, time, tokens};
use crate::inline::{code, words};
use crate::page::{Facts, MarkdownPage};
use crate::turn::{model, turn};
use opencode_run_core::Conversation;
use std::time::Duration;

/// Returns the conversation as Markdown.
///
/// The text ends with a newline and is always the same for the same conversation and options. The [crate's
/// documentation](crate) describes its content and how untrusted text is kept apart.
#[must_use]
pub fn conversation_markdown(conversation: &Conversation, options: &MarkdownOptions) -> String {
    let mut page = MarkdownPage::default();
    let name = words(&conversation.task.name);
    page.heading(1, if name.is_empty() { "Conversation" } else { &name });
    page.facts(facts(conversation));
    for (number, record) in (1..).zip(&conversation.turns) {
        turn(&mut page, number, record, options);
    }
    page.into_text()
}

fn facts(conversation: &Conversation) -> Facts {
    let turns = &conversation.turns;
    let session = conversation.session.as_ref();
    let mut facts = vec![
        ("State", conversation.state().to_string()),
        ("Directory", code(&conversation.directory().to_string_lossy())),
        ("Session", session.map_or_else(|| "none yet".to_owned(), |session| code(session.as_str()))),
    ];
    if let Some(first) = turns.first() {
        let mut models: Vec<_> = turns.iter().map(|turn| model(turn)).collect();
        // Without duplicates, in the order of first use.
        let mut seen = std::collections::HashSet::new();
        models.retain(|model| seen.insert(model.clone()));
        let name = if models.len() == 1 { "Model" } else { "Models" };
        facts.push((name, models.join(", ")));
        facts.push(("Started", time(first.started_at)));
    }
    facts.push(("Turns", turns.len().to_string()));
    if !turns.is_empty() {
        let all = turns.iter().fold(Duration::ZERO, |sum, turn| sum.saturating_add(turn.duration));
        facts.push(("Duration", duration(all)));
        facts.push(("Tokens", tokens(conversation.usage())));
        facts.push(("Cost", cost(conversation.cost())));
    }
    facts
}
