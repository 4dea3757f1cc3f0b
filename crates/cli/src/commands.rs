//! The subcommands and their dispatch.

mod allow;
mod batch;
mod batch_report;
mod chat;
mod clean;
mod demo;
mod doctor;
mod models;
mod print;
mod resume;
mod run;
mod setup;
pub(crate) mod shutdown;

use self::print::print;
use self::shutdown::{shutdown_timeout, until_signal};
use super::args::{BatchCommand, Cli, Command, ConsoleArgs, MissingText};
use super::closed_streams::was_stdout_closed;
use super::console::Console;
use super::error::CommandError;
use super::exit_code::Code;
use super::live::Live;
use super::log;
use super::mistyped::{self, Decision};
use super::monitor::{self, Link};
use super::nonblocking::write_stdout;
use super::open_files;
use super::output::{OutputError, TextKind, last_line, report};
use super::screen;
use super::signals::Signals;
use super::stderr::{Stderr, print_held};
use super::terminal_modes;
use clap::CommandFactory;
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The variable that allows a tracer, such as `strace` or a debugger.
const ALLOW_TRACER: &str = "OPENCODE_RUN_ALLOW_TRACER";

/// Runs the command with the arguments of this process and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    opencode_run_process::supervisor::init();
    #[cfg(unix)]
    if let Err(error) = super::signals::survive_file_size_limit() {
        Console::warning(&format!("a limit on the size of files may end this command: {error}"));
    }
    // Files that the caller opened, such as `--config /dev/fd/3`, must not be inherited by child processes.
    #[cfg(unix)]
    close_fds::set_fds_cloexec(3, &[]);
    if open_files::problem().is_some() {
        // There are not even enough descriptors for the monitor.
        return work(Link::default());
    }
    terminal_modes::save();
    monitor::run(work)
}

fn work(link: Link) -> ExitCode {
    report_panics();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let wanted = !error.use_stderr();
            let printed = print_clap(&error);
            return match printed {
                // A broken pipe while printing help is not a failure.
                Err(error) if wanted && error.kind() != ErrorKind::BrokenPipe => {
                    Console::error(&CommandError::io(OutputError::Failed(error).to_string()));
                    Code::TURN_FAILED
                }
                _ if wanted => Code::OK,
                _ => Code::USAGE,
            }
            .into();
        }
    };
    if let Some(name) = cli.misplaced_subcommand(std::env::args_os()) {
        let error = CommandError::usage(format!("subcommand `{name}` must come before options"));
        let hint = format!("write `opencode-run {name}` first, or `--` before the words if they are a message");
        Console::error(&error.hint(hint));
        return Code::USAGE.into();
    }
    let mut cli = cli;
    let mut arguments: Vec<_> = std::env::args_os().collect();
    match mistyped::decide(&cli, &arguments) {
        Decision::Message => {}
        Decision::Nothing => return Code::USAGE.into(),
        Decision::Subcommand(name) => {
            arguments[1] = name.into();
            cli = match Cli::read(arguments) {
                Ok(cli) => cli,
                Err(error) => {
                    print_clap(&error).ok();
                    return Code::USAGE.into();
                }
            };
        }
    }
    if let Some(MissingText { option, next }) = Cli::missing_text(std::env::args_os().skip(1)) {
        let error = CommandError::usage(format!("`{option}` has no text: the option `{next}` follows it"));
        Console::error(&error.hint(format!("write `{option}={next}` if that is the text")));
        return Code::USAGE.into();
    }
    if was_stdout_closed() {
        let error = CommandError::new(FailureKind::Io, "stdout is closed, so nothing can be printed");
        Console::error(&error.hint("write `>/dev/null` instead of `>&-` if the output is not needed"));
        return Code::TURN_FAILED.into();
    }
    if let Some(problem) = open_files::problem() {
        let error = CommandError::new(FailureKind::Io, problem);
        return refuse_early(&cli, &error.hint("raise the limit: `ulimit -n 1024`")).into();
    }
    // The process crate starts all child processes, so any other child is an orphan.
    if let Err(error) = opencode_run_process::supervisor::adopt_orphans() {
        Console::warning(&format!("a process that kills its supervisor may outlive this command: {error}"));
    }
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return refuse_early(&cli, &CommandError::io(format!("the command cannot start its threads: {error}")))
                .into();
        }
    };
    // A panic must not skip the following lines. The panic hook has reported it.
    let code = catch_unwind(AssertUnwindSafe(|| runtime.block_on(dispatch(cli, link))));
    print_held();
    screen::clear();
    terminal_modes::restore();
    // A thread that waits for stdin or stdout must not keep the process.
    runtime.shutdown_background();
    code.unwrap_or(Code::PANICKED).into()
}

/// Starts the runtime with one permanent thread for blocking work: tokio panics if it cannot start the first one
/// because of a limit on threads.
fn start_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    const KEEP_ALIVE: Duration = Duration::from_hours(24 * 365);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(KEEP_ALIVE).build()?;
    std::thread::Builder::new().spawn(|| ())?.join().ok();
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

/// Reports that the command cannot start, also as JSON if that was requested. Needs neither a runtime nor a thread.
fn refuse_early(cli: &Cli, error: &CommandError) -> Code {
    Console::error(error);
    let args = match &cli.command {
        None => Some(&cli.run),
        Some(Command::Resume(args)) => Some(&args.run),
        Some(_) => None,
    };
    if let Some(args) = args {
        let report = report::of_error(args.task.name(), None, error);
        // The error was printed on stderr, and the exit code reports a failure in any case.
        write_stdout(last_line::last_line(&report, args.output.output_format).as_bytes()).ok();
    }
    Code::of_kind(error.kind)
}

async fn dispatch(cli: Cli, link: Link) -> Code {
    let traced = link.traced;
    let signals = match Signals::listen(link) {
        Ok(signals) => signals,
        Err(error) => {
            return refuse_early(&cli, &CommandError::io(format!("the command cannot listen for signals: {error}")));
        }
    };
    let console = prepare(match &cli.command {
        None => &cli.run.output.console,
        Some(Command::Chat(args)) => &args.console,
        Some(Command::Resume(args)) => &args.run.output.console,
        Some(Command::Batch(args)) => match &args.command {
            Some(BatchCommand::Ctl(args)) => &args.console,
            Some(BatchCommand::Export(args)) => &args.console,
            Some(BatchCommand::Merge(args)) => &args.console,
            None => &args.run.console,
        },
        Some(Command::Demo(args)) => &args.console,
        Some(Command::Setup(args)) => &args.console,
        Some(Command::Doctor(args)) => &args.console,
        Some(Command::Models(args)) => &args.console,
        Some(Command::Allow(args)) => &args.console,
        Some(Command::Report(args)) => &args.console,
        Some(Command::Clean(args)) => &args.console,
        Some(Command::Completions { shell }) => {
            return until_signal(signals, print(TextKind::Plain, |out| complete(*shell, out))).await;
        }
        Some(Command::Man) => {
            let page = print(TextKind::Plain, |out| clap_mangen::Man::new(Cli::command()).render(out));
            return until_signal(signals, page).await;
        }
    });
    if traced && std::env::var_os(ALLOW_TRACER).is_none_or(|value| value.is_empty()) {
        let error = CommandError::new(FailureKind::Io, "another process traces this one and could read its keys");
        return refuse_early(&cli, &error.hint(format!("to run it under a debugger, set {ALLOW_TRACER}=1")));
    }
    let signals_for_timeout = signals.clone();
    let work = async {
        match cli.command {
            Some(Command::Chat(args)) => chat::chat(args, signals, console).await,
            Some(Command::Resume(args)) => Box::pin(resume::resume(args, signals, console)).await,
            Some(Command::Batch(args)) => batch::batch(*args, signals, console).await,
            Some(Command::Demo(args)) => demo::demo(args, signals, console).await,
            Some(Command::Setup(args)) => until_signal(signals, setup::setup(&args, console)).await,
            Some(Command::Doctor(args)) => until_signal(signals, doctor::doctor(&args, console)).await,
            Some(Command::Allow(args)) => until_signal(signals, allow::allow(&args, console)).await,
            Some(Command::Models(args)) => until_signal(signals, models::models(&args, console)).await,
            Some(Command::Clean(args)) => until_signal(signals, Box::pin(clean::clean(args, console))).await,
            Some(Command::Report(args)) => until_signal(signals, batch_report::report(args, console)).await,
            _ => Box::pin(run::run(cli.run, signals, console)).await,
        }
    };
    tokio::select! {
        code = work => code,
        code = shutdown_timeout(signals_for_timeout) => code,
        () = panic_of_a_test() => Code::TURN_FAILED,
    }
}

/// Panics when the file exists that a test names, in builds with debug assertions. Otherwise it waits forever.
async fn panic_of_a_test() {
    if cfg!(debug_assertions)
        && let Some(file) = std::env::var_os("OPENCODE_RUN_TEST_PANIC").map(PathBuf::from)
    {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a test asked for it");
    }
    std::future::pending::<()>().await;
}

/// Sets up colours and the log.
fn prepare(args: &ConsoleArgs) -> Console {
    anstream::ColorChoice::from(args.color).write_global();
    log::start(args.verbose);
    Console { quiet: args.quiet, live: if args.quiet { None } else { Live::new() } }
}

fn complete(shell: clap_complete::Shell, out: &mut dyn Write) -> std::io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "opencode-run", &mut text);
    out.write_all(&text)
}

/// Prints the help, or the error in the arguments. The arguments may come from file names, so they are made safe
/// for terminals.
fn print_clap(error: &clap::Error) -> std::io::Result<()> {
    let text = error.render();
    let plain = text.to_string();
    let shown = visible(&plain);
    let shown = if shown == plain { text.ansi().to_string() } else { shown };
    if error.use_stderr() {
        return Stderr.write_all(shown.as_bytes());
    }
    let mut stream = anstream::AutoStream::new(Vec::new(), anstream::AutoStream::choice(&std::io::stdout()));
    stream.write_all(shown.as_bytes())?;
    write_stdout(&stream.into_inner())
}

/// Reports a panic like every other message: a closed or full stderr has no effect, and the text is made safe for
/// terminals.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let message = format!("thread `{}`: {panic}", thread.name().unwrap_or("unnamed"));
        Console::error(&CommandError::new(FailureKind::Protocol, message));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            writeln!(Stderr, "{trace}").ok();
        }
    }));
}
