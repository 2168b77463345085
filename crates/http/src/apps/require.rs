use std::borrow::Borrow;

use app_authz::credential::{KeyHolder, SessionToken, Source, authenticate_first};
use app_authz::rbac::{Action, Object, Subject};

use super::{AppService, presented_sessions, same_origin};
use crate::context::Context;
use crate::error::AccessError;
use crate::ports::AppPorts;

/// What a handler demands of its caller, before it does anything
///
/// Stated as one value at the top of the handler. A request costs one question to the store.
#[derive(Debug)]
#[must_use]
pub(crate) struct Require {
    is_same_origin: bool,
    allowed: Option<(Action, Object<'static>)>,
}

impl Require {
    /// A good session
    pub(crate) const fn session() -> Self {
        Self { is_same_origin: false, allowed: None }
    }

    /// The same, and not a page of another origin, for requests that change something
    pub(crate) fn same_origin(self) -> Self {
        Self { is_same_origin: true, ..self }
    }

    /// The same, and permission for `action` on `object`
    pub(crate) fn allowed(self, action: Action, object: Object<'static>) -> Self {
        Self { allowed: Some((action, object)), ..self }
    }

    /// Finds the caller who meets the demand
    ///
    /// # Errors
    ///
    /// [`AccessError::SignedOut`], [`AccessError::ForeignOrigin`] and
    /// [`AccessError::Forbidden`], in this order, and [`AccessError::Store`] or
    /// [`AccessError::NotRefreshed`].
    pub(crate) async fn check<S: AppPorts>(
        self,
        apps: &AppService<S>,
        cx: &Context<'_>,
    ) -> Result<SignedIn, AccessError> {
        let caller = signed_in(apps, cx).await?;
        if self.is_same_origin && !same_origin(cx.headers(), caller.source, &apps.config.access_url)
        {
            return Err(AccessError::ForeignOrigin);
        }
        if let Some((action, object)) = &self.allowed {
            caller.demand(action, object)?;
        }
        Ok(caller)
    }
}

/// A user who is signed in to the control plane
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// The holder of the session; the key's expiry is the one after this request
    pub(crate) holder: KeyHolder,
    pub(crate) subject: Subject,
    source: Source,
}

impl SignedIn {
    /// The user of the tokens that a request presents, with the holders of those that are known
    ///
    /// # Errors
    ///
    /// [`AccessError::SignedOut`].
    pub(crate) fn of<S: AppPorts>(
        apps: &AppService<S>,
        cx: &Context<'_>,
        presented: &[(Source, SessionToken)],
        holders: &[impl Borrow<KeyHolder>],
    ) -> Result<Self, AccessError> {
        let (source, holder, session) =
            authenticate_first(presented, holders, apps.terms(), cx.now)
                .map_err(|denial| AccessError::SignedOut(Some(denial)))?;
        apps.write_back(holder, session, cx.client);
        let mut holder = holder.clone();
        let end = session.update.and_then(|update| update.expires_at);
        holder.key.expires_at = end.unwrap_or(holder.key.expires_at);
        let subject = holder.subject(apps.roles());
        Ok(Self { holder, subject, source })
    }

    /// Whether a program makes the request, and no link or page a browser
    pub(crate) const fn is_program(&self) -> bool {
        self.source.is_header()
    }

    /// Errs with [`AccessError::Forbidden`] if the user may not do `action` on `object`
    pub(crate) fn demand(&self, action: &Action, object: &Object<'_>) -> Result<(), AccessError> {
        match self.subject.is_allowed(action, object) {
            true => Ok(()),
            false => Err(AccessError::Forbidden),
        }
    }
}

async fn signed_in<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<SignedIn, AccessError> {
    let presented = presented_sessions(apps, cx)?;
    let tokens: Vec<SessionToken> = presented.iter().map(|(_, token)| token.clone()).collect();
    let mut holders = apps.store.holders(&tokens).await.map_err(AccessError::store)?;
    let refreshed = apps.refresh_link(&presented, &holders, cx.now).await;
    if refreshed.map_err(AccessError::NotRefreshed)? {
        holders = apps.store.holders(&tokens).await.map_err(AccessError::store)?;
    }
    SignedIn::of(apps, cx, &presented, &holders)
}
