use std::fmt;

/// Routes that belong together, which a service answers or does not
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteGroup {
    /// The sign-in of machines: `/api/v2/workspaceagents/…-instance-identity`,
    /// `/api/v2/authd/instance-identity/challenge`
    AgentSignIn,
    /// Visits at the addresses of apps, and what leads back to them:
    /// `/api/v2/applications/…`
    Apps,
    /// Checks of proxies: `/api/v2/forward-auth/…`
    ForwardAuth,
    /// Registered workspace proxies and their keys: `/api/v2/workspaceproxies/…`
    Proxies,
    /// Signing in with a token, and out: `/login`, `/logout`, `/api/v2/users/logout`
    ///
    /// Visitors who are not signed in are sent to `/login` also if another service answers it.
    LogIn,
    /// Signing in at an OpenID provider: `/api/v2/users/oidc/…`
    Oidc,
    /// The start page: `/`
    Home,
    /// The audit of visits and acts: `/audit…`, `/api/v2/audit`, `/api/v2/authd/audit/acts`
    Audit,
    /// Import of documents: `/api/v2/authd/import`
    Import,
    /// With whom apps are shared by name: `/api/v2/authd/shares`
    Shares,
    /// What was allowed and may not be any more: `/api/v2/authd/revocations`
    Revocations,
    /// `/healthz` and `/readyz`
    Health,
    /// `/metrics`
    Metrics,
}

impl RouteGroup {
    const ALL: [Self; 13] = [
        Self::AgentSignIn,
        Self::Apps,
        Self::ForwardAuth,
        Self::Proxies,
        Self::LogIn,
        Self::Oidc,
        Self::Home,
        Self::Audit,
        Self::Import,
        Self::Shares,
        Self::Revocations,
        Self::Health,
        Self::Metrics,
    ];

    const fn bit(self) -> u16 {
        match self {
            Self::AgentSignIn => 1,
            Self::Apps => 1 << 1,
            Self::ForwardAuth => 1 << 2,
            Self::Proxies => 1 << 3,
            Self::LogIn => 1 << 4,
            Self::Home => 1 << 5,
            Self::Audit => 1 << 6,
            Self::Import => 1 << 7,
            Self::Health => 1 << 8,
            Self::Metrics => 1 << 9,
            Self::Shares => 1 << 10,
            Self::Oidc => 1 << 11,
            Self::Revocations => 1 << 12,
        }
    }
}

/// The routes that a service answers
///
/// ```
/// use authd_http::{RouteGroup, Routes};
///
/// // For a host with pages, metrics and health of its own.
/// let routes = Routes::all()
///     .without(RouteGroup::LogIn)
///     .without(RouteGroup::Home)
///     .without(RouteGroup::Metrics)
///     .without(RouteGroup::Health);
/// assert!(routes.contains(RouteGroup::Apps) && !routes.contains(RouteGroup::LogIn));
///
/// let sign_in_alone = Routes::none().with(RouteGroup::AgentSignIn);
/// assert!(!sign_in_alone.contains(RouteGroup::Apps));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Routes(u16);

impl Routes {
    /// Every route
    #[must_use]
    pub const fn all() -> Self {
        Self(u16::MAX)
    }

    /// No route
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// These routes and those of `group`
    #[must_use]
    pub const fn with(self, group: RouteGroup) -> Self {
        Self(self.0 | group.bit())
    }

    /// These routes without those of `group`
    #[must_use]
    pub const fn without(self, group: RouteGroup) -> Self {
        Self(self.0 & !group.bit())
    }

    /// Whether the routes of `group` are among these
    #[must_use]
    pub const fn contains(self, group: RouteGroup) -> bool {
        self.0 & group.bit() != 0
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(RouteGroup::ALL.into_iter().filter(|group| self.contains(*group)))
            .finish()
    }
}
