use std::fmt;

use serde::{Serialize, Serializer};

use super::catalog::Catalog;

/// The shape of a control plane's tables, named after the first release that has it
///
/// Generations are ordered. A release has the columns of each generation up to its own, and none
/// of a later one. All other columns that authd reads are in every supported release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Generation {
    /// Sign-in only: agents have neither a parent nor a mark of deletion
    V2_20,
    /// Agents may be part of another agent
    V2_22,
    /// Agents of earlier builds are marked as deleted
    V2_24,
    /// Tokens of OAuth2 apps have an audience
    V2_25,
    /// Workspaces have access lists, and templates have a CORS behaviour
    V2_26,
    /// Keys have several scopes, and an allow list
    V2_27,
    /// Members have no permissions outside of their organizations
    V2_28,
    /// The roles that each member of an organization holds are rows
    V2_30,
    /// Users have a mark for service accounts
    V2_32,
    /// Organizations add roles to those of each member; using an API token no longer prolongs it
    V2_35,
}

/// A part of the tables that exists since a generation, and not before
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Column { table: &'static str, column: &'static str },
    Label { kind: &'static str, label: &'static str },
}

impl Generation {
    pub(crate) const ALL: [Self; 10] = [
        Self::V2_20,
        Self::V2_22,
        Self::V2_24,
        Self::V2_25,
        Self::V2_26,
        Self::V2_27,
        Self::V2_28,
        Self::V2_30,
        Self::V2_32,
        Self::V2_35,
    ];

    /// The newest generation that authd knows; newer releases count as it
    pub const NEWEST: Self = Self::V2_35;

    /// The first release of the generation, such as `v2.27`
    #[must_use]
    pub const fn release(self) -> &'static str {
        match self {
            Self::V2_20 => "v2.20",
            Self::V2_22 => "v2.22",
            Self::V2_24 => "v2.24",
            Self::V2_25 => "v2.25",
            Self::V2_26 => "v2.26",
            Self::V2_27 => "v2.27",
            Self::V2_28 => "v2.28",
            Self::V2_30 => "v2.30",
            Self::V2_32 => "v2.32",
            Self::V2_35 => "v2.35",
        }
    }

    pub(crate) fn of_release(release: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|generation| generation.release() == release)
    }

    /// The marks that distinguish the generation from the one before it
    pub(crate) const fn marks(self) -> &'static [Mark] {
        match self {
            Self::V2_20 => &[],
            Self::V2_22 => const { &[Mark::column("workspace_agents", "parent_id")] },
            Self::V2_24 => const { &[Mark::column("workspace_agents", "deleted")] },
            Self::V2_25 => const { &[Mark::column("oauth2_provider_app_tokens", "audience")] },
            Self::V2_26 => {
                const {
                    &[
                        Mark::column("templates", "cors_behavior"),
                        Mark::column("workspaces", "user_acl"),
                        Mark::column("workspaces", "group_acl"),
                    ]
                }
            }
            Self::V2_27 => {
                const { &[Mark::column("api_keys", "scopes"), Mark::column("api_keys", "allow_list")] }
            }
            // The release added no column that authd could check, but this label. Labels stay
            // after a downgrade, so it means nothing if the column is missing.
            Self::V2_28 => {
                const {
                    &[
                        Mark::column("api_keys", "scopes"),
                        Mark::Label { kind: "api_key_scope", label: "api_key:*" },
                    ]
                }
            }
            Self::V2_30 => {
                const {
                    &[
                        Mark::column("custom_roles", "is_system"),
                        Mark::column("custom_roles", "member_permissions"),
                    ]
                }
            }
            Self::V2_32 => const { &[Mark::column("users", "is_service_account")] },
            Self::V2_35 => const { &[Mark::column("organizations", "default_org_member_roles")] },
        }
    }

    /// The newest generation whose marks all exist
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let has_all = |generation: &Self| generation.marks().iter().all(|mark| catalog.has(*mark));
        Self::ALL.into_iter().rfind(has_all).unwrap_or(Self::V2_20)
    }
}

impl Mark {
    const fn column(table: &'static str, column: &'static str) -> Self {
        Self::Column { table, column }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.release())
    }
}

impl Serialize for Generation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.release())
    }
}
