use std::os::unix::fs::MetadataExt;

use app_audit::{Act, ActFilter, ActLog, Page, printable};

pub(super) use app_audit::{ActKind, SubjectKind};

use super::database::with_store;
use super::error::CommandError;
use super::output::print;
use crate::clock::system_clock;
use crate::config::ConfigArgs;

/// An act of now by the operator who runs this command, as the environment says and unverified
pub(super) fn of_operator(kind: ActKind) -> Act {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let uid = std::fs::metadata("/proc/self").map(|process| process.uid()).ok();
    Act::new(kind, system_clock()()).operator(&variable("USER"), &variable("SUDO_USER"), uid)
}

/// Prints acts, the newest first
pub(super) async fn list(
    limit: u32,
    json: bool,
    kind: Option<ActKind>,
    config: ConfigArgs,
) -> Result<(), CommandError> {
    let (filter, page) = (ActFilter { kind, ..ActFilter::default() }, Page::first(limit));
    let rows = with_store(config, async |store| Ok(store.list_acts(&filter, page).await?)).await?;
    let lines =
        rows.iter().map(|row| if json { row.to_json() } else { printable(&row.to_string()) });
    print(&lines.collect::<Vec<_>>())
}
