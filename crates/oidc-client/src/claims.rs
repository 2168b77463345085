use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::client::Client;
use crate::error::TokenError;
use crate::json;

/// A user whom a provider has signed in, with the claims about the user
///
/// Only [`Provider::finish`](crate::Provider::finish) makes one: the ID token is verified, is for
/// this client, and was made for the flow of this browser. What the claims say, such as whether an
/// address is verified, is for the caller to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub(crate) issuer: String,
    pub(crate) claims: Map<String, Value>,
}

impl Identity {
    /// The issuer, as the token has it
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The id of the user at the issuer, which never changes and is never used again
    ///
    /// At most 255 characters. Only together with the issuer it names a user.
    #[must_use]
    pub fn subject(&self) -> &str {
        json::text(&self.claims, "sub").unwrap_or_default()
    }

    /// The id of the user's session at the provider, if the token names it
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        json::text(&self.claims, "sid").filter(|sid| is_id(sid))
    }

    /// A claim; a name with dots leads into objects, unless a claim has the whole name
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(name) {
            return Some(value);
        }
        let mut parts = name.split('.');
        let first = self.claims.get(parts.next()?)?;
        // A name without dots was looked up above.
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// A claim that is a text and not empty
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The texts of a claim that is a list of texts, or a single text
    ///
    /// `None` if the claim is missing. Elements that are not texts are left out.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<&str>> {
        match self.claim(name)? {
            Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect()),
            Value::String(one) => Some(vec![one]),
            _ => Some(Vec::new()),
        }
    }

    /// Adds claims that the ID token does not have
    pub(crate) fn add(&mut self, claims: Map<String, Value>) {
        for (name, value) in claims {
            self.claims.entry(name).or_insert(value);
        }
    }
}

/// The checks of claims that ID tokens and logout tokens have in common
pub(crate) struct Checks<'a> {
    pub(crate) client: &'a Client,
    pub(crate) now: SystemTime,
    pub(crate) claims: &'a Map<String, Value>,
}

impl Checks<'_> {
    /// The issuer is the provider's to the letter, and the audience this client alone
    ///
    /// (OpenID Connect Core 1.0, section 3.1.3.7, steps 2 to 5)
    pub(crate) fn parties(&self) -> Result<(), TokenError> {
        let issuer = self.text("iss")?;
        if issuer != self.client.issuer.as_str() {
            return Err(TokenError::Issuer);
        }
        let is_own = |audience: &Value| audience.as_str() == Some(&self.client.id);
        let is_for_client = match self.claims.get("aud") {
            Some(Value::Array(all)) => !all.is_empty() && all.iter().all(is_own),
            Some(one @ Value::String(_)) => is_own(one),
            _ => return Err(TokenError::Missing { claim: "aud" }),
        };
        if !is_for_client {
            return Err(TokenError::Audience);
        }
        match self.claims.get("azp") {
            Some(azp) if !is_own(azp) => Err(TokenError::AuthorizedParty),
            _ => Ok(()),
        }
    }

    /// The token has begun and not ended, and was issued at most `age` ago; returns when
    pub(crate) fn times(&self, age: Duration) -> Result<SystemTime, TokenError> {
        let leeway = self.client.leeway;
        let (expires, issued) = (self.moment("exp")?, self.moment("iat")?);
        let (expires, issued) = (required(expires, "exp")?, required(issued, "iat")?);
        if later(expires, leeway) <= self.now {
            return Err(TokenError::Expired);
        }
        let begins = self.moment("nbf")?.map_or(issued, |begins| begins.max(issued));
        if begins > later(self.now, leeway) {
            return Err(TokenError::NotYetValid);
        }
        if later(issued, age + leeway) < self.now {
            return Err(TokenError::TooOld);
        }
        Ok(issued)
    }

    /// The subject, which has at most 255 characters (OpenID Connect Core 1.0, section 2)
    pub(crate) fn subject(&self) -> Result<Option<&str>, TokenError> {
        self.id("sub")
    }

    /// An id; `None` if the claim is missing
    pub(crate) fn id(&self, claim: &'static str) -> Result<Option<&str>, TokenError> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(value) => {
                let id = value.as_str().filter(|id| is_id(id));
                id.map(Some).ok_or(TokenError::Missing { claim })
            }
        }
    }

    pub(crate) fn text(&self, claim: &'static str) -> Result<&str, TokenError> {
        json::text(self.claims, claim).ok_or(TokenError::Missing { claim })
    }

    /// A NumericDate (RFC 7519, section 2); a part of a second is cut off
    fn moment(&self, claim: &'static str) -> Result<Option<SystemTime>, TokenError> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range of the number"
        )]
        let seconds = value.as_u64().or_else(|| {
            value.as_f64().filter(|number| (0.0..1e15).contains(number)).map(|number| number as u64)
        });
        let seconds = seconds.ok_or(TokenError::Missing { claim })?;
        let moment = Some(seconds).filter(|seconds| *seconds < END);
        let moment = moment.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        moment.map(Some).ok_or(TokenError::Malformed("a date of the token is beyond the year 9999"))
    }
}

/// Whether the text can be an id: 1 to 255 characters, of which none is a control character
pub(crate) fn is_id(text: &str) -> bool {
    matches!(text.chars().count(), 1..=255) && !text.chars().any(char::is_control)
}

fn required(moment: Option<SystemTime>, claim: &'static str) -> Result<SystemTime, TokenError> {
    moment.ok_or(TokenError::Missing { claim })
}

fn later(moment: SystemTime, by: Duration) -> SystemTime {
    moment.checked_add(by).unwrap_or(moment)
}

/// RFC 3339 ends with the year 9999
const END: u64 = 253_402_300_800;
