//! Runs a program, and ends every process that it leaves.
//!
//! ```sh
//! cargo run -p opencode-run-containment --example contain -- sh -c 'setsid sleep 600 & echo started'
//! ```
//!
//! Also kill the example by SIGKILL while the program runs: on Linux, none of its processes is left.

use opencode_run_containment::{Helper, supervisor};
use std::error::Error;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncWrite};

fn main() -> Result<(), Box<dyn Error>> {
    supervisor::init(); // first: this program may have been re-executed as the supervisor
    run()
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("name a program")?;
    let mut child = Helper::start(&program, arguments, Path::new("."), supervisor::current().as_ref())?;
    let stdout = copy(child.take_stdout(), tokio::io::stdout());
    let stderr = copy(child.take_stderr(), tokio::io::stderr());
    // A process that the program leaves may hold the pipes open: they end when it does.
    let (status, ..) = tokio::join!(child.wait(), stdout, stderr);
    let status = status?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin) {
    if let Some(mut from) = from {
        // If the output is closed, the rest of the pipe is dropped.
        tokio::io::copy(&mut from, &mut to).await.ok();
    }
}
