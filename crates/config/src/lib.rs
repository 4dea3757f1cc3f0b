//! Model sources from `.env` files: for each model role the model, its endpoint, its key and its parameters.
//!
//! The settings of a file reach the caller exactly as written, or are rejected with the file, the line and the
//! reason. The crate changes nothing in its process and reads no environment variable. Reading a `.env` file reads
//! only that file; if a source names a file for its key, [`with_key`] reads that file on request, and if it names a
//! command, the caller runs it.
//!
//! # Example
//!
//! ```
//! use opencode_run_config::{ModelSource, ModelSourceType};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let file = folder.path().join("models.env");
//! std::fs::write(
//!     &file,
//!     "MODEL_CODE_BASEURL=https://api.example.com/v1\n\
//!      MODEL_CODE_APIKEY='not-$HOME-but-these-characters'\n\
//!      MODEL_CODE_MODEL=example-large\n\
//!      MODEL_CODE_TEMPERATURE=0.2\n\
//!      MODEL_PLAN_MODEL=anthropic/claude-sonnet-4-5\n",
//! )?;
//!
//! let source = ModelSource::from_env_file(&file)?;
//! assert_eq!(source.configured(), [ModelSourceType::Plan, ModelSourceType::Code]);
//! let code = source.get_model(ModelSourceType::Code).ok_or("no code source")?;
//! assert_eq!(code.temperature, Some(0.2));
//!
//! let lines: Vec<String> = source.summaries().map(|summary| summary.to_string()).collect();
//! assert_eq!(
//!     lines,
//!     ["plan: anthropic/claude-sonnet-4-5 (known to opencode)", "code: example-large at api.example.com"]
//! );
//!
//! std::fs::write(&file, "MODEL_CODE_MODEL=openai/gpt-5\nMODEL_CODE_TEMPRATURE=0.2\n")?;
//! let error = ModelSource::from_env_file(&file).err().ok_or("a misspelt key is refused")?;
//! assert!(error.to_string().ends_with(
//!     "models.env:2: MODEL_CODE_TEMPRATURE is not a known key: did you mean MODEL_CODE_TEMPERATURE?"
//! ));
//! # Ok(())
//! # }
//! ```
//!
//! # The keys
//!
//! `MODEL_<TYPE>_<SETTING>`, where the type is one of [`ModelSourceType::ALL`] and the setting one of
//! [`ModelParameter::ALL`], both in capitals:
//!
//! | setting | value |
//! | --- | --- |
//! | `BASEURL` | the provider's base URL; without it the model must be one that opencode knows |
//! | `APIKEY` | the provider's key |
//! | `APIKEY_FILE` | a file that contains the key, instead of `APIKEY`; relative to the directory of the `.env` file; only in a named file |
//! | `APIKEY_COMMAND` | a command that prints the key, such as a password manager, instead of `APIKEY`; only in a named file |
//! | `APIKEY_HEADER` | the header that carries the key, if it is not the provider's usual one |
//! | `MODEL` | the model's id; `provider/model` if there is no base URL. Every source needs it |
//! | `TEMPERATURE` | from 0 to 2 |
//! | `MAX_TOKENS` | the maximum number of tokens of an answer |
//! | `TOP_P`, `TOP_K` | above 0 and at most 1; at least 1 |
//! | `CONTEXT` | the model's context length in tokens |
//! | `PRICE_INPUT`, `PRICE_OUTPUT` | USD for a million tokens |
//! | `INPUT` | the kinds of content that the model accepts, such as `text,image,pdf`; only `text` by default |
//! | `PROVIDER` | the npm package of the provider, `@ai-sdk/openai-compatible` by default; only with a base URL |
//!
//! A key with an **empty value**, such as `MODEL_CODE_TEMPERATURE=`, is treated as absent, because templates of
//! `.env` files are full of them. If the source has other values, its missing model is still a problem.
//!
//! # File format
//!
//! UTF-8, with or without a byte order mark, at most [`MAX_FILE_BYTES`]. The dialect is that of the `dotenvy`
//! crate: comments, `export`, single and double quotes, values of several lines (at most [`MAX_VALUE_LINES`]),
//! escapes outside of single quotes. It differs if `dotenvy` would change a value:
//!
//! - **Nothing is substituted.** `$HOME`, `${X}` and a key with a `$` in it are literal, in every quoting style.
//! - A backslash in single quotes is a backslash, even before the closing quote.
//! - A backslash at the end of a line is rejected instead of dropped.
//! - A comment after a value is always a comment: `dotenvy` treats quotes in some comments as part of the value.
//!
//! # Strict and lenient reading
//!
//! | | a file that the user named (strict) | an auto-discovered file (lenient) |
//! | --- | --- | --- |
//! | function | [`ModelSource::from_env_file`] | [`ModelSource::from_discovered_env_file`] |
//! | an invalid or ambiguous setting | an error; all of them are reported together | a warning, and **the whole source of the setting is ignored** |
//! | a file that cannot be read as text | an error | a warning, and the whole file is ignored |
//! | a missing file | an error | no sources and no warnings |
//! | a line that is not `KEY=VALUE` | an error | a warning if it mentions a key of ours, else ignored |
//! | an unclosed quote | an error | a warning if its line begins with a key of ours, else ignored |
//! | another program's key, with any value | ignored | ignored |
//! | a pipe, such as `<(command)` | read | a warning: it might never end |
//! | an `APIKEY_COMMAND` | read | a warning: a file from a repository must not run commands |
//! | a `PROVIDER` outside `@ai-sdk/` | read | a warning: opencode would install and run the package |
//!
//! # Which keys are ours
//!
//! A key that is not exactly one of ours is *ambiguous*, and never silently ignored, if one of these holds after it
//! is converted to capitals and `-` and `.` are replaced by `_`:
//!
//! 1. It is equal to a key of ours or at most two edits (a letter added, removed or changed, or two neighbours
//!    swapped) away: `MODEL_CDOE_MODEL`, `MODLE_CODE_MODEL`, `model_code_model`, `MODEL_CODE_API_KEY`.
//! 2. It begins with `MODEL_<TYPE>_` of a known type, or is `MODEL_<TYPE>`: `MODEL_CODE_URL`, `MODEL_DEFAULT`.
//! 3. It is `MODEL_<SETTING>` with a known setting, with or without its `_`: `MODEL_TEMPERATURE`, `MODEL_API_KEY`.
//! 4. It is `MODEL_<WORD>_<SETTING>` with a known setting: `MODEL_REVIEW_BASEURL`.
//!
//! Rules 3 and 4 match no existing source, so in an auto-discovered file they only warn. All other keys, such as
//! `MODEL_PATH`, `MODEL_NAME` or `DATABASE_URL`, belong to other programs.
//!
//! After an unclosed quote, reading continues with the next line, so that the quote hides nothing. A quoted value
//! that spans a line with a key of ours makes the source of that key ambiguous.
//!
//! # Secrets
//!
//! No message, `Debug` output or serialised form of this crate contains an API key: messages name settings and line
//! numbers and never show a line or a value that could not be read.

mod assemble;
mod draft;
mod entries;
mod env_file;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod key_origin;
mod keys;
mod limits;
mod problem;
mod read;
mod source;
mod strictness;

#[cfg(test)]
mod tests;

pub use entries::MAX_VALUE_LINES;
pub use env_file::DiscoveredEnvFile;
pub use key_origin::{KeyError, MAX_KEY_BYTES, with_key};
pub use keys::EnvKey;
pub use limits::MAX_FILE_BYTES;
pub use problem::{EnvFileError, EnvProblem, EnvProblemKind, Ignored};
pub use source::{ModelSource, SourceSummary};

/// Types of the core crate that this crate's interface uses, re-exported so that one import suffices.
pub use opencode_run_core::{ModelConfig, ModelParameter, ModelProblem, ModelSourceType, ProviderPackage};
