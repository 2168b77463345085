//! The gate: may this visitor open this app now, and what proves it for the next minute?
//!
//! One question to the directory, one decision, one event. The event is captured before the
//! answer is given, and also for a visitor who hangs up.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::{Event, RecordError};
use app_authz::address::{
    Envelope, HostPattern, HttpUrl, SignIn, auth_redirect, encode_path, login,
};
use app_authz::app::{
    AccessMethod, AgentStatus, Basis, CorsBehavior, Reason, ResolveError, WorkspaceFacts,
};
use app_authz::credential::{Identified, SessionToken, Source, identify};
use app_authz::token::{SignedToken, TokenOptions};
use app_authz::{AppRequest, Directory, Error, Target, UserId, decide, resolve};
use futures_util::FutureExt;

use super::decisions::{Question, Turn};
use super::deployments::Deployment;
use super::event::DecidedVisit;
use super::origin::is_decided_here;
use super::refusal::Refusal;
use super::sign_in::SignInCookie;
use super::{AppService, AuditFail, with_query};
use crate::detach::DetachOnDrop;
use crate::error::{Rejection, SIGNED_OUT};
use crate::ports::AppPorts;
use crate::purpose::Purpose;
use crate::reply::{Preflight, encoded};
use crate::request_facts::{RequestFacts, log_request};

/// A visit without a good app token
///
/// Without `Debug`, since its query may contain secrets.
pub(crate) struct AccessAttempt {
    pub(crate) request: AppRequest,
    /// Possible session tokens of the visitor, in order of preference
    pub(crate) tokens: Vec<(Source, SessionToken)>,
    pub(crate) return_to: ReturnTo,
    /// The raw path within the app
    pub(crate) app_path: String,
    /// The raw query, without what signs the visitor in unless a proxy supplied it
    pub(crate) app_query: String,
    /// The raw path and query of the visit, to return to on the dashboard's host, with the same query
    pub(crate) path_and_query: String,
    /// The visitor's address, if it is known
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Vec<u8>,
    /// What the request is for, which decides on the form of a refusal
    pub(crate) purpose: Purpose,
    /// What the visitor's browser gets when it leaves to sign in
    pub(crate) sign_in: Option<SignInCookie>,
    /// What the visitor's browser had when it came
    pub(crate) returning: Option<SignInCookie>,
    /// The preflight request of another app of the same owner, if the visit is only that
    pub(crate) preflight: Option<Preflight>,
    /// Whether the page that makes the request may do so only if the app itself allows that
    pub(crate) is_foreign: bool,
    pub(crate) now: SystemTime,
    pub(crate) facts: RequestFacts,
}

impl AccessAttempt {
    /// What a decision that others may share depends on; `None` if the answer is for this request
    /// alone
    fn question(&self) -> Option<Question> {
        let is_shared = self.preflight.is_none() && !self.is_foreign;
        is_shared
            .then(|| (self.request.clone(), self.tokens.clone(), self.ip, self.user_agent.clone()))
    }

    /// The path of the dashboard's host that leads back to the visit, with the session at hand
    ///
    /// `None` if the visitor does not return to a host that is known.
    fn sign_in_again<S>(&self, apps: &AppService<S>) -> Option<String> {
        let ReturnTo::Deployment(at, visited) = &self.return_to else { return None };
        let back = &self.path_and_query;
        if self.request.method() != AccessMethod::Subdomain && at.primary {
            return Some(back.clone());
        }
        let address = format!("{}{}", visited.origin(), encoded(back)).parse().ok()?;
        let leading = auth_redirect(&apps.config.access_url, &address, None).ok()?;
        Some(with_query(leading.path(), leading.query()?))
    }

    /// The rejection of a request that does not lead to an app
    ///
    /// The control plane's proxies expect the statuses that it gives to their requests. Every other
    /// request is as its visitor wrote it.
    pub(super) fn unresolved(&self, error: ResolveError) -> Rejection {
        let is_found = !error.is_not_found() && error != ResolveError::Stopped;
        match self.return_to {
            ReturnTo::Deployment(..) if is_found => Rejection::NotOpenable(error),
            _ => Rejection::Unresolved(error),
        }
    }
}

/// Where a visitor returns to after signing in
pub(crate) enum ReturnTo {
    /// A host of this deployment or of a registered proxy; the URL has the visitor's own host
    /// and port
    Deployment(Arc<Deployment>, HttpUrl),
    /// An address that a proxy supplied, parsed only if the visitor has to sign in
    ProxySupplied {
        /// The base of path apps
        path_app_base: String,
        /// The pattern of app hosts
        app_hosts: String,
    },
    /// Signing in does not lead back to the page
    None,
}

impl ReturnTo {
    /// The base of path apps and the pattern of app hosts
    fn bases(&self) -> Result<(HttpUrl, Option<HostPattern>), Error> {
        match self {
            Self::Deployment(at, _) => Ok((at.url.clone(), at.app_hosts.clone())),
            Self::ProxySupplied { path_app_base, app_hosts } => {
                Ok((path_app_base.parse()?, app_hosts.parse().ok()))
            }
            Self::None => Err(Error::NoAppHosts),
        }
    }

    /// The host and port that the visitor asked for, if they are known
    const fn visited(&self) -> Option<&HttpUrl> {
        match self {
            Self::Deployment(_, visited) => Some(visited),
            Self::ProxySupplied { .. } | Self::None => None,
        }
    }
}

/// Decides a visit, records it, and signs a token that proves the decision
///
/// Continues to the end even if the future is dropped. Identical requests that arrive meanwhile
/// get the same token.
pub(crate) async fn issue<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    mut attempt: AccessAttempt,
) -> Result<SignedToken, Refusal> {
    let request_facts = attempt.facts;
    let logged = |rejection: Rejection| {
        rejection.log(&request_facts);
        Refusal::from(rejection)
    };
    let first = match attempt.question().map(|question| apps.decisions.ask(question)) {
        Some(Turn::Other(other)) => match other.token().await {
            Some(token) => return Ok(token),
            None => None,
        },
        Some(Turn::First(first)) => Some(first),
        None => None,
    };
    let turn = apps.admission.decision(attempt.ip.into()).await;
    let turn = turn.map_err(|_| Refusal::from(Rejection::Overloaded))?;
    let apps = Arc::clone(apps);
    let decided = DetachOnDrop::new(async move {
        let _turn = turn;
        let decided = AssertUnwindSafe(decide_and_record(&apps, &mut attempt)).catch_unwind().await;
        if let (Some(first), Ok(Ok(token))) = (first, &decided) {
            first.answer(token);
        }
        decided
    });
    decided.await.unwrap_or_else(|_| Err(logged(Rejection::Panicked)))
}

async fn decide_and_record<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    attempt: &mut AccessAttempt,
) -> Result<SignedToken, Refusal> {
    let tokens: Vec<_> = attempt.tokens.iter().map(|(_, token)| token.clone()).collect();
    let logged = |rejection: Rejection| {
        rejection.log(&attempt.facts);
        rejection
    };
    let failed = |error: <S as Directory>::Error| logged(Rejection::Directory(error.into()));
    let mut facts = apps.store.app_access(&attempt.request, &tokens).await.map_err(failed)?;
    let refreshed = apps.refresh_link(&attempt.tokens, &facts.holders, attempt.now).await;
    if refreshed.map_err(|error| logged(Rejection::NotRefreshed(error)))? {
        facts = apps.store.app_access(&attempt.request, &tokens).await.map_err(failed)?;
    }
    let request = attempt.request.clone().under(facts.agent_in_host);
    let target = resolve(&request, facts.workspace.as_deref(), apps.config.rules);
    let identified = identify(&attempt.tokens, &facts.holders, apps.terms(), attempt.now);
    let holder = match identified {
        Identified::Anonymous | Identified::Ambiguous => None,
        Identified::User(holder, _) | Identified::Blocked(holder, _) => Some(holder),
    };
    let visitor = holder.map(|holder| holder.key.user);
    let outcome = decide_and_sign(apps, identified, target.as_ref(), attempt).await;
    let basis = outcome.as_ref().ok().map(|(_, basis)| *basis);
    let outcome = outcome.map(|(token, _)| token);

    let target = target.ok();
    let outcome =
        Outcome { result: outcome, visitor, basis, target: target.as_ref(), request: &request };
    outcome.report(apps, attempt, facts.workspace.as_deref());
    if let Some(facts) = facts.workspace.as_ref().filter(|_| outcome.is_recorded()) {
        record(apps, outcome.event(attempt, facts)).await?;
    }
    let cors = outcome.target.map(Target::cors);
    outcome.result.map_err(|rejection| {
        let is_ambiguous = matches!(identified, Identified::Ambiguous);
        let refusal = Refusal { cors, is_ambiguous, ..rejection.into() };
        match holder {
            Some(holder) => {
                let back = || attempt.sign_in_again(apps);
                refusal.of(apps, holder, facts.workspace.as_deref(), back)
            }
            None => refusal,
        }
    })
}

async fn decide_and_sign<S: AppPorts>(
    apps: &AppService<S>,
    identified: Identified<'_>,
    target: Result<&Target<'_>, &ResolveError>,
    attempt: &AccessAttempt,
) -> Result<(SignedToken, Basis), Rejection> {
    let holder = match identified {
        Identified::Anonymous | Identified::Ambiguous => None,
        Identified::User(holder, session) => {
            apps.write_back(holder, session, attempt.ip);
            Some(holder)
        }
        Identified::Blocked(_, status) => return Err(Rejection::Inactive(status)),
    };
    let target = target.map_err(|error| attempt.unresolved(*error))?;
    if let (Some(preflight), CorsBehavior::Simple) = (&attempt.preflight, target.cors()) {
        return Err(Rejection::Preflight(preflight.clone()));
    }
    let subject = holder.map(|holder| holder.subject(&apps.roles));

    let permit = match decide(target, subject.as_ref(), apps.config.rules) {
        Ok(permit) => permit,
        Err(denial) if denial.reason() == Reason::NotSignedIn => {
            let is_ambiguous = matches!(identified, Identified::Ambiguous);
            return Err(sign_in(apps, attempt, target, is_ambiguous));
        }
        Err(denial) => return Err(denial.into()),
    };
    if attempt.is_foreign && is_decided_here(target.request().method(), target.cors()) {
        return Err(Rejection::ForeignPage);
    }
    // Agent status is revealed only to users who may open the app.
    let status = target.agent().contact.status(attempt.now, apps.config.agent_inactive_timeout);
    if status != AgentStatus::Connected {
        return Err(Rejection::AgentNotConnected(status));
    }
    let options = TokenOptions::default()
        .lifetime(apps.config.token_lifetime)
        .session(holder.map(|holder| holder.key.id.as_str()));
    let token = apps.keys.sign(&*apps.store, &permit, options, attempt.now).await;
    let token = token.map_err(Rejection::Unsigned)?;
    apps.sessions.signed(&token);
    apps.revocations.granted(token.token());
    Ok((token, permit.basis()))
}

/// Where the visitor has to sign in
///
/// A visitor whose browser has sessions of several users is not sent to where that session is
/// preferred which does not count here.
fn sign_in<S: AppPorts>(
    apps: &AppService<S>,
    attempt: &AccessAttempt,
    target: &Target<'_>,
    is_ambiguous: bool,
) -> Rejection {
    if target.request().method() == AccessMethod::Terminal {
        return Rejection::TerminalSignIn;
    }
    let dashboard = &apps.config.access_url;
    let (path_app_base, app_hosts) = match attempt.return_to.bases() {
        Ok(bases) => bases,
        Err(error) => return Rejection::NoReturn(error),
    };
    let envelope = Envelope {
        dashboard,
        path_app_base: &path_app_base,
        app_hosts: app_hosts.as_ref(),
        visited: attempt.return_to.visited(),
        app_path: &encode_path(&attempt.app_path),
        app_query: &encoded(&attempt.app_query),
    };
    let is_looping = |cookie: &SignInCookie| cookie.is_looping(attempt.now);
    if is_ambiguous && attempt.returning.as_ref().is_some_and(is_looping) {
        return Rejection::SeveralUsers;
    }
    if attempt.sign_in.as_ref().is_some_and(is_looping) {
        return Rejection::LostSignIn;
    }
    let nonce = attempt.sign_in.as_ref().map(|cookie| &cookie.nonce);
    let address = match envelope.sign_in(target) {
        Ok(SignIn::NotFound) => return Rejection::TerminalSignIn,
        Ok(SignIn::Login) if is_ambiguous => return Rejection::SeveralUsers,
        Ok(SignIn::Login) => login(dashboard, SIGNED_OUT, &attempt.path_and_query),
        Ok(SignIn::AuthRedirect(back)) => auth_redirect(dashboard, &back, nonce),
        // The visitor's own path leads out of the app.
        Err(Error::InvalidUrl(_)) => return Rejection::UnsafePath,
        Err(error) => Err(error),
    };
    address.map_or_else(Rejection::NoReturn, Rejection::SignIn)
}

/// A decided visit, for the log, the metrics and the audit
pub(super) struct Outcome<'a, T> {
    pub(super) result: Result<T, Rejection>,
    pub(super) visitor: Option<UserId>,
    /// Why the visit was permitted
    pub(super) basis: Option<Basis>,
    pub(super) target: Option<&'a Target<'a>>,
    pub(super) request: &'a AppRequest,
}

impl<T> Outcome<'_, T> {
    /// Counts the visit, and writes one line to the log unless a stranger has had too many
    pub(super) fn report<S>(
        &self,
        apps: &AppService<S>,
        attempt: &AccessAttempt,
        facts: Option<&WorkspaceFacts>,
    ) {
        if let Err(
            rejection @ (Rejection::NoReturn(_)
            | Rejection::Unsigned(_)
            | Rejection::NotOpenable(ResolveError::InvalidUrl)),
        ) = &self.result
        {
            rejection.log(&attempt.facts);
        }
        let (status, reason) = self.status_and_reason(attempt.purpose);
        apps.metrics.visit_decided(reason.unwrap_or("ok"));
        if self.visitor.is_none() && !apps.admission.logs(attempt.ip.into()) {
            return;
        }
        let problem = self.result.as_ref().err().map(Rejection::problem);
        log_request!(
            info,
            &attempt.facts,
            status,
            reason,
            basis = self.basis.map(Basis::as_str),
            access = %self.request.method(),
            user = self.visitor.map(tracing::field::display),
            workspace = facts.map(|facts| tracing::field::display(facts.workspace.id)),
            agent = self.target.map(|target| tracing::field::display(target.agent().id)),
            app = self.target.and_then(Target::app).map(tracing::field::display),
            detail = problem.as_ref().and_then(|problem| problem.only_logged()),
            "app visit decided"
        );
    }

    fn status_and_reason(&self, purpose: Purpose) -> (u16, Option<&'static str>) {
        match &self.result {
            Ok(_) => (200, None),
            Err(rejection) => (rejection.status(purpose).as_u16(), Some(rejection.problem().class)),
        }
    }

    /// Whether a visit to an existing workspace is one that auditors ask for
    ///
    /// A failure before the decision says nothing about the visitor.
    pub(super) fn is_recorded(&self) -> bool {
        match &self.result {
            Err(Rejection::Unresolved(error)) => {
                error.is_not_found() || *error == ResolveError::Stopped
            }
            // The request that may follow is the visit.
            Err(Rejection::Preflight(_) | Rejection::NotOpenable(_)) => false,
            _ => true,
        }
    }

    pub(super) fn event(&self, attempt: &mut AccessAttempt, facts: &WorkspaceFacts) -> Event {
        let (status, reason) = self.status_and_reason(attempt.purpose);
        let Self { request, target, visitor, .. } = *self;
        let visit = DecidedVisit { request, facts, target, visitor };
        let mut event = visit.event(attempt.now, attempt.facts.id.uuid(), status, reason);
        event.ip = attempt.ip;
        event.user_agent = std::mem::take(&mut attempt.user_agent);
        event
    }
}

/// Captures the event, and waits until it is written only if the configuration demands that
pub(super) async fn record<S: AppPorts>(
    apps: &AppService<S>,
    event: Event,
) -> Result<(), Rejection> {
    let is_denied = event.reason.is_some();
    let captured = apps.recorder.record(event);
    if apps.config.audit_fail == AuditFail::Open {
        return Ok(());
    }
    let written = match captured {
        Ok(receipt) => match tokio::time::timeout(AUDIT_TIMEOUT, receipt).await {
            Ok(written) => written.map(|_| ()),
            Err(_) => return Err(Rejection::Unrecorded),
        },
        Err(unrecorded) => Err(unrecorded),
    };
    match written {
        Ok(()) => Ok(()),
        // One of too many from this source, which is counted, and is not admitted anyway.
        Err(RecordError::Limited) if is_denied => Ok(()),
        Err(_) => Err(Rejection::Unrecorded),
    }
}

/// How long a visitor waits for the audit to be written, if it must be
const AUDIT_TIMEOUT: Duration = Duration::from_secs(3);
