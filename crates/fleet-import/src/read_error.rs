use std::io;

use super::document_error::DocumentError;

/// Why a document could not be read
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The document is not valid
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The file cannot be read
    #[error(transparent)]
    Io(#[from] io::Error),
}
