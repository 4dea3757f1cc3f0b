//! Answers that match a JSON Schema. opencode 2 has no field for that: instructions, validation of the answer, and one
//! repair.

use crate::json_text::parse;
use crate::schema::AnswerSchema;
use serde_json::Value;

/// The schema of a turn's answer.
#[derive(Debug)]
pub(crate) struct Structured {
    pub(crate) schema: AnswerSchema,
    pub(crate) text: String,
    pub(crate) was_repaired: bool,
}

impl Structured {
    pub(crate) fn new(schema: AnswerSchema, value: &Value) -> Self {
        Self { schema, text: value.to_string(), was_repaired: false }
    }

    /// Returns the instructions for the system prompt.
    pub(crate) fn instructions(&self) -> String {
        format!(
            "Your final answer must be one JSON value that is valid against the JSON Schema below. Output the JSON alone: no other \
             text before or after it and no code fence.\n\nJSON Schema:\n{}",
            self.text
        )
    }

    /// Returns the value in an answer.
    ///
    /// # Errors
    ///
    /// The reason why there is no valid value.
    pub(crate) fn value(&self, answer: &str) -> Result<Value, String> {
        let value = json_in(answer).ok_or_else(|| "the answer is not JSON".to_owned())?;
        match self.schema.why_unmet(Some(&value)) {
            None => Ok(value),
            Some(why) => Err(why),
        }
    }

    /// Returns the message that requests a corrected answer.
    pub(crate) fn repair(&self, why: &str) -> String {
        format!(
            "Your answer cannot be used: {why}. Answer again with one JSON value that is valid against this JSON Schema, and nothing \
             else:\n{}",
            self.text
        )
    }
}

/// Returns the JSON value of a text, or of the only code fence in it.
fn json_in(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = parse(text) {
        return Some(value);
    }
    let (_, fenced) = text.split_once("```")?;
    let (fenced, rest) = fenced.split_once("```")?;
    let fenced = fenced.strip_prefix("json").unwrap_or(fenced);
    if rest.contains("```") { None } else { parse(fenced.trim()).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_or_fenced_json_is_read() {
        let schema = json!({"type": "object", "required": ["city"]});
        let structured = Structured::new(AnswerSchema::read(&schema).unwrap(), &schema);
        let bern = Ok(json!({"city": "Bern"}));
        for text in [
            " {\"city\": \"Bern\"}\n",
            "Here:\n```json\n{\"city\": \"Bern\"}\n```\nDone.",
            "```\n{\"city\":\"Bern\"}```",
        ] {
            assert_eq!(structured.value(text), bern, "{text}");
        }
        assert_eq!(structured.value("Bern."), Err("the answer is not JSON".to_owned()));
        assert_eq!(structured.value("{}"), Err("missing properties 'city'".to_owned()));
        assert!(structured.instructions().contains(r#""required":["city"]"#));
    }
}
