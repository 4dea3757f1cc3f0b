//! The characters that a position in a text can stand for: the literal one and those of JSON, URL, HTML and program
//! escapes.
//!
//! Escapes nest, such as a URL within JSON within JSON, so each character of an escape can itself be escaped, up to
//! [`MAX_DEPTH`]. The beginning of an escape depends on which encoding is decoded first, so every position has
//! several decodings, and all of them are searched.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// The maximum nesting of escapes: a URL in JSON in JSON. Backslashes may repeat, because each level of JSON
/// doubles them.
const MAX_DEPTH: u8 = 3;
/// The maximum number of consecutive backslashes that count as one.
const MAX_BACKSLASHES: usize = 64;
/// The maximum number of digits of a character's number, including leading zeros.
const MAX_DIGITS: usize = 10;
/// The bytes with which an escape begins at any depth.
pub(super) const LEADS: &[u8] = br"\%&";

/// A text and its decodings, each of which is computed once.
pub(super) struct Lattice<'t> {
    text: &'t [u8],
    known: RefCell<HashMap<(usize, u8), Rc<Readings>>>,
}

/// The characters that a position can stand for, each with the position after it.
#[derive(Debug, Default, Clone)]
pub(super) struct Readings {
    pub(super) chars: Vec<(char, usize)>,
    /// Whether the text ends in the middle of one.
    pub(super) needs_more: bool,
}

/// The numbers that were parsed so far, each with the position after it.
type Numbers = Vec<(u32, usize)>;

impl Readings {
    fn add(&mut self, char: char, end: usize) {
        if !self.chars.contains(&(char, end)) {
            self.chars.push((char, end));
        }
    }

    fn add_number(&mut self, number: u32, end: usize) {
        if let Some(char) = char::from_u32(number) {
            self.add(char, end);
        }
    }
}

impl<'t> Lattice<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, known: RefCell::default() }
    }

    pub(super) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// Returns the character at a position if it has no other decoding.
    pub(super) fn plain(&self, at: usize) -> Option<char> {
        self.text.get(at).filter(|byte| byte.is_ascii() && !LEADS.contains(byte)).map(|byte| char::from(*byte))
    }

    /// Returns the decodings at a position.
    pub(super) fn read(&self, at: usize) -> Rc<Readings> {
        self.read_nested(at, MAX_DEPTH)
    }

    fn read_nested(&self, at: usize, depth: u8) -> Rc<Readings> {
        if depth == 0 || !self.text.get(at).is_some_and(|byte| LEADS.contains(byte)) {
            return Rc::new(self.literal(at));
        }
        if let Some(known) = self.known.borrow().get(&(at, depth)) {
            return Rc::clone(known);
        }
        let mut all = self.literal(at);
        let leads = self.read_nested(at, depth - 1);
        all.needs_more |= leads.needs_more;
        for (lead, behind) in &leads.chars {
            match lead {
                '\\' => self.backslash(*behind, depth - 1, &mut all),
                '%' => self.percent(*behind, depth - 1, &mut all),
                '&' => self.entity(*behind, depth - 1, &mut all),
                _ => {}
            }
        }
        let all = Rc::new(all);
        self.known.borrow_mut().insert((at, depth), Rc::clone(&all));
        all
    }

    fn literal(&self, at: usize) -> Readings {
        let mut all = Readings::default();
        let rest = &self.text[at.min(self.text.len())..];
        let Some(first) = rest.first() else { return Readings { needs_more: true, ..all } };
        let length = match first {
            b'\\' => {
                let run = rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
                all.add('\\', at + run);
                all.needs_more = run == rest.len();
                1
            }
            0..0x80 => 1,
            0xf0.. => 4,
            0xe0.. => 3,
            _ => 2,
        };
        match rest.get(..length).map(str::from_utf8) {
            Some(Ok(text)) => text.chars().for_each(|char| all.add(char, at + length)),
            Some(Err(_)) => {}
            None => all.needs_more = true,
        }
        all
    }

    /// Decodes after the backslash of an escape: `\"`, `\n`, `\u002B`, `\u{2b}`, `\x2b`, `\053`. Any character may
    /// follow a backslash, as punctuation does in Markdown.
    fn backslash(&self, at: usize, depth: u8, all: &mut Readings) {
        let readings = self.read_nested(at, depth);
        all.needs_more |= readings.needs_more;
        for (char, end) in &readings.chars {
            all.add(*char, *end);
            match char {
                'n' => all.add('\n', *end),
                'r' => all.add('\r', *end),
                '0'..='7' => self.octal(at, depth, all),
                'x' => {
                    for (number, end) in self.hex(vec![(0, *end)], 2, depth, all) {
                        all.add_number(number, end);
                    }
                }
                'u' => {
                    for (number, end) in self.hex(vec![(0, *end)], 4, depth, all) {
                        if (0xd800..0xdc00).contains(&number) {
                            self.low_surrogate(number, end, depth, all);
                        }
                        all.add_number(number, end);
                    }
                    for behind in self.skip('{', *end, depth, all) {
                        for (number, end) in self.number(behind, 16, depth, all) {
                            for end in self.skip('}', end, depth, all) {
                                all.add_number(number, end);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Decodes the octal number of a shell or C escape: `\053`, `\53`.
    fn octal(&self, at: usize, depth: u8, all: &mut Readings) {
        let mut numbers = vec![(0, at)];
        for _ in 0..3 {
            numbers = self.digit(&numbers, 8, depth, all);
            for (number, end) in &numbers {
                all.add_number(*number, *end);
            }
        }
    }

    fn low_surrogate(&self, high: u32, at: usize, depth: u8, all: &mut Readings) {
        for at in self.skip('\\', at, depth, all) {
            for at in self.skip('u', at, depth, all) {
                for (low, end) in self.hex(vec![(0, at)], 4, depth, all) {
                    if (0xdc00..0xe000).contains(&low) {
                        all.add_number(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), end);
                    }
                }
            }
        }
    }

    /// Decodes after the percent sign of a URL escape: `%2B`, `%u002B`.
    fn percent(&self, at: usize, depth: u8, all: &mut Readings) {
        for behind in self.skip('u', at, depth, all) {
            for (number, end) in self.hex(vec![(0, behind)], 4, depth, all) {
                all.add_number(number, end);
            }
        }
        for (first, mut end) in self.hex(vec![(0, at)], 2, depth, all) {
            let following = match first {
                0..0x80 => 0,
                0xc0..0xe0 => 1,
                0xe0..0xf0 => 2,
                0xf0..0xf8 => 3,
                _ => continue,
            };
            let mut number = if following == 0 { first } else { first & (0x3f >> following) };
            let mut is_whole = true;
            for _ in 0..following {
                let behind = self.skip('%', end, depth, all).first().copied();
                let next = behind.and_then(|behind| self.hex(vec![(0, behind)], 2, depth, all).first().copied());
                match next.filter(|(byte, _)| (0x80..0xc0).contains(byte)) {
                    Some((byte, behind)) => (number, end) = (number << 6 | byte & 0x3f, behind),
                    None => is_whole = false,
                }
            }
            if is_whole {
                all.add_number(number, end);
            }
        }
    }

    /// Decodes after the ampersand of an HTML escape: `&#43;`, `&#x2B;`, `&plus;`. The semicolon may be absent.
    fn entity(&self, at: usize, depth: u8, all: &mut Readings) {
        for behind in self.skip('#', at, depth, all) {
            let mut numbers = self.number(behind, 10, depth, all);
            for behind in ['x', 'X'].map(|x| self.skip(x, behind, depth, all)).concat() {
                numbers.extend(self.number(behind, 16, depth, all));
            }
            for (number, end) in numbers {
                all.add_number(number, end);
                self.skip(';', end, depth, all).into_iter().for_each(|end| all.add_number(number, end));
            }
        }
        for (name, char) in NAMES {
            let ends = name
                .chars()
                .fold(vec![at], |ends, char| ends.into_iter().flat_map(|at| self.skip(char, at, depth, all)).collect());
            for end in ends {
                all.add(*char, end);
                self.skip(';', end, depth, all).into_iter().for_each(|end| all.add(*char, end));
            }
        }
    }

    /// Returns the positions after a character.
    fn skip(&self, char: char, at: usize, depth: u8, all: &mut Readings) -> Vec<usize> {
        let readings = self.read_nested(at, depth);
        all.needs_more |= readings.needs_more;
        readings.chars.iter().filter(|(found, _)| *found == char).map(|(_, end)| *end).collect()
    }

    fn digit(&self, numbers: &Numbers, radix: u32, depth: u8, all: &mut Readings) -> Numbers {
        let mut longer = Numbers::new();
        for (number, at) in numbers {
            let readings = self.read_nested(*at, depth);
            all.needs_more |= readings.needs_more;
            for (char, end) in &readings.chars {
                if let Some(digit) = char.to_digit(radix)
                    && let Some(number) = number.checked_mul(radix).and_then(|number| number.checked_add(digit))
                {
                    longer.push((number, *end));
                }
            }
        }
        longer
    }

    fn hex(&self, numbers: Numbers, digits: usize, depth: u8, all: &mut Readings) -> Numbers {
        (0..digits).fold(numbers, |numbers, _| self.digit(&numbers, 16, depth, all))
    }

    /// Parses a number of any length.
    fn number(&self, at: usize, radix: u32, depth: u8, all: &mut Readings) -> Numbers {
        let mut numbers = vec![(0, at)];
        let mut found = Numbers::new();
        for _ in 0..MAX_DIGITS {
            numbers = self.digit(&numbers, radix, depth, all);
            if numbers.is_empty() {
                break;
            }
            found.extend(&numbers);
        }
        found
    }
}

/// The HTML entities of characters that may occur in a key.
const NAMES: &[(&str, char)] = &[
    ("excl", '!'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("amp", '&'),
    ("AMP", '&'),
    ("apos", '\''),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("lt", '<'),
    ("LT", '<'),
    ("equals", '='),
    ("gt", '>'),
    ("GT", '>'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("VerticalLine", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("NewLine", '\n'),
];
