//! Microsoft Azure: attested data of a virtual machine
//!
//! Format: "Azure Instance Metadata Service", section "Attested data", and CMS
//! (RFC 5652). A document is valid for six hours and names no audience: unless a nonce
//! was asked for, everyone who has seen it can present it for that long.

mod attested;
mod chain;
mod environment;
mod issuer;
mod trust;

use std::{collections::BTreeSet, fmt, sync::Arc, time::SystemTime};

pub use attested::Claims;
pub(crate) use attested::Document;
pub use chain::PathError;
pub use environment::Environment;
pub use issuer::{DynFetchIssuer, FetchIssuer, IssuerUrl};
use rustls_pki_types::CertificateDer;
pub use trust::{Trust, TrustedCertificate};
use webpki::EndEntityCert;

use crate::{
    Denied, Error, Policy, Rejection, VerifiedInstance,
    asn1::Rules,
    base64,
    cms::{Algorithm, SignedData},
    error::{bound, cut},
    rejection::Failed,
    rsa::{PublicKey, Sha2},
    x509::Certificate,
};

/// Attested data, as a client sent it
///
/// Served by the metadata service at `/metadata/attested/document`. Nothing of it is
/// verified. `Debug` shows its size only.
#[derive(Clone, Copy)]
pub struct AttestedData<'a> {
    /// The PKCS#7 message in base64, the field `signature` of what is served
    pub signature: &'a [u8],
}

impl fmt::Debug for AttestedData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestedData").field("signature", &self.signature.len()).finish()
    }
}

/// Decides whether Azure signed a proof, and for which virtual machine
///
/// Immutable: to change certificates or policy, build another. Several may share one
/// [`Trust`].
#[derive(Clone, Debug)]
pub struct Verifier {
    trust: Arc<Trust>,
    policy: Policy,
}

impl Verifier {
    /// A verifier that trusts `trust` and demands `policy`
    #[must_use]
    pub fn new(trust: impl Into<Arc<Trust>>, policy: Policy) -> Self {
        Self { trust: trust.into(), policy }
    }

    /// A verifier that trusts the [certificates Microsoft publishes](Trust::builtin),
    /// with the default policy
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(Trust::builtin(), Policy::default())
    }

    /// The certificates it trusts
    #[must_use]
    pub const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Verifies attested data with the certificates at hand
    ///
    /// Proves that the holder of one certificate signed the document, that this very
    /// certificate has only names of an Azure metadata service and leads to a
    /// trusted root at `now`, and that the policy allows what the document says.
    /// Certificates in the message are used, but trusted for nothing.
    ///
    /// Not checked: revocation, whether the machine runs now, whether the presenter
    /// is that machine, when the document was created, and its end if the policy
    /// says so.
    ///
    /// # Errors
    ///
    /// The first of: a message too large, not base64 or not a SignedData with one
    /// signer of whom it holds one certificate; an algorithm other than RSA PKCS#1
    /// v1.5 of 2048 to 4096 bits with SHA-2; a name that is not Azure's; a path that
    /// does not lead to a root now; a signature that does not verify; content that is
    /// not attested data; an end, nonce or subscription the policy refuses; and
    /// [`Error::InvalidInstanceId`].
    pub fn verify(
        &self,
        proof: &AttestedData<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        self.examine(proof, now).map_err(Error::from)
    }

    /// Verifies attested data, fetching certificates that are missing on the path
    ///
    /// As [`verify`](Self::verify), which it is as long as that finds a path. Only
    /// then, and only once signature and name have been found good, are the URLs of
    /// the certificate's authority information access (RFC 5280, 4.2.2.1) asked, up
    /// to three certificates upwards. That keeps machines signing in when Microsoft
    /// begins to issue from an authority that is not built in yet.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub async fn verify_with(
        &self,
        proof: &AttestedData<'_>,
        now: SystemTime,
        source: &(impl FetchIssuer + ?Sized),
    ) -> Result<VerifiedInstance, Error> {
        self.examine_with(proof, now, source).await.map_err(Error::from)
    }

    /// As [`verify`](Self::verify), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify`](Self::verify).
    pub fn examine(
        &self,
        proof: &AttestedData<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Rejection> {
        let der = decode(proof)?;
        let message = SignedData::parse(&der, Rules::Der)?;
        self.decide(&message, now).map_err(|failed| self.rejection(&message, failed))
    }

    /// As [`verify_with`](Self::verify_with), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify_with`](Self::verify_with).
    pub async fn examine_with(
        &self,
        proof: &AttestedData<'_>,
        now: SystemTime,
        source: &(impl FetchIssuer + ?Sized),
    ) -> Result<VerifiedInstance, Rejection> {
        let der = decode(proof)?;
        let message = SignedData::parse(&der, Rules::Der)?;
        let decided = self.decide_with(&message, now, source).await;
        decided.map_err(|failed| self.rejection(&message, failed))
    }

    fn decide(
        &self,
        message: &SignedData<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Failed> {
        let signer = Signer::of(message)?;
        let certificates = message.certificates();
        let path = chain::verify(&self.trust, signer.der, certificates, now, &chain::budget())?;
        signer.verify(message)?;
        self.accept(message, &signer, path, now).map_err(Failed::genuine)
    }

    async fn decide_with(
        &self,
        message: &SignedData<'_>,
        now: SystemTime,
        source: &(impl FetchIssuer + ?Sized),
    ) -> Result<VerifiedInstance, Failed> {
        let signer = Signer::of(message)?;
        let mut fetched: Vec<Vec<u8>> = Vec::new();
        let path = loop {
            let mut untrusted: Vec<&[u8]> = fetched.iter().map(Vec::as_slice).collect();
            untrusted.extend(message.certificates());
            let budget = chain::budget();
            match chain::verify(&self.trust, signer.der, &untrusted, now, &budget) {
                Ok(path) => break path,
                Err(error) => {
                    // Nothing is fetched for a proof that its own certificate did not sign, nor
                    // for one whose certificates have already cost as much as a genuine proof.
                    if fetched.is_empty() {
                        if budget.into_inner() < signer.key.cost() {
                            return Err(error.into());
                        }
                        signer.verify(message)?;
                    }
                    match issuer::next(source, signer.der, &fetched, now).await {
                        Some(issuer) => fetched.push(issuer),
                        None => return Err(error.into()),
                    }
                }
            }
        };
        if fetched.is_empty() {
            signer.verify(message)?;
        }
        self.accept(message, &signer, path, now).map_err(Failed::genuine)
    }

    /// Parses a document whose signer is trusted
    fn accept(
        &self,
        message: &SignedData<'_>,
        signer: &Signer<'_>,
        path: chain::Path,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        let is_allowed = |environment: &Environment| match &self.policy.azure_clouds {
            Some(clouds) => clouds.contains(environment),
            None => *environment != Environment::Germany || path.by_operators_root,
        };
        let [environment, ..] = *signer.environments.as_slice() else { return Err(DISAGREE) };
        if !signer.environments.iter().all(is_allowed) {
            return Err(CLOUD_NOT_ALLOWED);
        }
        Document::parse(message.content())?.check(environment, &self.policy, now)
    }

    /// What a refused message says of its machine
    fn rejection(&self, message: &SignedData<'_>, failed: Failed) -> Rejection {
        let content = failed.readable(message.content());
        let document = content.and_then(|content| Document::parse(content).ok());
        let claimed = document.as_ref().map(Document::claimed).unwrap_or_default();
        let denied = match &failed.error {
            error if *error == CLOUD_NOT_ALLOWED => {
                let signer = Signer::of(message).ok();
                let names = signer.map(|signer| signer.environments).unwrap_or_default();
                let names: BTreeSet<_> = names.into_iter().map(Environment::as_str).collect();
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                Some(Denied::new("azure_clouds", Some(&names)))
            }
            error => document.and_then(|document| document.denied(error)),
        };
        Rejection::new(failed, claimed, denied)
    }
}

const CLOUD_NOT_ALLOWED: Error = Error::signer_not_allowed("its Azure cloud is not allowed", None);

/// The certificate whose key made the signature
struct Signer<'a> {
    der: &'a [u8],
    hash: Sha2,
    key: PublicKey,
    /// Of all its names, that of the common name first; at least one
    environments: Vec<Environment>,
}

impl<'a> Signer<'a> {
    /// Finds the one certificate that the signer names, and checks its key and its names
    ///
    /// The signature is not verified: a proof whose certificate leads to no root is refused before,
    /// since it may have the largest key that is allowed.
    ///
    /// Two certificates with the same issuer and serial number are refused, even if they
    /// are equal: the message would not show which of them signed.
    fn of(message: &SignedData<'a>) -> Result<Self, Error> {
        let named = message.signer();
        let mut matching = Vec::new();
        for der in message.certificates() {
            let certificate = Certificate::parse(der)?;
            if certificate.issuer == named.issuer && certificate.serial == named.serial {
                matching.push((*der, certificate));
            }
        }
        let &[(der, certificate)] = matching.as_slice() else {
            return Err(Error::malformed("not exactly one certificate is the signer's"));
        };

        let Algorithm::Rsa(hash) = named.algorithm else {
            return Err(Error::AlgorithmNotAllowed { algorithm: "a signature other than RSA" });
        };
        let key = PublicKey::from_spki(certificate.spki)
            .ok()
            .filter(|key| key.bits() >= 2048 && key.is_cheap())
            .ok_or(Error::AlgorithmNotAllowed {
                algorithm: "a signer's key other than RSA of 2048 to 4096 bits",
            })?;
        Ok(Self { der, hash, key, environments: environments(der, &certificate)? })
    }

    /// Fails unless the certificate's key signed the message
    fn verify(&self, message: &SignedData<'_>) -> Result<(), Error> {
        match self.key.verify(self.hash, &message.signed_bytes()?, &message.signer().signature) {
            true => Ok(()),
            false => Err(Error::BadSignature),
        }
    }
}

/// The Azure clouds that the certificate's names lie in
///
/// The subject alternative names decide, and every one of them has to be a name of a
/// metadata service: a certificate that also speaks for another host was not made for
/// this, and its key may be anywhere. Common names no longer name hosts (RFC 9525 section
/// 2), but a certificate whose common name disagrees is not Azure's.
fn environments(der: &[u8], certificate: &Certificate<'_>) -> Result<Vec<Environment>, Error> {
    EndEntityCert::try_from(&CertificateDer::from(der))
        .map_err(|error| chain::not_trusted("it is not an X.509 version 3 certificate", error))?;
    let (mut named, mut beside) = (Vec::new(), Vec::new());
    for name in certificate.alternative_names()? {
        match name.and_then(Environment::of_name) {
            Some(environment) => named.push(environment),
            None => beside.push(name),
        }
    }
    if named.is_empty() {
        let name = beside.into_iter().flatten().next().map(echo);
        return Err(Error::signer_not_allowed("it has no name of an Azure cloud", name));
    }
    for name in beside {
        // A wildcard does not count as a name, but below a metadata service it does no harm.
        let below = name.and_then(|name| name.strip_prefix("*."));
        named.push(below.and_then(Environment::of_name).ok_or_else(|| {
            let why = "it also has a name that is not of an Azure cloud's metadata service";
            Error::signer_not_allowed(why, name.map(echo))
        })?);
    }
    let common_names = certificate.common_names()?;
    if let Some(common_name) = common_names.first() {
        let own = Environment::of_name(common_name)
            .filter(|own| common_names.iter().all(|name| Environment::of_name(name) == Some(*own)))
            .ok_or_else(|| {
                let why = "its common name is not an Azure cloud's";
                Error::signer_not_allowed(why, Some(echo(common_name)))
            })?;
        let at = named.iter().position(|environment| *environment == own);
        named.swap(0, at.ok_or(DISAGREE)?);
    }
    Ok(named)
}

const DISAGREE: Error =
    Error::signer_not_allowed("its alternative names do not agree with its common name", None);

/// A name of a certificate, as an error quotes it
fn echo(name: &str) -> String {
    cut(name, Error::MAX_ECHO)
}

fn decode(proof: &AttestedData<'_>) -> Result<Vec<u8>, Error> {
    bound("the message", proof.signature, MAX_MESSAGE)?;
    base64::decode(proof.signature).ok_or(Error::malformed("the message is not standard base64"))
}

/// Real messages have some 4,000 bytes
const MAX_MESSAGE: usize = 16 << 10;
