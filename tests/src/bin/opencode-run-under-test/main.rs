//! The command `opencode-run` as a binary of this package, so that cargo builds it before the tests that run it.

fn main() -> std::process::ExitCode {
    opencode_run::main()
}
