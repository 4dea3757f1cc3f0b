//! Detects requests whose cost is more than the usual price of their tokens. Under a cost limit such a request is
//! rejected, because its cost is unknown.

use http::HeaderMap;
use serde_json::value::RawValue;

use crate::json::{self, Object};

/// The fields of a request that change its price, normalised to lower case without punctuation, and their features.
const FIELDS: [(&str, &str); 22] = [
    ("servicetier", "another service tier"),
    ("speed", "another speed"),
    ("inferencegeo", "a specific region"),
    ("websearchoptions", "a web search"),
    ("websearch", "a web search"),
    ("searchparameters", "a web search"),
    ("enablesearch", "a web search"),
    ("searchoptions", "a web search"),
    ("plugins", "provider plugins"),
    ("preset", "a preset"),
    ("presets", "a preset"),
    ("provider", "a choice of upstream providers"),
    ("providers", "a choice of upstream providers"),
    ("prompt", "a stored prompt"),
    ("mcpservers", "tools that the provider calls"),
    ("container", "a provider's container"),
    ("background", "a background response"),
    ("audio", "audio"),
    ("modalities", "images or audio"),
    ("imageconfig", "images or audio"),
    ("cachedcontent", "a cache billed by the hour"),
    ("batch", "a batch"),
];

/// The values of these fields that do not change the price.
const USUAL: [(&str, &[&str]); 4] = [
    ("servicetier", &["auto", "default", "standard", "standard_only"]),
    ("speed", &["standard"]),
    ("inferencegeo", &["global", "not_available"]),
    ("modalities", &["text"]),
];

/// The prefixes of the types of tools that the client runs. All others are run by the provider and cost extra.
const OWN_TOOLS: [&str; 8] =
    ["function", "custom", "bash_", "text_editor_", "memory_", "computer_", "local_shell", "apply_patch"];

/// Beta names in headers that increase the price.
const PRICED_BETAS: [(&str, &str); 2] =
    [("fast-mode", "another speed"), ("context-1m", "a long context with a higher price")];

/// The fields of a message that are searched for media. Tool schemas and the model's own text are not searched.
const PARTS: [&str; 9] =
    ["messages", "contents", "content", "parts", "input", "inlinedata", "filedata", "systeminstruction", "source"];
/// The maximum depth of the search for media.
const MAX_DEPTH: u8 = 8;

/// Returns a feature of the request whose price is not that of its tokens.
pub(crate) fn unpriced(headers: &HeaderMap, body: &[u8]) -> Option<&'static str> {
    in_headers(headers).or_else(|| in_body(body))
}

fn in_headers(headers: &HeaderMap) -> Option<&'static str> {
    let betas: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().ends_with("beta"))
        .map(|(_, value)| value.as_bytes().to_ascii_lowercase())
        .collect();
    let names = |beta: &str| betas.iter().any(|value| memchr::memmem::find(value, beta.as_bytes()).is_some());
    PRICED_BETAS.iter().find_map(|(beta, what)| names(beta).then_some(*what))
}

fn in_body(body: &[u8]) -> Option<&'static str> {
    // A provider may still accept a body that cannot be parsed here.
    let Some(object) = std::str::from_utf8(body).ok().and_then(Object::parse) else {
        return Some("a body that cannot be parsed");
    };
    object.fields().find_map(|(name, value)| {
        let name = plain(name);
        match name.as_str() {
            "extrabody" => in_body(value.get().as_bytes()).filter(|_| value.get().starts_with('{')),
            "generationconfig" => Object::parse(value.get()).and_then(|config| in_generation(&config)),
            "tools" => (!are_own(value)).then_some("a tool of the provider"),
            name if PARTS.contains(&name) => holds_media(value, MAX_DEPTH).then_some("audio or video"),
            name => in_field(name, value),
        }
    })
}

fn in_field(name: &str, value: &RawValue) -> Option<&'static str> {
    let (field, what) = FIELDS.iter().find(|(field, _)| *field == name)?;
    let is_usual = is_nothing(value)
        // In the completions API this field is the text of the request.
        || (*field == "prompt" && !value.get().starts_with('{'))
        || USUAL.iter().any(|(usual, values)| usual == field && all_are(value, values));
    (!is_usual).then_some(*what)
}

/// Returns a priced feature in Google's generation settings.
fn in_generation(config: &Object<'_>) -> Option<&'static str> {
    config.fields().find_map(|(name, value)| {
        let is_priced = match plain(name).as_str() {
            "responsemodalities" => !all_are(value, &["text"]),
            "speechconfig" | "imageconfig" => true,
            _ => false,
        };
        (is_priced && !is_nothing(value)).then_some("images or audio")
    })
}

/// Returns whether all tools are run by the client.
fn are_own(tools: &RawValue) -> bool {
    if is_nothing(tools) {
        return true;
    }
    // Google also accepts a single tool.
    json::array(tools.get()).unwrap_or_else(|| vec![tools]).into_iter().all(is_own)
}

fn is_own(tool: &RawValue) -> bool {
    let Some(tool) = Object::parse(tool.get()) else { return false };
    let types: Vec<_> = tool.fields().filter(|(name, _)| plain(name) == "type").map(|(_, value)| value).collect();
    if !types.is_empty() {
        return types.into_iter().all(|type_| {
            let name = serde_json::from_str::<String>(type_.get()).unwrap_or_default().to_ascii_lowercase();
            OWN_TOOLS.iter().any(|own| if own.ends_with('_') { name.starts_with(own) } else { name == *own })
        });
    }
    // Anthropic's tools have a schema; Google's only declare functions.
    let mut names = tool.fields().map(|(name, _)| plain(name));
    tool.fields().any(|(name, _)| plain(name) == "inputschema")
        || (!tool.is_empty() && names.all(|name| name == "functiondeclarations"))
}

/// Returns whether audio or video is sent, whose tokens have other prices than text.
fn holds_media(value: &RawValue, depth: u8) -> bool {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'[') if depth > 0 => {
            json::array(text).is_some_and(|items| items.iter().any(|item| holds_media(item, depth - 1)))
        }
        Some(b'{') if depth > 0 => Object::parse(text).is_some_and(|object| {
            object.fields().any(|(name, value)| {
                let text = || serde_json::from_str::<String>(value.get()).unwrap_or_default().to_ascii_lowercase();
                match plain(name).as_str() {
                    "type" => text() == "input_audio",
                    "mimetype" | "mediatype" => ["audio/", "video/"].iter().any(|media| text().starts_with(media)),
                    name => PARTS.contains(&name) && holds_media(value, depth - 1),
                }
            })
        }),
        _ => false,
    }
}

/// Returns a name in lower case without punctuation: providers differ in the spelling, and some accept several.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_nothing(value: &RawValue) -> bool {
    let text: String = value.get().chars().filter(|c| !c.is_ascii_whitespace()).take(6).collect();
    ["null", "false", "\"\"", "[]", "{}"].contains(&text.as_str())
}

fn all_are(value: &RawValue, usual: &[&str]) -> bool {
    let is_usual = |value: &RawValue| {
        let text = serde_json::from_str::<String>(value.get());
        text.is_ok_and(|text| usual.contains(&text.to_ascii_lowercase().as_str()))
    };
    json::array(value.get()).map_or_else(|| is_usual(value), |items| items.into_iter().all(is_usual))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn in_body(body: &str) -> Option<&'static str> {
        unpriced(&HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn ordinary_request_has_usual_price() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"service_tier web_search \ud83d"}],"stream":true,
                "stream_options":{"include_usage":true},"tools":[{"type":"function","function":{"name":"web_search",
                "parameters":{"type":"object","properties":{"plugins":{"type":"web_search"}}}}}],"tool_choice":"auto"}"#,
            r#"{"model":"m","system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],"messages":[],
                "tools":[{"name":"bash","input_schema":{}},{"type":"bash_20250124","name":"bash"}],"thinking":{"type":"enabled"}}"#,
            r#"{"contents":[{"parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":"AA"}}]}],
                "tools":[{"functionDeclarations":[]}],"generationConfig":{"responseModalities":["TEXT"],"temperature":1}}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}],"reasoning":{"effort":"low"},"store":false,
                "include":["x"],"tools":[{"type":"function","name":"f"},{"type":"custom","name":"p"}]}"#,
            r#"{"prompt":"a text","service_tier":"auto","speed":"standard","background":false,"plugins":[ ],"preset":null}"#,
            r#"{"service_tier":"standard_only","modalities":["text"],"tools":null}"#,
        ] {
            assert_eq!(in_body(body), None, "{body}");
        }
    }

    #[test]
    fn priced_features_are_found() {
        for body in [
            r#"{"service_tier":"priority"}"#,
            r#"{"service_tier":"flex"}"#,
            r#"{"serviceTier":"priority"}"#,
            r#"{"Service_Tier":"priority"}"#,
            r#"{"service_tier":"auto","service_tier":"priority"}"#,
            r#"{"service\u005ftier":"priority"}"#,
            r#"{"service_tier":7}"#,
            r#"{"speed":"fast"}"#,
            r#"{"web_search_options":{"search_context_size":"high"}}"#,
            r#"{"plugins":[{"id":"web"}]}"#,
            r#"{"preset":"x"}"#,
            r#"{"provider":{"order":["dear"]}}"#,
            r#"{"prompt":{"id":"pmpt_1"}}"#,
            r#"{"mcp_servers":[{"url":"https://x"}]}"#,
            r#"{"modalities":["text","audio"],"audio":{"voice":"x"}}"#,
            r#"{"background":true}"#,
            r#"{"extra_body":{"service_tier":"priority"}}"#,
            r#"{"tools":[{"type":"web_search"}]}"#,
            r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
            r#"{"tools":[{"type":"function","name":"f"},{"type":"image_generation"}]}"#,
            r#"{"tools":[{"type":"function","type":"image_generation"}]}"#,
            r#"{"tools":[{"type":"code_interpreter","input_schema":{}}]}"#,
            r#"{"tools":[{"type":"mcp"}]}"#,
            r#"{"tools":[{"googleSearch":{}}]}"#,
            r#"{"tools":{"google_search":{}}}"#,
            r#"{"tools":[{"functionDeclarations":[],"codeExecution":{}}]}"#,
            r#"{"tools":[{}]}"#,
            r#"{"tools":["web_search"]}"#,
            r#"{"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}"#,
            r#"{"generation_config":{"speech_config":{"x":1}}}"#,
            r#"{"cachedContent":"cachedContents/1"}"#,
            r#"{"messages":[{"content":[{"type":"input_audio","input_audio":{"data":"AA"}}]}]}"#,
            r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"video/mp4","data":"AA"}}]}]}"#,
            "{\"service_tier\":\"priority\"",
            "[]",
            "\u{feff}{}",
        ] {
            assert!(in_body(body).is_some(), "{body}");
        }
    }

    #[test]
    fn priced_betas_in_headers_are_found() {
        for (name, value, is_priced) in [
            ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14", false),
            ("anthropic-beta", "interleaved-thinking-2025-05-14, Context-1M-2025-08-07", true),
            ("anthropic-beta", "fast-mode-2026-02-01", true),
            ("x-title", "fast-mode", false),
        ] {
            let headers =
                HeaderMap::from_iter([(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())]);
            assert_eq!(unpriced(&headers, b"{}").is_some(), is_priced, "{value}");
        }
    }
}
