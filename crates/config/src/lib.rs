//! Model sources from `.env` files: which model, where it is reached, with which key and which parameters, for each kind
//! of work.
//!
//! What a file sets reaches the caller as it stands in the file, or is refused with the file, the line and the reason.
//! The crate changes nothing in its process and reads no environment variable. Reading a `.env` is reading that one file;
//! where a source names a file for its key, [`with_key`] reads that when it is asked to, and where it names a command, the caller
//! runs it.
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
//! | `BASEURL` | where the provider is reached; without it the model is one that opencode already knows |
//! | `APIKEY` | the provider's key |
//! | `APIKEY_FILE` | a file that holds the key, in its place; a relative path counts from the folder of the `.env`; only in a file that is named |
//! | `APIKEY_COMMAND` | a command that prints the key, in its place: a password manager's |
//! | `APIKEY_HEADER` | the header that carries the key, where it is not the provider's usual one |
//! | `MODEL` | the model's id; `provider/model` where there is no base URL. Every source needs it |
//! | `TEMPERATURE` | from 0 to 2 |
//! | `MAX_TOKENS` | the most tokens of an answer |
//! | `TOP_P`, `TOP_K` | above 0 to 1; from 1 |
//! | `CONTEXT` | the model's context length in tokens |
//! | `PRICE_INPUT`, `PRICE_OUTPUT` | USD for a million tokens |
//! | `PROVIDER` | the npm package of the provider, `@ai-sdk/openai-compatible` unless said; only with a base URL |
//!
//! A key with an **empty value**, such as `MODEL_CODE_TEMPERATURE=`, is as if its line were not there: templates of `.env`
//! files are full of them. A source with other values still misses its model then.
//!
//! # The text
//!
//! UTF-8, with or without a byte order mark, at most [`MAX_FILE_BYTES`]. The dialect is that of the `dotenvy` crate:
//! comments, `export`, single and double quotes, values over many lines (at most [`MAX_VALUE_LINES`]), escapes outside of
//! single quotes. It differs where a value would arrive changed:
//!
//! - **Nothing is substituted.** `$HOME`, `${X}` and a key with a `$` in it arrive literally, in every way of quoting.
//! - A backslash in single quotes is a backslash, also before the closing quote.
//! - A backslash at the end of a line is refused instead of dropped.
//! - Every comment after a value is one, whatever it holds: `dotenvy` takes quotes in some comments for a value's.
//!
//! # The two strictnesses
//!
//! | | a file that the user named | a file that was only found |
//! | --- | --- | --- |
//! | function | [`ModelSource::from_env_file`] | [`ModelSource::from_found_env_file`] |
//! | what is wrong or doubtful | an error; all of them are reported at once | a warning, and **the whole source that it is about is left out** |
//! | a file that cannot be read as text | an error | a warning, and the whole file is left out |
//! | a file that is not there | an error | nothing: no sources, no warnings |
//! | a line that is no `KEY=VALUE` | an error | a warning where it mentions a key of ours, else ignored |
//! | a quote that is not closed | an error | a warning where its line begins with a key of ours, else ignored |
//! | another program's key, with any value | ignored | ignored |
//! | a pipe, such as `<(command)` | read | a warning: it might never end |
//! | an `APIKEY_COMMAND` | read | a warning: a file that came with a repository starts nothing |
//! | a `PROVIDER` outside of `@ai-sdk/` | read | a warning: opencode would install and run the package |
//!
//! # Which keys are ours
//!
//! A key that is not exactly one of ours is *doubtful*, and never dropped in silence, if one of these holds when it is put
//! in capitals and with `_` for `-` and `.`:
//!
//! 1. It is at most two edits (a letter added, removed, changed, or two neighbours swapped) from a key of ours, or the
//!    same: `MODEL_CDOE_MODEL`, `MODLE_CODE_MODEL`, `model_code_model`, `MODEL_CODE_API_KEY`.
//! 2. It begins with `MODEL_<TYPE>_` of a known type, or is `MODEL_<TYPE>`: `MODEL_CODE_URL`, `MODEL_DEFAULT`.
//! 3. It is `MODEL_<SETTING>` with a known setting, wherever that has its `_`: `MODEL_TEMPERATURE`, `MODEL_API_KEY`.
//! 4. It is `MODEL_<WORD>_<SETTING>` with a known setting: `MODEL_REVIEW_BASEURL`.
//!
//! Of these, 3 and 4 name no source that there is, so in a found file they warn and leave none out. Everything else, such
//! as `MODEL_PATH`, `MODEL_NAME` or `DATABASE_URL`, is another program's.
//!
//! After a quote that is not closed, reading goes on with the next line, so that it hides nothing. A quoted value that runs
//! over a line with a key of ours is doubtful too, and so is the source of that key.
//!
//! # Secrets
//!
//! No message, `Debug` or serialised form of this crate holds the value of a key: messages name keys and line numbers and
//! never show a line or a value that could not be read.

mod assemble;
mod draft;
mod entries;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod key_origin;
mod keys;
mod problem;
mod read;
mod source;

#[cfg(test)]
mod tests;

pub use entries::MAX_VALUE_LINES;
pub use key_origin::{KeyError, LONGEST_KEY, with_key};
pub use keys::EnvKey;
pub use problem::{EnvFileError, EnvProblem, EnvProblemKind, LeftOut};
pub use read::MAX_FILE_BYTES;
pub use source::{FoundEnvFile, ModelSource, SourceSummary};

/// The types of a model source that live in the core, re-exported so that one import suffices.
pub use opencode_run_core::{ModelConfig, ModelParameter, ModelProblem, ModelSourceType, ProviderPackage};
