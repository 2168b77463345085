/// A list of a document
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Organizations,
    Users,
    Groups,
    Roles,
    Templates,
    Workspaces,
    Proxies,
}

impl Section {
    /// All sections, in the order in which entries refer to each other: only to those before
    pub(crate) const ALL: [Self; 7] = [
        Self::Organizations,
        Self::Users,
        Self::Groups,
        Self::Roles,
        Self::Templates,
        Self::Workspaces,
        Self::Proxies,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Organizations => "organizations",
            Self::Users => "users",
            Self::Groups => "groups",
            Self::Roles => "roles",
            Self::Templates => "templates",
            Self::Workspaces => "workspaces",
            Self::Proxies => "proxies",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// The section whose entries have the rows of a table
    pub(crate) fn of_table(table: &str) -> Self {
        match table {
            "organizations" => Self::Organizations,
            "users" | "organization_members" => Self::Users,
            "groups" | "group_members" => Self::Groups,
            "custom_roles" => Self::Roles,
            "templates" => Self::Templates,
            "workspace_proxies" => Self::Proxies,
            _ => Self::Workspaces,
        }
    }
}
