//! The gate: may this visitor open this app now, and what proves it for the next minute?
//!
//! One question to the directory, one decision, one event. Whatever the answer, the event
//! is captured before it is given, and it is given even to a visitor who hangs up.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::{Event, Resource, Unrecorded};
use app_authz::address::{Envelope, HostPattern, HttpUrl, SignIn, auth_redirect, login};
use app_authz::app::{AccessMethod, AgentStatus, CorsBehavior, Reason, ResolveError};
use app_authz::credential::{Identified, SessionToken, identify};
use app_authz::token::SignedToken;
use app_authz::{AppRequest, Error, Target, decide, resolve};
use futures_util::FutureExt;
use store::Store;
use tracing::{info, warn};
use uuid::Uuid;

use super::deployments::Deployment;
use super::{Apps, AuditFail, Preflight, encoded, encoded_path};
use crate::error::{Refused, SIGNED_OUT};
use crate::to_the_end::ToTheEnd;

/// A visit that carries no good app token
///
/// Its query may hold secrets, so it has no `Debug`.
pub(crate) struct Asking {
    pub(crate) request: AppRequest,
    /// What may be session tokens of the visitor, the most telling first
    pub(crate) tokens: Vec<SessionToken>,
    pub(crate) whence: Whence,
    /// The raw path within the app
    pub(crate) app_path: String,
    /// The raw query
    pub(crate) app_query: String,
    /// The raw path and query of the visit, to come back to on the dashboard's host
    pub(crate) way_back: String,
    /// Where the visitor is, if that is known
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Vec<u8>,
    /// Whether the visitor takes pages
    pub(crate) html: bool,
    /// What a page of another app of the owner's asks ahead for, if that is all it is
    pub(crate) preflight: Option<Preflight>,
    pub(crate) now: SystemTime,
    pub(crate) request_id: Uuid,
}

/// Where the visit was, and where the visitor comes back to after signing in
pub(crate) enum Whence {
    /// On a host of this deployment or of a registered proxy, which the address names with
    /// the visitor's own port
    Deployment(Arc<Deployment>, HttpUrl),
    /// Where a proxy says that it serves apps; hardly any visitor has to sign in, so it is
    /// read only then
    Told {
        /// The base of path apps
        path_app_base: String,
        /// The pattern of app hosts
        app_hosts: String,
    },
    /// On a page that no sign-in leads back to
    Nowhere,
}

impl Whence {
    /// The base of path apps and the pattern of app hosts
    fn bases(&self) -> Result<(HttpUrl, Option<HostPattern>), Error> {
        match self {
            Self::Deployment(at, _) => Ok((at.url.clone(), at.app_hosts.clone())),
            Self::Told { path_app_base, app_hosts } => {
                Ok((path_app_base.parse()?, app_hosts.parse().ok()))
            }
            Self::Nowhere => Err(Error::NoAppHosts),
        }
    }

    /// The host and port that the visitor asked for, where they are known
    const fn visited(&self) -> Option<&HttpUrl> {
        match self {
            Self::Deployment(_, visited) => Some(visited),
            Self::Told { .. } | Self::Nowhere => None,
        }
    }
}

/// Decides a visit, records it, and signs what proves the decision
///
/// Goes on to its end even if nobody waits any more.
pub(crate) async fn issue<S: Store>(
    apps: &Arc<Apps<S>>,
    mut asking: Asking,
) -> Result<SignedToken, Refused> {
    let request_id = asking.request_id;
    let logged = |refused: Refused| {
        refused.log(request_id);
        refused
    };
    let permit = Arc::clone(&apps.visits).try_acquire_owned();
    let permit = permit.map_err(|_| logged(Refused::Overloaded))?;
    let apps = Arc::clone(apps);
    let decided = ToTheEnd::new(async move {
        let _permit = permit;
        AssertUnwindSafe(decide_and_record(&apps, &mut asking)).catch_unwind().await
    });
    decided.await.unwrap_or_else(|_| Err(logged(Refused::Panicked)))
}

async fn decide_and_record<S: Store>(
    apps: &Arc<Apps<S>>,
    asking: &mut Asking,
) -> Result<SignedToken, Refused> {
    let undecided = |refused: Refused| {
        refused.log(asking.request_id);
        refused
    };
    let request = &asking.request;
    let asked = apps.store.app_access(request, &asking.tokens).await;
    let facts = asked.map_err(|error| undecided(Refused::Directory(error)))?;
    let request = request.clone().under(facts.agent_in_host);
    let request = &request;
    let target = resolve(request, facts.workspace.as_deref(), apps.config.rules);
    let identified = identify(&asking.tokens, &facts.holders, apps.terms(), asking.now);
    let visitor = match identified {
        Identified::Anonymous => None,
        Identified::User(holder, _) | Identified::Blocked(holder, _) => Some(holder.key.user),
    };
    let outcome = pass(apps, identified, target.as_ref(), asking).await;

    let (status, reason) = match &outcome {
        Ok(_) => (200, None),
        Err(refused) => (refused.status(asking.html).as_u16(), Some(refused.reason())),
    };
    if let Err(refused @ (Refused::NoWayBack(_) | Refused::Unsigned(_))) = &outcome {
        refused.log(asking.request_id);
    }
    apps.metrics.visit_decided(reason.unwrap_or("ok"));
    let workspace = facts.workspace.as_ref().map(|facts| facts.workspace.id);
    info!(
        request_id = %asking.request_id,
        status,
        reason,
        method = %request.method(),
        user = visitor.map(tracing::field::display),
        workspace = workspace.map(tracing::field::display),
        agent = target.as_ref().ok().map(|target| tracing::field::display(target.agent.id)),
        app = target.as_ref().ok().and_then(|t| t.app).map(tracing::field::display),
        detail = outcome.as_ref().err().and_then(Refused::log_detail),
        "app visit decided"
    );
    if let Some(facts) = facts.workspace.as_ref().filter(|_| is_recorded(&outcome)) {
        let workspace = &facts.workspace;
        let event = Event {
            time: asking.now,
            request: asking.request_id,
            user: visitor.map(|user| app_audit::UserId(user.0)),
            ip: asking.ip,
            user_agent: std::mem::take(&mut asking.user_agent),
            resource: resource(request, target.as_ref().ok()),
            agent: target
                .as_ref()
                .ok()
                .map(|target| (app_audit::AgentId(target.agent.id.0), target.agent.name.clone())),
            workspace: Some(app_audit::Workspace {
                id: app_audit::WorkspaceId(workspace.id.0),
                name: workspace.name.clone(),
                owner: workspace.owner_name.clone(),
                organization: app_audit::OrganizationId(workspace.organization.0),
            }),
            status,
            reason,
        };
        record(apps, event).await?;
    }
    outcome
}

/// The decision itself
async fn pass<S: Store>(
    apps: &Apps<S>,
    identified: Identified<'_>,
    target: Result<&Target<'_>, &ResolveError>,
    asking: &Asking,
) -> Result<SignedToken, Refused> {
    let holder = match identified {
        Identified::Anonymous => None,
        Identified::User(holder, session) => {
            apps.write_back(holder, session, asking.ip);
            Some(holder)
        }
        Identified::Blocked(_, status) => return Err(Refused::Inactive(status)),
    };
    let target = target.map_err(|why| Refused::Unresolved(*why))?;
    if let (Some(preflight), CorsBehavior::Simple) = (&asking.preflight, target.cors) {
        return Err(Refused::Preflight(preflight.clone()));
    }
    let subject = holder.map(|holder| holder.subject(&apps.roles));

    let permit = match decide(target, subject.as_ref(), apps.config.rules) {
        Ok(permit) => permit,
        Err(denial) if denial.reason() == Reason::NotSignedIn => {
            return Err(sign_in(apps, asking, target));
        }
        Err(denial) => return Err(Refused::Denied(denial)),
    };
    // Only whoever may open the app learns how its agent does.
    let status = target.agent.contact.status(asking.now, apps.config.agent_inactive_timeout);
    if status != AgentStatus::Connected {
        return Err(Refused::AgentNotConnected(status));
    }
    let token = apps.keys.sign(&*apps.store, &permit, asking.now).await;
    token.map_err(Refused::Unsigned)
}

/// Where somebody goes who has to sign in
fn sign_in<S: Store>(apps: &Apps<S>, asking: &Asking, target: &Target<'_>) -> Refused {
    if target.request.method() == AccessMethod::Terminal {
        return Refused::TerminalSignIn;
    }
    let dashboard = &apps.config.access_url;
    let (path_app_base, app_hosts) = match asking.whence.bases() {
        Ok(bases) => bases,
        Err(error) => return Refused::NoWayBack(error),
    };
    let envelope = Envelope {
        dashboard,
        path_app_base: &path_app_base,
        app_hosts: app_hosts.as_ref(),
        visited: asking.whence.visited(),
        app_path: &encoded_path(&asking.app_path),
        app_query: &encoded(&asking.app_query),
    };
    let address = match envelope.sign_in(target) {
        Ok(SignIn::NotFound) => return Refused::TerminalSignIn,
        Ok(SignIn::Login) => login(dashboard, SIGNED_OUT, &asking.way_back),
        Ok(SignIn::AuthRedirect(back)) => auth_redirect(dashboard, &back),
        // The visitor's own path climbs out of the app.
        Err(Error::InvalidUrl(_)) => return Refused::UnsafePath,
        Err(error) => Err(error),
    };
    address.map_or_else(Refused::NoWayBack, Refused::SignIn)
}

/// Whether a visit to a workspace that exists is one that auditors ask for
///
/// What failed before anything was decided says nothing about the visitor.
fn is_recorded<T>(outcome: &Result<T, Refused>) -> bool {
    match outcome {
        Err(Refused::Unresolved(why)) => why.is_not_found() || *why == ResolveError::Stopped,
        // The visit is what may follow.
        Err(Refused::Preflight(_)) => false,
        _ => true,
    }
}

fn resource(request: &AppRequest, target: Option<&Target<'_>>) -> Resource {
    let asked = request.slug_or_port();
    match target {
        _ if request.method() == AccessMethod::Terminal => Resource::Terminal,
        Some(Target { app: Some(app), .. }) => {
            Resource::App(app_audit::AppId(app.0), asked.to_owned())
        }
        Some(_) => Resource::Port(asked.to_owned()),
        None => Resource::Unknown(asked.to_owned()),
    }
}

/// Captures the event, and waits for it to be written only where that is demanded
async fn record<S: Store>(apps: &Apps<S>, event: Event) -> Result<(), Refused> {
    let captured = apps.recorder.record(event);
    if apps.config.audit_fail == AuditFail::Open {
        return Ok(());
    }
    let written = match captured {
        Ok(receipt) => match tokio::time::timeout(AUDIT_PATIENCE, receipt).await {
            Ok(written) => written.map(|_| ()),
            Err(_) => {
                warn!("an audit event was not written in time");
                return Err(Refused::Unrecorded);
            }
        },
        Err(unrecorded) => Err(unrecorded),
    };
    match written {
        // A refusal like many others from there: it lets nobody in.
        Ok(()) | Err(Unrecorded::TooManyDenials) => Ok(()),
        Err(_) => Err(Refused::Unrecorded),
    }
}

/// How long a visitor waits for the audit to be written, where it must be
const AUDIT_PATIENCE: Duration = Duration::from_secs(3);
