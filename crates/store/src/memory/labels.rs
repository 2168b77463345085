use serde_json::{Map, Value};

use super::import::All;
use crate::import::Table;

/// What a row is about, in names; `None` if its name or key says that
pub(super) fn label(table: Table, row: &Map<String, Value>, all: &All) -> Option<String> {
    let rows = Lookup(all);
    let field = |name: &str| plain(row.get(name));
    let organization = || rows.name(Table::Organizations, "name", row.get("organization_id"));
    let user = |column: &str| rows.name(Table::Users, "username", row.get(column));
    Some(match table {
        Table::OrganizationMembers => format!("{} in {}", user("user_id"), organization()),
        Table::Groups | Table::Templates => format!("{}/{}", organization(), field("name")),
        Table::CustomRoles if row.get("organization_id").is_none_or(Value::is_null) => {
            field("name")
        }
        Table::CustomRoles => format!("{}/{}", organization(), field("name")),
        Table::GroupMembers => {
            let group = rows.name(Table::Groups, "name", row.get("group_id"));
            format!("{} in {group}", user("user_id"))
        }
        Table::Workspaces => format!("{}/{}", user("owner_id"), field("name")),
        Table::ProvisionerJobs => rows.build(row.get("id")?)?,
        Table::WorkspaceBuilds => {
            format!("{} build {}", rows.workspace(row.get("workspace_id")), field("build_number"))
        }
        Table::WorkspaceResources => rows.build(row.get("job_id")?)?,
        Table::WorkspaceAgents => rows.agent(row)?,
        Table::WorkspaceApps => {
            let agent = rows.find(Table::WorkspaceAgents, row.get("agent_id"))?;
            format!("{}/{}", rows.agent(agent)?, field("slug"))
        }
        Table::WorkspaceAgentPortShare => {
            let workspace = rows.workspace(row.get("workspace_id"));
            format!("{workspace} {}:{}", field("agent_name"), field("port"))
        }
        Table::Shares => {
            let workspace = rows.workspace(row.get("workspace_id"));
            let person = match row.get("is_group").and_then(Value::as_bool) {
                Some(true) => rows.name(Table::Groups, "name", row.get("person_id")),
                _ => user("person_id"),
            };
            format!("{workspace} {}/{} with {person}", field("agent_name"), field("slug_or_port"))
        }
        _ => return None,
    })
}

struct Lookup<'a>(&'a All);

impl<'a> Lookup<'a> {
    fn find(&self, table: Table, id: Option<&Value>) -> Option<&'a Map<String, Value>> {
        self.0.get(&table)?.get(&id?.to_string())
    }

    fn name(&self, table: Table, column: &str, id: Option<&Value>) -> String {
        plain(self.find(table, id).and_then(|row| row.get(column)).or(id))
    }

    fn workspace(&self, id: Option<&Value>) -> String {
        match self.find(Table::Workspaces, id) {
            Some(row) => {
                let owner = self.name(Table::Users, "username", row.get("owner_id"));
                format!("{owner}/{}", plain(row.get("name")))
            }
            None => plain(id),
        }
    }

    fn build(&self, job: &Value) -> Option<String> {
        let builds = self.0.get(&Table::WorkspaceBuilds)?.values();
        let build = builds.into_iter().find(|build| build.get("job_id") == Some(job))?;
        let workspace = self.workspace(build.get("workspace_id"));
        Some(format!("{workspace} build {}", plain(build.get("build_number"))))
    }

    fn agent(&self, agent: &Map<String, Value>) -> Option<String> {
        let resource = self.find(Table::WorkspaceResources, agent.get("resource_id"))?;
        let build = self.build(resource.get("job_id")?)?;
        Some(format!("{build} {}", plain(agent.get("name"))))
    }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
