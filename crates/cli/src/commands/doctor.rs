//! Checks everything that a turn needs, each with a fix.

mod directories;
mod disk;
mod endpoints;
mod exposure;
mod finding;
mod mcp;
mod programs;
mod sources;
mod workspace;

use self::finding::{Finding, FindingStatus};
use crate::args::{DoctorArgs, ReportFormat};
use crate::console::Console;
use crate::exit_code::Code;
use opencode_run_markdown::visible;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Findings {
    ok: bool,
    findings: Vec<Finding>,
}

/// Runs all checks and prints the findings.
pub(crate) async fn doctor(args: &DoctorArgs, _: Console) -> Code {
    let mut findings = vec![
        programs::opencode(args.opencode.clone()).await,
        programs::npm(),
        programs::git(),
        programs::ripgrep(),
        programs::shell(),
    ];
    findings.extend(programs::proc());
    findings.extend(directories::check());
    findings.extend(disk::check(args.workspace.as_deref().unwrap_or(Path::new("."))));
    findings.extend(mcp::check());
    let sources = sources::read(args.config.as_deref()).await;
    findings.extend(sources.findings.iter().cloned());
    findings.extend(endpoints::check(&sources.source, args.offline).await);
    findings.push(workspace::check(args.workspace.as_deref().unwrap_or(Path::new("."))));
    findings.extend(exposure::check(&sources, args.no_gateway));

    let code = findings
        .iter()
        .find(|finding| finding.status == FindingStatus::Error)
        .map_or(Code::OK, |finding| if finding.check == programs::OPENCODE { Code::OPENCODE } else { Code::CONFIG });
    let findings = Findings { ok: code == Code::OK, findings };
    let printed = super::print::print(args.output_format.text_kind(), |out| match args.output_format {
        ReportFormat::Json => writeln!(out, "{}", serde_json::to_string(&findings)?),
        ReportFormat::Text => findings.findings.iter().try_for_each(|finding| write_text(out, finding)),
    });
    let printed = printed.await;
    if printed == Code::OK { code } else { printed }
}

fn write_text(out: &mut dyn std::io::Write, finding: &Finding) -> std::io::Result<()> {
    let mark = match finding.status {
        FindingStatus::Ok => "ok     ",
        FindingStatus::Warning => "warning",
        FindingStatus::Error => "error  ",
    };
    writeln!(out, "{mark}  {}: {}", finding.check, visible(&finding.message))?;
    match &finding.fix {
        Some(fix) => writeln!(out, "         {}", visible(fix)),
        None => Ok(()),
    }
}
