use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use app_authz::rbac::Case;
use serde_json::json;

use super::error::CommandError;
use super::files::{open, unreadable};
use crate::cli::{PolicyArgs, PolicyCommand};

/// Decides or explains cases of role-based access control
///
/// The exit status is 1 if a decision differs from the expected one.
pub(super) fn run(args: &PolicyArgs) -> Result<ExitCode, CommandError> {
    let mut out = std::io::stdout().lock();
    match &args.command {
        PolicyCommand::Test { file, expect: false } => {
            for case in cases(file)? {
                let case = case?;
                let line = json!({ "n": case.number, "allowed": case.is_allowed() });
                writeln!(out, "{line}").map_err(CommandError::Output)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Test { file, expect: true } => compare(file, &mut out),
        PolicyCommand::Explain { file, number } => {
            let mut found = false;
            for case in cases(file)? {
                let case = case?;
                if number.is_none_or(|number| number == case.number) {
                    explain(&case, &mut out).map_err(CommandError::Output)?;
                    found = true;
                }
            }
            match number {
                Some(number) if !found => {
                    Err(CommandError::Usage(format!("there is no case {number}")))
                }
                _ => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

/// Prints the cases whose decision differs from the expected one, and their number
fn compare(file: &Path, out: &mut impl Write) -> Result<ExitCode, CommandError> {
    let (mut compared, mut disagreements) = (0_u64, 0_u64);
    for case in cases(file)? {
        let case = case?;
        let Some(expected) = case.expected else { continue };
        compared += 1;
        let allowed = case.is_allowed();
        if allowed != expected {
            disagreements += 1;
            let line = json!({ "n": case.number, "allowed": allowed, "expected": expected });
            writeln!(out, "{line}").map_err(CommandError::Output)?;
        }
    }
    let count = json!({ "compared": compared, "disagreements": disagreements });
    writeln!(out, "{count}").map_err(CommandError::Output)?;
    Ok(if disagreements == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(case: &Case, out: &mut impl Write) -> std::io::Result<()> {
    match case.explain() {
        Some(explanation) => writeln!(out, "{}: {explanation}", case.number),
        None => writeln!(
            out,
            "{}: denied: the object is both in one organization and in any",
            case.number
        ),
    }
}

/// Reads the cases of a file, one from each line that is not empty
fn cases(
    file: &Path,
) -> Result<impl Iterator<Item = Result<Case, CommandError>> + use<>, CommandError> {
    let path = file.to_owned();
    let numbered = (1_u64..).zip(BufReader::new(open(file)?).lines());
    Ok(numbered.filter_map(move |(line, text)| match text {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(Case::from_json(&text).map_err(|error| CommandError::Case {
            path: path.clone(),
            line,
            error,
        })),
        Err(error) => Some(Err(unreadable(&path)(error))),
    }))
}
