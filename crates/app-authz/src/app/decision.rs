use std::fmt;

use serde::Serialize;

use crate::app::{AccessMethod, Grant, Person, Port, SharingLevel, Target, Visitor};
use crate::id::UserId;
use crate::rbac::{RoleName, Subject};

/// Decides whether `subject` may open `target`; `None` is a visitor who is not signed in
///
/// The subject must come from a credential that has been verified, and the target from
/// facts that are not older than the request. Neither is checked here, and neither is whether
/// the agent is connected.
///
/// # Errors
///
/// A [`Denial`] with the reason. Show a signed-in visitor only that nothing was found, and
/// the warnings: the reason would reveal that the app exists. [`Reason::ReservedPort`] may be shown,
/// since only visitors get it who may open other ports of the agent.
pub fn decide<'a>(
    target: &'a Target<'a>,
    subject: Option<&Subject>,
    rules: Rules,
) -> Result<Permit<'a>, Denial> {
    decide_access(target, subject, rules)?.unless_reserved()
}

fn decide_access<'a>(
    target: &'a Target<'a>,
    subject: Option<&Subject>,
    rules: Rules,
) -> Result<Permit<'a>, Denial> {
    let path = target.request.method() == AccessMethod::Path;
    let mut sharing = target.sharing;
    let mut warnings = Vec::new();
    if path && !rules.allow_path_app_sharing && sharing != SharingLevel::Owner {
        warnings.push(Warning::SharingLevelForcedToOwner { configured: sharing });
        sharing = SharingLevel::Owner;
    }

    let Some(subject) = subject else {
        return match sharing {
            SharingLevel::Public => Ok(Permit::of(target, None, Basis::Level(sharing))),
            _ => Err(Denial { reason: Reason::NotSignedIn, warnings }),
        };
    };
    let permit = |basis| Permit::of(target, Some(subject.id()), basis);
    let mut share = target.people.entry_of(subject).filter(|_| {
        // Neither do access lists count then.
        !rules.disable_workspace_sharing && !target.workspace.dormant
    });
    if path && !rules.allow_path_app_sharing && share.take().is_some() {
        warnings.push(Warning::ShareIgnoredByPath);
    }

    // Path apps share the dashboard's host and so its cookies: an app could act as the
    // visitor who opens it. So neither a role nor an access list opens an unshared path app
    // of another user.
    if path
        && sharing == SharingLevel::Owner
        && share.is_none()
        && subject.id() != target.workspace.owner
        && !rules.allow_path_app_site_owner_access
    {
        if subject.holds(&RoleName::OWNER) {
            warnings.push(Warning::PathAppSiteOwnerBlocked);
        }
        return Err(Denial { reason: Reason::PathAppOfAnother, warnings });
    }

    let action = target.request.method().action();
    let mut workspace = target.workspace.object();
    if rules.disable_workspace_sharing {
        workspace = workspace.without_acl();
    }
    if subject.is_allowed(&action, &workspace) {
        return Ok(permit(Basis::Rights));
    }

    // A credential that could not open the user's own apps does not open shared ones either.
    // That is checked against a hypothetical workspace of the user's own. It has no id, so a
    // credential that is limited to ids never passes, even for a workspace that it names.
    let opens_own = || subject.is_allowed(&action, &subject.hypothetical_workspace());
    let reason = match sharing {
        SharingLevel::Public => return Ok(permit(Basis::Level(sharing))),
        SharingLevel::Owner if share.is_none() => Reason::NotShared,
        SharingLevel::Owner | SharingLevel::Authenticated | SharingLevel::Organization
            if !opens_own() =>
        {
            Reason::OwnAppsRefused
        }
        SharingLevel::Authenticated => return Ok(permit(Basis::Level(sharing))),
        SharingLevel::Organization if subject.is_member_of(target.workspace.organization) => {
            return Ok(permit(Basis::Level(sharing)));
        }
        SharingLevel::Owner | SharingLevel::Organization => match share {
            Some(_) if target.widest.is_some_and(|widest| widest < level_of(subject, target)) => {
                Reason::ShareOverMaximum
            }
            Some(person) => return Ok(permit(Basis::Share(person))),
            None => Reason::NotMember,
        },
    };
    let reason = if subject.may_nothing() { Reason::NoScope } else { reason };
    Err(Denial { reason, warnings })
}

/// The level at which a share with people lets the subject in
fn level_of(subject: &Subject, target: &Target<'_>) -> SharingLevel {
    match subject.is_member_of(target.workspace.organization) {
        true => SharingLevel::Organization,
        false => SharingLevel::Authenticated,
    }
}

/// How the decisions of a deployment differ from the defaults, which are the strict ones
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rules {
    /// Apply the sharing level of apps that are reached by path, rather than treat them as
    /// unshared
    ///
    /// Dangerous: such an app runs on the dashboard's host and can act as its visitor.
    pub allow_path_app_sharing: bool,
    /// Let roles and access lists open apps of other users by path
    ///
    /// Dangerous for the same reason.
    pub allow_path_app_site_owner_access: bool,
    /// Ignore the access lists of workspaces, and shares of apps and ports with people
    pub disable_workspace_sharing: bool,
    /// Cap the sharing level of ports at the widest level that the template allows
    ///
    /// Set by default. [`resolve`](crate::resolve) applies it.
    pub enforce_max_port_sharing: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allow_path_app_sharing: false,
            allow_path_app_site_owner_access: false,
            disable_workspace_sharing: false,
            enforce_max_port_sharing: true,
        }
    }
}

impl Rules {
    /// The same rules, with [`allow_path_app_sharing`](Self::allow_path_app_sharing) as
    /// given
    #[must_use]
    pub const fn allow_path_app_sharing(mut self, allow: bool) -> Self {
        self.allow_path_app_sharing = allow;
        self
    }

    /// The same rules, with
    /// [`allow_path_app_site_owner_access`](Self::allow_path_app_site_owner_access) as
    /// given
    #[must_use]
    pub const fn allow_path_app_site_owner_access(mut self, allow: bool) -> Self {
        self.allow_path_app_site_owner_access = allow;
        self
    }

    /// The same rules, with
    /// [`disable_workspace_sharing`](Self::disable_workspace_sharing) as given
    #[must_use]
    pub const fn disable_workspace_sharing(mut self, disable: bool) -> Self {
        self.disable_workspace_sharing = disable;
        self
    }

    /// The same rules, with
    /// [`enforce_max_port_sharing`](Self::enforce_max_port_sharing) as given
    #[must_use]
    pub const fn enforce_max_port_sharing(mut self, enforce: bool) -> Self {
        self.enforce_max_port_sharing = enforce;
        self
    }
}

/// Proof that a visitor may open a target
///
/// Only [`decide`] and [`decide_with`](crate::app::decide_with) build one:
///
/// ```compile_fail
/// fn forge<'a>(permit: app_authz::Permit<'a>) -> app_authz::Permit<'a> {
///     app_authz::Permit { visitor: None, ..permit }
/// }
/// ```
///
/// Signing an app token requires a permit, so every token stands for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit<'a> {
    pub(super) target: &'a Target<'a>,
    pub(super) visitor: Option<UserId>,
    pub(super) basis: Basis,
}

impl<'a> Permit<'a> {
    pub(super) const fn of(target: &'a Target<'a>, visitor: Option<UserId>, basis: Basis) -> Self {
        Self { target, visitor, basis }
    }

    /// The permit, unless it is for a reserved port, which is never opened, whatever has decided
    pub(super) fn unless_reserved(self) -> Result<Self, Denial> {
        match self.target.request.port().is_some_and(Port::is_reserved) {
            true => Err(Denial { reason: Reason::ReservedPort, warnings: Vec::new() }),
            false => Ok(self),
        }
    }

    /// The target that may be opened
    #[must_use]
    pub const fn target(&self) -> &'a Target<'a> {
        self.target
    }

    /// The user who may open the target; `None` for a visitor who is not signed in
    #[must_use]
    pub const fn visitor(&self) -> Option<UserId> {
        self.visitor
    }

    /// Why the target may be opened, for logs
    #[must_use]
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// What the permit proves, as a value to keep
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            visitor: self.visitor.map_or(Visitor::Anonymous, Visitor::User),
            owner: self.target.workspace.owner,
            workspace: self.target.workspace.id,
            agent: self.target.agent.id,
            url: self.target.url.as_ref().to_owned(),
            cors: self.target.cors,
        }
    }
}

/// Why a target may be opened
///
/// Of several reasons the first in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// The visitor's roles, or the access list of the workspace
    Rights,
    /// The app or the port is shared at this level
    Level(SharingLevel),
    /// The app or the port is shared with the visitor, or with a group of the visitor's
    Share(Person),
    /// The rules of the embedding host, which [`decide_with`](crate::app::decide_with) asks
    OwnDecider,
}

impl Basis {
    /// A stable name, for metrics and logs
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rights => "rights",
            Self::Level(_) => "sharing_level",
            Self::Share(Person::User(_)) => "shared_with_user",
            Self::Share(Person::Group(_)) => "shared_with_group",
            Self::OwnDecider => "own_decider",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rights => f.write_str("a role or the access list of the workspace"),
            Self::Level(level) => write!(f, "the sharing level `{level}`"),
            Self::Share(person) => write!(f, "a share with {person}"),
            Self::OwnDecider => f.write_str("the host's own rules"),
        }
    }
}

/// The decision that a target may not be opened
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    reason: Reason,
    warnings: Vec<Warning>,
}

impl Denial {
    pub(super) const fn of_own_decider() -> Self {
        Self { reason: Reason::OwnDecider, warnings: Vec::new() }
    }

    /// The reason, for logs and the audit; do not show it to the visitor
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Settings of the deployment that affected the decision, to show to the visitor
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Denial {}

/// Why a target may not be opened
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The visitor is not signed in and the app is not public; signing in may help
    NotSignedIn,
    /// The app is reached by path and belongs to another user
    PathAppOfAnother,
    /// The app is not shared, and neither a role nor an access list opens it
    NotShared,
    /// The app is shared, but this credential could not open even the user's own apps
    OwnAppsRefused,
    /// The app is shared within an organization that the visitor is not a member of
    NotMember,
    /// The app is shared with the visitor by name, but at a wider level than the template allows
    ShareOverMaximum,
    /// The app is not public, and the visitor's credential permits nothing
    NoScope,
    /// The port is one that no app may use, and nothing else keeps the visitor from opening it
    ReservedPort,
    /// The rules of the embedding host, which [`decide_with`](crate::app::decide_with) asks, refuse
    OwnDecider,
}

impl Reason {
    /// A stable name, for metrics and audit records
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSignedIn => "not_signed_in",
            Self::PathAppOfAnother => "path_app_of_another",
            Self::NotShared => "not_shared",
            Self::OwnAppsRefused => "own_apps_refused",
            Self::NotMember => "not_member",
            Self::ShareOverMaximum => "share_over_maximum",
            Self::NoScope => "no_scope",
            Self::ReservedPort => "reserved_port",
            Self::OwnDecider => "own_decider",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSignedIn => "the visitor is not signed in, and the app is not public",
            Self::PathAppOfAnother => "the path-based app belongs to another user",
            Self::NotShared => {
                "the app is not shared, and neither a role nor an access list opens it"
            }
            Self::OwnAppsRefused => {
                "the app is shared, but this credential could not open even the user's own apps"
            }
            Self::NotMember => {
                "the app is shared within an organization that the visitor is not a member of"
            }
            Self::ShareOverMaximum => {
                "the app is shared with the visitor, but the template does not allow that"
            }
            Self::NoScope => "the credential permits nothing",
            Self::ReservedPort => "the port is reserved",
            Self::OwnDecider => "the host's own rules refuse",
        })
    }
}

/// A setting of the deployment that affected a decision
///
/// `Display` prints the sentence of the control plane. It has no input of the visitor in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// The app is treated as unshared, because it is reached by path
    SharingLevelForcedToOwner {
        /// The level at which the app is shared
        configured: SharingLevel,
    },
    /// The share with the visitor does not count, because the app is reached by path
    ShareIgnoredByPath,
    /// The visitor has the site role `owner`, which does not open apps of other users by path
    PathAppSiteOwnerBlocked,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharingLevelForcedToOwner { configured } => write!(
                f,
                "unable to use configured sharing level \"{configured}\" because path-based app \
                 sharing is disabled (see --dangerous-allow-path-app-sharing), using sharing \
                 level \"owner\" instead"
            ),
            Self::ShareIgnoredByPath => f.write_str(
                "the app is shared with you, but not where it is reached by path, because \
                 path-based app sharing is disabled (see --dangerous-allow-path-app-sharing)",
            ),
            Self::PathAppSiteOwnerBlocked => f.write_str(
                "path-based apps with \"owner\" share level are only accessible by the workspace \
                 owner (see --dangerous-allow-path-app-site-owner-access)",
            ),
        }
    }
}
