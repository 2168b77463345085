use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::Clock;
use crate::backoff::Backoff;
use crate::certificates::{self, CertificatesError};
use crate::challenge::Challenge;
use crate::cloud::Cloud;
use crate::connect::Connector;
use crate::control_plane::{ControlPlane, Refusal, Remedy};
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
    /// Asks the control plane for a nonce first. If it demands one of this machine's cloud, the proof
    /// answers it. If it answers anything else, the machine signs in without a nonce.
    ///
    /// Until the retry timeout is over, an attempt is repeated if either service cannot be
    /// reached, does not answer, breaks off its answer, or answers 408, 410, 425, 429 or 5xx, and
    /// if the metadata service answers 404, ends its session, or answers with something that does
    /// not have the form of a proof. `Retry-After` is obeyed. If the control plane refuses the proof for
    /// its nonce, or has seen a newer one, another proof is fetched.
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
        // A control plane that cannot be reached yet is asked again before the proof is sent.
        let asked = match self.cloud {
            // Its documents have no nonce.
            Some(Cloud::Aws) => Some(None),
            _ => control_plane.challenge(self.control_plane_timeouts).await.ok().map(Result::ok),
        };
        let (was_asked, challenge) = (asked.is_some(), asked.flatten());
        let proof = self.proof(challenge.as_ref(), retry).await?;
        let exchange = Exchange {
            machine: self,
            control_plane,
            retry,
            challenge,
            was_asked,
            remedy: None,
            proof,
            is_same: false,
        };
        let token = retry.run("the control plane", self.control_plane_timeouts, exchange);
        token.await.map_err(|failure| SignInError::ControlPlane(failure.message))
    }

    async fn proof(
        &self,
        challenge: Option<&Challenge>,
        retry: Retry<'_>,
    ) -> Result<Proof, SignInError> {
        let metadata = Metadata {
            url: self.metadata.as_ref(),
            audience: &self.audience,
            challenge,
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

/// Exchanges the proof for a session token, and fetches another proof once it is old, or the control
/// plane demands a nonce
struct Exchange<'a> {
    machine: &'a Machine,
    control_plane: ControlPlane<'a>,
    retry: Retry<'a>,
    /// The nonce that the proof answers
    challenge: Option<Challenge>,
    /// Whether the control plane was asked for a nonce and answered
    was_asked: bool,
    /// What may help, since the last attempt was refused
    remedy: Option<Remedy>,
    proof: Proof,
    /// Whether the last proof that was fetched is the one before
    is_same: bool,
}

impl Step for Exchange<'_> {
    type Output = SessionToken;

    async fn attempt(&mut self, timeouts: Timeouts) -> Result<SessionToken, Failure> {
        let is_old = self.proof.fetched.elapsed() > self.lifetime();
        let demanded = self.remedy == Some(Remedy::Nonce);
        let mut is_needed = is_old || self.remedy == Some(Remedy::NewerProof);
        if demanded || is_old || !self.was_asked {
            let asked = self.control_plane.challenge(timeouts).await?;
            self.was_asked = true;
            self.challenge = match asked {
                Err(failure) if demanded => return Err(failure),
                asked => asked.ok(),
            };
            is_needed |= self.challenge.is_some();
        }
        if is_needed {
            let proof = self.machine.proof(self.challenge.as_ref(), self.retry).await;
            let proof = proof.map_err(|error| Failure::permanent(error.to_string()))?;
            self.is_same = proof.body == self.proof.body;
            self.proof = proof;
        }
        let token = self.control_plane.sign_in(&self.proof, timeouts).await;
        token.map_err(|Refusal { failure, remedy }| {
            // A document of AWS stays the same until the instance is stopped.
            let is_final = self.is_same
                && [remedy, self.remedy].map(|r| r == Some(Remedy::NewerProof)) == [true; 2];
            self.remedy = remedy;
            if is_final { Failure::permanent(failure.message) } else { failure }
        })
    }
}

impl Exchange<'_> {
    /// How long the proof is good
    fn lifetime(&self) -> Duration {
        let of_nonce = self.challenge.as_ref().map(|challenge| challenge.lifetime);
        of_nonce.map_or(PROOF_LIFETIME, |lifetime| lifetime.min(PROOF_LIFETIME))
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
