use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use app_authz::credential::{KeyHolder, SessionToken};
use app_authz::{AgentId, AgentInHost, AppAccess, AppRequest, Directory, NameOrId, Place, Port};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::batches;
use super::connect::Connection;
use super::holders::{HOLDER, HOLDER_OF_KEY, HolderColumns, HolderRow};
use super::places::{PLACE, PlaceColumns, PlaceRow};
use super::tables::{Generation, Question, Tables, push};
use crate::Error;

impl Directory for PgStore {
    type Error = Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppAccess, Error> {
        let tokens = tokens.iter().map(|token| token.id().to_owned()).collect();
        match request.terminal() {
            Some(agent) => self.terminals.ask(TerminalAccess { agent, tokens }).await,
            None => self.apps.ask(NamedAccess { place: NamedPlace::of(request), tokens }).await,
        }
    }
}

/// Access to an app or a port
pub(super) struct NamedAccess {
    place: NamedPlace,
    tokens: Vec<String>,
}

/// Where a request leads that names owner and workspace
#[derive(PartialEq, Eq, Hash)]
struct NamedPlace {
    owner: IdOrName,
    workspace: IdOrName,
    slug: Option<String>,
    port: Option<u16>,
}

/// An id or a name; neither for a name that no row can have
#[derive(PartialEq, Eq, Hash)]
struct IdOrName {
    id: Option<Uuid>,
    name: Option<String>,
}

impl NamedPlace {
    fn of(request: &AppRequest) -> Self {
        let port = request.slug_or_port().parse::<Port>().ok();
        let slug = if port.is_none() { text(request.slug_or_port()) } else { None };
        Self {
            owner: request.user().into(),
            workspace: request.workspace().into(),
            slug,
            port: port.map(Port::number),
        }
    }

    const fn has_id(&self) -> bool {
        self.owner.id.is_some() || self.workspace.id.is_some()
    }
}

impl From<&str> for IdOrName {
    fn from(asked: &str) -> Self {
        match NameOrId::from(asked) {
            NameOrId::Id(id) => Self { id: Some(id), name: None },
            NameOrId::Name(name) => Self { id: None, name: text(name) },
        }
    }
}

/// The text, unless it holds the one character that no text in PostgreSQL does
fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.contains('\0'))
}

impl batches::Question for NamedAccess {
    type Answer = AppAccess;

    async fn ask(questions: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppAccess>> {
        let asked = Asked::by(questions.iter().map(|q| (&q.place, &*q.tokens)));
        let rows: Vec<Row> = if asked.places.iter().any(|place| place.has_id()) {
            let text = connection.text(Question::AppById)?;
            ByNames::<true>::of(&asked, text).load(&mut &connection.inner).await?
        } else {
            let text = connection.text(Question::AppByName)?;
            ByNames::<false>::of(&asked, text).load(&mut &connection.inner).await?
        };
        Ok(asked.answers(rows, &connection.tables, |place, row| {
            row.place(place.slug.as_deref(), place.port)
        }))
    }
}

/// Access to the terminal of an agent
pub(super) struct TerminalAccess {
    agent: AgentId,
    tokens: Vec<String>,
}

impl batches::Question for TerminalAccess {
    type Answer = AppAccess;

    async fn ask(questions: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppAccess>> {
        let asked = Asked::by(questions.iter().map(|q| (&q.agent, &*q.tokens)));
        let statement = ByAgents {
            text: connection.text(Question::Terminal)?,
            agents: &asked.places.iter().map(|agent| agent.0).collect::<Vec<_>>(),
            tokens: &asked.tokens,
        };
        let rows: Vec<Row> = statement.load(&mut &connection.inner).await?;
        Ok(asked.answers(rows, &connection.tables, |_, row| row.place(None, None)))
    }
}

/// What several questions are about, each place and each token once
///
/// A page asks for many things at once, and whoever it sends away comes back for all of
/// them: these are questions about one place by one visitor.
struct Asked<'a, P> {
    places: Vec<&'a P>,
    tokens: Vec<&'a str>,
    /// For each question, which of the places and which of the tokens
    wanted: Vec<(usize, Vec<usize>)>,
}

/// Places and tokens in one row, with their number: the n-th place has nothing to do with
/// the n-th token
type Row = (i64, Option<PlaceRow>, Option<HolderRow>);
type Columns = (BigInt, Nullable<PlaceColumns>, Nullable<HolderColumns>);

impl<'a, P: Eq + Hash> Asked<'a, P> {
    fn by(questions: impl Iterator<Item = (&'a P, &'a [String])>) -> Self {
        let (mut places, mut tokens) = (Numbers::default(), Numbers::default());
        let wanted = questions.map(|(place, carried)| {
            (places.number(place), carried.iter().map(|token| tokens.number(&**token)).collect())
        });
        Self { wanted: wanted.collect(), places: places.items, tokens: tokens.items }
    }

    /// Deals the rows out to the questions
    fn answers(
        self,
        rows: Vec<Row>,
        tables: &Tables,
        place: impl Fn(&P, PlaceRow) -> Place,
    ) -> Vec<AppAccess> {
        let mut places: Vec<Option<Arc<Place>>> = vec![None; self.places.len()];
        let mut holders: Vec<Option<Arc<KeyHolder>>> = vec![None; self.tokens.len()];
        for (n, found, holder) in rows {
            let Ok(n) = usize::try_from(n - 1) else { continue };
            if let (Some(asked), Some(shared), Some(row)) =
                (self.places.get(n), places.get_mut(n), found)
            {
                *shared = Some(Arc::new(place(asked, row)));
            }
            if let (Some(shared), Some(HolderRow(holder))) = (holders.get_mut(n), holder) {
                *shared = Some(Arc::new(holder));
            }
        }
        let answer = |(place, tokens): (usize, Vec<usize>)| AppAccess {
            place: places[place].clone(),
            holders: tokens.into_iter().filter_map(|token| holders[token].clone()).collect(),
            agent_in_host: match tables.generation() < Generation::V2_27 {
                true => AgentInHost::OfAll,
                false => AgentInHost::OfPorts,
            },
        };
        self.wanted.into_iter().map(answer).collect()
    }
}

/// Items, each once
struct Numbers<T> {
    items: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> Numbers<T> {
    fn number(&mut self, item: T) -> usize {
        *self.numbers.entry(item).or_insert_with(|| {
            self.items.push(item);
            self.items.len() - 1
        })
    }
}

/// Places by the names or ids of owner and workspace, and holders, in one statement
///
/// An owner is found by the user name alone: an address is no name, and one that is
/// empty would be everybody's. A deleted user is found by id, and a deleted workspace
/// not at all.
///
/// Of a build only the agents are listed, each with what the request can lead to: the
/// app of the slug, or the share of the port.
///
/// Nearly every request has names. Those alone take a statement that is faster to start,
/// as it does not look at each table twice.
struct ByNames<'a, const IDS: bool> {
    text: &'a [String],
    owner_ids: Vec<Option<Uuid>>,
    owner_names: Vec<Option<&'a str>>,
    workspace_ids: Vec<Option<Uuid>>,
    workspace_names: Vec<Option<&'a str>>,
    slugs: Vec<Option<&'a str>>,
    ports: Vec<Option<i32>>,
    tokens: &'a [&'a str],
}

impl<'a, const IDS: bool> ByNames<'a, IDS> {
    fn of(asked: &'a Asked<'a, NamedPlace>, text: &'a [String]) -> Self {
        let places = || asked.places.iter();
        let ids = |id: fn(&NamedPlace) -> Option<Uuid>| match IDS {
            true => places().map(|place| id(place)).collect(),
            false => Vec::new(),
        };
        Self {
            text,
            owner_ids: ids(|place| place.owner.id),
            owner_names: places().map(|place| place.owner.name.as_deref()).collect(),
            workspace_ids: ids(|place| place.workspace.id),
            workspace_names: places().map(|place| place.workspace.name.as_deref()).collect(),
            slugs: places().map(|place| place.slug.as_deref()).collect(),
            ports: places().map(|place| place.port.map(i32::from)).collect(),
            tokens: &asked.tokens,
        }
    }
}

impl<const IDS: bool> QueryFragment<Pg> for ByNames<'_, IDS> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        for texts in [&self.owner_names, &self.workspace_names, &self.slugs] {
            push(&mut out, &mut text);
            out.push_bind_param::<Array<Nullable<Text>>, _>(texts)?;
        }
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Nullable<Integer>>, _>(&self.ports)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.tokens)?;
        if IDS {
            for ids in [&self.owner_ids, &self.workspace_ids] {
                push(&mut out, &mut text);
                out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(ids)?;
            }
        }
        push(&mut out, &mut text);
        Ok(())
    }
}

impl<const IDS: bool> QueryId for ByNames<'_, IDS> {
    type QueryId = ByNames<'static, IDS>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const IDS: bool> Query for ByNames<'_, IDS> {
    type SqlType = Columns;
}

/// The template of [`ByNames`] for names alone
pub(super) fn by_name() -> String {
    named(
        "$1, $2, $3, $4, $5",
        "owner_name, workspace_name, slug, port, key_id",
        &format!(
            "owner.id AS asked_owner,\n{OF_PLACE}{OWNER_AND_WORKSPACE_OF_NAMES}{BUILD_AND_TEMPLATE}
    WHERE lower(owner.username) = lower(asked.owner_name) AND NOT owner.deleted"
        ),
    )
}

/// The template of [`ByNames`] where some are ids
pub(super) fn by_id() -> String {
    named(
        "$1, $2, $3, $4, $5, $6, $7",
        "owner_name, workspace_name, slug, port, key_id, owner_id, workspace_id",
        &format!(
            "asked_owner.id AS asked_owner,\n{OF_PLACE}\
             {OWNER_AND_WORKSPACE_OF_IDS_OR_NAMES}{BUILD_AND_TEMPLATE}"
        ),
    )
}

fn named(parameters: &str, names: &str, place: &str) -> String {
    format!(
        "\
WITH asked AS (SELECT * FROM unnest({parameters}) WITH ORDINALITY AS asked ({names}, n))
SELECT asked.n,
       {PLACE},
       ARRAY(
           SELECT ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                      a.disconnected_at, a.connection_timeout_seconds,
                      p.id, p.url, p.external, p.sharing_level, s.share_level)
           FROM workspace_resources r
           JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
           LEFT JOIN workspace_apps p ON p.agent_id = a.id AND p.slug = asked.slug
           LEFT JOIN workspace_agent_port_share s
               ON s.workspace_id = place.id AND s.agent_name = a.name AND s.port = asked.port
           WHERE r.job_id = place.job_id
       ),
{HOLDER}
FROM asked
LEFT JOIN LATERAL (
    SELECT {place}
    OFFSET 0
) place ON true
LEFT JOIN {HOLDER_OF_KEY}
--guard
"
    )
}

/// What is told of a place, of the workspace `w`, its `owner`, its build `b` and its
/// template `t`
///
/// Nobody but its owner and roles opens a workspace of a release without access lists.
const OF_PLACE: &str = "           \
w.id, w.name, w.owner_id, owner.username AS owner_name, w.organization_id,
           w.dormant_at IS NOT NULL AS dormant, b.job_id, b.transition::text,
           w.user_acl, w.group_acl, t.cors_behavior::text,  --since v2.26
           '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl, 'simple' AS cors_behavior,  --until v2.26
           t.max_port_sharing_level::text";

/// The names of owner and workspace as they were `asked`
const OWNER_AND_WORKSPACE_OF_NAMES: &str = "
    FROM users owner
    CROSS JOIN LATERAL (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE owner_id = owner.id AND lower(name) = lower(asked.workspace_name) AND NOT deleted
        OFFSET 0
    ) w";

/// The names or ids of owner and workspace as they were `asked`
const OWNER_AND_WORKSPACE_OF_IDS_OR_NAMES: &str = "
    FROM (
        SELECT id FROM users WHERE id = asked.owner_id
        UNION ALL
        SELECT id FROM users WHERE lower(username) = lower(asked.owner_name) AND NOT deleted
    ) asked_owner
    CROSS JOIN LATERAL (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE id = asked.workspace_id AND NOT deleted
        UNION ALL
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE owner_id = asked_owner.id AND lower(name) = lower(asked.workspace_name)
          AND NOT deleted
    ) w
    JOIN users owner ON owner.id = w.owner_id";

const BUILD_AND_TEMPLATE: &str = "
    CROSS JOIN LATERAL (
        SELECT job_id, transition
        FROM workspace_builds
        WHERE workspace_id = w.id
        ORDER BY build_number DESC
        LIMIT 1
    ) b
    LEFT JOIN templates t ON t.id = w.template_id";

/// Places by their agents, and holders, in one statement
///
/// The agent is found only if its build is the newest of a workspace that is not
/// deleted: one of the past has no machine to open a terminal on.
struct ByAgents<'a> {
    text: &'a [String],
    agents: &'a [Uuid],
    tokens: &'a [&'a str],
}

impl QueryFragment<Pg> for ByAgents<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        push(&mut out, &mut text);
        out.push_bind_param::<Array<SqlUuid>, _>(self.agents)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.tokens)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

/// The template of [`ByAgents`]
pub(super) fn by_agent() -> String {
    format!(
        "\
SELECT asked.n,
       {PLACE}, place.agents,
{HOLDER}
FROM unnest($1, $2) WITH ORDINALITY AS asked (agent_id, key_id, n)
LEFT JOIN LATERAL (
    SELECT w.owner_id AS asked_owner,
{OF_PLACE},
           ARRAY[ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                     a.disconnected_at, a.connection_timeout_seconds,
                     NULL, NULL, NULL, NULL, NULL)] AS agents
    FROM workspace_agents a
    JOIN workspace_resources r ON r.id = a.resource_id
    JOIN workspace_builds b ON b.job_id = r.job_id
    JOIN workspaces w ON w.id = b.workspace_id AND NOT w.deleted
    JOIN users owner ON owner.id = w.owner_id
    LEFT JOIN templates t ON t.id = w.template_id
    WHERE a.id = asked.agent_id AND NOT a.deleted
      AND b.build_number = (
          SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id
      )
    OFFSET 0
) place ON true
LEFT JOIN {HOLDER_OF_KEY}
--guard
"
    )
}

prepared_once!(ByAgents);

impl Query for ByAgents<'_> {
    type SqlType = Columns;
}

/// How the database goes about each statement
#[cfg(test)]
pub(super) mod explained {
    use serde_json::Value;

    use super::super::plans::Explain;
    use super::*;

    pub(in crate::pg) async fn by_name(
        connection: &Connection,
        owner: &str,
        workspace: &str,
        slug: &str,
        key: &str,
    ) -> QueryResult<Value> {
        let text = connection.text(Question::AppByName)?;
        let place = place(owner.into(), workspace, slug);
        let tokens = [key.to_owned()];
        let asked = Asked::by(std::iter::once((&place, &tokens[..])));
        Explain(ByNames::<false>::of(&asked, text)).load(connection).await
    }

    pub(in crate::pg) async fn by_id(
        connection: &Connection,
        owner: &str,
        workspace: Uuid,
        slug: &str,
    ) -> QueryResult<Value> {
        let text = connection.text(Question::AppById)?;
        let place = place(owner.into(), &workspace.to_string(), slug);
        let asked = Asked::by(std::iter::once((&place, &[][..])));
        Explain(ByNames::<true>::of(&asked, text)).load(connection).await
    }

    pub(in crate::pg) async fn by_agent(
        connection: &Connection,
        agent: Uuid,
        key: &str,
    ) -> QueryResult<Value> {
        let text = connection.text(Question::Terminal)?;
        Explain(ByAgents { text, agents: &[agent], tokens: &[key] }).load(connection).await
    }

    fn place(owner: IdOrName, workspace: &str, slug: &str) -> NamedPlace {
        let (workspace, slug) = (workspace.into(), text(slug));
        NamedPlace { owner, workspace, slug, port: None }
    }
}
