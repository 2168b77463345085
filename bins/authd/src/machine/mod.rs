//! The machine's side of a sign-in
//!
//! [`Machine::sign_in`] asks the metadata service of the machine's cloud for a proof, sends
//! it to the control plane, and answers with the session token of the machine's agent.
//!
//! ```text
//! Machine ── Metadata ── fetch ──┐
//!    │        aws, azure, google ├── Question::ask ── Connector ── Proxy, TLS
//!    └────── ControlPlane ───────┘
//! ```
//!
//! A machine signs in while it boots, when neither service may be there yet. So each step
//! is one *attempt* that answers or fails with a `Trouble`, which says whether waiting may
//! cure it. `Attempts` repeats what passes, with growing pauses, until the [`Patience`]
//! is over; `Progress` keeps the last trouble with each service and reports it. Clock,
//! chance, timeouts and environment are arguments.

mod attempts;
mod connect;
mod control_plane;
mod http;
mod metadata;
mod output;
mod patience;
mod progress;
mod proxy;
mod roots;
mod trouble;
mod url;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity_verify::Cloud;
use thiserror::Error;

use self::attempts::Attempts;
pub use self::connect::Connector;
use self::control_plane::ControlPlane;
pub use self::control_plane::SessionToken;
pub use self::http::Timeouts;
use self::metadata::Metadata;
pub(crate) use self::output::TokenFile;
pub use self::patience::{Patience, Pauses};
use self::progress::Progress;
use self::proxy::Proxy;
pub use self::proxy::ProxyError;
pub use self::roots::RootsError;
use self::trouble::Trouble;
pub use self::url::{BaseUrl, UrlError};
use identity_fetch::Clock;

/// A machine of a cloud that wants the session token of its agent
#[derive(Clone)]
pub struct Machine {
    /// Where the control plane is served
    pub control_plane: BaseUrl,
    /// Whose machine it is; `None` to find out
    pub cloud: Option<Cloud>,
    /// The metadata service, in place of the cloud's own addresses
    pub metadata: Option<BaseUrl>,
    /// The agent to be, where the machine has several
    pub agent_name: Option<String>,
    /// The audience that Google's tokens are to name
    pub audience: String,
    /// For how long to try
    pub patience: Patience,
    /// How long to pause between attempts
    pub pauses: Pauses,
    /// How long to wait for the metadata service, at the first attempt
    pub metadata_timeouts: Timeouts,
    /// How long to wait for the control plane, at the first attempt
    pub control_plane_timeouts: Timeouts,
    /// How the control plane is reached
    pub connector: Connector,
    /// Where the time comes from
    pub clock: Clock,
    /// Is given a line a minute while something is waited for
    pub report: Report,
}

/// Takes a line for the machine's operator
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

impl Machine {
    /// A machine of a cloud that is to be found out, with the usual patience, whose control
    /// plane is reached directly and without TLS
    #[must_use]
    pub fn new(control_plane: BaseUrl, pauses: Pauses, clock: Clock, report: Report) -> Self {
        let seconds = Duration::from_secs;
        Self {
            control_plane,
            cloud: None,
            metadata: None,
            agent_name: None,
            audience: "coder".to_owned(),
            patience: Patience::default(),
            pauses,
            // The service is a hop away.
            metadata_timeouts: Timeouts { connect: seconds(2), answer: seconds(5) },
            // The resolver alone may take five, and authd itself answers within ten.
            control_plane_timeouts: Timeouts { connect: seconds(8), answer: seconds(12) },
            connector: Connector::default(),
            clock,
            report,
        }
    }

    /// The same machine, which reaches the control plane as its site does
    ///
    /// Through the proxy that `env` names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY`), and trusting the system's certificate authorities and those in
    /// `ca_file`. The metadata service is always asked directly.
    ///
    /// # Errors
    ///
    /// [`SetupError`], which names what is not usable.
    pub fn in_environment(
        self,
        env: impl Fn(&str) -> Option<String>,
        ca_file: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let proxy = Proxy::from_env(&self.control_plane, env)?;
        let needs_tls = self.control_plane.is_tls()
            || proxy.as_ref().is_some_and(|p| p.kind() == proxy::Kind::Http { tls: true });
        let tls = if needs_tls { Some(roots::client_config(ca_file)?) } else { None };
        Ok(Self { connector: Connector { proxy, tls }, ..self })
    }

    /// Gets the session token of this machine's agent
    ///
    /// Tries again, for as long as the patience lasts, on no connection, silence, an
    /// answer that breaks off, 408, 410, 425, 429 and 5xx of either service, on 404 of the
    /// metadata service, on a metadata session that has ended, and on an answer of the
    /// metadata service that does not have the form of a proof. `Retry-After` is obeyed.
    ///
    /// # Errors
    ///
    /// [`SignInError`]: any other trouble at once, and the last trouble once the patience is
    /// over.
    pub async fn sign_in(&self) -> Result<SessionToken, SignInError> {
        let progress = Progress::begin();
        tokio::select! {
            token = self.try_sign_in(&progress) => token,
            never = progress.report(&*self.report) => match never {},
        }
    }

    async fn try_sign_in(&self, progress: &Progress) -> Result<SessionToken, SignInError> {
        let attempts = Attempts { patience: self.patience, pauses: &self.pauses, progress };
        let control_plane = ControlPlane {
            url: &self.control_plane,
            connector: &self.connector,
            agent_name: self.agent_name.as_deref(),
            clock: &self.clock,
        };
        let mut proof = self.proof(attempts).await?;
        let token =
            attempts.at("the control plane", self.control_plane_timeouts, async |timeouts| {
                if proof.fetched.elapsed() > PROOF_LIFETIME {
                    proof = self
                        .proof(attempts)
                        .await
                        .map_err(|error| Trouble::lasting(error.to_string()))?;
                }
                control_plane.sign_in(&proof, timeouts).await
            });
        token.await.map_err(|trouble| SignInError::ControlPlane(trouble.what))
    }

    async fn proof(&self, attempts: Attempts<'_>) -> Result<metadata::Proof, SignInError> {
        let metadata = Metadata {
            url: self.metadata.as_ref(),
            audience: &self.audience,
            timeouts: self.metadata_timeouts,
            clock: &self.clock,
        };
        let proof = metadata.proof(self.cloud, attempts).await;
        proof
            .inspect(|_| attempts.progress.succeeded())
            .map_err(|_| SignInError::Metadata(attempts.progress.summary()))
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("control_plane", &self.control_plane)
            .field("cloud", &self.cloud)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Why a machine cannot sign in
///
/// The texts are for its operator, and say what is wrong at which address.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The control plane refused the proof, or gave no answer
    #[error("no session token: {0}")]
    ControlPlane(String),
    /// No metadata service gave a proof
    #[error("no metadata service gave a proof of identity: {0}")]
    Metadata(String),
}

/// Why the control plane cannot be reached as the environment says
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A variable does not name a proxy
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// There are no roots for TLS
    #[error(transparent)]
    Roots(#[from] RootsError),
}

/// A proof is fetched anew when it is older: Google's ends within an hour
const PROOF_LIFETIME: Duration = Duration::from_mins(10);
