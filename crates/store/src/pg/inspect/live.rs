use diesel::result::QueryResult;
use diesel::sql_types::{Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::time::timeout;

use super::rights::Rights;
use crate::Error;
use crate::inspection::{LiveApp, LiveInstance, LiveNames};
use crate::pg::PgStore;
use crate::pg::connect::Purpose;
use crate::pg::tables::Need;

impl PgStore {
    /// The instance ids and the names of apps in the newest builds of at most `workspaces`
    /// workspaces
    ///
    /// Which workspaces these are is not defined if there are more. All statements only read. What
    /// this role may not read, or the release does not have, is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`].
    pub async fn live_names(&self, workspaces: u16) -> Result<LiveNames, Error> {
        let connection = self.connector.connect(Purpose::Read).await?;
        let (catalog, connection) = (connection.tables.catalog(), &connection.inner);
        let longest = 3 * self.connector.options().statement_timeout;
        let looked = async {
            let needs = [INSTANCES, APPS, SUBDOMAIN].into_iter().flatten().copied();
            let rights = Rights::load(needs, catalog, connection).await?;
            let can_read = |needs: &[Need]| {
                let columns = needs.iter().flat_map(|need| need.columns().map(|c| (need.table, c)));
                let is_whole = columns.into_iter().all(|(table, c)| catalog.has_column(table, c));
                is_whole && rights.missing(needs).is_empty()
            };
            let mut names = LiveNames::default();
            if can_read(INSTANCES) {
                names.instances = instances(workspaces, connection).await?;
            }
            if can_read(APPS) {
                names.apps = apps(workspaces, can_read(SUBDOMAIN), connection).await?;
            }
            QueryResult::Ok(names)
        };
        let looked = timeout(longest, looked).await;
        Ok(looked.map_err(|_| {
            Error::unavailable(format!("no answer within {} s", longest.as_secs_f32()))
        })??)
    }
}

async fn instances(
    workspaces: u16,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<LiveInstance>> {
    // `OFFSET 0` keeps each look-up by index: few workspaces must not cost a scan of all agents.
    let query = sql_query(
        "SELECT a.name AS agent, a.auth_instance_id AS instance_id
         FROM (SELECT id FROM workspaces WHERE NOT deleted LIMIT $1) w
         CROSS JOIN LATERAL (
             SELECT job_id FROM workspace_builds WHERE workspace_id = w.id
             ORDER BY build_number DESC LIMIT 1
         ) b
         CROSS JOIN LATERAL (
             SELECT a.name, a.auth_instance_id
             FROM workspace_resources r
             JOIN workspace_agents a ON a.resource_id = r.id
             WHERE r.job_id = b.job_id AND NOT a.deleted AND a.auth_instance_id IS NOT NULL
             OFFSET 0
         ) a",
    );
    let rows: Vec<InstanceRow> =
        query.bind::<Integer, _>(i32::from(workspaces)).load(&mut connection).await?;
    let live = |row: InstanceRow| LiveInstance { agent: row.agent, instance_id: row.instance_id };
    Ok(rows.into_iter().map(live).collect())
}

async fn apps(
    workspaces: u16,
    has_subdomain: bool,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<LiveApp>> {
    let subdomain = if has_subdomain { "p.subdomain" } else { "false" };
    let query = sql_query(format!(
        "SELECT u.username, w.name AS workspace, a.agent, a.slug, a.url, a.subdomain
         FROM (SELECT id, owner_id, name FROM workspaces WHERE NOT deleted LIMIT $1) w
         JOIN users u ON u.id = w.owner_id
         CROSS JOIN LATERAL (
             SELECT job_id FROM workspace_builds WHERE workspace_id = w.id
             ORDER BY build_number DESC LIMIT 1
         ) b
         CROSS JOIN LATERAL (
             SELECT a.name AS agent, p.slug, p.url, {subdomain} AS subdomain
             FROM workspace_resources r
             JOIN workspace_agents a ON a.resource_id = r.id
             JOIN workspace_apps p ON p.agent_id = a.id
             WHERE r.job_id = b.job_id AND NOT a.deleted AND NOT p.external AND p.url <> ''
             OFFSET 0
         ) a"
    ));
    let rows: Vec<AppRow> =
        query.bind::<Integer, _>(i32::from(workspaces)).load(&mut connection).await?;
    let live = |AppRow { username, workspace, agent, slug, url, subdomain }| LiveApp {
        user: username,
        workspace,
        agent,
        slug,
        url,
        subdomain,
    };
    Ok(rows.into_iter().map(live).collect())
}

const INSTANCES: &[Need] = &[
    Need::select("workspaces", "id deleted"),
    Need::select("workspace_builds", "workspace_id build_number job_id"),
    Need::select("workspace_resources", "id job_id"),
    Need::select("workspace_agents", "name resource_id deleted auth_instance_id"),
];

const APPS: &[Need] = &[
    Need::select("users", "id username"),
    Need::select("workspaces", "id owner_id name deleted"),
    Need::select("workspace_builds", "workspace_id build_number job_id"),
    Need::select("workspace_resources", "id job_id"),
    Need::select("workspace_agents", "id name resource_id deleted"),
    Need::select("workspace_apps", "agent_id slug url external"),
];

/// Not among the rights that authd needs
const SUBDOMAIN: &[Need] = &[Need::select("workspace_apps", "subdomain")];

#[derive(QueryableByName)]
struct InstanceRow {
    #[diesel(sql_type = Text)]
    agent: String,
    #[diesel(sql_type = Text)]
    instance_id: String,
}

#[derive(QueryableByName)]
struct AppRow {
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    workspace: String,
    #[diesel(sql_type = Text)]
    agent: String,
    #[diesel(sql_type = Text)]
    slug: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Bool)]
    subdomain: bool,
}
