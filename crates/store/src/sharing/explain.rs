use std::fmt;

use app_authz::credential::{SessionToken, UserStatus};
use app_authz::rbac::BuiltInRoles;
use app_authz::{Directory, Rules, decide, resolve};
use serde::Serialize;

use super::{ShareError, ShareRequest};
use crate::Error;

/// Why a session opens an app, or does not
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether it may open it
    pub allowed: bool,
    /// The name of the basis of a permit, or of the reason of a denial
    pub class: &'static str,
    /// The same as a sentence
    pub text: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.allowed { "allowed" } else { "denied" };
        write!(f, "{word}: {} ({})", self.text, self.class)
    }
}

/// Decides for a session whether it opens an app or a port at an address of its own, as a visit
/// would be decided, and explains that
///
/// `session` is the public part of the session token. Not checked: whether the session has expired,
/// and whether the agent is connected. One statement.
///
/// # Errors
///
/// [`ShareError::App`], [`ShareError::UnknownSession`]; [`ShareError::Store`].
pub async fn explain<S: Directory<Error = Error>>(
    store: &S,
    asked: &ShareRequest,
    session: &str,
    rules: Rules,
    roles: &BuiltInRoles,
) -> Result<Explanation, ShareError> {
    let unknown = || ShareError::UnknownSession(session.to_owned());
    // The directory finds keys by their ids, and does not look at the secret.
    let token: SessionToken =
        format!("{session}-{}", "0".repeat(22)).parse().map_err(|_| unknown())?;
    let request = asked.request()?;
    let facts = store.app_access(&request, &[token]).await?;
    let holder = facts.holders.first().ok_or_else(unknown)?;
    let denied = |class, text| Explanation { allowed: false, class, text };
    if holder.status != UserStatus::Active {
        let status = holder.status.as_str();
        return Ok(denied("inactive", format!("the user is {status}")));
    }
    let target = match resolve(&request, facts.workspace.as_deref(), rules) {
        Ok(target) => target,
        Err(error) => return Ok(denied("not_found", error.to_string())),
    };
    let subject = holder.subject(roles);
    Ok(match decide(&target, Some(&subject), rules) {
        Ok(permit) => {
            let basis = permit.basis();
            Explanation { allowed: true, class: basis.as_str(), text: basis.to_string() }
        }
        Err(denial) => denied(denial.reason().as_str(), denial.to_string()),
    })
}
