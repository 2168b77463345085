use app_authz::address::{encode_path, encode_query_value};
use app_authz::app::{CorsBehavior, ResolveError, WorkspaceFacts};
use app_authz::credential::KeyHolder;
use app_authz::rbac::{Action, Subject};

use super::AppService;
use crate::error::Rejection;
use crate::purpose::Purpose;
use crate::reply::{PageLink, Reply};

/// A rejection by the gate, and what its reply depends on
pub(crate) struct Refusal {
    pub(crate) rejection: Box<Rejection>,
    /// How the app treats pages of other origins, if the request leads to an app
    pub(crate) cors: Option<CorsBehavior>,
    /// The name of the visitor, if one is signed in and another account may help
    pub(crate) username: Option<String>,
    /// Where the visitor can go on
    pub(crate) links: Vec<PageLink>,
    /// Whether the visitor's browser has sent sessions of several users
    pub(crate) is_ambiguous: bool,
}

impl Refusal {
    /// Whether the visitor has to sign in
    pub(crate) fn leads_to_sign_in(&self) -> bool {
        matches!(*self.rejection, Rejection::SignIn(_))
    }

    /// The refusal of a visit by this user
    ///
    /// `back` makes the path of the dashboard's host that leads back to the visit, and is called only
    /// if a link needs it. A control plane has a page on which a stopped workspace is started, which
    /// is named only to users who may open the workspace's apps. Its page to sign in does not change
    /// the user, so it is not linked.
    pub(super) fn of<S>(
        mut self,
        apps: &AppService<S>,
        holder: &KeyHolder,
        facts: Option<&WorkspaceFacts>,
        back: impl FnOnce() -> Option<String>,
    ) -> Self {
        let has_dashboard = apps.config.has_dashboard;
        let may_be_another = match &*self.rejection {
            Rejection::Denied(_) => true,
            Rejection::Unresolved(error) => error.is_not_found(),
            _ => false,
        };
        if may_be_another {
            self.username = Some(holder.username.clone());
            if !has_dashboard && let Some(back) = back() {
                let root = apps.config.access_url.to_string();
                let url = match back.len() <= MAX_BACK {
                    true => format!("{root}login?redirect={}", encode_query_value(&back)),
                    false => format!("{root}login"),
                };
                self.links.push(PageLink { text: "Sign in as another user".into(), url });
            }
        }
        if let Rejection::Unresolved(ResolveError::Stopped) = &*self.rejection
            && let Some(facts) = facts.filter(|_| has_dashboard)
            && may_open_when_it_runs(apps, &holder.subject(&apps.roles), facts)
        {
            let (root, url) = (apps.config.access_url.to_string(), workspace_path(facts));
            let url = format!("{}{url}", root.trim_end_matches('/'));
            self.links.push(PageLink { text: "Start the workspace".into(), url });
        }
        self
    }

    /// The reply to the visitor
    pub(crate) fn into_reply(self, purpose: Purpose) -> Reply {
        self.rejection.into_reply(purpose).for_user(self.username).with_links(self.links)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let rejection = Box::new(rejection);
        Self { rejection, cors: None, username: None, links: Vec::new(), is_ambiguous: false }
    }
}

/// The path of the control plane's page for a workspace
pub(super) fn workspace_path(facts: &WorkspaceFacts) -> String {
    let workspace = &facts.workspace;
    encode_path(&format!("/@{}/{}", workspace.owner_name, workspace.name))
}

/// Whether the user's role, or an access list, opens the workspace's apps when it runs
///
/// What an app's sharing level opens is not considered.
pub(super) fn may_open_when_it_runs<S>(
    apps: &AppService<S>,
    subject: &Subject,
    facts: &WorkspaceFacts,
) -> bool {
    let object = facts.workspace.object();
    let object =
        if apps.config.rules.disable_workspace_sharing { object.without_acl() } else { object };
    subject.is_allowed(&Action::ApplicationConnect, &object)
}

/// The longest address to return to, in bytes: nginx gets the reply in a header of limited size
const MAX_BACK: usize = 4_000;
