//! What rows are about, in names

use super::merge::CHANGES;
use crate::import::Table;

/// Returns the rows of [`CHANGES`] of a table: before, after, kept columns, and the label
pub(super) fn changes(table: Table) -> String {
    format!(
        "SELECT c.before, c.after, c.keep, {} FROM {CHANGES} c
         CROSS JOIN LATERAL (SELECT coalesce(c.after, c.before) AS row) AS r
         WHERE c.name = '{}' ORDER BY c.n",
        label(table),
        table.name()
    )
}

/// An expression over the JSON object `r.row`; null if the row has no better label than its name
/// or key
///
/// The rows that it refers to are looked up by their keys, in the tables as they are after the
/// import.
fn label(table: Table) -> String {
    let field = |name: &str| format!("(r.row->>'{name}')");
    let id = |name: &str| format!("(r.row->>'{name}')::uuid");
    let organization = || named("organizations", "name", &id("organization_id"));
    match table {
        Table::OrganizationMembers => {
            join(&[&named("users", "username", &id("user_id")), "' in '", &organization()])
        }
        Table::Groups | Table::Templates => join(&[&organization(), "'/'", &field("name")]),
        Table::CustomRoles => {
            format!("coalesce({} || '/', '') || {}", organization(), field("name"))
        }
        Table::GroupMembers => join(&[
            &named("users", "username", &id("user_id")),
            "' in '",
            &named("groups", "name", &id("group_id")),
        ]),
        Table::Workspaces => {
            join(&[&named("users", "username", &id("owner_id")), "'/'", &field("name")])
        }
        Table::ProvisionerJobs => build(&format!("b.job_id = {}", id("id"))),
        Table::WorkspaceBuilds => {
            join(&[&workspace(&id("workspace_id")), "' build '", &field("build_number")])
        }
        Table::WorkspaceResources => build(&format!("b.job_id = {}", id("job_id"))),
        Table::WorkspaceAgents => {
            join(&[&build_of_resource(&id("resource_id")), "' '", &field("name")])
        }
        Table::WorkspaceApps => join(&[
            &format!(
                "(SELECT {} || ' ' || a.name FROM workspace_agents a WHERE a.id = {})",
                build_of_resource("a.resource_id"),
                id("agent_id")
            ),
            "'/'",
            &field("slug"),
        ]),
        Table::WorkspaceAgentPortShare => join(&[
            &workspace(&id("workspace_id")),
            "' '",
            &field("agent_name"),
            "':'",
            &field("port"),
        ]),
        Table::Shares => join(&[
            &workspace(&id("workspace_id")),
            "' '",
            &field("agent_name"),
            "'/'",
            &field("slug_or_port"),
            "' with '",
            &format!(
                "CASE (r.row->>'is_group')::boolean WHEN true THEN {} ELSE {} END",
                named("groups", "name", &id("person_id")),
                named("users", "username", &id("person_id"))
            ),
        ]),
        _ => "NULL".to_owned(),
    }
}

fn join(parts: &[&str]) -> String {
    parts.join(" || ")
}

/// The name of a row, or the id if the row does not exist
fn named(table: &str, column: &str, id: &str) -> String {
    format!("coalesce((SELECT x.{column} FROM {table} x WHERE x.id = {id}), {id}::text)")
}

/// Owner and name of a workspace
fn workspace(id: &str) -> String {
    format!(
        "coalesce((SELECT {} || '/' || w.name FROM workspaces w WHERE w.id = {id}), {id}::text)",
        named("users", "username", "w.owner_id")
    )
}

/// Workspace and number of the build that fulfils a condition
fn build(condition: &str) -> String {
    format!(
        "(SELECT {} || ' build ' || b.build_number FROM workspace_builds b WHERE {condition})",
        workspace("b.workspace_id")
    )
}

/// Workspace and number of the build whose job has a resource
fn build_of_resource(resource: &str) -> String {
    format!(
        "(SELECT {} FROM workspace_resources wr WHERE wr.id = {resource})",
        build("b.job_id = wr.job_id")
    )
}
