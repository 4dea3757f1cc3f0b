//! Runs a gateway for a provider, for any client whose base URL can be set.
//!
//! ```sh
//! PROVIDER_KEY=sk-… cargo run -p opencode-run-gateway --example gateway -- https://api.example.com/v1 openai
//! ```
//!
//! The second argument is `openai`, `anthropic` or `google`. Prints the base URL for the client, and the traffic
//! when stdin ends.

use std::io::{self, Read, Write};

use opencode_run_gateway::{Gateway, Protocol, Upstream, UsageBudget};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("name the provider's base URL")?;
    let protocol = match arguments.next().as_deref() {
        None | Some("openai") => Protocol::OpenAiCompatible,
        Some("anthropic") => Protocol::Anthropic,
        Some("google") => Protocol::Google,
        Some(_) => return Err("the protocol is openai, anthropic or google".into()),
    };
    let key = std::env::var("PROVIDER_KEY").ok();

    let gateway = Gateway::start()?;
    let path = gateway.open(&Upstream { credential: key.map(Into::into), ..Upstream::new(url, protocol) })?;
    let budget = UsageBudget::unlimited();
    let _lease = path.lease_to_anyone(&budget)?;

    let mut out = io::stdout();
    writeln!(out, "base URL: {}\nkey:      {}", path.base_url(), path.placeholder())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(out, "{:#?}", budget.traffic())?;
    Ok(())
}
