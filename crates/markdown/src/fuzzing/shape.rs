//! The structure of a transcript as seen by a Markdown parser.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use url::Url;

/// The structure outside of quotes, and the constructs that must not occur within them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shape {
    pub(crate) titles: usize,
    pub(crate) turns: Vec<String>,
    pub(crate) messages: usize,
    pub(crate) ends: usize,
    pub(crate) html: Vec<String>,
    pub(crate) links: usize,
    /// Blocks of indented code.
    pub(crate) indented: usize,
    pub(crate) open_fences: usize,
    pub(crate) html_in_quotes: usize,
    /// Definitions of links and footnotes.
    pub(crate) definitions: usize,
    /// Images with a remote address.
    pub(crate) images: usize,
}

impl Shape {
    /// Parses a transcript.
    pub(crate) fn of(markdown: &str) -> Self {
        let extensions = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS;
        let parser = Parser::new_ext(markdown, extensions);
        let mut shape = Self { definitions: parser.reference_definitions().iter().count(), ..Self::default() };
        let mut depth = 0;
        let mut heading = None;
        for (event, range) in parser.into_offset_iter() {
            match event {
                Event::Start(Tag::BlockQuote(_)) => depth += 1,
                Event::End(TagEnd::BlockQuote(_)) => depth -= 1,
                Event::Html(_) | Event::InlineHtml(_) if depth > 0 => shape.html_in_quotes += 1,
                Event::Start(Tag::FootnoteDefinition(_)) => shape.definitions += 1,
                Event::Start(Tag::Image { dest_url, .. }) if is_elsewhere(&dest_url) => shape.images += 1,
                _ if depth > 0 => {}
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(level)) => shape.heading(level as usize, heading.take().unwrap_or_default()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&text);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => shape.html.push(html.trim_end().to_owned()),
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) => shape.links += 1,
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                    let block = &markdown[range];
                    let fence: String = block.chars().take_while(|c| *c == '`').collect();
                    shape.open_fences += usize::from(block.lines().last() != Some(&fence));
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => shape.indented += 1,
                _ => {}
            }
        }
        shape
    }

    fn heading(&mut self, level: usize, title: String) {
        match level {
            1 => self.titles += 1,
            2 => self.turns.push(title),
            _ if title == "Message" => self.messages += 1,
            _ if title == "End" => self.ends += 1,
            _ => {}
        }
    }
}

/// Returns whether a browser would load this address from another host than the transcript's.
fn is_elsewhere(address: &str) -> bool {
    let home = Url::parse("https://home/of/the/transcript.md");
    home.and_then(|home| home.join(address)).is_ok_and(|url| url.host_str() != Some("home") || url.scheme() != "https")
}
