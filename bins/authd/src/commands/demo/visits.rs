use std::net::Ipv4Addr;
use std::time::Instant;

use app_audit::{AuditLog, Filter, Page, Row};
use app_authz::credential::SessionToken;
use bytes::Bytes;
use hyper::header::{ACCEPT, COOKIE, HeaderName, LOCATION, SET_COOKIE};
use hyper::{Method, StatusCode};
use store::{PgStore, StatementCounter};

use super::fleet::SampleFleet;
use super::{CommandError, milliseconds, say};
use crate::client::{Answer, Client};
use authd_http::{AppsConfig, TrustedProxies};

const DASHBOARD: &str = "https://coder.example.com";
const APP_HOSTS: &str = "*.apps.example.com";

/// How apps are reached in the demonstration: through a proxy on this machine
pub(super) fn config() -> Result<AppsConfig, app_authz::Error> {
    let mut config = AppsConfig::new(DASHBOARD.parse()?);
    config.app_hosts = Some(APP_HOSTS.parse()?);
    config.trusted = TrustedProxies {
        origins: Ipv4Addr::LOCALHOST.to_string().parse().into_iter().collect(),
        headers: vec![HeaderName::from_static("x-forwarded-for")],
    };
    Ok(config)
}

/// A visit of an app through a proxy that asks first, and the answer it must get
struct Visit<'a> {
    title: &'static str,
    /// The first label of the app's host
    app: &'static str,
    visitor: Option<&'a SessionToken>,
    status: StatusCode,
    /// The most statements that it may take, if that is shown
    statements: Option<u64>,
    /// What else must be so
    holds: fn(&Answer) -> bool,
}

/// Shows one visit of each kind; returns how many there were and how many went wrong
pub(super) async fn show(
    first: usize,
    fleet: &SampleFleet,
    base: &str,
    client: &Client,
    statements: &StatementCounter,
) -> Result<(usize, usize), CommandError> {
    let to_login = |answer: &Answer| {
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        location.is_some_and(|location| location.starts_with(DASHBOARD))
    };
    let code = "code--main--one-agent--alice";
    let visits = [
        Visit {
            title: "signed out: a browser without a session is sent to sign in",
            app: code,
            visitor: None,
            status: StatusCode::SEE_OTHER,
            statements: None,
            holds: to_login,
        },
        Visit {
            title: "not shared: another user's app, which to her does not exist",
            app: code,
            visitor: Some(&fleet.carol),
            status: StatusCode::NOT_FOUND,
            statements: None,
            holds: |_| true,
        },
        Visit {
            title: "shared: the same user, and an app shared with her organization",
            app: "preview--main--one-agent--alice",
            visitor: Some(&fleet.carol),
            status: StatusCode::OK,
            statements: None,
            holds: |answer| answer.headers.contains_key(SET_COOKIE),
        },
        Visit {
            title: "allowed: the owner, who is given an app token",
            app: code,
            visitor: Some(&fleet.alice),
            status: StatusCode::OK,
            statements: None,
            holds: |answer| answer.headers.contains_key(SET_COOKIE),
        },
        Visit {
            title: "stopped: the owner's workspace that sleeps",
            app: "code--main--asleep--alice",
            visitor: Some(&fleet.alice),
            status: StatusCode::BAD_REQUEST,
            statements: None,
            holds: |_| true,
        },
    ];
    let mut failed = 0;
    let mut token = String::new();
    for (number, visit) in (first..).zip(&visits) {
        let cookie =
            visit.visitor.map(|session| format!("coder_session_token={}", session.reveal()));
        let (answer, right) =
            visit.play(number, base, client, cookie.as_deref(), statements).await?;
        failed += usize::from(!right);
        if visit.app == code
            && let Some(cookie) = answer.headers.get(SET_COOKIE).and_then(|c| c.to_str().ok())
        {
            token = cookie.split(';').next().unwrap_or_default().to_owned();
        }
    }
    let again = Visit {
        title: "again: nothing but the app token, and not one statement",
        app: code,
        visitor: None,
        status: StatusCode::OK,
        statements: Some(0),
        holds: |_| true,
    };
    written(base, client).await?;
    let number = first + visits.len();
    let (_, right) = again.play(number, base, client, Some(&token), statements).await?;
    Ok((visits.len() + 1, failed + usize::from(!right)))
}

impl Visit<'_> {
    async fn play(
        &self,
        number: usize,
        base: &str,
        client: &Client,
        cookie: Option<&str>,
        statements: &StatementCounter,
    ) -> Result<(Answer, bool), CommandError> {
        let host = APP_HOSTS.replacen('*', self.app, 1);
        let mut headers = vec![
            (HeaderName::from_static("x-forwarded-host"), &*host),
            (HeaderName::from_static("x-forwarded-uri"), "/"),
            (HeaderName::from_static("x-forwarded-method"), "GET"),
            (HeaderName::from_static("x-forwarded-proto"), "https"),
            (HeaderName::from_static("x-forwarded-for"), "203.0.113.7"),
            // Only who takes pages is sent to another.
            (ACCEPT, if self.status.is_redirection() { "text/html" } else { "application/json" }),
        ];
        headers.extend(cookie.map(|cookie| (COOKIE, cookie)));
        let url = format!("{base}{FORWARD_AUTH}");
        let before = statements.get();
        let started = Instant::now();
        let answer = client.send(Method::GET, &url, &headers, Bytes::new()).await?;
        let took = started.elapsed();
        let asked = statements.get() - before;

        let right = answer.status == self.status
            && (self.holds)(&answer)
            && self.statements.is_none_or(|most| asked <= most);
        say(&format!("\n{number} {}", self.title));
        say(&format!("  GET  https://{host}/"));
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let said = match (answer.status, text(LOCATION), text(APP_URL)) {
            (StatusCode::OK, _, Some(url)) => format!("go on to {url}"),
            (_, Some(location), _) => location.to_owned(),
            _ => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        say(&format!("  {}  {said}", answer.status));
        let verdict = if right { "as expected" } else { "NOT AS EXPECTED" };
        let counted = self.statements.map_or(String::new(), |_| format!(", {asked} statements"));
        say(&format!("  {}{counted}, {verdict}", milliseconds(took)));
        Ok((answer, right))
    }
}

/// Waits until all visits so far are in the audit log
async fn written(base: &str, client: &Client) -> Result<(), CommandError> {
    for _ in 0..1_000 {
        let metrics = client.get(&format!("{base}/metrics")).await?;
        let queued = b"authd_audit_events{outcome=\"queued\"} 0\n";
        if metrics.body.windows(queued.len()).any(|window| window == queued) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Prints what the visits left in the audit log, the oldest first
pub(super) async fn print_log(
    store: &PgStore,
    fleet: &SampleFleet,
    base: &str,
    client: &Client,
) -> Result<(), CommandError> {
    written(base, client).await?;
    let rows = store.list(&Filter::default(), Page::first(100)).await?;
    say("\nWhat is written of the visits, each session once:\n");
    say(&format!(
        "  {:<11} {:<10} {:<9} {:<8} {:>6} {:<8} {}",
        "USER", "WORKSPACE", "APP", "DECISION", "STATUS", "ACTION", "REASON"
    ));
    for row in rows.iter().rev() {
        let Row { resource_target, status_code, action, reason, .. } = row;
        let user = fleet.name_of(row.user_id);
        let workspace = row.additional_fields["workspace_name"].as_str().unwrap_or_default();
        let decision = row.decision.as_str();
        say(&format!(
            "  {user:<11} {workspace:<10} {resource_target:<9} {decision:<8} {status_code:>6} \
             {action:<8} {reason}"
        ));
    }
    Ok(())
}

const FORWARD_AUTH: &str = "/api/v2/forward-auth/traefik";
const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
