//! What a document stores that can never work

use app_authz::address::AppName;
use app_authz::app::Port;
use identity_verify::InstanceId;
use serde::Serialize;
use uuid::Uuid;

use super::document::{Agent, App, Build, Document, PortShare, Workspace};

/// An entry of a document that is stored, and can never work
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// The path, such as `workspaces[0].builds[1].agents[0].instance_id`
    pub path: String,
    /// What cannot work, and why; quotes names and instance ids
    pub text: String,
}

impl Document {
    /// The entries that can never work, in the order of the document
    ///
    /// An instance id that no cloud gives; an app on a host of its own whose address no browser
    /// can open; an app whose slug is read as a port. Only the newest build of each workspace in
    /// the document counts, and no deleted entry.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (n, workspace) in (0..).zip(&self.workspaces) {
            workspace.warnings(n, &mut warnings);
        }
        warnings
    }
}

impl Workspace {
    /// Adds the warnings of the workspace with number `n`
    pub(crate) fn warnings(&self, n: u32, warnings: &mut Vec<Warning>) {
        let builds = self.builds.iter().enumerate().filter(|_| !self.deleted);
        let Some((b, build)) = builds.max_by_key(|(_, build)| build.number) else { return };
        for (a, agent) in build.agents.iter().enumerate().filter(|(_, agent)| !agent.deleted) {
            let path = format!("workspaces[{n}].builds[{b}].agents[{a}]");
            of_agent(&path, self, agent, warnings);
        }
        if !build.agents.is_empty() {
            of_ports(&format!("workspaces[{n}]"), self, build, warnings);
        }
    }
}

fn of_agent(path: &str, workspace: &Workspace, agent: &Agent, warnings: &mut Vec<Warning>) {
    if let Some(id) = &agent.instance_id
        && let Err(error) = InstanceId::stored(id)
    {
        let text = format!("the machine cannot sign in with `{}`: {error}", id.escape_debug());
        warnings.push(Warning { path: format!("{path}.instance_id"), text });
    }
    for (n, app) in agent.apps.iter().flatten().enumerate() {
        let path = || format!("{path}.apps[{n}].slug");
        let texts = of_app(workspace, agent, app);
        warnings.extend(texts.into_iter().map(|text| Warning { path: path(), text }));
    }
}

/// The ports that are shared and cannot be opened
fn of_ports(path: &str, workspace: &Workspace, build: &Build, warnings: &mut Vec<Warning>) {
    for (n, share) in workspace.port_shares.iter().flatten().enumerate() {
        let PortShare { agent, port, .. } = share;
        let is_live = |a: &&Agent| !a.deleted && a.name.eq_ignore_ascii_case(agent);
        let fault = match build.agents.iter().find(is_live) {
            None => Some(format!("the newest build has no agent `{}`", agent.escape_debug())),
            Some(_) => name(workspace, Some(agent), &port.to_string())
                .fault()
                .map(|fault| format!("the port cannot be opened: {fault}")),
        };
        let path = format!("{path}.port_shares[{n}].agent");
        warnings.extend(fault.map(|text| Warning { path, text }));
    }
}

/// The name of the host of an app or a port
fn name(workspace: &Workspace, agent: Option<&str>, slug_or_port: &str) -> AppName {
    // An owner who is not in the document is given by id, and may have a short name.
    let is_id = Uuid::try_parse(&workspace.owner).is_ok();
    AppName {
        prefix: String::new(),
        slug_or_port: slug_or_port.to_owned(),
        agent: agent.map(str::to_owned),
        workspace: workspace.name.clone(),
        user: if is_id { "u".to_owned() } else { workspace.owner.clone() },
    }
}

/// Why an app cannot be opened, or cannot be at one of its addresses
fn of_app(workspace: &Workspace, agent: &Agent, app: &App) -> Vec<String> {
    let slug = &app.slug;
    // A link elsewhere, or a command, has no address here.
    if app.external || app.url.as_ref().is_none_or(String::is_empty) {
        return Vec::new();
    }
    if slug.parse::<Port>().is_ok() {
        return vec![format!("the app cannot be opened: the slug `{slug}` is read as a port")];
    }
    if !app.subdomain {
        let is_in_path = !slug.chars().any(|c| c.is_control() || "/\\".contains(c));
        let text = || format!("the app cannot be opened: `{}` holds a slash", slug.escape_debug());
        return if is_in_path { Vec::new() } else { vec![text()] };
    }
    let mut texts = Vec::new();
    let name = name(workspace, None, slug);
    if let Some(fault) = name.fault() {
        texts.push(format!("the app cannot be opened on a host of its own: {fault}"));
    } else if let Some(fault) = name.fault_with_agent(&agent.name) {
        texts.push(format!("the app cannot be opened at an address that names its agent: {fault}"));
    }
    if texts.is_empty() && slug.bytes().any(|byte| byte.is_ascii_uppercase()) {
        texts.push(format!(
            "browsers write hosts in lower case, so the app is opened as `{}`",
            slug.to_ascii_lowercase()
        ));
    }
    texts
}
