//! A gateway in front of a provider, for any client that can be given a base URL.
//!
//! ```sh
//! PROVIDER_KEY=sk-… cargo run -p opencode-run-gateway --example gateway -- https://api.example.com/v1 openai
//! ```
//!
//! The second argument is `openai`, `anthropic` or `google`. It prints the base URL to give to the client, and what went
//! through when its stdin ends.

use std::io::{self, Read, Write};

use opencode_run_gateway::{Account, Gateway, Protocol, Upstream};

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
    let account = Account::unlimited();
    let _admission = path.admit_anyone(&account)?;

    let mut out = io::stdout();
    writeln!(out, "base URL: {}\nkey:      {}", path.base_url(), path.placeholder())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(out, "{:#?}", account.traffic())?;
    Ok(())
}
