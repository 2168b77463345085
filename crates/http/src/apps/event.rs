use std::time::SystemTime;

use app_audit::{Event, Resource};
use app_authz::app::{AccessMethod, WorkspaceFacts};
use app_authz::{AppRequest, Target, UserId};
use uuid::Uuid;

/// A decided visit, in the terms of `app-authz`, for the audit
///
/// `app-audit` and `app-authz` do not know each other. A server that calls both by itself makes its
/// events here, so that its audit log says the same about a visit as authd's.
#[derive(Clone, Copy, Debug)]
pub struct DecidedVisit<'a> {
    /// What was requested, as the facts were looked up for it
    pub request: &'a AppRequest,
    /// What the directory knows about the workspace
    ///
    /// Visits to a workspace that does not exist are not recorded.
    pub facts: &'a WorkspaceFacts,
    /// What the request leads to; `None` if it leads to nothing
    pub target: Option<&'a Target<'a>>,
    /// The signed-in user, also of a visit that was denied
    pub visitor: Option<UserId>,
}

impl DecidedVisit<'_> {
    /// The event of the visit, without the client's address and `User-Agent`: set them if they are
    /// known
    ///
    /// `id` is the id of the request, which the log of the server has too. `status` is that of the
    /// answer: 200 if the visit was permitted. `reason` is a stable word, such as
    /// [`Answer::class`](crate::Answer::class), and `None` if the visit was permitted.
    ///
    /// Do not record a preflight request, or one whose address cannot lead to an app for any visitor
    /// (a [`ResolveError`](app_authz::app::ResolveError) that is neither
    /// [`Stopped`](app_authz::app::ResolveError::Stopped) nor
    /// [not found](app_authz::app::ResolveError::is_not_found)): these say nothing about the visitor.
    #[must_use]
    pub fn event(
        &self,
        time: SystemTime,
        id: Uuid,
        status: u16,
        reason: Option<&'static str>,
    ) -> Event {
        let workspace = &self.facts.workspace;
        let agent = self.target.map(Target::agent);
        let mut event = Event::new(time, id, self.resource(), status);
        event.user = self.visitor.map(|user| user.0.into());
        event.agent = agent.map(|agent| (agent.id.0.into(), agent.name.clone()));
        event.workspace = Some(app_audit::Workspace::new(
            workspace.id.0,
            &workspace.name,
            &workspace.owner_name,
            workspace.organization.0,
        ));
        event.reason = reason;
        event
    }

    /// What was visited; an app by the slug that it has, in whichever case the visitor wrote it
    fn resource(&self) -> Resource {
        let request = self.request;
        let asked = match request.method() {
            AccessMethod::Terminal => return Resource::Terminal,
            AccessMethod::Subdomain => request.slug_or_port().to_ascii_lowercase(),
            AccessMethod::Path => request.slug_or_port().to_owned(),
        };
        match self.target.map(Target::app) {
            Some(Some(id)) => {
                let app = self.facts.apps.iter().find(|app| app.id == id);
                let slug = app.map_or(asked, |app| app.slug.clone());
                Resource::App(id.0.into(), slug)
            }
            Some(None) => Resource::Port(asked),
            None => Resource::Unknown(asked),
        }
    }
}
