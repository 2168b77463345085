use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::digest::{equal_in_constant_time, sha256};

/// A session token as a request carries it: a bearer secret
///
/// Only the form is checked, not whether the session is good. `Debug` prints the id only, and
/// there is no `Display`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionToken(Box<str>);

impl SessionToken {
    /// The public part, by which the key is looked up
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[..ID_LENGTH]
    }

    /// The secret token, only to give it to its owner or to seal it for another server
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Creates a token of random bytes, which `fill` writes; they must be unpredictable
    #[must_use]
    pub fn generate(mut fill: impl FnMut(&mut [u8])) -> Self {
        let id = random_letters(ID_LENGTH, &mut fill);
        let secret = random_letters(SECRET_LENGTH, &mut fill);
        Self(format!("{id}-{secret}").into())
    }

    /// The SHA-256 digest of the secret part, which is what the database stores
    #[must_use]
    pub fn secret_digest(&self) -> [u8; 32] {
        sha256(self.0[ID_LENGTH + 1..].as_bytes())
    }

    /// Whether the secret part has this SHA-256 digest
    ///
    /// Compares in constant time.
    pub(super) fn has_secret_of(&self, digest: &[u8]) -> bool {
        equal_in_constant_time(digest, &self.secret_digest())
    }
}

impl FromStr for SessionToken {
    type Err = Error;

    /// Parses `ID-SECRET`: 10 and 22 ASCII letters or digits
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

/// Random letters and digits, all equally likely
pub(crate) fn random_letters(count: usize, mut fill: impl FnMut(&mut [u8])) -> String {
    let mut letters = String::with_capacity(count);
    while letters.len() < count {
        let mut byte = [0];
        fill(&mut byte);
        // Two of the 64 values are skipped; mapping them too would make some letters likelier.
        if let Some(letter) = ALPHABET.get(usize::from(byte[0] >> 2)) {
            letters.push(char::from(*letter));
        }
    }
    letters
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub(crate) const ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 22;
