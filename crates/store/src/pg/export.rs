use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use tokio_postgres::{Client, SimpleQueryRow};
use uuid::Uuid;

use super::PgStore;
use super::import::{columns, failed, rows};
use crate::Error;
use crate::export::Export;
use crate::fleet::Fleet;
use crate::import::{Row, Table, column};

impl PgStore {
    /// Begins an export: reads rows as they are now, in one transaction that writes nothing
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn begin_export(&self) -> Result<PgExport, Error> {
        let client = self.client_of_import().await?;
        let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        client.batch_execute(snapshot).await.map_err(failed)?;
        let mut lists = vec![
            List { table: Table::WorkspaceProxies, only: "NOT x.deleted", by: "lower(x.name)" },
            List { table: Table::Workspaces, only: "NOT x.deleted", by: OWNER_AND_NAME },
            List { table: Table::Templates, only: "NOT x.deleted", by: "x.name" },
            List { table: Table::CustomRoles, only: "true", by: "x.name" },
            List { table: Table::Groups, only: "true", by: "x.name" },
            List { table: Table::Users, only: "NOT x.deleted", by: "lower(x.username)" },
            List { table: Table::Organizations, only: "NOT x.deleted", by: "x.name" },
        ];
        let mut selects = BTreeMap::new();
        let mut has_deleted_agents = false;
        for table in EXPORTED {
            let existing = columns(&client, table).await?;
            // authd's own table may be missing in the database of a control plane.
            if table != Table::Shares || !existing.is_empty() {
                selects.insert(table, select(table, &existing));
            }
            match table {
                Table::WorkspaceAgents => has_deleted_agents = existing.contains("deleted"),
                Table::CustomRoles if existing.contains("is_system") => {
                    let list = lists.iter_mut().find(|list| list.table == table);
                    list.into_iter().for_each(|list| list.only = "NOT x.is_system");
                }
                _ => {}
            }
        }
        let live_agents = if has_deleted_agents { "NOT x.deleted" } else { "true" };
        Ok(PgExport { client, selects, live_agents, lists, reading: None })
    }
}

/// An export from PostgreSQL
pub struct PgExport {
    client: Client,
    /// The query of the rows `x` of each table as JSON, with the columns that it has
    selects: BTreeMap<Table, String>,
    /// A condition: an agent is not deleted
    live_agents: &'static str,
    /// The lists that were not read yet, the next one last
    lists: Vec<List>,
    /// The table whose list is being read
    reading: Option<Table>,
}

/// A list of entries
struct List {
    table: Table,
    /// A condition: a row is exported
    only: &'static str,
    /// The text by which rows are ordered first
    by: &'static str,
}

impl Export for PgExport {
    async fn part(&mut self) -> Result<Option<Fleet>, Error> {
        loop {
            let table = match self.reading {
                Some(table) => table,
                None => match self.lists.pop() {
                    Some(list) => {
                        self.open(&list).await?;
                        self.reading = Some(list.table);
                        list.table
                    }
                    None => return Ok(None),
                },
            };
            let page = rows(&self.client, &format!("FETCH {PAGE} FROM {CURSOR}")).await?;
            if page.is_empty() {
                let close = format!("CLOSE {CURSOR}");
                self.client.batch_execute(&close).await.map_err(failed)?;
                self.reading = None;
                continue;
            }
            return self.fleet(table, &page).await.map(Some);
        }
    }
}

impl PgExport {
    async fn open(&self, list: &List) -> Result<(), Error> {
        // By the bytes of the name: each database has a collation of its own.
        let open = format!(
            "DECLARE {CURSOR} NO SCROLL CURSOR FOR {} WHERE {}
             ORDER BY ({}) COLLATE \"C\", x.id",
            self.select(list.table),
            list.only,
            list.by
        );
        self.client.batch_execute(&open).await.map_err(failed)
    }

    fn select(&self, table: Table) -> &str {
        self.selects.get(&table).map_or("", String::as_str)
    }

    /// The entries of a page of a table, and the rows that belong to them
    async fn fleet(&self, table: Table, page: &[SimpleQueryRow]) -> Result<Fleet, Error> {
        let mut fleet = Fleet::default();
        match table {
            Table::Organizations => fleet.organizations = parse(page)?,
            Table::Users => {
                fleet.users = parse(page)?;
                let ids = fleet.users.iter().map(|user| user.id);
                let only = live_organization("x.organization_id");
                fleet.organization_members = self.of("user_id", ids, &only).await?;
            }
            Table::Groups => {
                fleet.groups = parse(page)?;
                let ids = fleet.groups.iter().map(|group| group.id);
                let only = "EXISTS (SELECT FROM users u WHERE u.id = x.user_id AND NOT u.deleted)";
                fleet.group_members = self.of("group_id", ids, only).await?;
            }
            Table::CustomRoles => fleet.custom_roles = parse(page)?,
            Table::Templates => fleet.templates = parse(page)?,
            Table::Workspaces => {
                fleet.workspaces = parse(page)?;
                self.add_builds(&mut fleet).await?;
            }
            _ => fleet.workspace_proxies = parse(page)?,
        }
        Ok(fleet)
    }

    async fn add_builds(&self, fleet: &mut Fleet) -> Result<(), Error> {
        let workspaces: Vec<_> = fleet.workspaces.iter().map(|workspace| workspace.id).collect();
        let all = "true";
        let ids = workspaces.iter().copied();
        fleet.workspace_builds = self.of("workspace_id", ids, all).await?;
        let jobs = fleet.workspace_builds.iter().map(|build| build.job_id);
        fleet.workspace_resources = self.of("job_id", jobs, all).await?;
        let resources = fleet.workspace_resources.iter().map(|resource| resource.id);
        fleet.workspace_agents = self.of("resource_id", resources, self.live_agents).await?;
        let agents = fleet.workspace_agents.iter().map(|agent| agent.id);
        fleet.workspace_apps = self.of("agent_id", agents, all).await?;
        let ids = workspaces.iter().copied();
        fleet.workspace_agent_port_share = self.of("workspace_id", ids, all).await?;
        if self.selects.contains_key(&Table::Shares) {
            let ids = workspaces.iter().copied();
            fleet.authd_shares = self.of("workspace_id", ids, all).await?;
        }
        Ok(())
    }

    /// The rows whose column has one of these ids, and that fulfil a condition
    async fn of<R: Row + DeserializeOwned>(
        &self,
        column: &str,
        ids: impl Iterator<Item = Uuid>,
        only: &str,
    ) -> Result<Vec<R>, Error> {
        let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
        let query = format!(
            "{} WHERE x.{column} = ANY ('{{{}}}'::uuid[]) AND {only}",
            self.select(R::TABLE),
            ids.join(",")
        );
        parse(&rows(&self.client, &query).await?)
    }
}

impl fmt::Debug for PgExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgExport").field("reading", &self.reading).finish_non_exhaustive()
    }
}

fn select(table: Table, existing: &BTreeSet<String>) -> String {
    let columns = table.fields().iter().map(|field| column(field));
    let columns = columns.filter(|column| existing.contains(*column));
    let pairs: Vec<_> = columns.map(|column| format!("'{column}', x.\"{column}\"")).collect();
    format!("SELECT jsonb_build_object({}) FROM {} x", pairs.join(", "), table.name())
}

fn parse<R: DeserializeOwned>(page: &[SimpleQueryRow]) -> Result<Vec<R>, Error> {
    let row = |row: &SimpleQueryRow| serde_json::from_str(row.get(0).unwrap_or_default());
    page.iter().map(row).collect::<Result<_, _>>().map_err(Error::invalid_row)
}

/// A condition: an organization is not deleted
fn live_organization(id: &str) -> String {
    format!("EXISTS (SELECT FROM organizations o WHERE o.id = {id} AND NOT o.deleted)")
}

const EXPORTED: [Table; 15] = [
    Table::Organizations,
    Table::Users,
    Table::OrganizationMembers,
    Table::Groups,
    Table::GroupMembers,
    Table::CustomRoles,
    Table::Templates,
    Table::Workspaces,
    Table::WorkspaceBuilds,
    Table::WorkspaceResources,
    Table::WorkspaceAgents,
    Table::WorkspaceApps,
    Table::WorkspaceAgentPortShare,
    Table::Shares,
    Table::WorkspaceProxies,
];

const OWNER_AND_NAME: &str =
    "(SELECT lower(u.username) FROM users u WHERE u.id = x.owner_id) || '/' || lower(x.name)";

const CURSOR: &str = "authd_export";

/// A workspace may have many builds
const PAGE: u32 = 200;
