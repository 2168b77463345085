use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::Clock;
use crate::backoff::Backoff;
use crate::certificates::{self, CertificatesError};
use crate::cloud::Cloud;
use crate::connect::Connector;
use crate::control_plane::ControlPlane;
use crate::failure::Failure;
use crate::metadata::{Metadata, Proof};
use crate::progress::Progress;
use crate::proxy::{Kind, Proxy, ProxyError};
use crate::request::Timeouts;
use crate::retry::{Retry, Step};
use crate::retry_timeout::RetryTimeout;
use crate::token::SessionToken;
use crate::url::BaseUrl;

/// A virtual machine that fetches the session token of its agent
#[derive(Clone)]
pub struct Machine {
    /// The URL of the control plane
    pub control_plane: BaseUrl,
    /// The cloud of the machine; `None` asks all clouds at once
    pub cloud: Option<Cloud>,
    /// The metadata service, if it is not at the cloud's own address
    pub metadata: Option<BaseUrl>,
    /// The name of the agent, if the machine has several
    pub agent_name: Option<String>,
    /// The audience to request in Google's tokens
    pub audience: String,
    /// How long attempts are repeated
    pub retry_timeout: RetryTimeout,
    /// How long to pause between attempts
    pub backoff: Backoff,
    /// How long to wait for the metadata service in the first attempt
    pub metadata_timeouts: Timeouts,
    /// How long to wait for the control plane in the first attempt
    pub control_plane_timeouts: Timeouts,
    /// How the control plane is reached
    pub connector: Connector,
    /// Returns the current time
    pub clock: Clock,
    /// Receives a line a minute while the sign-in waits
    pub report: Report,
}

/// Receives lines for the machine's operator
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

impl Machine {
    /// A machine that finds its cloud, retries for five minutes, and reaches the control plane
    /// directly and without TLS
    #[must_use]
    pub fn new(control_plane: BaseUrl, backoff: Backoff, clock: Clock, report: Report) -> Self {
        let seconds = Duration::from_secs;
        Self {
            control_plane,
            cloud: None,
            metadata: None,
            agent_name: None,
            audience: "coder".to_owned(),
            retry_timeout: RetryTimeout::default(),
            backoff,
            // The service is one hop away.
            metadata_timeouts: Timeouts { connect: seconds(2), answer: seconds(5) },
            // Resolving the name may take five seconds, and authd answers within ten.
            control_plane_timeouts: Timeouts { connect: seconds(8), answer: seconds(12) },
            connector: Connector::default(),
            clock,
            report,
        }
    }

    /// Reaches the control plane as the environment says
    ///
    /// That is through the proxy that `env` names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY`), and with the system's certificate authorities and those in `ca_file`, a PEM
    /// file. The metadata service is always asked directly.
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
            || proxy.as_ref().is_some_and(|proxy| proxy.kind() == Kind::Http { tls: true });
        let tls = if needs_tls { Some(certificates::client_config(ca_file)?) } else { None };
        Ok(Self { connector: Connector { proxy, tls }, ..self })
    }

    /// Fetches the session token of this machine's agent
    ///
    /// Until the retry timeout is over, an attempt is repeated if either service cannot be
    /// reached, does not answer, breaks off its answer, or answers 408, 410, 425, 429 or 5xx, and
    /// if the metadata service answers 404, ends its session, or answers with something that does
    /// not have the form of a proof. `Retry-After` is obeyed.
    ///
    /// # Errors
    ///
    /// [`SignInError`]: any other failure at once, and the last failure once the retry timeout is
    /// over.
    pub async fn sign_in(&self) -> Result<SessionToken, SignInError> {
        let progress = Progress::start();
        tokio::select! {
            token = self.try_sign_in(&progress) => token,
            never = progress.report(&*self.report) => match never {},
        }
    }

    async fn try_sign_in(&self, progress: &Progress) -> Result<SessionToken, SignInError> {
        let retry = Retry { timeout: self.retry_timeout, backoff: &self.backoff, progress };
        let control_plane = ControlPlane {
            url: &self.control_plane,
            connector: &self.connector,
            agent_name: self.agent_name.as_deref(),
            clock: &self.clock,
        };
        let proof = self.proof(retry).await?;
        let exchange = Exchange { machine: self, control_plane, retry, proof };
        let token = retry.run("the control plane", self.control_plane_timeouts, exchange);
        token.await.map_err(|failure| SignInError::ControlPlane(failure.message))
    }

    async fn proof(&self, retry: Retry<'_>) -> Result<Proof, SignInError> {
        let metadata = Metadata {
            url: self.metadata.as_ref(),
            audience: &self.audience,
            timeouts: self.metadata_timeouts,
            clock: &self.clock,
        };
        let proof = metadata.proof(self.cloud, retry).await;
        proof
            .inspect(|_| retry.progress.succeeded())
            .map_err(|_| SignInError::Metadata(retry.progress.summary()))
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("control_plane", &self.control_plane)
            .field("cloud", &self.cloud)
            .field("retry_timeout", &self.retry_timeout)
            .finish_non_exhaustive()
    }
}

/// Exchanges the proof for a session token, and fetches another proof once it is old
struct Exchange<'a> {
    machine: &'a Machine,
    control_plane: ControlPlane<'a>,
    retry: Retry<'a>,
    proof: Proof,
}

impl Step for Exchange<'_> {
    type Output = SessionToken;

    async fn attempt(&mut self, timeouts: Timeouts) -> Result<SessionToken, Failure> {
        if self.proof.fetched.elapsed() > PROOF_LIFETIME {
            let proof = self.machine.proof(self.retry).await;
            self.proof = proof.map_err(|error| Failure::permanent(error.to_string()))?;
        }
        self.control_plane.sign_in(&self.proof, timeouts).await
    }
}

/// Why a machine cannot sign in
///
/// The messages are for its operator, and name the address and what is wrong there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The control plane refused the proof or did not answer
    #[error("no session token: {0}")]
    ControlPlane(String),
    /// No metadata service returned a proof
    #[error("no metadata service returned a proof of identity: {0}")]
    Metadata(String),
}

/// Why the environment's proxy or certificates are not usable
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// An environment variable does not name a proxy
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The certificate authorities are not usable
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

/// A proof that is older is fetched again; Google's expire after an hour
const PROOF_LIFETIME: Duration = Duration::from_secs(10 * 60);
