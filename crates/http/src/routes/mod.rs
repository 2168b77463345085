//! The handlers, one for each route

pub(crate) mod agent_sign_in;
pub(crate) mod challenge;
pub(crate) mod forward_auth;
pub(crate) mod health;

mod acts;
mod app_tokens;
mod applications;
mod audit;
mod audit_page;
mod crypto_keys;
mod home;
mod import;
mod login;
mod logout;
mod oidc;
mod revocations;
mod shares;
mod visit;

use std::future::ready;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::forward_auth::{Failure, ProxyKind};
use crate::admission::Work;
use crate::apps::{AppService, Upstream};
use crate::context::{Body, Context};
use crate::error::Error;
use crate::explorer::Format;
use crate::ports::{AppPorts, Parts};
use crate::reply::Response;
use crate::route_groups::RouteGroup;

/// The routes of app access
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AppRoute {
    Acts,
    AppFailed(Failure),
    AppHost,
    Audit,
    AuditExport(Format),
    AuditPage,
    AuthRedirect,
    CryptoKeys,
    ForwardAuth(ProxyKind, Upstream),
    ForwardAuthAnswer,
    Home,
    Import,
    IssueAppToken,
    IssueTerminalToken,
    Jwks,
    LogIn,
    LogInPage,
    LogOut,
    LogOutPage,
    OidcCallback,
    OidcLogout,
    ReplaceShares,
    Revocations,
    Shares,
    Visit,
}

impl AppRoute {
    /// Whether its requests have a small body, which may be read before they are authenticated
    pub(crate) const fn has_small_body(self) -> bool {
        matches!(
            self,
            Self::IssueAppToken | Self::IssueTerminalToken | Self::LogIn | Self::OidcLogout
        )
    }

    /// Whether a source may fail at its requests only so often: what they bring could be guessed
    pub(crate) const fn is_log_in(self) -> bool {
        matches!(self, Self::LogIn | Self::OidcCallback | Self::OidcLogout)
    }

    pub(crate) const fn group(self) -> RouteGroup {
        match self {
            Self::Acts | Self::Audit | Self::AuditExport(_) | Self::AuditPage => RouteGroup::Audit,
            Self::AppFailed(_) | Self::ForwardAuth(..) | Self::ForwardAuthAnswer => {
                RouteGroup::ForwardAuth
            }
            Self::AppHost | Self::AuthRedirect | Self::IssueTerminalToken | Self::Visit => {
                RouteGroup::Apps
            }
            Self::CryptoKeys | Self::IssueAppToken | Self::Jwks => RouteGroup::Proxies,
            Self::Home => RouteGroup::Home,
            Self::Import => RouteGroup::Import,
            Self::LogIn | Self::LogInPage | Self::LogOut | Self::LogOutPage => RouteGroup::LogIn,
            Self::OidcCallback | Self::OidcLogout => RouteGroup::Oidc,
            Self::ReplaceShares | Self::Shares => RouteGroup::Shares,
            Self::Revocations => RouteGroup::Revocations,
        }
    }

    pub(crate) const fn work(self) -> Work {
        match self {
            Self::Acts | Self::Audit | Self::AuditExport(_) | Self::AuditPage | Self::Import => {
                Work::Administration
            }
            _ => Work::Visit,
        }
    }
}

/// Handles a request of app access
///
/// Each kind has a future of its own on the heap. A check of a proxy, which is by far the most frequent
/// one, would otherwise have room for the largest.
pub(crate) fn answer<'a, S: AppPorts>(
    apps: &'a Arc<AppService<S>>,
    parts: &'a Parts,
    route: AppRoute,
    cx: &'a Context<'_>,
    body: Body,
) -> BoxFuture<'a, Result<Response, Error>> {
    let log = || parts.log.as_ref().ok_or(Error::RouteNotFound);
    let oidc = || parts.oidc.as_ref().ok_or(Error::RouteNotFound);
    let sharing = || parts.sharing.as_deref().ok_or(Error::RouteNotFound);
    match route {
        AppRoute::Acts => Box::pin(async move { acts::list(apps, &**log()?, cx).await }),
        AppRoute::AppFailed(failure) => Box::pin(ready(forward_auth::failed(cx, failure))),
        AppRoute::AppHost => Box::pin(applications::host(apps, cx)),
        AppRoute::Audit => Box::pin(async move { audit::list(apps, &**log()?, cx).await }),
        AppRoute::AuditExport(format) => {
            Box::pin(async move { audit_page::export(apps, log()?, cx, format).await })
        }
        AppRoute::AuditPage => Box::pin(async move { audit_page::page(apps, &**log()?, cx).await }),
        AppRoute::AuthRedirect => Box::pin(applications::auth_redirect(apps, cx)),
        AppRoute::CryptoKeys => Box::pin(crypto_keys::for_proxy(apps, cx)),
        AppRoute::ForwardAuth(proxy, upstream) => {
            Box::pin(forward_auth::check(apps, cx, proxy, upstream))
        }
        AppRoute::ForwardAuthAnswer => Box::pin(ready(forward_auth::answer(cx))),
        AppRoute::Home => Box::pin(home::page(apps, parts, cx)),
        AppRoute::Import => Box::pin(async move {
            let rows = parts.import.as_deref().ok_or(Error::RouteNotFound)?;
            import::import(apps, rows, cx, body).await
        }),
        AppRoute::IssueAppToken => Box::pin(app_tokens::issue_for_proxy(apps, cx, body)),
        AppRoute::IssueTerminalToken => Box::pin(app_tokens::issue_for_terminal(apps, cx, body)),
        AppRoute::Jwks => Box::pin(crypto_keys::public(apps, cx)),
        AppRoute::LogIn => Box::pin(login::log_in(apps, parts.oidc.as_deref(), cx, body)),
        AppRoute::LogInPage => Box::pin(login::page(apps, parts.oidc.as_deref(), cx).map(Ok)),
        AppRoute::LogOut => Box::pin(logout::log_out(apps, cx)),
        AppRoute::LogOutPage => Box::pin(logout::from_page(apps, parts.oidc.as_deref(), cx)),
        AppRoute::OidcCallback => Box::pin(async move { oidc::callback(apps, oidc()?, cx).await }),
        AppRoute::OidcLogout => {
            Box::pin(async move { oidc::backchannel_logout(apps, &**oidc()?, cx, body).await })
        }
        AppRoute::ReplaceShares => {
            Box::pin(async move { shares::replace(apps, sharing()?, cx, body).await })
        }
        AppRoute::Revocations => Box::pin(revocations::listen(apps, cx)),
        AppRoute::Shares => Box::pin(async move { shares::list(apps, sharing()?, cx).await }),
        AppRoute::Visit => Box::pin(visit::direct(apps, cx).map(Ok)),
    }
}

/// Answers a request of app access that failed
pub(crate) fn failed(parts: &Parts, route: AppRoute, cx: &Context<'_>, error: Error) -> Response {
    match route {
        AppRoute::ForwardAuth(proxy, _) => forward_auth::answer_to_failure(cx, proxy, error),
        AppRoute::LogIn | AppRoute::OidcCallback => {
            login::answer_to_failure(parts.oidc.as_deref(), cx, error)
        }
        _ => refused(cx, error),
    }
}

/// Answers a request that failed: a person gets a page, and a program JSON
pub(crate) fn refused(cx: &Context<'_>, error: Error) -> Response {
    if !cx.is_of_person() {
        return error.into_response();
    }
    let leads_back = error.is_signed_out() && cx.method == "GET";
    let link = leads_back.then(|| login::link_back(cx));
    error.problem().into_page(link.into_iter().collect())
}
