//! Parses usage reports in the formats of the three protocols.

use serde_json::Value;

use crate::Tokens;

/// Parses a `usage` or `usageMetadata` object; `None` if it is not JSON or has no known field.
pub(super) fn read(json: &[u8]) -> Option<Tokens> {
    let report: Value = serde_json::from_slice(json).ok()?;
    let sum = |pointers: &[&str]| {
        let found: Vec<u64> =
            pointers.iter().filter_map(|pointer| report.pointer(pointer).and_then(Value::as_u64)).collect();
        (!found.is_empty()).then(|| found.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)))
    };
    // OpenAI's chat completions and Google include cached tokens in the input, Anthropic does not.
    let input = sum(&["/prompt_tokens"])
        .or_else(|| sum(&["/input_tokens", "/cache_read_input_tokens", "/cache_creation_input_tokens"]))
        .or_else(|| sum(&["/promptTokenCount", "/toolUsePromptTokenCount"]));
    // Google excludes reasoning from the output, the others include it.
    let output = sum(&["/completion_tokens"])
        .or_else(|| sum(&["/output_tokens"]))
        .or_else(|| sum(&["/candidatesTokenCount", "/thoughtsTokenCount"]));
    if input.is_none() && output.is_none() {
        return None;
    }
    let either = |pointers: &[&str]| pointers.iter().find_map(|pointer| sum(&[pointer])).unwrap_or(0);
    Some(Tokens {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        reasoning: either(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/thoughtsTokenCount",
        ]),
        cache_read: either(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cache_read_input_tokens",
            "/cachedContentTokenCount",
        ]),
        cache_write: either(&["/cache_creation_input_tokens"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, output: u64, reasoning: u64, cache_read: u64, cache_write: u64) -> Tokens {
        Tokens { input, output, reasoning, cache_read, cache_write }
    }

    #[test]
    fn reports_of_all_protocols_are_parsed() {
        let chat = br#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
            "prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":7}}"#;
        assert_eq!(read(chat), Some(tokens(100, 20, 7, 64, 0)));
        let responses = br#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":64},"output_tokens":20,
            "output_tokens_details":{"reasoning_tokens":7},"total_tokens":120}"#;
        assert_eq!(read(responses), Some(tokens(100, 20, 7, 64, 0)));
        let anthropic = br#"{"input_tokens":10,"cache_creation_input_tokens":30,"cache_read_input_tokens":60,
            "output_tokens":20}"#;
        assert_eq!(read(anthropic), Some(tokens(100, 20, 0, 60, 30)));
        let google = br#"{"promptTokenCount":100,"candidatesTokenCount":13,"thoughtsTokenCount":7,
            "cachedContentTokenCount":64,"totalTokenCount":120}"#;
        assert_eq!(read(google), Some(tokens(100, 20, 7, 64, 0)));
    }

    #[test]
    fn odd_field_does_not_affect_others() {
        assert_eq!(read(br#"{"prompt_tokens":5,"completion_tokens":null}"#), Some(tokens(5, 0, 0, 0, 0)));
        assert_eq!(read(br#"{"prompt_tokens":-5,"completion_tokens":3}"#), Some(tokens(0, 3, 0, 0, 0)));
        let odd = br#"{"output_tokens":5,"prompt_tokens_details":null,"cache_read_input_tokens":"x"}"#;
        assert_eq!(read(odd), Some(tokens(0, 5, 0, 0, 0)));
    }

    #[test]
    fn invalid_report_is_none() {
        for json in [&b"{}"[..], b"{\"seconds\":3}", b"[]", b"{\"prompt_tokens\":", b"", b"\xff"] {
            assert_eq!(read(json), None);
        }
    }
}
