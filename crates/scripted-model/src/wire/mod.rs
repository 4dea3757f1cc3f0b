//! How an answer looks on the wire: what is common to the protocols in [`plan`], the rest in a module each.

mod anthropic;
mod errors;
mod frame;
mod google;
mod models;
mod openai;
mod plan;

pub(crate) use errors::error_body;
pub(crate) use frame::Head;
pub(crate) use models::model_list;
pub(crate) use plan::{Plan, Step, plan};
