//! The command `opencode-run`.

fn main() -> std::process::ExitCode {
    opencode_run::main()
}
