//! Signing in at an app's host: what a browser is given when it leaves, and shows when it returns
//!
//! A browser that drops the cookies of the host would be redirected for ever. It is recognized by
//! what it lacks when it returns, and not by how often it is sent away: tabs that are restored
//! together all leave before the first of them returns.

use std::fmt;
use std::time::{Duration, SystemTime};

use app_authz::token::Nonce;

use super::AppService;
use crate::random::with_random;

/// The cookie of a host for a browser that signs in there
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignInCookie {
    pub(crate) nonce: Nonce,
    /// The number of sessions that the browser was given and has not used yet
    given: u32,
    /// When it was given the last of them, in seconds since 1970
    last: u64,
}

impl SignInCookie {
    /// The cookies of that name, in order
    pub(super) fn all<'a>(
        cookies: &'a [(&'a str, &'a str)],
        name: &'a str,
    ) -> impl Iterator<Item = Self> + 'a {
        let values = cookies.iter().filter(move |(known, _)| *known == name);
        values.filter_map(|(_, value)| Self::parse(value)).take(MAX_COOKIES)
    }

    /// The cookie of a browser that has none; `None` if the system has no random bytes
    pub(super) fn new() -> Option<Self> {
        let nonce = with_random(|fill| Nonce::generate(fill)).ok()?;
        Some(Self { nonce, given: 0, last: 0 })
    }

    /// The cookie of a browser that is given one more session
    pub(super) fn with_session(self, now: SystemTime) -> Self {
        let given = if self.is_recent(now) { self.given } else { 0 };
        Self { given: given.saturating_add(1), last: seconds(now), ..self }
    }

    /// Whether the browser keeps returning without the sessions that it is given
    pub(super) fn is_looping(&self, now: SystemTime) -> bool {
        self.given >= MAX_GIVEN && self.is_recent(now)
    }

    fn is_recent(&self, now: SystemTime) -> bool {
        seconds(now).checked_sub(self.last).is_some_and(|age| age < LATELY.as_secs())
    }

    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let (nonce, given, last) = (parts.next()?, parts.next()?, parts.next()?);
        let (given, last) = (given.parse().ok()?, last.parse().ok()?);
        Some(Self { nonce: nonce.parse().ok()?, given, last })
    }
}

impl fmt::Display for SignInCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.nonce, self.given, self.last)
    }
}

impl<S> AppService<S> {
    /// The cookie of a browser that leaves this host to sign in
    ///
    /// A browser that has one keeps its nonce, so that all its tabs return with the same. If it
    /// was admitted since it was given a session, it has used what it was given.
    /// `has_app_token` proves that too, also if another replica admitted it.
    pub(super) fn cookie_of_leaving(
        &self,
        known: Option<SignInCookie>,
        has_app_token: bool,
    ) -> Option<SignInCookie> {
        let Some(cookie) = known else { return SignInCookie::new() };
        let admitted = self.used_nonces.last(&cookie.nonce.to_string());
        let is_used = has_app_token || admitted.is_some_and(|at| seconds(at) >= cookie.last);
        Some(if is_used { SignInCookie { given: 0, ..cookie } } else { cookie })
    }

    /// Remembers that a browser was admitted after it had signed in
    pub(super) fn note_admitted(&self, cookie: &SignInCookie, now: SystemTime) {
        if cookie.given > 0 && cookie.is_recent(now) {
            self.used_nonces.insert(&cookie.nonce.to_string(), now);
        }
    }

    /// The name of the cookie on the hosts of apps
    pub(super) fn sign_in_cookie_name(&self) -> &str {
        self.deployments.primary.cookie_names.sign_in()
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Sessions that a browser is given within [`LATELY`] before it is taken for one that loops
///
/// Browsers follow twenty redirects in a row, and one sign-in takes three.
const MAX_GIVEN: u32 = 4;

/// How long a session that a browser was given counts
pub(super) const LATELY: Duration = Duration::from_secs(30);

/// A host can be sent more cookies of one name, which other hosts have set
const MAX_COOKIES: usize = 4;
