//! Imports of documents that are in memory

use fleet_import::{Document, DocumentError, Event, ImportError, Options, Source, Warning};
use serde::Serialize;
use store::import::{Difference, Import};

use crate::error::{AccessError, Error};

/// What an import did
#[derive(Serialize)]
pub(crate) struct Imported {
    dry_run: bool,
    differences: Vec<Difference>,
    unchanged: u64,
    /// The entries that can never work
    warnings: Vec<Warning>,
}

/// Imports a document that is in memory
pub(crate) async fn apply<S: Import>(
    store: &S,
    document: Document,
    options: Options,
) -> Result<Imported, Error> {
    let dry_run = options.dry_run;
    let (mut differences, mut warnings) = (Vec::new(), Vec::new());
    let report = |event| match event {
        Event::Difference(difference) => differences.push(difference),
        Event::Warning(warning) => warnings.push(warning),
        _ => {}
    };
    let imported = fleet_import::import(store, Source::from(document), options, report);
    let outcome = imported.await.map_err(|error| match error {
        ImportError::Document(error) => invalid(error),
        ImportError::Store(store::Error::ControlPlane { changes }) => {
            AccessError::ControlPlane(changes)
        }
        ImportError::Store(store::Error::Query { reason }) => {
            AccessError::Contradiction(reason.to_string())
        }
        ImportError::Store(error) => AccessError::store(error),
        // The document is in memory.
        _ => invalid(DocumentError::not_text()),
    })?;
    let unchanged = outcome.total().unchanged;
    Ok(Imported { dry_run, differences, unchanged, warnings })
}

pub(crate) fn invalid(error: DocumentError) -> AccessError {
    AccessError::Invalid { message: "The document is not valid.", detail: error.to_string() }
}
