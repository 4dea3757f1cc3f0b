//! The kinds of content that a model accepts.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A kind of content that a model accepts in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputType {
    /// Text, which every model accepts.
    Text,
    /// Images.
    Image,
    /// PDF documents.
    Pdf,
}

impl InputType {
    const ALL: [Self; 3] = [Self::Text, Self::Image, Self::Pdf];

    /// Returns the kind's name, such as `image`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Pdf => "pdf",
        }
    }
}

impl fmt::Display for InputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not a kind of content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of content: use text, image or pdf, separated by commas")]
pub struct UnknownInputType(());

impl FromStr for InputType {
    type Err = UnknownInputType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = name.trim();
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(name)).ok_or(UnknownInputType(()))
    }
}
