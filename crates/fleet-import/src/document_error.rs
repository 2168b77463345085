/// What is wrong with a document, and where
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct DocumentError {
    /// The path, such as `workspaces[0].builds[1].number`; empty for the document as a whole
    pub path: String,
    /// The reason, which does not quote the document
    pub reason: String,
}

impl DocumentError {
    /// The document is not UTF-8 text
    pub fn not_text() -> Self {
        Self::new("", "not UTF-8")
    }

    pub(crate) fn new(path: impl Into<String>, reason: impl ToString) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}
