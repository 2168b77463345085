//! Exports the rows of a store as a document

mod entries;

use std::io::{self, Write};

use serde::Serialize;
use store::export::Export;
use store::fleet::Fleet;

use self::entries::Writer;
use super::import::Event;
use super::progress::Progress;
use super::section::Section;

/// What becomes of the session tokens of agents
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They are left out: an import keeps the tokens that exist, and makes others for new agents
    LeaveOut,
    /// They are written: agents that know their token are accepted after an import elsewhere
    Write,
}

/// Writes the rows of a store as a JSON document, with one entry on each line
///
/// An import of the document into the same database changes nothing, and one into an empty
/// database makes a deployment whose export has the same bytes. Ids that an import derives from
/// names are left out. Entries that a document cannot describe are left out with a warning. Not part
/// of the document: sessions, keys, tokens of proxies, and columns that only a control plane sets.
///
/// # Errors
///
/// [`ExportError`].
pub async fn export<E: Export, W: Write>(
    rows: &mut E,
    secrets: Secrets,
    out: W,
    mut report: impl FnMut(Event),
) -> Result<(), ExportError> {
    let mut lists = Lists { out, open: None };
    let mut writer = Writer::new(secrets);
    let mut count = 0;
    lists.out.write_all(b"{")?;
    while let Some(part) = rows.part().await? {
        count += number_of_rows(&part);
        let mut warnings = Vec::new();
        writer.write(part, &mut lists, &mut warnings)?;
        warnings.into_iter().for_each(|warning| report(Event::Warning(warning)));
        report(Event::Progress(Progress::writing(count)));
    }
    lists.end()?;
    Ok(())
}

/// The lists of a document that is being written
struct Lists<W> {
    out: W,
    open: Option<Section>,
}

impl<W: Write> Lists<W> {
    fn entry(&mut self, section: Section, entry: &impl Serialize) -> io::Result<()> {
        match self.open {
            Some(open) if open == section => self.out.write_all(b",\n")?,
            open => {
                let end = if open.is_some() { "\n]," } else { "" };
                write!(self.out, "{end}\n\"{}\": [\n", section.name())?;
                self.open = Some(section);
            }
        }
        serde_json::to_writer(&mut self.out, entry)?;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let end = if self.open.is_some() { "\n]\n}\n" } else { "}\n" };
        self.out.write_all(end.as_bytes())?;
        self.out.flush()
    }
}

fn number_of_rows(fleet: &Fleet) -> u64 {
    let rows = [
        fleet.organizations.len(),
        fleet.users.len(),
        fleet.organization_members.len(),
        fleet.groups.len(),
        fleet.group_members.len(),
        fleet.custom_roles.len(),
        fleet.templates.len(),
        fleet.workspaces.len(),
        fleet.workspace_builds.len(),
        fleet.workspace_resources.len(),
        fleet.workspace_agents.len(),
        fleet.workspace_apps.len(),
        fleet.workspace_agent_port_share.len(),
        fleet.authd_shares.len(),
        fleet.workspace_proxies.len(),
    ];
    rows.iter().sum::<usize>().try_into().unwrap_or(u64::MAX)
}

/// Why a document could not be written
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The document cannot be written
    #[error("the document cannot be written")]
    Io(#[from] io::Error),
    /// The store failed
    #[error("the store failed")]
    Store(#[from] store::Error),
}
