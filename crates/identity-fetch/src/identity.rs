use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use identity_verify::{
    Cloud, Error, Policy, Reason, Rejection, VerifiedInstance, aws, azure, google,
};
use tracing::warn;

use crate::Clock;
use crate::issuers::{IssuerCounts, IssuerFetcher};
use crate::jwks::{KeyCache, KeyCounts, KeyUrl};
use crate::network::System;

/// A proof of any cloud, as a machine sent it; nothing in it is verified
///
/// `Debug` prints the cloud only.
pub enum Proof {
    /// An AWS identity document and its signature
    AwsDocument {
        /// The JSON document, byte for byte
        document: Vec<u8>,
        /// The signature in Base64
        signature: Vec<u8>,
    },
    /// An AWS signature in PKCS#7 form
    AwsPkcs7 {
        /// The message in Base64
        pkcs7: Vec<u8>,
        /// The document, if it was sent too; it must equal the signed one
        document: Option<Vec<u8>>,
    },
    /// Both forms of an AWS signature, of which one has to hold
    AwsBoth {
        /// The message in Base64, which is tried first
        pkcs7: Vec<u8>,
        /// The JSON document, byte for byte
        document: Vec<u8>,
        /// The document's signature in Base64
        signature: Vec<u8>,
    },
    /// Azure's attested data
    Azure {
        /// The PKCS#7 message in Base64
        signature: Vec<u8>,
    },
    /// A Google identity token
    Google {
        /// The JWT in compact form
        token: Vec<u8>,
    },
}

impl Proof {
    /// The cloud whose signature the proof should have
    #[must_use]
    pub const fn cloud(&self) -> Cloud {
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

/// Verifies the proofs of all clouds
///
/// It is immutable: when an operator changes what to trust, a new value replaces it.
#[derive(Clone, Debug)]
pub struct Identity {
    aws: aws::Verifier,
    azure: azure::Verifier,
    google: google::Verifier,
    online: Online,
    /// Replaces the keys that Google publishes
    google_keys: Option<google::Jwks>,
}

/// The fetchers for what a verifier lacks
///
/// Clones share what has been fetched, so a new [`Identity`] with the same `Online` fetches
/// nothing again.
#[derive(Clone, Debug)]
pub struct Online {
    google_keys: Option<Arc<KeyCache>>,
    azure_issuers: Option<Arc<IssuerFetcher>>,
}

impl Online {
    /// Fetches nothing: a proof that needs a fetch is rejected
    #[must_use]
    pub const fn offline() -> Self {
        Self { google_keys: None, azure_issuers: None }
    }

    /// Fetches Google's keys from Google, and missing issuers of Azure's certificates, over the
    /// network of this machine
    #[must_use]
    pub fn system(clock: Clock) -> Self {
        let network = Arc::new(System);
        let keys = KeyCache::fetching(KeyUrl::default(), network.clone(), clock);
        Self::new(Some(keys), Some(IssuerFetcher::new(network)))
    }

    /// Fetches Google's keys with `keys`, and missing issuers of Azure's certificates with
    /// `issuers`
    #[must_use]
    pub fn new(keys: Option<KeyCache>, issuers: Option<IssuerFetcher>) -> Self {
        Self { google_keys: keys.map(Arc::new), azure_issuers: issuers.map(Arc::new) }
    }

    /// Counts of fetches of Google's keys, if they are fetched
    #[must_use]
    pub fn key_counts(&self) -> Option<KeyCounts> {
        self.google_keys.as_deref().map(KeyCache::counts)
    }

    /// Counts of fetches of Azure's issuers, if they are fetched
    #[must_use]
    pub fn issuer_counts(&self) -> Option<IssuerCounts> {
        self.azure_issuers.as_deref().map(IssuerFetcher::counts)
    }
}

impl Identity {
    /// Trusts what the clouds publish, which is built in, under the default policy, and fetches
    /// nothing
    #[must_use]
    pub fn builtin() -> Self {
        Self::with_policy(&Policy::default())
    }

    /// Trusts what the clouds publish, which is built in, under `policy`, and fetches nothing
    #[must_use]
    pub fn with_policy(policy: &Policy) -> Self {
        Self {
            aws: aws::Verifier::new(aws::Keys::builtin(), policy.clone()),
            azure: azure::Verifier::new(azure::Trust::builtin(), policy.clone()),
            google: google::Verifier::new(policy.clone()),
            online: Online::offline(),
            google_keys: None,
        }
    }

    /// Replaces the verifier of AWS's proofs
    #[must_use]
    pub fn aws(self, aws: aws::Verifier) -> Self {
        Self { aws, ..self }
    }

    /// Replaces the verifier of Azure's proofs
    #[must_use]
    pub fn azure(self, azure: azure::Verifier) -> Self {
        Self { azure, ..self }
    }

    /// Replaces the verifier of Google's proofs
    #[must_use]
    pub fn google(self, google: google::Verifier) -> Self {
        Self { google, ..self }
    }

    /// Verifies Google's proofs with `keys` instead of the keys that Google publishes
    #[must_use]
    pub fn google_keys(self, keys: google::Jwks) -> Self {
        Self { google_keys: Some(keys), ..self }
    }

    /// Fetches what is missing with `online`
    #[must_use]
    pub fn online(self, online: Online) -> Self {
        Self { online, ..self }
    }

    /// The fetchers
    #[must_use]
    pub const fn fetchers(&self) -> &Online {
        &self.online
    }

    /// The trusted certificates, and how many days each remains valid after `now`
    ///
    /// Certificates that expired more than a month ago are left out: they are kept for proofs of
    /// their time and are not going to be renewed. AWS's keys do not expire.
    pub fn expiries(&self, now: SystemTime) -> impl Iterator<Item = Expiry<'_>> {
        let certificates = self.azure.trust().certificates().map(move |certificate| Expiry {
            cloud: Cloud::Azure,
            certificate,
            days_left: days_between(now, certificate.not_after()),
        });
        certificates.filter(|expiry| expiry.days_left > -31)
    }

    /// Logs a warning for every trusted certificate that expires within [`WARNING_DAYS`] days
    pub fn warn_of_expiry(&self, now: SystemTime) {
        for Expiry { cloud, certificate, days_left } in self.expiries(now) {
            if (0..=WARNING_DAYS).contains(&days_left) {
                let name = certificate.name();
                let fingerprint = certificate.fingerprint();
                warn!(%cloud, name, %fingerprint, days_left, "a trusted certificate ends soon");
            }
        }
    }

    /// Verifies a proof by the rules of its cloud
    ///
    /// Waits for the network only if [`Online`] has a fetcher for what is missing, and the proof
    /// is good so far.
    ///
    /// # Errors
    ///
    /// The errors of the cloud's verifier.
    pub async fn verify(
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
                    // For some regions the verifier may trust only one of the two keys.
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
                        // Without a key the token cannot be verified, but its claims can be logged.
                        let none = self.google.examine(&proof, now, &google::Jwks::none());
                        none.map_err(|rejection| match rejection.reason() {
                            Reason::UnknownKey => {
                                rejection.because(Error::KeysUnavailable { source: None })
                            }
                            _ => rejection,
                        })
                    }
                }
            }
        }
    }
}

/// A trusted certificate and the time until it expires
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Expiry<'a> {
    /// The cloud whose proofs it verifies
    pub cloud: Cloud,
    /// The certificate
    pub certificate: &'a azure::TrustedCertificate,
    /// Whole days; negative once it has expired
    pub days_left: i64,
}

/// How many days before a certificate expires the warnings begin: enough time for an upgrade
pub const WARNING_DAYS: i64 = 60;

fn days_between(now: SystemTime, end: SystemTime) -> i64 {
    const DAY: u64 = 86_400;
    let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => days(left.as_secs()),
        Err(past) => -1 - days(past.duration().as_secs()),
    }
}
