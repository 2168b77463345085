mod statement;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use app_authz::address::AgentInHost;
use app_authz::app::{AppFacts, Port, WorkspaceFacts};
use app_authz::credential::{KeyHolder, SessionToken};
use app_authz::id::NameOrId;
use app_authz::{AgentId, AppRequest, Directory};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use self::statement::{ByAgent, ById, ByName};
use super::PgStore;
use super::batches::BatchQuery;
use super::connect::Connection;
use super::holders::{HolderColumns, HolderRow};
use super::places::{PlaceColumns, PlaceRow};
use super::tables::{Generation, Statement, Tables};
use crate::Error;
use crate::facts::Question;

impl Directory for PgStore {
    type Error = Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppFacts, Error> {
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

/// The place that a request names by owner and workspace
#[derive(PartialEq, Eq, Hash)]
struct NamedPlace {
    owner: IdOrName,
    workspace: IdOrName,
    slug: Option<String>,
    port: Option<u16>,
}

/// An id or a name; neither for a name that no row can hold
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

/// The text, unless it holds the null character, which no text in PostgreSQL can
fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.contains('\0'))
}

impl BatchQuery for NamedAccess {
    type Answer = AppFacts;

    const QUESTION: Question = Question::App;

    async fn run(queries: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppFacts>> {
        let batch = Batch::of(queries.iter().map(|query| (&query.place, &*query.tokens)));
        let rows: Vec<Row> = if batch.places.iter().any(|place| place.has_id()) {
            let sql = connection.sql(Statement::AppById)?;
            ById::of(&batch, sql).load(&mut &connection.inner).await?
        } else {
            let sql = connection.sql(Statement::AppByName)?;
            ByName::of(&batch, sql).load(&mut &connection.inner).await?
        };
        Ok(batch.answers(rows, &connection.tables, |place, row| row.place(place.port)))
    }
}

/// Access to the terminal of an agent
pub(super) struct TerminalAccess {
    agent: AgentId,
    tokens: Vec<String>,
}

impl BatchQuery for TerminalAccess {
    type Answer = AppFacts;

    const QUESTION: Question = Question::Terminal;

    async fn run(queries: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<AppFacts>> {
        let batch = Batch::of(queries.iter().map(|query| (&query.agent, &*query.tokens)));
        let statement = ByAgent {
            sql: connection.sql(Statement::Terminal)?,
            agents: batch.column(|agent| agent.0),
            tokens: &batch.tokens,
        };
        let rows: Vec<Row> = statement.load(&mut &connection.inner).await?;
        Ok(batch.answers(rows, &connection.tables, |_, row| row.place(None)))
    }
}

/// What several queries are about, each place and each token once
///
/// A page requests many things at once, and a visitor who was sent to sign in comes back for all
/// of them: these are queries about one place by one visitor.
struct Batch<'a, P> {
    places: Vec<&'a P>,
    tokens: Vec<&'a str>,
    /// For each query, the indices of its place and its tokens
    wanted: Vec<(usize, Vec<usize>)>,
}

/// The n-th place and the holder of the n-th token in one row, with n from 1: the two have
/// nothing to do with each other
type Row = (i64, Option<PlaceRow>, Option<HolderRow>);
type Columns = (BigInt, Nullable<PlaceColumns>, Nullable<HolderColumns>);

impl<'a, P: Eq + Hash> Batch<'a, P> {
    fn of(queries: impl Iterator<Item = (&'a P, &'a [String])>) -> Self {
        let (mut places, mut tokens) = (Numbers::default(), Numbers::default());
        let wanted = queries.map(|(place, carried)| {
            (places.number(place), carried.iter().map(|token| tokens.number(&**token)).collect())
        });
        Self { wanted: wanted.collect(), places: places.items, tokens: tokens.items }
    }

    /// A value of each place
    fn column<T>(&self, value: impl Fn(&'a P) -> T) -> Vec<T> {
        self.places.iter().map(|place| value(place)).collect()
    }

    /// Distributes the rows to the queries
    fn answers(
        self,
        rows: Vec<Row>,
        tables: &Tables,
        place: impl Fn(&P, PlaceRow) -> WorkspaceFacts,
    ) -> Vec<AppFacts> {
        let mut places: Vec<Option<Arc<WorkspaceFacts>>> = vec![None; self.places.len()];
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
        let rule = match tables.generation() < Generation::V2_27 {
            true => AgentInHost::OfAll,
            false => AgentInHost::OfPorts,
        };
        let answer = |(place, tokens): (usize, Vec<usize>)| {
            let holders = tokens.into_iter().filter_map(|token| holders[token].clone());
            let facts = AppFacts::default().with_holders(holders).with_agent_in_host(rule);
            match &places[place] {
                Some(place) => facts.with_workspace(Arc::clone(place)),
                None => facts,
            }
        };
        self.wanted.into_iter().map(answer).collect()
    }
}

/// Distinct items, and their indices
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

/// How the database executes each statement
#[cfg(test)]
pub(super) mod explained {
    use serde_json::Value;

    use super::*;
    use crate::pg::plans::Explain;

    pub(in crate::pg) async fn by_name(
        connection: &Connection,
        owner: &str,
        workspace: &str,
        slug: &str,
        key: &str,
    ) -> QueryResult<Value> {
        let sql = connection.sql(Statement::AppByName)?;
        let place = place(owner.into(), workspace, slug);
        let tokens = [key.to_owned()];
        let batch = Batch::of(std::iter::once((&place, &tokens[..])));
        Explain(ByName::of(&batch, sql)).load(connection).await
    }

    pub(in crate::pg) async fn by_id(
        connection: &Connection,
        owner: &str,
        workspace: Uuid,
        slug: &str,
    ) -> QueryResult<Value> {
        let sql = connection.sql(Statement::AppById)?;
        let place = place(owner.into(), &workspace.to_string(), slug);
        let batch = Batch::of(std::iter::once((&place, &[][..])));
        Explain(ById::of(&batch, sql)).load(connection).await
    }

    pub(in crate::pg) async fn by_agent(
        connection: &Connection,
        agent: Uuid,
        key: &str,
    ) -> QueryResult<Value> {
        let sql = connection.sql(Statement::Terminal)?;
        Explain(ByAgent { sql, agents: vec![agent], tokens: &[key] }).load(connection).await
    }

    fn place(owner: IdOrName, workspace: &str, slug: &str) -> NamedPlace {
        let (workspace, slug) = (workspace.into(), text(slug));
        NamedPlace { owner, workspace, slug, port: None }
    }
}
