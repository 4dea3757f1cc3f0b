//! One message for all tasks, with the fields of each filled in.

use crate::task::RawFields;

/// A message with placeholders such as `{{repo}}`, which are replaced by the fields of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A place is not closed.
    #[error("line {line}: `{{{{` has no `}}}}`")]
    Unclosed {
        /// The line, from 1.
        line: usize,
    },
    /// A placeholder has no name.
    #[error("line {line}: `{{{{}}}}` names no field")]
    Unnamed {
        /// The line, from 1.
        line: usize,
    },
    /// The template is empty.
    #[error("the template is empty")]
    Empty,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// If it is empty, or a placeholder is not closed or has no name.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        let line_at = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let line = line_at(after);
            let (name, behind) = after.split_once("}}").ok_or(TemplateError::Unclosed { line })?;
            let name = name.trim();
            if name.is_empty() {
                return Err(TemplateError::Unnamed { line });
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(name.to_owned()));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// Returns the message of a task.
    pub(crate) fn fill(&self, fields: &RawFields<'_>) -> Result<String, String> {
        let mut message = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => message.push_str(text),
                Part::Field(name) => match fields.text(name) {
                    Some(Ok(value)) => message.push_str(&value),
                    Some(Err(why)) => return Err(format!("`{name}` cannot be read: {why}")),
                    None => return Err(format!("the message template names `{name}`, which the task does not have")),
                },
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let template = Template::new("Port {{ repo }} to {{target}}: {{n}} files.\n").unwrap();
        let fields = serde_json::from_str(r#"{"repo":"o/r","target":"Rust","n":3}"#).unwrap();
        assert_eq!(template.fill(&fields).unwrap(), "Port o/r to Rust: 3 files.\n");
    }

    #[test]
    fn missing_column_is_an_error() {
        let template = Template::new("Port {{repo}}.").unwrap();
        let error = template.fill(&serde_json::from_str(r#"{"name":"o/r"}"#).unwrap()).unwrap_err();
        assert_eq!(error, "the message template names `repo`, which the task does not have");
    }

    #[test]
    fn broken_template_names_the_line() {
        assert_eq!(Template::new("a\n{{b"), Err(TemplateError::Unclosed { line: 2 }));
        assert_eq!(Template::new("{{ }}"), Err(TemplateError::Unnamed { line: 1 }));
        assert_eq!(Template::new(" \n"), Err(TemplateError::Empty));
    }
}
