//! Writes to stdout and stderr.

use opencode_run_tests::script::Stream;
use std::io::{self, Write};

/// The default length of a flood's lines.
const FLOOD_LINE: usize = 100;

/// The size of a flood's writes, in bytes.
const FLOOD_CHUNK: usize = 64 * 1024;

/// Writes bytes and flushes them.
pub(crate) fn write(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// Writes `total` bytes in lines of `line_length` bytes, or in one line.
pub(crate) fn flood(stream: Stream, total: u64, line_length: Option<usize>, one_line: bool) -> io::Result<()> {
    let line = line_length.unwrap_or(FLOOD_LINE).max(1);
    let mut written = 0_u64;
    let mut chunk = Vec::with_capacity(FLOOD_CHUNK);
    while written < total {
        chunk.clear();
        while chunk.len() < FLOOD_CHUNK && written < total {
            written += 1;
            let ends = written == total || (!one_line && written.is_multiple_of(line as u64));
            chunk.push(if ends { b'\n' } else { b'x' });
        }
        write(stream, &chunk)?;
    }
    Ok(())
}

/// Parses hexadecimal digits; blanks are skipped.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            match u8::from_str_radix(&pair, 16) {
                Ok(byte) if pair.len() == 2 => Ok(byte),
                _ => Err(format!("read {pair:?} as two hexadecimal digits")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_and_refused() {
        assert_eq!(from_hex("ff 0A\n00").unwrap(), [0xff, 0x0a, 0]);
        assert!(from_hex("f").is_err());
        assert!(from_hex("zz").is_err());
    }
}
