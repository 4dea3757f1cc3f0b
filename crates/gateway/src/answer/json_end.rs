//! Finds the end of a JSON value without storing it.

use memchr::memchr2;

/// Tracks a body that is one JSON value, to detect its end.
#[derive(Debug, Default)]
pub(super) struct JsonEnd {
    state: State,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Before,
    /// In an object or an array.
    Inside,
    After,
    /// The body is neither an object nor an array.
    Other,
}

impl JsonEnd {
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            if self.in_string && !self.escaped {
                let plain = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                if plain > 0 {
                    bytes = &bytes[plain..];
                    continue;
                }
            }
            self.step(byte);
            bytes = &bytes[1..];
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                _ => self.in_string = false,
            }
            return;
        }
        match (self.state, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') | (State::Other, _) => {}
            (State::Before, b'{' | b'[') => (self.state, self.depth) = (State::Inside, 1),
            (State::Before | State::After, _) => self.state = State::Other,
            (State::Inside, b'"') => self.in_string = true,
            (State::Inside, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
            (State::Inside, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.state = State::After;
                }
            }
            (State::Inside, _) => {}
        }
    }

    /// Returns whether the value ended.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::After
    }

    /// Returns whether the body began as a JSON value that has not ended.
    pub(super) fn is_partial(&self) -> bool {
        self.state == State::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> (bool, bool) {
        let mut whole = JsonEnd::default();
        let mut bytewise = JsonEnd::default();
        whole.read(text.as_bytes());
        text.bytes().for_each(|byte| bytewise.read(&[byte]));
        assert_eq!((whole.state, whole.depth), (bytewise.state, bytewise.depth), "{text}");
        (whole.is_complete(), whole.is_partial())
    }

    #[test]
    fn json_end_is_found() {
        for complete in ["{}", " [1,{\"a\":[]}]\n", r#"{"a":"}\"\\"}"#] {
            assert_eq!(after(complete), (true, false), "{complete}");
        }
        for partial in ["{", "[{}", r#"{"a":"}"#, r#"{"a":"}\"#, r#"{"a":"\""#] {
            assert_eq!(after(partial), (false, true), "{partial}");
        }
        for other in ["", "  ", "all of it", "12", "{} {}"] {
            assert_eq!(after(other), (false, false), "{other}");
        }
    }
}
