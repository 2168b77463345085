/// Calls a macro with the list of tables, in the order in which rows refer to each other
///
/// An entry is the table, the type of its rows, its variant of [`Table`](crate::import::Table), and
/// the columns of its primary key.
macro_rules! with_tables {
    ($callback:ident) => {
        $callback! {
            organizations: Organization as Organizations by "id";
            users: User as Users by "id";
            organization_members: OrganizationMember as OrganizationMembers by "organization_id" "user_id";
            groups: Group as Groups by "id";
            group_members: GroupMember as GroupMembers by "user_id" "group_id";
            custom_roles: CustomRole as CustomRoles by "id";
            user_links: UserLink as UserLinks by "user_id" "login_type";
            api_keys: ApiKey as ApiKeys by "id";
            oauth2_provider_app_tokens: Oauth2ProviderAppToken as Oauth2ProviderAppTokens by "id";
            templates: Template as Templates by "id";
            template_versions: TemplateVersion as TemplateVersions by "id";
            workspaces: Workspace as Workspaces by "id";
            provisioner_jobs: ProvisionerJob as ProvisionerJobs by "id";
            workspace_builds: WorkspaceBuild as WorkspaceBuilds by "id";
            workspace_resources: WorkspaceResource as WorkspaceResources by "id";
            workspace_agents: WorkspaceAgent as WorkspaceAgents by "id";
            workspace_apps: WorkspaceApp as WorkspaceApps by "id";
            workspace_agent_port_share: WorkspaceAgentPortShare as WorkspaceAgentPortShare by "workspace_id" "agent_name" "port";
            authd_shares: Share as Shares by "workspace_id" "agent_name" "slug_or_port" "is_group" "person_id";
            workspace_proxies: WorkspaceProxy as WorkspaceProxies by "id";
            crypto_keys: CryptoKey as CryptoKeys by "feature" "sequence";
        }
    };
}

pub(crate) use with_tables;
