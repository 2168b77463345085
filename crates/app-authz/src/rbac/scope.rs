use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use super::permission::{Pattern, Permission};
use super::{Action, AllowEntry, AllowList, Levels, ResourceType};
use crate::Error;
use crate::id::{TemplateId, TemplateVersionId, UserId, WorkspaceId};

/// What the credential in use may do: permissions like those of a role, and an allow list
///
/// A scope only limits what the roles allow. Its lists for an organization count only if the
/// subject is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub(super) name: Box<str>,
    pub(super) levels: Levels,
    pub(super) allow_list: AllowList,
}

impl Scope {
    /// A scope with these permissions; the name is only a label
    #[must_use]
    pub fn new(name: &str, levels: Levels, allow_list: AllowList) -> Self {
        Self { name: name.into(), levels, allow_list }
    }

    /// The scope that does not limit the roles
    #[must_use]
    pub fn all() -> Self {
        Self::from_names(&[ScopeName::All], &AllowList::everything())
    }

    /// The scope of a stored credential: what any of `names` permits, on the objects of
    /// `allow_list`
    ///
    /// An empty allow list permits nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoScope`] if `names` is empty.
    pub fn of_credential(names: &[ScopeName], allow_list: &AllowList) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::NoScope);
        }
        Ok(Self::from_names(names, allow_list))
    }

    /// The scope of a stored credential, shared if it is one that nearly all credentials have
    ///
    /// Like [`of_credential`](Self::of_credential), but without names it permits nothing.
    pub(crate) fn shared(names: &[ScopeName], allow_list: &AllowList) -> Arc<Self> {
        match names {
            [ScopeName::All] if allow_list.is_everything() => Arc::clone(&ALL),
            [ScopeName::ApplicationConnect] if allow_list.is_everything() => {
                Arc::clone(&APPLICATION_CONNECT)
            }
            _ => Arc::new(Self::from_names(names, allow_list)),
        }
    }

    /// The scope of a workspace agent's token, which is limited to the agent's workspace
    ///
    /// `more` are further objects that the agent needs, such as those of a task.
    #[must_use]
    pub fn of_agent(agent: &AgentScope, more: impl IntoIterator<Item = AllowEntry>) -> Self {
        let name = if agent.no_user_data { ScopeName::NoUserData } else { ScopeName::All };
        let own = [
            AllowEntry::object(ResourceType::Workspace, agent.workspace.0),
            AllowEntry::object(ResourceType::Template, agent.template.0),
            AllowEntry::object(ResourceType::Template, agent.template_version.0),
            AllowEntry::object(ResourceType::User, agent.owner.0),
        ];
        Self::from_names(&[name], &own.into_iter().chain(more).collect())
    }

    /// The objects that the scope is limited to
    #[must_use]
    pub const fn allow_list(&self) -> &AllowList {
        &self.allow_list
    }

    /// Whether the scope permits nothing at all
    pub(super) fn is_nothing(&self) -> bool {
        self.levels == Levels::default() || self.allow_list.iter().next().is_none()
    }

    /// The union of named scopes, limited to the objects of `allow_list`
    ///
    /// Named scopes only have site permissions on all objects, so their union is one list.
    fn from_names(names: &[ScopeName], allow_list: &AllowList) -> Self {
        let mut permissions: Vec<Permission> = Vec::new();
        for permission in names.iter().flat_map(ScopeName::permissions) {
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        }
        let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
        let levels = Levels::site(permissions.into_iter().collect());
        Self::new(&texts.join("+"), levels, allow_list.clone())
    }
}

static ALL: LazyLock<Arc<Scope>> = LazyLock::new(|| Arc::new(Scope::all()));

static APPLICATION_CONNECT: LazyLock<Arc<Scope>> = LazyLock::new(|| {
    Arc::new(Scope::from_names(&[ScopeName::ApplicationConnect], &AllowList::everything()))
});

/// The objects that a workspace agent's token is limited to
#[derive(Clone, Copy, Debug)]
pub struct AgentScope {
    /// The agent's workspace
    pub workspace: WorkspaceId,
    /// The template of the workspace
    pub template: TemplateId,
    /// The template version of the build, whose object has the type of a template
    pub template_version: TemplateVersionId,
    /// The owner of the workspace, whose roles the token has
    pub owner: UserId,
    /// Whether the template hides the owner's user data from the agent
    pub no_user_data: bool,
}

/// The name of a scope, as a credential stores it
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeName {
    /// `coder:all`, also written `all`
    All,
    /// `coder:application_connect`, also written `application_connect`: to open apps, but not
    /// terminals
    ApplicationConnect,
    /// `no_user_data`: all actions on all listed types except `user`
    NoUserData,
    /// A scope for a task, with several permissions
    Composite(CompositeScope),
    /// `TYPE:ACTION` or `TYPE:*`, with listed names only
    Permission(ResourceType, Pattern<Action>),
}

impl ScopeName {
    /// Whether users may request the scope for their tokens
    #[must_use]
    pub fn is_requestable(&self) -> bool {
        let (kind, action) = match self {
            Self::All | Self::ApplicationConnect | Self::Composite(_) => return true,
            Self::NoUserData => return false,
            Self::Permission(kind, action) => (kind, action),
        };
        let excluded = match kind {
            ResourceType::ApiKey
            | ResourceType::File
            | ResourceType::UserSecret
            | ResourceType::UserSkill
            | ResourceType::Task => &[][..],
            ResourceType::Workspace => {
                &[Action::CreateAgent, Action::DeleteAgent, Action::UpdateAgent, Action::Share]
            }
            ResourceType::Template => &[Action::ViewInsights],
            ResourceType::User => &[Action::Create, Action::Update, Action::Delete],
            ResourceType::Organization => &[Action::Create],
            _ => return false,
        };
        !excluded.iter().any(|excluded| *action == Pattern::Only(excluded.clone()))
    }

    fn permissions(&self) -> Vec<Permission> {
        match self {
            Self::All => vec![Permission::grant(Pattern::Any, Pattern::Any)],
            Self::ApplicationConnect => {
                vec![Permission::grant(ResourceType::Workspace, Action::ApplicationConnect)]
            }
            Self::NoUserData => {
                let types = ResourceType::LISTED.iter().filter(|&kind| *kind != ResourceType::User);
                types.map(|kind| Permission::grant(kind.clone(), Pattern::Any)).collect()
            }
            Self::Composite(scope) => scope
                .parts()
                .iter()
                .flat_map(|(kind, actions)| actions.iter().map(move |action| (kind, action)))
                .map(|(kind, action)| Permission::grant(kind.clone(), action.clone()))
                .collect(),
            Self::Permission(kind, action) => {
                vec![Permission::grant(kind.clone(), action.clone())]
            }
        }
    }
}

impl FromStr for ScopeName {
    type Err = Error;

    /// Parses the name as a credential stores it
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "coder:all" | "all" => return Ok(Self::All),
            "coder:application_connect" | "application_connect" => {
                return Ok(Self::ApplicationConnect);
            }
            "no_user_data" => return Ok(Self::NoUserData),
            _ => {}
        }
        if let Some(scope) = CompositeScope::ALL.iter().find(|scope| scope.as_str() == name) {
            return Ok(Self::Composite(*scope));
        }
        let unknown = || Error::UnknownScope(name.to_owned());
        let (kind, action) = name.split_once(':').ok_or_else(unknown)?;
        let kind = ResourceType::from(kind);
        let action = Pattern::read(action);
        let listed = match &action {
            Pattern::Any => !matches!(kind, ResourceType::Other(_)),
            Pattern::Only(action) => kind.actions().contains(action),
        };
        if listed { Ok(Self::Permission(kind, action)) } else { Err(unknown()) }
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("coder:all"),
            Self::ApplicationConnect => f.write_str("coder:application_connect"),
            Self::NoUserData => f.write_str("no_user_data"),
            Self::Composite(scope) => f.write_str(scope.as_str()),
            Self::Permission(kind, action) => write!(f, "{kind}:{action}"),
        }
    }
}

/// A scope that is named after a task rather than a permission
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompositeScope {
    /// Create and run workspaces from templates
    WorkspacesCreate,
    /// Start, stop and update workspaces
    WorkspacesOperate,
    /// Delete workspaces
    WorkspacesDelete,
    /// Open terminals and apps of workspaces
    WorkspacesAccess,
    /// Upload and build template versions
    TemplatesBuild,
    /// Write templates and read how they are used
    TemplatesAuthor,
    /// Manage one's own session tokens
    ApiKeysManageSelf,
}

impl CompositeScope {
    const ALL: [Self; 7] = [
        Self::WorkspacesCreate,
        Self::WorkspacesOperate,
        Self::WorkspacesDelete,
        Self::WorkspacesAccess,
        Self::TemplatesBuild,
        Self::TemplatesAuthor,
        Self::ApiKeysManageSelf,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::WorkspacesCreate => "coder:workspaces.create",
            Self::WorkspacesOperate => "coder:workspaces.operate",
            Self::WorkspacesDelete => "coder:workspaces.delete",
            Self::WorkspacesAccess => "coder:workspaces.access",
            Self::TemplatesBuild => "coder:templates.build",
            Self::TemplatesAuthor => "coder:templates.author",
            Self::ApiKeysManageSelf => "coder:apikeys.manage_self",
        }
    }

    const fn parts(self) -> &'static [(ResourceType, &'static [Action])] {
        use Action::{
            ApplicationConnect, Create, Delete, Read, Ssh, Start, Stop, Update, Use, ViewInsights,
        };
        use ResourceType::{
            ApiKey, File, OrganizationMember, ProvisionerJobs, Template, Workspace,
        };

        match self {
            Self::WorkspacesCreate => &[
                (Template, &[Read, Use]),
                (Workspace, &[Stop, Start, Create, Update, Read]),
                (OrganizationMember, &[Read]),
            ],
            Self::WorkspacesOperate => &[
                (Template, &[Read]),
                (Workspace, &[Stop, Start, Read, Update]),
                (OrganizationMember, &[Read]),
            ],
            Self::WorkspacesDelete => &[
                (Template, &[Read, Use]),
                (Workspace, &[Read, Delete]),
                (OrganizationMember, &[Read]),
            ],
            Self::WorkspacesAccess => &[
                (Template, &[Read]),
                (OrganizationMember, &[Read]),
                (Workspace, &[Read, Ssh, ApplicationConnect]),
            ],
            Self::TemplatesBuild => {
                &[(Template, &[Read]), (File, &[Create, Read]), (ProvisionerJobs, &[Read])]
            }
            Self::TemplatesAuthor => &[
                (Template, &[Read, Create, Update, Delete, ViewInsights]),
                (File, &[Create, Read]),
            ],
            Self::ApiKeysManageSelf => &[(ApiKey, &[Create, Read, Update, Delete])],
        }
    }
}
