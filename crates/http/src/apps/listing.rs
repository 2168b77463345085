//! The list of apps that a user may open
//!
//! Each app is decided as a visit to its address would be, so that the list says no more than the
//! visits.

use app_authz::address::{AppName, HostMeaning, encode_path};
use app_authz::app::{Agent, AgentStatus, App, Transition, WorkspaceFacts};
use app_authz::{AppRequest, decide, resolve};
use store::listing::{Health, ListPosition, ListQuery, ListedApp, ListedWorkspace};

use super::refusal::{may_open_when_it_runs, workspace_path};
use super::{AppService, SignedIn};
use crate::context::Context;
use crate::error::AccessError;
use crate::ports::{AnyListing, AppPorts};
use crate::reply::{AppList, ListRow, State};

/// Lists apps whose name, workspace or owner contains `search`, from the workspace `after` on,
/// which is written as `OWNER/WORKSPACE`
///
/// One statement.
///
/// # Errors
///
/// [`AccessError::Store`].
pub(crate) async fn app_list<S: AppPorts>(
    (apps, listing): (&AppService<S>, &dyn AnyListing),
    cx: &Context<'_>,
    caller: &SignedIn,
    (search, after): (&str, Option<&str>),
) -> Result<AppList, AccessError> {
    let mut asked = ListQuery::new(&caller.subject, search, PAGE);
    let own_name = &caller.holder.username;
    asked.after =
        after.and_then(|after| after.split_once('/')).map(|(owner, workspace)| ListPosition {
            is_of_other: !owner.eq_ignore_ascii_case(own_name),
            owner: owner.replace('\0', ""),
            workspace: workspace.replace('\0', ""),
        });
    let turn = apps.lists.acquire().await;
    let found = listing.listed(&asked).await.map_err(AccessError::Store)?;
    drop(turn);
    let is_last = found.len() < usize::from(PAGE);
    let last = found.last().filter(|_| !is_last).map(|listed| &listed.facts.workspace);
    let mut list = AppList {
        next: last.map(|last| format!("{}/{}", last.owner_name, last.name)),
        ..AppList::default()
    };
    for listed in &found {
        let is_own = listed.facts.workspace.owner == caller.holder.key.user;
        let rows = if is_own { &mut list.own } else { &mut list.shared };
        Lister { apps, cx, caller, search: &asked.search }.rows(listed, is_own, rows);
    }
    Ok(list)
}

struct Lister<'a, S> {
    apps: &'a AppService<S>,
    cx: &'a Context<'a>,
    caller: &'a SignedIn,
    search: &'a str,
}

impl<S> Lister<'_, S> {
    /// Adds the rows of a workspace
    fn rows(&self, listed: &ListedWorkspace, is_own: bool, rows: &mut Vec<ListRow>) {
        let facts = &listed.facts;
        let workspace = &facts.workspace;
        let place = match is_own {
            true => workspace.name.clone(),
            false => format!("{}/{}", workspace.owner_name, workspace.name),
        };
        if facts.transition == Transition::Stop {
            if may_open_when_it_runs(self.apps, &self.caller.subject, facts) {
                let page = self.apps.config.has_dashboard.then(|| workspace_path(facts));
                rows.push(of_workspace(facts, is_own, page, State::Stopped));
            }
            return;
        }
        for app in &facts.apps {
            let shown = listed.apps.iter().find(|shown| shown.id == app.id);
            let agent = facts.agents.iter().find(|agent| agent.id == app.agent);
            let (Some(shown), Some(agent)) = (shown, agent) else { continue };
            let name = if shown.display_name.is_empty() { &app.slug } else { &shown.display_name };
            if !self.is_found(facts, app, name) {
                continue;
            }
            let Some(link) = self.link(facts, agent, (app, shown)) else { continue };
            let place = match facts.agents.len() {
                1 => place.clone(),
                _ => format!("{place}.{}", agent.name),
            };
            let (name, state) = (name.clone(), self.state(agent, shown));
            rows.push(ListRow { name, link: Some(link), place, state });
        }
        // A user looks for a workspace that runs, also if there is nothing to open in it.
        if is_own && facts.apps.is_empty() {
            rows.push(of_workspace(facts, is_own, None, State::WithoutApps));
        }
    }

    /// Whether the app is one that the user looks for: by its own name, or by where it is
    fn is_found(&self, facts: &WorkspaceFacts, app: &App, name: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(self.search);
        let workspace = &facts.workspace;
        [&*workspace.name, &*workspace.owner_name, &*app.slug, name].into_iter().any(has)
    }

    /// The address at which the user may open the app: on its own host if its template says so,
    /// and otherwise below a path, or the other of the two
    fn link(
        &self,
        facts: &WorkspaceFacts,
        agent: &Agent,
        (app, shown): (&App, &ListedApp),
    ) -> Option<String> {
        let by_host = || self.by_host(facts, agent, app);
        let by_path = || self.by_path(facts, agent, app);
        match shown.is_on_own_host {
            true => by_host().or_else(by_path),
            false => by_path().or_else(by_host),
        }
    }

    fn by_host(&self, facts: &WorkspaceFacts, agent: &Agent, app: &App) -> Option<String> {
        let url = &self.apps.config.access_url;
        let hosts = self.apps.config.app_hosts.clone()?.or_port(url.port());
        let name = |agent: Option<String>| AppName {
            prefix: String::new(),
            slug_or_port: app.slug.clone(),
            agent,
            workspace: facts.workspace.name.clone(),
            user: facts.workspace.owner_name.clone(),
        };
        let host = match facts.agents.len() {
            1 => hosts.host_of(&name(None)),
            _ => hosts.host_of(&name(Some(agent.name.clone()))),
        };
        // As the visit reads it.
        let HostMeaning::App(name) = HostMeaning::of(&host, Some(&hosts), []) else { return None };
        let address = url.clone().with_authority(&host).ok()?;
        self.may_open(facts, app, AppRequest::of_host(name).ok()?).then(|| address.to_string())
    }

    fn by_path(&self, facts: &WorkspaceFacts, agent: &Agent, app: &App) -> Option<String> {
        let workspace = &facts.workspace;
        if self.apps.config.disable_path_apps {
            return None;
        }
        let workspace_and_agent = match facts.agents.len() {
            1 => workspace.name.clone(),
            _ => format!("{}.{}", workspace.name, agent.name),
        };
        let (owner, slug) = (&workspace.owner_name, &app.slug);
        let path = encode_path(&format!("/@{owner}/{workspace_and_agent}/apps/{slug}/"));
        // As the visit reads it.
        let is_open = self.may_open(facts, app, AppRequest::of_path(&path).ok()?.0);
        is_open.then_some(path)
    }

    /// Whether the request leads to that app, and the user may open it
    fn may_open(&self, facts: &WorkspaceFacts, app: &App, request: AppRequest) -> bool {
        let rules = self.apps.config.rules;
        let Ok(target) = resolve(&request, Some(facts), rules) else { return false };
        target.app() == Some(app.id) && decide(&target, Some(&self.caller.subject), rules).is_ok()
    }

    fn state(&self, agent: &Agent, app: &ListedApp) -> State {
        let timeout = self.apps.config.agent_inactive_timeout;
        match (agent.contact.status(self.cx.now, timeout), app.health) {
            (AgentStatus::Connecting, _) => State::Starting,
            (AgentStatus::Timeout, _) => State::NotStarted,
            (AgentStatus::Disconnected, _) => State::NoResponse,
            (_, Health::Initializing) => State::Starting,
            (_, Health::Unhealthy) => State::Unhealthy,
            _ => State::Running,
        }
    }
}

/// The row of a workspace without an app to open
fn of_workspace(
    facts: &WorkspaceFacts,
    is_own: bool,
    link: Option<String>,
    state: State,
) -> ListRow {
    let workspace = &facts.workspace;
    let place = match is_own {
        true => "Workspace".to_owned(),
        false => format!("Workspace of {}", workspace.owner_name),
    };
    ListRow { name: workspace.name.clone(), link, place, state }
}

/// Workspaces of a page
const PAGE: u16 = 25;
