//! Signing in at an OpenID provider, where no control plane does that
//!
//! A browser gets its flow in a sealed cookie (`sealed`) and goes to the provider. When it returns,
//! `oidc_client` verifies what the provider says, `user` reads the claims, and the store finds or
//! creates the user with a new session.

mod config;
mod network;
mod refusal;
mod sealed;
mod user;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::SessionToken;
use app_authz::token::{KeyStore, RecentTexts};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oidc_client::{Callback, Flow, LogoutToken, Provider};
use store::provider::{ProviderSessions, ProviderSignIn, ProviderSignOut};
use uuid::{NoContext, Timestamp, Uuid};

pub use self::config::{OidcConfig, OidcConfigError};
pub(crate) use self::network::Network;
pub(crate) use self::refusal::{OidcError, OidcRefusal};
use self::sealed::Seals;
pub(crate) use self::sealed::{Kept, LIFETIME};
use self::user::describe;
use crate::detach::DetachOnDrop;
use crate::error::AccessError;
use crate::random::with_random;

/// A provider over some tables
pub(crate) trait AnyOidc: Send + Sync {
    fn config(&self) -> &OidcConfig;

    /// Begins to sign a browser in, which then goes on to `back`
    fn begin<'a>(
        &'a self,
        back: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Leaving, OidcError>>;

    /// The flow of a browser that has these sealed values and returns with this state
    fn find<'a>(
        &'a self,
        sealed: &'a [String],
        state: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Kept, OidcError>>;

    /// Signs in the user of a browser that has returned; goes on if the browser hangs up
    fn finish(
        self: Arc<Self>,
        returned: Returned,
    ) -> BoxFuture<'static, Result<Arrived, OidcError>>;

    /// Ends the sessions that a logout token names
    fn log_out<'a>(
        &'a self,
        token: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Vec<(String, UserId)>, OidcError>>;

    /// The provider's page for signing out, which leads to `back`
    fn logout_url<'a>(&'a self, back: &'a str, now: SystemTime) -> BoxFuture<'a, Option<String>>;
}

/// A browser that goes to the provider
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) url: String,
    /// The end of the name of the cookie
    pub(crate) name: String,
    pub(crate) sealed: String,
}

/// A browser that has returned
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) flow: Flow,
    pub(crate) callback: Callback,
    pub(crate) at: SystemTime,
    pub(crate) ip: Option<IpAddr>,
    /// How long the session lasts
    pub(crate) lifetime: Duration,
}

/// A user who has signed in
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) token: SessionToken,
    pub(crate) user: UserId,
    pub(crate) is_new: bool,
}

/// The part of a service that signs people in at a provider
pub(crate) struct Oidc<S> {
    tables: Arc<S>,
    provider: Provider<Network>,
    config: OidcConfig,
    seals: Seals,
    /// The flows that have ended here
    used: RecentTexts,
    /// The logout tokens that were received here
    logouts: RecentTexts,
}

impl<S> Oidc<S> {
    pub(crate) fn new(tables: Arc<S>, config: OidcConfig) -> Self {
        let provider = Provider::new(config.client.clone(), Network(config.fetcher.clone()));
        let (used, logouts) = (RecentTexts::new(LIFETIME), RecentTexts::new(LOGOUTS));
        Self { tables, provider, config, seals: Seals::new(), used, logouts }
    }
}

impl<S: ProviderSessions + KeyStore + Send + 'static> AnyOidc for Oidc<S> {
    fn config(&self) -> &OidcConfig {
        &self.config
    }

    fn begin<'a>(
        &'a self,
        back: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Leaving, OidcError>> {
        async move {
            let flow = with_random(Flow::generate).map_err(|_| no_randomness())?;
            let url = self.provider.begin(&flow, now).await?;
            let name = cookie_suffix(&flow.reveal()).to_owned();
            let kept = Kept { flow, back: back.to_owned() };
            let sealed = self.seals.seal(&*self.tables, &kept, now).await;
            Ok(Leaving { url, name, sealed: sealed.map_err(OidcError::Failed)? })
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        sealed: &'a [String],
        state: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Kept, OidcError>> {
        async move {
            let opened = self.seals.open(&*self.tables, sealed, state, now).await;
            let kept = opened.map_err(OidcError::Failed)?.ok_or(OidcRefusal::OTHER_BROWSER)?;
            match self.used.insert(state, now) {
                true => Ok(kept),
                false => Err(OidcRefusal::REPLAYED.into()),
            }
        }
        .boxed()
    }

    fn finish(
        self: Arc<Self>,
        returned: Returned,
    ) -> BoxFuture<'static, Result<Arrived, OidcError>> {
        // A code can be exchanged once, and a user who was created should be recorded.
        DetachOnDrop::new(async move { self.sign_in(returned).await }).boxed()
    }

    fn log_out<'a>(
        &'a self,
        token: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Vec<(String, UserId)>, OidcError>> {
        async move {
            let logout = self.provider.logout_token(token, now).await?;
            // Later sessions are kept anyway, so that a token which another replica has received
            // ends nothing.
            if !self.logouts.insert(&logout.id, now) {
                return Err(OidcRefusal::REPLAYED.into());
            }
            Ok(self.tables.provider_sign_out(&self.ended_by(&logout)).await?)
        }
        .boxed()
    }

    fn logout_url<'a>(&'a self, back: &'a str, now: SystemTime) -> BoxFuture<'a, Option<String>> {
        self.provider.logout_url(back, now).boxed()
    }
}

impl<S: ProviderSessions> Oidc<S> {
    async fn sign_in(&self, returned: Returned) -> Result<Arrived, OidcError> {
        let Returned { flow, callback, at, ip, lifetime } = returned;
        let identity = self.provider.finish(&flow, &callback, at).await??;
        let user = describe(&identity, &self.config)?;
        let token = with_random(|fill| SessionToken::generate(fill));
        let token = token.map_err(|_| no_randomness())?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        let names = (&*user.username, &*user.email);
        let known_as = (identity.issuer(), identity.subject());
        let sign_in = ProviderSignIn {
            session: identity.session(),
            // The address is verified, or the operator trusts the provider's addresses.
            links_by_email: true,
            allows_new: self.config.allow_signups,
            organization: &self.config.organization,
            groups: user.groups.clone(),
            roles: user.roles.clone(),
            lifetime,
            ip,
            ..ProviderSignIn::new(known_as, names, Uuid::new_v7(since), &token, at)
        };
        let signed = self.tables.provider_sign_in(&sign_in).await??;
        Ok(Arrived { user: signed.user, is_new: signed.is_new, token })
    }

    /// The sessions that a logout token ends
    ///
    /// Those that began after it are kept: a token that comes twice ends them once.
    fn ended_by<'a>(&'a self, logout: &'a LogoutToken) -> ProviderSignOut<'a> {
        let (subject, session) = (logout.subject.as_deref(), logout.session.as_deref());
        // The provider's clock may be behind.
        let until = logout.issued_at.checked_add(self.config.client.leeway);
        let until = until.unwrap_or(logout.issued_at);
        ProviderSignOut::new(self.config.issuer(), subject, session, until)
    }
}

fn no_randomness() -> OidcError {
    OidcError::Failed(AccessError::NoRandomness)
}

/// How long a logout token can be sent again before it is too old, with the leeway
const LOGOUTS: Duration = Duration::from_secs(20 * 60);

/// The end of the name of a flow's cookie: the first characters of its state, which are enough to tell
/// the tabs of a browser apart
pub(crate) fn cookie_suffix(state: &str) -> &str {
    state.char_indices().nth(8).map_or(state, |(end, _)| state.split_at(end).0)
}
