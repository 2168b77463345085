use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use identity_verify::{
    Cloud, Error, Policy, Reason, Rejection, VerifiedInstance, aws, azure, google,
};
use tracing::warn;

use crate::outgoing::{IssuerFetcher, KeyCache};
use crate::telemetry::Metrics;
use crate::trust::Trust;

/// What a machine sent to prove which one it is; nothing of it is verified
///
/// `Debug` names the kind only.
pub(crate) enum Proof {
    AwsDocument {
        document: Vec<u8>,
        signature: Vec<u8>,
    },
    AwsPkcs7 {
        pkcs7: Vec<u8>,
        document: Option<Vec<u8>>,
    },
    /// Either of the two will do
    AwsBoth {
        pkcs7: Vec<u8>,
        document: Vec<u8>,
        signature: Vec<u8>,
    },
    Azure {
        signature: Vec<u8>,
    },
    Google {
        token: Vec<u8>,
    },
}

impl Proof {
    pub(crate) const fn cloud(&self) -> Cloud {
        match self {
            Self::AwsDocument { .. } | Self::AwsPkcs7 { .. } | Self::AwsBoth { .. } => Cloud::Aws,
            Self::Azure { .. } => Cloud::Azure,
            Self::Google { .. } => Cloud::Google,
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.cloud())
    }
}

/// Decides about the proofs of all clouds
///
/// Immutable: when the trust folder is read anew, another takes its place.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) aws: aws::Verifier,
    pub(crate) azure: azure::Verifier,
    pub(crate) google: google::Verifier,
    pub(crate) online: Online,
    /// Used instead of what Google serves
    google_keys: Option<google::Jwks>,
}

/// What is fetched from the network, when a proof cannot be judged without
///
/// Outlives a change of trust: what has been fetched stays known.
#[derive(Clone, Debug)]
pub struct Online {
    google_keys: Option<Arc<KeyCache>>,
    azure_issuers: Option<Arc<IssuerFetcher>>,
}

impl Online {
    /// Fetches nothing: proofs that need it are refused
    #[must_use]
    pub const fn offline() -> Self {
        Self { google_keys: None, azure_issuers: None }
    }

    /// Fetches Google's keys with `keys`, and missing Azure issuers with `issuers`
    #[must_use]
    pub fn new(keys: Option<KeyCache>, issuers: Option<IssuerFetcher>) -> Self {
        Self { google_keys: keys.map(Arc::new), azure_issuers: issuers.map(Arc::new) }
    }

    /// Tells the metrics what was fetched
    pub(crate) fn report(&self, metrics: &Metrics) {
        if let Some(keys) = &self.google_keys {
            metrics.google_keys(keys.counts());
        }
        if let Some(issuers) = &self.azure_issuers {
            metrics.azure_issuers(issuers.counts());
        }
    }
}

impl Identity {
    /// What is built in, and nothing from the network
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            aws: aws::Verifier::builtin(),
            azure: azure::Verifier::builtin(),
            google: google::Verifier::default(),
            online: Online::offline(),
            google_keys: None,
        }
    }

    pub(crate) fn new(trust: Trust, policy: &Policy, online: Online) -> Self {
        Self {
            aws: aws::Verifier::new(trust.aws, policy.clone()),
            azure: azure::Verifier::new(trust.azure, policy.clone()),
            google: google::Verifier::new(policy.clone()),
            online,
            google_keys: trust.google,
        }
    }

    /// The certificates that are trusted, and how long they will last
    ///
    /// Without those that ended more than a month ago: they are kept for proofs of
    /// their time, and nobody waits for their renewal. AWS's keys have no end.
    pub(crate) fn expiries(&self, now: SystemTime) -> impl Iterator<Item = Expiry<'_>> {
        let certificates = self.azure.trust().certificates().map(move |certificate| Expiry {
            cloud: Cloud::Azure,
            certificate,
            days_left: days_between(now, certificate.not_after()),
        });
        certificates.filter(|expiry| expiry.days_left > -31)
    }

    /// Leaves a line in the log for every certificate that ends soon
    pub(crate) fn warn_of_expiry(&self, now: SystemTime) {
        for Expiry { cloud, certificate, days_left } in self.expiries(now) {
            if (0..=WARNING_DAYS).contains(&days_left) {
                let name = certificate.name();
                let fingerprint = certificate.fingerprint();
                warn!(%cloud, name, %fingerprint, days_left, "a trusted certificate ends soon");
            }
        }
    }

    /// The same, with another verifier of AWS's proofs
    #[must_use]
    pub fn aws(self, aws: aws::Verifier) -> Self {
        Self { aws, ..self }
    }

    /// The same, with another verifier of Azure's proofs
    #[must_use]
    pub fn azure(self, azure: azure::Verifier) -> Self {
        Self { azure, ..self }
    }

    /// The same, with another verifier of Google's proofs, and the keys it uses
    /// instead of what Google serves
    #[must_use]
    pub fn google(self, google: google::Verifier, keys: google::Jwks) -> Self {
        Self { google, google_keys: Some(keys), ..self }
    }

    /// Verifies a proof by the rules of its cloud
    ///
    /// Waits for the network only where [`Online`] has something that fetches, and
    /// the proof is good so far.
    ///
    /// # Errors
    ///
    /// Those of the cloud's verifier.
    pub(crate) async fn verify(
        &self,
        proof: &Proof,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Rejection> {
        match proof {
            Proof::AwsDocument { document, signature } => {
                self.aws.examine(&aws::SignedDocument { document, signature }, now)
            }
            Proof::AwsPkcs7 { pkcs7, document } => {
                let document = document.as_deref();
                self.aws.examine_pkcs7(&aws::Pkcs7 { pkcs7, document }, now)
            }
            Proof::AwsBoth { pkcs7, document, signature } => {
                let strong = aws::Pkcs7 { pkcs7, document: Some(document) };
                self.aws.examine_pkcs7(&strong, now).or_else(|rejection| {
                    // Of some regions a site may have the one key or the other.
                    let lacks_key = !rejection.is_genuine()
                        && matches!(
                            rejection.reason(),
                            Reason::BadSignature | Reason::AlgorithmNotAllowed
                        );
                    if !lacks_key {
                        return Err(rejection);
                    }
                    let weak = aws::SignedDocument { document, signature };
                    self.aws.examine(&weak, now).map_err(|other| match other.is_genuine() {
                        true => other,
                        false => rejection,
                    })
                })
            }
            Proof::Azure { signature } => {
                let proof = azure::AttestedData { signature };
                match &self.online.azure_issuers {
                    Some(issuers) => self.azure.examine_with(&proof, now, issuers.as_ref()).await,
                    None => self.azure.examine(&proof, now),
                }
            }
            Proof::Google { token } => {
                let proof = google::IdentityToken { token };
                match (&self.google_keys, &self.online.google_keys) {
                    (Some(keys), _) => self.google.examine(&proof, now, keys),
                    (None, Some(keys)) => {
                        self.google.examine_with(&proof, now, keys.as_ref()).await
                    }
                    (None, None) => {
                        // Without a key nothing verifies, and the token still says whose it is.
                        let none = self.google.examine(&proof, now, &google::Jwks::none());
                        none.map_err(|rejection| match rejection.reason() {
                            Reason::UnknownKey => rejection.because(Error::KeysUnavailable),
                            _ => rejection,
                        })
                    }
                }
            }
        }
    }
}

/// A trusted certificate and its remaining time
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry<'a> {
    pub(crate) cloud: Cloud,
    pub(crate) certificate: &'a azure::TrustedCertificate,
    /// Whole days; below zero once it has ended
    pub(crate) days_left: i64,
}

/// Long enough for an upgrade, or for a file in the trust folder
pub(crate) const WARNING_DAYS: i64 = 60;

fn days_between(now: SystemTime, end: SystemTime) -> i64 {
    const DAY: u64 = 86_400;
    let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => days(left.as_secs()),
        Err(past) => -1 - days(past.duration().as_secs()),
    }
}
