use std::fmt;

/// The session token of an agent
///
/// `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// Returns the token itself, to be handed to the agent
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Accepts one word of at most 4096 printable ASCII characters, so that a token is one line
    /// of a file
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = matches!(text.len(), 1..=4096) && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}
