use std::time::{Duration, SystemTime};

use app_authz::credential::{NewKey, SessionToken};
use app_authz::proxy::{Proxies, ProxyToken};
use app_authz::rbac::ScopeName;
use app_authz::token::{LEEWAY, TOKEN_LIFETIME};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use store::{PgStore, SessionRow};

use super::acts::{ActKind, SubjectKind, of_operator};
use super::database::with_store;
use super::error::CommandError;
use super::output::{print, print_json, printable, report_cut};
use crate::cli::{TokenArgs, TokenCommand, TokenCreateArgs, TokenScope};
use crate::clock::system_clock;
use crate::random::with_random;

/// Creates, lists and revokes session and proxy tokens
pub(super) async fn run(args: TokenArgs) -> Result<(), CommandError> {
    let now = system_clock()();
    match args.command {
        TokenCommand::Create(args) => {
            let TokenCreateArgs { user, proxy, scope, lifetime_hours, name, json, config } = args;
            let lifetime = Duration::from_secs(lifetime_hours * 3600);
            let token = with_store(config, async |store| match (&user, &proxy) {
                (Some(user), _) => for_user(store, user, scope, lifetime, &name, now).await,
                (None, Some(proxy)) => for_proxy(store, proxy).await,
                (None, None) => Err(CommandError::Usage("--user or --proxy is missing".to_owned())),
            });
            let token = token.await?;
            if json { print_json([json!({ "token": token })]) } else { print(&[token]) }
        }
        TokenCommand::List { user, json, config } => {
            let rows = with_store(config, async |store| {
                let user = match &user {
                    Some(name) => Some(user_named(store, name).await?),
                    None => None,
                };
                Ok(store.sessions(user).await?)
            });
            let rows = rows.await?;
            report_cut(rows.len());
            if json { print_json(&rows) } else { print(&table(&rows, now)) }
        }
        TokenCommand::Revoke { id, json, config } => {
            // The whole token is accepted too.
            let id = id.parse::<SessionToken>().map_or(id, |token| token.id().to_owned());
            let act = of_operator(ActKind::TokenRevoke);
            let revoke = async |store: &PgStore| Ok(store.revoke_recorded(&id, act).await?);
            let ended = with_store(config, revoke).await?;
            match ended.split_first() {
                Some(_) if json => print_json([json!({ "ended": ended })]),
                Some((_, others)) => print(&revoked(&id, others.len(), system_clock()())),
                None => Err(CommandError::Usage(format!("the token `{id}` does not exist"))),
            }
        }
    }
}

async fn for_user(
    store: &PgStore,
    user: &str,
    scope: TokenScope,
    lifetime: Duration,
    name: &str,
    now: SystemTime,
) -> Result<String, CommandError> {
    let user = user_named(store, user).await?;
    let token = with_random(|fill| SessionToken::generate(fill))?;
    let key = NewKey::of_api_token(&token, user, now, now + lifetime).with_scope(match scope {
        TokenScope::All => ScopeName::All,
        TokenScope::ApplicationConnect => ScopeName::ApplicationConnect,
    });
    let key = if name.is_empty() { key } else { key.with_name(name) };
    // A token that cannot be recorded is not printed, and then it is of no use.
    store.insert_recorded(&key, of_operator(ActKind::TokenCreate)).await?;
    Ok(token.reveal().to_owned())
}

async fn user_named(store: &PgStore, name: &str) -> Result<app_authz::UserId, CommandError> {
    let found = store.user_named(name).await?;
    found.ok_or_else(|| CommandError::Usage(format!("the user `{name}` does not exist")))
}

async fn for_proxy(store: &PgStore, name: &str) -> Result<String, CommandError> {
    let proxies = store.proxies().await?;
    let proxy = proxies.iter().find(|proxy| proxy.name.eq_ignore_ascii_case(name));
    let unknown = || CommandError::Usage(format!("the proxy `{name}` does not exist"));
    let id = proxy.ok_or_else(unknown)?.id;
    let token = with_random(|fill| ProxyToken::generate(id, fill))?;
    let act = of_operator(ActKind::TokenCreate).subject(SubjectKind::Proxy, name);
    match store.set_proxy_token_recorded(&token, Some(&act)).await? {
        true => Ok(token.reveal()),
        false => Err(unknown()),
    }
}

/// What was revoked, and until when app tokens may work that were issued before
fn revoked(id: &str, others: usize, now: SystemTime) -> [String; 2] {
    let last = DateTime::<Utc>::from(now + TOKEN_LIFETIME + LEEWAY);
    let last = last.to_rfc3339_opts(SecondsFormat::Secs, true);
    [
        format!("ended: session {id}, and {others} for apps that were made from it"),
        format!(
            "app tokens: a running authd refuses theirs within 2 seconds; elsewhere the last one \
             expires at {last} at the latest"
        ),
    ]
}

fn table(rows: &[SessionRow], now: SystemTime) -> Vec<String> {
    let now = DateTime::<Utc>::from(now);
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let heading = format!(
        "{:<10} {:<20} {:<20} {:<19} {:<10} {:<20} {:<20} {}",
        "ID", "USER", "NAME", "SCOPE", "MADE FROM", "CREATED", "LAST USED", "ENDS"
    );
    let lines = rows.iter().map(|row| {
        let SessionRow { id, username, token_name, scopes, .. } = row;
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.trim_start_matches("coder:")).collect();
        let scope = scopes.join(",");
        let ended = if row.expires_at < now { " (ended)" } else { "" };
        let limited = row.allow_list.iter().any(|entry| entry.as_deref() != Some("*:*"));
        let limited = if limited { " (limited)" } else { "" };
        let (username, token_name) = (printable(username), printable(token_name));
        let (created, used) = (time(row.created_at), time(row.last_used));
        let ends = time(row.expires_at);
        let made_from = row.parent_id.as_deref().unwrap_or("-");
        format!(
            "{id:<10} {username:<20} {token_name:<20} {scope:<19} {made_from:<10} {created:<20} {used:<20} {ends}{ended}{limited}"
        )
    });
    std::iter::once(heading).chain(lines).collect()
}
