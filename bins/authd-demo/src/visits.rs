use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use app_audit::{AuditLog, Filter, Page, Row};
use app_authz::credential::SessionToken;
use authd_http::{AppsConfig, TrustedProxies};
use bytes::Bytes;
use hyper::header::{ACCEPT, COOKIE, HeaderName, LOCATION, SET_COOKIE};
use hyper::{Method, StatusCode};
use store::{PgStore, StatementCounter};
use testkit::net::{Answer, Client};

use crate::error::DemoError;
use crate::fleet::SampleFleet;
use crate::output::{milliseconds, say};

const DASHBOARD: &str = "https://coder.example.com";
const APP_HOSTS: &str = "*.apps.example.com";

/// How apps are reached in the demonstration: through a proxy on this machine
pub(crate) fn config() -> Result<AppsConfig, app_authz::Error> {
    let mut config = AppsConfig::new(DASHBOARD.parse()?);
    config.app_hosts = Some(APP_HOSTS.parse()?);
    config.trusted = TrustedProxies {
        unix_sockets: false,
        origins: Ipv4Addr::LOCALHOST.to_string().parse().into_iter().collect(),
        headers: vec![HeaderName::from_static("x-forwarded-for")],
    };
    Ok(config)
}

/// A visit of an app and the expected answer
struct Visit<'a> {
    title: &'static str,
    /// The first label of the app's host
    app: &'static str,
    visitor: Option<&'a SessionToken>,
    status: StatusCode,
    /// What else the answer has to meet
    holds: fn(&Answer) -> bool,
}

/// A proxy that asks authd about every visit
pub(crate) struct Proxy<'a> {
    pub(crate) base: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) statements: &'a StatementCounter,
}

impl Proxy<'_> {
    /// Shows one visit of each kind, and returns how many there were and how many went wrong
    pub(crate) async fn show(
        &self,
        first: usize,
        fleet: &SampleFleet,
    ) -> Result<(usize, usize), DemoError> {
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
                holds: to_login,
            },
            Visit {
                title: "not shared: another user's app, which to her does not exist",
                app: code,
                visitor: Some(&fleet.carol),
                status: StatusCode::NOT_FOUND,
                holds: |_| true,
            },
            Visit {
                title: "shared: the same user, and an app shared with her organization",
                app: "preview--main--one-agent--alice",
                visitor: Some(&fleet.carol),
                status: StatusCode::OK,
                holds: |answer| answer.headers.contains_key(SET_COOKIE),
            },
            Visit {
                title: "allowed: the owner, who is given an app token",
                app: code,
                visitor: Some(&fleet.alice),
                status: StatusCode::OK,
                holds: |answer| answer.headers.contains_key(SET_COOKIE),
            },
            Visit {
                title: "stopped: the owner's workspace that sleeps",
                app: "code--main--asleep--alice",
                visitor: Some(&fleet.alice),
                status: StatusCode::BAD_REQUEST,
                holds: |_| true,
            },
        ];
        let mut failed = 0;
        let mut token = String::new();
        for (number, visit) in (first..).zip(&visits) {
            let cookie =
                visit.visitor.map(|session| format!("coder_session_token={}", session.reveal()));
            let (answer, right) = self.play(number, visit, cookie.as_deref(), None).await?;
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
            holds: |_| true,
        };
        self.wait_until_recorded().await?;
        let number = first + visits.len();
        let (_, right) = self.play(number, &again, Some(&token), Some(0)).await?;
        Ok((visits.len() + 1, failed + usize::from(!right)))
    }

    /// Asks about a visit, which may take at most `most` statements, and prints the answer
    async fn play(
        &self,
        number: usize,
        visit: &Visit<'_>,
        cookie: Option<&str>,
        most: Option<u64>,
    ) -> Result<(Answer, bool), DemoError> {
        let host = APP_HOSTS.replacen('*', visit.app, 1);
        let mut headers = vec![
            (HeaderName::from_static("x-forwarded-host"), &*host),
            (HeaderName::from_static("x-forwarded-uri"), "/"),
            (HeaderName::from_static("x-forwarded-method"), "GET"),
            (HeaderName::from_static("x-forwarded-proto"), "https"),
            (HeaderName::from_static("x-forwarded-for"), "203.0.113.7"),
            // Only a client that accepts pages is redirected to one.
            (ACCEPT, if visit.status.is_redirection() { "text/html" } else { "application/json" }),
        ];
        headers.extend(cookie.map(|cookie| (COOKIE, cookie)));
        let url = format!("{}{FORWARD_AUTH}", self.base);
        let before = self.statements.get();
        let started = Instant::now();
        let answer = self.client.send(Method::GET, &url, &headers, Bytes::new()).await?;
        let took = started.elapsed();
        let asked = self.statements.get() - before;

        let right = answer.status == visit.status
            && (visit.holds)(&answer)
            && most.is_none_or(|most| asked <= most);
        say(&format!("\n{number} {}", visit.title));
        say(&format!("  GET  https://{host}/"));
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let said = match (answer.status, text(LOCATION), text(APP_URL)) {
            (StatusCode::OK, _, Some(url)) => format!("go on to {url}"),
            (_, Some(location), _) => location.to_owned(),
            _ => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        say(&format!("  {}  {said}", answer.status));
        let verdict = if right { "as expected" } else { "NOT AS EXPECTED" };
        let counted = most.map_or(String::new(), |_| format!(", {asked} statements"));
        say(&format!("  {}{counted}, {verdict}", milliseconds(took)));
        Ok((answer, right))
    }

    /// Waits until all visits so far are in the audit log
    async fn wait_until_recorded(&self) -> Result<(), DemoError> {
        for _ in 0..1_000 {
            let metrics = self.client.get(&format!("{}/metrics", self.base)).await?;
            let queued = b"authd_audit_queued_events 0\n";
            if metrics.body.windows(queued.len()).any(|window| window == queued) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Prints the rows of the audit log about the visits, the oldest first
    pub(crate) async fn print_log(
        &self,
        store: &PgStore,
        fleet: &SampleFleet,
    ) -> Result<(), DemoError> {
        self.wait_until_recorded().await?;
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
}

const FORWARD_AUTH: &str = "/api/v2/forward-auth/traefik";
const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
