//! The forms of a secret that are looked for.

use super::escapes::{LEADS, Lattice};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretSlice};
use std::collections::BTreeSet;

/// How many characters of base64 stand in front of a line break at least. With fewer, the end of nearly every line could be the
/// beginning of a secret.
const MIN_WRAPPED: usize = 4;
/// How many places are looked at behind backslashes in a row.
const MAX_REPEATED: usize = 128;

/// A form of a secret, character by character.
pub(super) struct Pattern {
    form: Form,
    chars: SecretSlice<char>,
}

/// How far a pattern goes in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// The last place where it can end.
    pub(super) end: Option<usize>,
    /// The text ends before a reading of it does.
    pub(super) needs_more: bool,
}

/// How the characters of a pattern are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each is itself.
    Text,
    /// The two alphabets have two characters that differ, and there may be line breaks.
    Base64,
    /// Upper and lower case are the same.
    Hex,
}

impl Pattern {
    /// Returns the forms of a secret: itself, in base64 wherever it begins there, in base64 twice, and in hexadecimal.
    pub(super) fn all(secret: &str) -> Vec<Self> {
        let mut text: Vec<char> = secret.chars().collect();
        // How many there are depends on how often they were escaped.
        text.dedup_by(|next, char| *next == '\\' && *char == '\\');
        let hex = secret.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex = hex.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        let mut patterns = vec![Self::new(Form::Text, text), Self::new(Form::Hex, hex)];
        for once in (0..3).map(|offset| base64(secret, offset)) {
            // The first encoding may have used the alphabet for URLs.
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

    /// Calls back with each byte that the pattern can begin with.
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

    /// Returns where the pattern ends if it begins at this place of a text.
    pub(super) fn read(&self, lattice: &Lattice<'_>, at: usize) -> Reach {
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
                return Reach { end: None, needs_more };
            }
            ends = further;
        }
        Reach { end: ends.last().copied(), needs_more }
    }

    /// Adds the places behind further backslashes, up to [`MAX_REPEATED`].
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

    /// Returns the places behind a line feed and a character.
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
    /// Returns the characters that count as this one.
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

/// Returns the characters of base64 that depend on the secret alone if it begins `offset` bytes behind a group.
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
    fn base64_of_a_secret_is_found_at_any_offset() {
        let secret = "sk-abc/+=?>12";
        for (offset, front) in ["", "u", "us", "use", "user"].iter().enumerate() {
            let whole = STANDARD_NO_PAD.encode(format!("{front}{secret}{}", &"tail"[..offset % 4]));
            let inner = base64(secret, offset % 3);
            assert!(whole.contains(&inner), "{whole} {inner}");
            assert!(inner.len() * 6 + 12 > secret.len() * 8, "{inner}");
        }
    }
}
