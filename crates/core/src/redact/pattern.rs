//! The patterns of a secret.

use super::escapes::{LEADS, Lattice};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretSlice};
use std::collections::BTreeSet;

/// The minimum number of base64 characters before a line break. With fewer, the end of nearly every line could be
/// the beginning of a secret.
const MIN_WRAPPED: usize = 4;
/// The maximum number of positions that are tried after consecutive backslashes.
const MAX_REPEATED: usize = 128;

/// One form of a secret, character by character.
pub(super) struct Pattern {
    form: Form,
    chars: SecretSlice<char>,
}

/// The extent of a match.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatternReach {
    /// The last position at which the match can end.
    pub(super) end: Option<usize>,
    /// Whether the text ends before a possible match does.
    pub(super) needs_more: bool,
}

/// The comparison of a pattern's characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Exact.
    Text,
    /// Base64: two characters differ between its alphabets, and line breaks may occur.
    Base64,
    /// Hexadecimal: case-insensitive.
    Hex,
}

impl Pattern {
    /// Returns the patterns of a secret: itself, base64 at any offset, base64 twice, and hexadecimal.
    pub(super) fn all(secret: &str) -> Vec<Self> {
        let mut text: Vec<char> = secret.chars().collect();
        // The number of backslashes depends on the number of escapings.
        text.dedup_by(|next, char| *next == '\\' && *char == '\\');
        let hex = secret.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex = hex.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        let mut patterns = vec![Self::new(Form::Text, text), Self::new(Form::Hex, hex)];
        for once in (0..3).map(|offset| base64(secret, offset)) {
            // The first encoding may have used the URL-safe alphabet.
            for once in BTreeSet::from([once.clone(), once.replace('+', "-").replace('/', "_")]) {
                let twice = (0..3).map(|offset| base64(&once, offset));
                patterns.extend(twice.map(|twice| Self::new(Form::Base64, twice.chars().collect())));
            }
            patterns.push(Self::new(Form::Base64, once.chars().collect()));
        }
        patterns
    }

    fn new(form: Form, chars: Vec<char>) -> Self {
        Self { form, chars: chars.into() }
    }

    /// Calls `on_byte` for each byte with which the pattern can begin.
    pub(super) fn first_bytes(&self, mut on_byte: impl FnMut(u8)) {
        let Some(first) = self.chars.expose_secret().first() else { return };
        let mut buffer = [0; 4];
        for char in self.form.variants(*first) {
            on_byte(char.encode_utf8(&mut buffer).as_bytes()[0]);
        }
        LEADS.iter().copied().for_each(on_byte);
    }

    /// Returns whether the pattern can begin with a byte.
    pub(super) fn can_begin_with(&self, byte: u8) -> bool {
        let mut can = false;
        self.first_bytes(|first| can |= first == byte);
        can
    }

    /// Returns the extent of a match that begins at this position.
    pub(super) fn read(&self, lattice: &Lattice<'_>, at: usize) -> PatternReach {
        let mut ends = vec![at];
        let mut needs_more = false;
        for (index, char) in self.chars.expose_secret().iter().enumerate() {
            let is_wrapped = self.form == Form::Base64 && index >= MIN_WRAPPED;
            let mut further = Vec::new();
            for at in std::mem::take(&mut ends) {
                if let Some(found) = lattice.plain(at).filter(|found| !is_wrapped || !found.is_ascii_control()) {
                    if self.form.counts_as(*char, found) {
                        further.push(at + 1);
                    }
                    continue;
                }
                let readings = lattice.read(at);
                needs_more |= readings.needs_more;
                for (found, end) in &readings.chars {
                    if self.form.counts_as(*char, *found) {
                        further.push(*end);
                    } else if is_wrapped && *found == '\r' {
                        further.extend(self.behind_break(lattice, *end, *char, &mut needs_more));
                    } else if is_wrapped && *found == '\n' {
                        further.extend(self.one(lattice, *end, *char, &mut needs_more));
                    }
                }
            }
            if *char == '\\' {
                self.repeat(lattice, &mut further, &mut needs_more);
            }
            further.sort_unstable();
            further.dedup();
            if further.is_empty() {
                return PatternReach { end: None, needs_more };
            }
            ends = further;
        }
        PatternReach { end: ends.last().copied(), needs_more }
    }

    /// Adds the positions after further backslashes, up to [`MAX_REPEATED`].
    fn repeat(&self, lattice: &Lattice<'_>, ends: &mut Vec<usize>, needs_more: &mut bool) {
        let mut index = 0;
        while let Some(end) = ends.get(index).copied().filter(|_| ends.len() < MAX_REPEATED) {
            for end in self.one(lattice, end, '\\', needs_more) {
                if !ends.contains(&end) {
                    ends.push(end);
                }
            }
            index += 1;
        }
    }

    /// Returns the positions after a line feed and a character.
    fn behind_break(&self, lattice: &Lattice<'_>, at: usize, char: char, needs_more: &mut bool) -> Vec<usize> {
        let readings = lattice.read(at);
        *needs_more |= readings.needs_more;
        let breaks = readings.chars.iter().filter(|(found, _)| *found == '\n');
        breaks.flat_map(|(_, end)| self.one(lattice, *end, char, needs_more)).collect()
    }

    fn one(&self, lattice: &Lattice<'_>, at: usize, char: char, needs_more: &mut bool) -> Vec<usize> {
        let readings = lattice.read(at);
        *needs_more |= readings.needs_more;
        readings.chars.iter().filter(|(found, _)| self.form.counts_as(char, *found)).map(|(_, end)| *end).collect()
    }
}

impl Form {
    /// Returns the characters that are equivalent to this one.
    fn variants(self, char: char) -> [char; 2] {
        match (self, char) {
            (Self::Base64, '+') => ['+', '-'],
            (Self::Base64, '/') => ['/', '_'],
            (Self::Hex, _) => [char, char.to_ascii_uppercase()],
            _ => [char, char],
        }
    }

    fn counts_as(self, char: char, found: char) -> bool {
        self.variants(char).contains(&found)
    }
}

/// Returns the base64 characters that depend only on the secret if it begins `offset` bytes after a group.
fn base64(secret: &str, offset: usize) -> String {
    let padded = [&b"\0\0"[..offset], secret.as_bytes()].concat();
    let encoded = STANDARD_NO_PAD.encode(&padded);
    let first = (8 * offset).div_ceil(6);
    let end = 8 * padded.len() / 6;
    encoded.chars().take(end).skip(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_any_offset() {
        let secret = "sk-abc/+=?>12";
        for (offset, front) in ["", "u", "us", "use", "user"].iter().enumerate() {
            let whole = STANDARD_NO_PAD.encode(format!("{front}{secret}{}", &"tail"[..offset % 4]));
            let inner = base64(secret, offset % 3);
            assert!(whole.contains(&inner), "{whole} {inner}");
            assert!(inner.len() * 6 + 12 > secret.len() * 8, "{inner}");
        }
    }
}
