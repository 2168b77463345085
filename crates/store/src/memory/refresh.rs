use std::time::SystemTime;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::MemoryStore;
use crate::fleet::LoginType;
use crate::refresh::{BegunRefresh, LinkId, LinkTokens, RefreshEnd, RefreshTurn};
use crate::{Error, domain};

/// A row of `authd_token_refreshes`
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    expiry: DateTime<Utc>,
    holder: Uuid,
    /// `None` once the attempt has ended
    until: Option<DateTime<Utc>>,
    is_settled: bool,
}

impl LinkTokens for MemoryStore {
    async fn begin_refresh(
        &self,
        link: LinkId,
        attempt: Uuid,
        now: SystemTime,
        until: SystemTime,
    ) -> Result<RefreshTurn, Error> {
        let (mut tables, key) = (self.write(), key(link)?);
        let has_ended = |expiry: DateTime<Utc>| {
            let end = domain::link(expiry.into(), true).expires_at;
            end.is_some_and(|end| end < now)
        };
        let row = tables
            .links
            .get(&key)
            .filter(|row| has_ended(row.oauth_expiry) && !row.oauth_refresh_token.0.is_empty());
        let Some((expiry, token)) =
            row.map(|row| (row.oauth_expiry, row.oauth_refresh_token.0.clone()))
        else {
            return Ok(RefreshTurn::Over);
        };
        if let Some(other) = tables.refreshes.get(&key) {
            if other.is_settled && other.expiry == expiry {
                return Ok(RefreshTurn::Over);
            }
            if other.until.is_some_and(|until| until >= domain::stored_time(now)) {
                return Ok(RefreshTurn::Other);
            }
        }
        let until = Some(domain::stored_time(until));
        let begun = Attempt { expiry, holder: attempt, until, is_settled: false };
        tables.refreshes.insert(key, begun);
        let (refresh_token, stored) = (token.clone(), token);
        let expiry = expiry.into();
        Ok(RefreshTurn::Begun(BegunRefresh {
            link,
            refresh_token,
            attempt,
            expiry,
            stored,
            key: None,
        }))
    }

    async fn end_refresh(&self, begun: &BegunRefresh, end: RefreshEnd<'_>) -> Result<bool, Error> {
        let (mut tables, key) = (self.write(), key(begun.link)?);
        if let Some(row) = tables.refreshes.get_mut(&key).filter(|row| row.holder == begun.attempt)
        {
            (row.until, row.is_settled) = (None, end != RefreshEnd::Failed);
        }
        // The access token is not kept: nothing reads it.
        let RefreshEnd::Refreshed { refresh_token, expires_at, .. } = end else { return Ok(false) };
        let expiry = domain::stored_time(begun.expiry);
        let is_same = |row: &&mut crate::fleet::UserLink| {
            row.oauth_expiry == expiry && row.oauth_refresh_token.0 == begun.stored
        };
        let Some(row) = tables.links.get_mut(&key).filter(is_same) else { return Ok(false) };
        row.oauth_expiry = expires_at.map_or(DateTime::UNIX_EPOCH, domain::stored_time);
        if let Some(next) = refresh_token {
            next.clone_into(&mut row.oauth_refresh_token.0);
        }
        Ok(true)
    }
}

fn key(link: LinkId) -> Result<(Uuid, LoginType), Error> {
    let login_type = LoginType::of_label(link.login_type.as_str());
    let unknown = || Error::query("no link has this login type");
    Ok((link.user.0, login_type.ok_or_else(unknown)?))
}
