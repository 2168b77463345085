//! Sessions that are good once the token of their user's identity provider is refreshed

use std::borrow::Borrow;
use std::time::SystemTime;

use app_authz::credential::{Identified, KeyHolder, SessionToken, Source, identify};
use store::refresh::LinkId;

use super::AppService;
use crate::error::NotRefreshed;
use crate::ports::AppPorts;

impl<S: AppPorts> AppService<S> {
    /// Has the token refreshed without which none of the sessions is good
    ///
    /// Returns whether the holders have to be read again, before it is decided by them. Does
    /// nothing unless the operator has set the client of that provider.
    pub(crate) async fn refresh_link(
        &self,
        tokens: &[(Source, SessionToken)],
        holders: &[impl Borrow<KeyHolder>],
        now: SystemTime,
    ) -> Result<bool, NotRefreshed> {
        if !self.refreshes.is_on() {
            return Ok(false);
        }
        let terms = self.terms().can_refresh(true);
        match identify(tokens, holders, terms, now) {
            Identified::User(holder, session) if session.refresh_link => {
                let link = LinkId::new(holder.key.user, holder.key.login_type);
                // On the heap: few sessions need it.
                Box::pin(self.refreshes.refresh(link)).await
            }
            _ => Ok(false),
        }
    }
}
