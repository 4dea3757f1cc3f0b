//! The wire formats of answers: [`plan`] is common to all protocols, the rest is one module per protocol.

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
pub(crate) use plan::{AnswerPlan, Step, plan};
