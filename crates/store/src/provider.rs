//! Users who sign in at an OpenID provider, and the sessions that come of it

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::SessionToken;
use uuid::Uuid;

use crate::Error;

/// Reads and writes the users and sessions of an OpenID provider
///
/// Only where the tables of users are authd's own: a control plane signs its users in itself. The
/// caller has verified what the provider says.
pub trait ProviderSessions: Sync {
    /// Finds or creates the user of a provider, and stores the key of a new session
    ///
    /// A user is known by issuer and subject: the link of login type `oidc` in `user_links`, whose
    /// `linked_id` is `ISSUER||SUBJECT`. If it is missing, it is added to a user of login type `oidc`
    /// without such a link and with the same e-mail address, provided that
    /// [`links_by_email`](ProviderSignIn::links_by_email) allows it. Otherwise a user is created, if
    /// [`allows_new`](ProviderSignIn::allows_new) allows it, and becomes a member of the
    /// organization. A dormant user becomes active. Groups and roles are set if they are given.
    ///
    /// One statement, in a transaction in which sign-ins of the same identity or address take turns.
    /// Keys of the user's earlier sign-ins that have expired are deleted.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn provider_sign_in(
        &self,
        sign_in: &ProviderSignIn<'_>,
    ) -> impl Future<Output = Result<Result<SignedIn, SignInRefusal>, Error>> + Send;

    /// Ends sessions that came of sign-ins at a provider, and those that were made from them
    ///
    /// Returns the keys that were deleted, with their users. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn provider_sign_out(
        &self,
        sign_out: &ProviderSignOut<'_>,
    ) -> impl Future<Output = Result<Vec<(String, UserId)>, Error>> + Send;
}

/// A sign-in that a provider has vouched for
#[derive(Clone, Debug)]
pub struct ProviderSignIn<'a> {
    /// The provider
    pub issuer: &'a str,
    /// The user at the provider
    pub subject: &'a str,
    /// The session at the provider, if it names its sessions
    pub session: Option<&'a str>,
    /// The name of a new user; if it is taken, a part of the user's id is appended
    pub username: &'a str,
    /// The e-mail address, by which an imported user is found
    pub email: &'a str,
    /// Whether a user without a link is found by the e-mail address
    pub links_by_email: bool,
    /// Whether an unknown user is created
    pub allows_new: bool,
    /// The id of a new user
    pub new_user: Uuid,
    /// The organization that a new user joins, by name; if only one organization exists, that one
    /// under any name
    pub organization: &'a str,
    /// The names of all groups of the user, in the user's organizations; unknown ones are left out
    ///
    /// `None` to leave the groups as they are.
    pub groups: Option<Vec<String>>,
    /// All roles of the user in the deployment; `None` to leave them as they are
    pub roles: Option<Vec<String>>,
    /// The token of the new session
    pub token: &'a SessionToken,
    /// The time of the sign-in
    pub at: SystemTime,
    /// How long the session lasts, and by how much use extends it
    pub lifetime: Duration,
    /// The address of the user, if known
    pub ip: Option<IpAddr>,
}

impl<'a> ProviderSignIn<'a> {
    /// A sign-in of `(issuer, subject)` at a time, to a session of a day
    ///
    /// The user has to be known. `new_user` is the id of a new user, if they are allowed.
    #[must_use]
    pub fn new(
        (issuer, subject): (&'a str, &'a str),
        (username, email): (&'a str, &'a str),
        new_user: Uuid,
        token: &'a SessionToken,
        at: SystemTime,
    ) -> Self {
        Self {
            issuer,
            subject,
            session: None,
            username,
            email,
            links_by_email: false,
            allows_new: false,
            new_user,
            organization: "default",
            groups: None,
            roles: None,
            token,
            at,
            lifetime: Duration::from_secs(86_400),
            ip: None,
        }
    }

    /// The text by which a link names the user
    pub(crate) fn linked_id(&self) -> String {
        format!("{}||{}", self.issuer, self.subject)
    }

    pub(crate) fn expires_at(&self) -> SystemTime {
        self.at.checked_add(self.lifetime).unwrap_or(self.at)
    }
}

/// A user who has a new session
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedIn {
    /// The user
    pub user: UserId,
    /// Whether the user was created
    pub is_new: bool,
}

/// Why a user whom a provider has signed in gets no session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInRefusal {
    /// Another user has the e-mail address, and signs in in another way
    OtherUser,
    /// The user is suspended
    Suspended(UserId),
    /// The user is not known, and users are not created
    Unknown,
}

impl SignInRefusal {
    /// The stable name of the refusal, for logs and audits
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherUser => "address_taken",
            Self::Suspended(_) => "suspended",
            Self::Unknown => "unknown_user",
        }
    }
}

/// Which sessions have ended at a provider
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderSignOut<'a> {
    /// The provider
    pub issuer: &'a str,
    /// The user at the provider; `None` for the user of the session
    pub subject: Option<&'a str>,
    /// The session at the provider; `None` for all of the user
    ///
    /// With a subject, sessions of which the provider has not said the name end too.
    pub session: Option<&'a str>,
    /// Later sessions are kept: they came of later sign-ins
    pub until: SystemTime,
}

impl<'a> ProviderSignOut<'a> {
    /// The end of the sessions of a subject, a session or both, that were begun until a time
    #[must_use]
    pub const fn new(
        issuer: &'a str,
        subject: Option<&'a str>,
        session: Option<&'a str>,
        until: SystemTime,
    ) -> Self {
        Self { issuer, subject, session, until }
    }
}
