//! Finds the usage reports in a streamed answer with bounded memory, however long its lines are.

use memchr::{memchr, memchr2};

use super::report;
use crate::Tokens;

/// The maximum size of a report. Real ones have a few hundred bytes.
const MAX_REPORT_BYTES: usize = 16 * 1024;
/// Longer than every relevant object key.
const MAX_OBJECT_KEY_BYTES: usize = 16;

/// The framing of JSON in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The body is one value, or an array of values that serves as a stream.
    Json,
    /// Server-sent events: one value in each `data:` line.
    Events,
}

/// Reads an answer byte by byte and stores only the current report.
///
/// A report is the object under the key `usage` or `usageMetadata` of an answer's outermost object, or of the
/// object under its key `response` or `message`. Text or tool arguments written by the model are never there.
#[derive(Debug)]
pub(crate) struct UsageScanner {
    framing: Framing,
    line: Line,
    json: Json,
    found: Option<Tokens>,
}

/// The position within a line of server-sent events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// In the field's name, after this many bytes of `data:`.
    Name(usize),
    /// In a value of `data`.
    Data,
    /// In an irrelevant line.
    Other,
}

/// The position within a value.
#[derive(Debug, Default)]
struct Json {
    /// The number of open objects and arrays, except an outermost array.
    depth: u32,
    in_outer_array: bool,
    /// Whether the object below the outermost one is under a key that wraps an answer.
    in_wrapper: bool,
    string: Option<StringState>,
    /// The beginning of the last string, which is a key if a colon follows.
    text: Vec<u8>,
    /// The last keys in the outermost object and in the one below it.
    keys: [Key; 2],
    /// The current report, and the depth at which it ends.
    report: Option<(Vec<u8>, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringState {
    Plain,
    Escaped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Key {
    Usage,
    Wrapper,
    #[default]
    Other,
}

impl UsageScanner {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, line: Line::Name(0), json: Json::default(), found: None }
    }

    /// Returns the highest counts reported so far.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.found
    }

    /// Reads the next bytes of the answer.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        if self.framing == Framing::Json {
            self.json.read(bytes, &mut self.found);
            return;
        }
        while let Some(&byte) = bytes.first() {
            match self.line {
                Line::Name(seen) => {
                    bytes = &bytes[1..];
                    self.line = match byte {
                        b'\n' | b'\r' => Line::Name(0),
                        _ if b"data:".get(seen) != Some(&byte) => Line::Other,
                        b':' => Line::Data,
                        _ => Line::Name(seen + 1),
                    };
                }
                Line::Data | Line::Other => {
                    let end = memchr(b'\n', bytes);
                    if self.line == Line::Data {
                        self.json.read(&bytes[..end.unwrap_or(bytes.len())], &mut self.found);
                    }
                    let Some(end) = end else { return };
                    bytes = &bytes[end + 1..];
                    self.line = Line::Name(0);
                    self.json = Json::default();
                }
            }
        }
    }
}

impl Json {
    fn read(&mut self, mut bytes: &[u8], found: &mut Option<Tokens>) {
        while !bytes.is_empty() {
            let taken = match self.string {
                None => {
                    self.step(bytes[0], found);
                    1
                }
                Some(state) => {
                    let taken = self.read_string(state, bytes);
                    self.keep(&bytes[..taken]);
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// Continues within a string, and returns the number of bytes read.
    fn read_string(&mut self, state: StringState, bytes: &[u8]) -> usize {
        let special = memchr2(b'"', b'\\', bytes);
        match (state, special) {
            (StringState::Escaped, _) => {
                self.string = Some(StringState::Plain);
                1
            }
            (StringState::Plain, Some(0)) if bytes[0] == b'"' => {
                self.string = None;
                1
            }
            (StringState::Plain, Some(0)) => {
                self.string = Some(StringState::Escaped);
                self.remember(b"\\");
                1
            }
            (StringState::Plain, plain) => {
                let plain = plain.unwrap_or(bytes.len());
                self.remember(&bytes[..plain]);
                plain
            }
        }
    }

    /// Processes a byte outside of strings.
    fn step(&mut self, byte: u8, found: &mut Option<Tokens>) {
        match byte {
            b'{' | b'[' => {
                if byte == b'{' && self.report.is_none() && self.is_at_report() {
                    self.report = Some((Vec::new(), self.depth));
                }
                self.keep(&[byte]);
                self.open(byte);
            }
            b'}' | b']' => {
                self.keep(&[byte]);
                self.close();
                if let Some((json, _)) = self.report.take_if(|(_, depth)| *depth == self.depth)
                    && let Some(tokens) = report::read(&json)
                {
                    *found = Some(found.unwrap_or_default().max(tokens));
                }
            }
            _ => {
                self.keep(&[byte]);
                match byte {
                    b'"' => {
                        self.string = Some(StringState::Plain);
                        self.text.clear();
                    }
                    b':' => self.set_key(Key::of(&self.text)),
                    b',' => self.set_key(Key::Other),
                    _ => {}
                }
            }
        }
    }

    fn open(&mut self, byte: u8) {
        match self.depth {
            0 if byte == b'[' && !self.in_outer_array => {
                self.in_outer_array = true;
                return;
            }
            0 => self.keys[0] = Key::Other,
            1 => {
                self.in_wrapper = byte == b'{' && self.keys[0] == Key::Wrapper;
                self.keys[1] = Key::Other;
            }
            _ => {}
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn close(&mut self) {
        if self.depth == 0 {
            self.in_outer_array = false;
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn set_key(&mut self, key: Key) {
        if let Some(current) = (self.depth as usize).checked_sub(1).and_then(|index| self.keys.get_mut(index)) {
            *current = key;
        }
    }

    fn is_at_report(&self) -> bool {
        match self.depth {
            1 => self.keys[0] == Key::Usage,
            2 => self.in_wrapper && self.keys[1] == Key::Usage,
            _ => false,
        }
    }

    /// Stores the beginning of a string, which may be a key.
    fn remember(&mut self, part: &[u8]) {
        let room = MAX_OBJECT_KEY_BYTES.saturating_sub(self.text.len());
        self.text.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Appends to the current report, if there is one; a report that becomes too long is dropped.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some((report, _)) = &mut self.report {
            if report.len() + bytes.len() <= MAX_REPORT_BYTES {
                report.extend_from_slice(bytes);
            } else {
                self.report = None;
            }
        }
    }
}

impl Key {
    fn of(text: &[u8]) -> Self {
        match text {
            b"usage" | b"usageMetadata" => Self::Usage,
            b"response" | b"message" => Self::Wrapper,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(framing: Framing, pieces: &[&[u8]]) -> Option<(u64, u64)> {
        let mut scanner = UsageScanner::new(framing);
        for piece in pieces {
            scanner.read(piece);
        }
        scanner.tokens().map(|tokens| (tokens.input, tokens.output))
    }

    const CHAT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"}}],\"usage\":null}\n\n\
        : a comment with a \" in it\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3,\"x\":{\"y\":[1]}}}\r\n\r\ndata: [DONE]\n\n";
    const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11,\
        \"output_tokens\":1}}}\n\nevent: message_delta\ndata:{\"delta\":{},\"usage\":{\"output_tokens\":3}}\n\n";
    const GOOGLE: &str = "[{\n  \"candidates\": [],\n  \"usageMetadata\": {\n    \"promptTokenCount\": 11\n  }\n},\n{\n  \
        \"usageMetadata\": {\"promptTokenCount\": 11, \"candidatesTokenCount\": 3}\n}]";

    #[test]
    fn reports_of_all_protocols_are_found() {
        assert_eq!(scan(Framing::Events, &[CHAT.as_bytes()]), Some((11, 3)));
        assert_eq!(scan(Framing::Events, &[ANTHROPIC.as_bytes()]), Some((11, 3)));
        assert_eq!(scan(Framing::Json, &[GOOGLE.as_bytes()]), Some((11, 3)));
        let responses =
            b"data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"usage\":{\"input_tokens\":99}}],\
            \"usage\":{\"input_tokens\":11,\"output_tokens\":3}}}\n\n";
        assert_eq!(scan(Framing::Events, &[responses]), Some((11, 3)));
        let json = b"{\"id\":\"x\",\"usage\" : {\"prompt_tokens\":11,\"completion_tokens\":3}}";
        assert_eq!(scan(Framing::Json, &[json]), Some((11, 3)));
    }

    #[test]
    fn model_output_is_not_a_report() {
        for json in [
            "{\"choices\":[{\"usage\":{\"prompt_tokens\":9}}]}",
            "{\"content\":[{\"input\":{\"usage\":{\"input_tokens\":9}}}]}",
            "{\"message\":[{\"usage\":{\"input_tokens\":9}}]}",
            "{\"message\":{\"content\":{\"usage\":{\"input_tokens\":9}}}}",
            "{\"other\":{\"usage\":{\"input_tokens\":9}}}",
            "{\"text\":\"usage\",\"x\":{\"input_tokens\":9}}",
            "{\"text\":\"\\\"}, \\\"usage\\\":{\\\"input_tokens\\\":9}\"}",
            "{\"text\":\"\\\\\",\"usagex\":{\"input_tokens\":9}}",
            "{\"usage\":[{\"input_tokens\":9}]}",
        ] {
            assert_eq!(scan(Framing::Json, &[json.as_bytes()]), None, "{json}");
        }
        let other_fields = b"event: {\"usage\":{\"input_tokens\":9}}\nid: {\"usage\":{\"input_tokens\":9}}\n";
        assert_eq!(scan(Framing::Events, &[other_fields]), None);
    }

    #[test]
    fn broken_event_does_not_hide_next() {
        let events = b"data: {\"usage\":{\"a\":\"\ndata: ]]}}\ndata: {\"usage\":{\"prompt_tokens\":11}}\n\n";
        assert_eq!(scan(Framing::Events, &[events]), Some((11, 0)));
    }

    #[test]
    fn endless_report_is_bounded() {
        let mut scanner = UsageScanner::new(Framing::Json);
        scanner.read(b"{\"usage\":{\"x\":\"");
        for _ in 0..100 {
            scanner.read(&[b'y'; 4096]);
        }
        assert!(scanner.json.report.is_none());
        assert!(scanner.json.text.len() <= MAX_OBJECT_KEY_BYTES);
        scanner.read(b"\"}}");
        assert_eq!(scanner.tokens(), None);
    }

    proptest! {
        #[test]
        fn result_is_independent_of_chunks(cuts in prop::collection::vec(0..600usize, 0..40), which in 0..3usize) {
            let (framing, text) =
                [(Framing::Events, CHAT), (Framing::Events, ANTHROPIC), (Framing::Json, GOOGLE)][which];
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(scan(framing, &pieces), Some((11, 3)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, json in "[{}\\[\\]\":,a\\\\\n]{0,200}") {
            for framing in [Framing::Events, Framing::Json] {
                let mut scanner = UsageScanner::new(framing);
                scanner.read(&bytes);
                scanner.read(b"\ndata: ");
                scanner.read(json.as_bytes());
            }
        }
    }
}
