use std::fmt;

use super::permission::{Permission, Query};
use super::subject::{Access, Level, Verdict};
use super::{Action, AllowEntry, Levels, Object, Permissions, RoleName, Subject};

impl Subject {
    /// Decides as [`is_allowed`](Self::is_allowed) does, and says what decided
    #[must_use]
    pub fn explain(&self, action: &Action, object: &Object<'_>) -> Explanation {
        let query = Query::new(action, &object.kind);
        let of_roles = self.verdict(&self.granted, &query, object);
        let of_scope = self.verdict(&self.scoped, &query, object);
        let allow_entry = self.scope.allow_list.entry_for(object).cloned();
        let access = self.access(action, object);

        let role = self.roles().find_map(|role| {
            let permission = deciding(&role.levels, &of_roles, &query)?;
            Some((role.name().clone(), permission))
        });
        Explanation {
            allowed: allow_entry.is_some()
                && of_scope.allowed
                && (of_roles.allowed || access.is_some()),
            roles: of_roles,
            role,
            access,
            scope: of_scope,
            scope_permission: deciding(&self.scope.levels, &of_scope, &query),
            allow_entry,
        }
    }
}

/// A decision and what decided it
///
/// An action is allowed if an allow-list entry fits, the scope allows it, and roles or an
/// access list allow it. `Display` prints a line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The decision
    pub allowed: bool,
    /// The verdict of all roles together
    pub roles: Verdict,
    /// A role and its permission that led to that verdict
    pub role: Option<(RoleName, Permission)>,
    /// The entry of the object's access lists that grants the action, if one does
    pub access: Option<Access>,
    /// The verdict of the scope's permissions
    pub scope: Verdict,
    /// The permission of the scope that led to that verdict
    pub scope_permission: Option<Permission>,
    /// The scope's allow-list entry that fits the object
    pub allow_entry: Option<AllowEntry>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.allowed { "allowed" } else { "denied" })?;

        write!(f, "  roles: {}", self.roles)?;
        if let Some((role, permission)) = &self.role {
            write!(f, ", `{permission}` of `{role}`")?;
        }
        match &self.access {
            Some(access) => write!(f, "\n  access list: allowed, {access}")?,
            None => write!(f, "\n  access list: no entry")?,
        }
        write!(f, "\n  scope: {}", self.scope)?;
        if let Some(permission) = &self.scope_permission {
            write!(f, ", `{permission}`")?;
        }
        match &self.allow_entry {
            Some(entry) => write!(f, "\n  allow list: allowed, `{entry}`"),
            None => write!(f, "\n  allow list: no entry"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(level) = self.level else { return f.write_str("denied, nothing grants it") };
        write!(f, "{} at {level} level", if self.allowed { "allowed" } else { "denied" })?;
        match self.organization {
            Some(organization) => write!(f, " in `{organization}`"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Site => "site",
            Self::User => "user",
            Self::Organization => "organization",
            Self::Member => "member",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user `{user}`"),
            Self::Group(group) => write!(f, "group `{group}`"),
            Self::Everyone(organization) => write!(f, "everyone in `{organization}`"),
        }
    }
}

/// The permission in `levels` that led to a verdict, if it is there
fn deciding(levels: &Levels, verdict: &Verdict, query: &Query<'_>) -> Option<Permission> {
    let find = |permissions: &Permissions| {
        let decides = |p: &&Permission| p.negated != verdict.allowed && p.matches(query);
        permissions.iter().find(decides).cloned()
    };
    let mut organizations =
        levels.organizations.iter().filter(|(id, _)| Some(*id) == verdict.organization);
    match verdict.level? {
        Level::Site => find(&levels.site),
        Level::User => find(&levels.user),
        Level::Organization => organizations.find_map(|(_, lists)| find(&lists.org)),
        Level::Member => organizations.find_map(|(_, lists)| find(&lists.member)),
    }
}
