use std::fmt;
use std::str::FromStr;

use openssl::memcmp;
use openssl::sha::sha256;

use crate::Error;

/// A session token as a request carries it: a bearer secret
///
/// That it has the form says nothing about whether it is good. `Debug` prints its id
/// alone, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(Box<str>);

impl SessionToken {
    /// The public part, by which the key is found
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[..ID_LENGTH]
    }

    /// The token itself, to be sealed for another server and for nothing else
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the secret part is the one whose SHA-256 digest was stored
    ///
    /// The comparison takes the same time wherever the digests differ.
    pub(super) fn has_secret_of(&self, digest: &[u8]) -> bool {
        let own = sha256(self.0[ID_LENGTH + 1..].as_bytes());
        digest.len() == own.len() && memcmp::eq(digest, &own)
    }
}

impl FromStr for SessionToken {
    type Err = Error;

    /// Reads `ID-SECRET`: ten and twenty-two letters or digits
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_part = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        match text.split_once('-') {
            Some((id, secret)) if is_part(id, ID_LENGTH) && is_part(secret, SECRET_LENGTH) => {
                Ok(Self(text.into()))
            }
            _ => Err(Error::InvalidSessionToken),
        }
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionToken({}-..)", self.id())
    }
}

const ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 22;
