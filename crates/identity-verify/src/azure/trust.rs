use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, Der, TrustAnchor};

use crate::{Error, Fingerprint, asn1::Malformed, pem, x509};

/// The certificates that the signer of attested data must lead to
///
/// A root is trusted outright. An intermediate only helps to find the way to a
/// root, and is verified on it each time.
///
/// Clones share the certificates until one of them is added to.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<Table>);

#[derive(Clone, Debug, Default)]
struct Table {
    roots: Vec<Root>,
    intermediates: Vec<Intermediate>,
    /// Indices into `intermediates` by subject
    by_subject: BTreeMap<Vec<u8>, Vec<usize>>,
}

impl Trust {
    /// No certificate: nothing verifies until a root is added
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The roots and issuers Microsoft publishes (November 2026)
    ///
    /// Seven roots and 31 intermediates, those of past years included, because a
    /// proof may be verified for a time in the past. An issuer that several roots
    /// have certified is there with every certificate. Source: "Azure Certificate
    /// Authority details".
    ///
    /// The system's store of roots is not used, because every other root in it could then
    /// speak for Azure.
    ///
    /// They are read once in the life of the process; after that a call costs an atomic addition.
    #[must_use]
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Trust> = LazyLock::new(Trust::read_builtin);
        BUILTIN.clone()
    }

    fn read_builtin() -> Self {
        let mut table = Table::default();
        // A certificate that cannot be read is not trusted; a test counts them.
        for block in pem::blocks(ROOTS).unwrap_or_default() {
            table.roots.extend(Root::read(&block, Origin::Builtin));
        }
        for block in pem::blocks(INTERMEDIATES).unwrap_or_default() {
            if let Ok(intermediate) = Intermediate::read(&block) {
                table.add_intermediate(intermediate);
            }
        }
        Self(Arc::new(table))
    }

    /// Trusts every certificate in `pem` as a root, beside those trusted already
    ///
    /// Such a root may speak for every Azure cloud, Germany included. The holder of its key
    /// can speak for every machine, so the source must be beyond doubt.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidTrust`] if the file has no block, or one that is not an X.509
    /// certificate. No certificate of the file is then trusted.
    pub fn add_root_pem(&mut self, pem: &[u8]) -> Result<(), Error> {
        let blocks = pem::blocks(pem)?;
        let roots = blocks.iter().map(|block| Root::read(block, Origin::Operator));
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        Arc::make_mut(&mut self.0).roots.extend(roots);
        Ok(())
    }

    /// Offers every certificate in `pem` as an intermediate, beside those already known
    ///
    /// # Errors
    ///
    /// As [`add_root_pem`](Self::add_root_pem).
    pub fn add_intermediate_pem(&mut self, pem: &[u8]) -> Result<(), Error> {
        let blocks = pem::blocks(pem)?;
        let intermediates = blocks.iter().map(Intermediate::read);
        let intermediates = intermediates.collect::<Result<Vec<_>, _>>()?;
        let table = Arc::make_mut(&mut self.0);
        for intermediate in intermediates {
            table.add_intermediate(intermediate);
        }
        Ok(())
    }

    /// Every certificate, roots first
    pub fn certificates(&self) -> impl Iterator<Item = &TrustedCertificate> {
        self.roots().chain(self.intermediates())
    }

    /// The roots
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &TrustedCertificate> {
        self.0.roots.iter().map(|root| &root.certificate)
    }

    /// The intermediates
    pub fn intermediates(&self) -> impl ExactSizeIterator<Item = &TrustedCertificate> {
        self.0.intermediates.iter().map(|intermediate| &intermediate.certificate)
    }

    /// The roots that are valid at `now`
    pub(super) fn anchors(&self, now: SystemTime) -> Vec<TrustAnchor<'_>> {
        let valid = self.0.roots.iter().filter(|root| root.certificate.is_valid_at(now));
        valid.map(|root| borrow(&root.anchor)).collect()
    }

    /// Whether an operator added the root that `anchor` is
    pub(super) fn is_operators(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.0.roots.iter().any(|root| root.origin == Origin::Operator && root.anchor == *anchor)
    }

    /// Whether there is a root whose subject is `name`, valid or not
    pub(super) fn has_root(&self, name: &[u8]) -> bool {
        self.0.roots.iter().any(|root| root.subject == name)
    }

    /// The intermediates whose subject is `name`
    pub(super) fn issuers(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let indices = self.0.by_subject.get(name).map_or(&[][..], Vec::as_slice);
        indices.iter().filter_map(|&i| self.0.intermediates.get(i)).map(|found| &*found.der)
    }
}

impl Table {
    fn add_intermediate(&mut self, intermediate: Intermediate) {
        let index = self.intermediates.len();
        self.by_subject.entry(intermediate.subject.clone()).or_default().push(index);
        self.intermediates.push(intermediate);
    }
}

/// A certificate as an operator wants to see it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificate {
    name: String,
    validity: RangeInclusive<SystemTime>,
    fingerprint: Fingerprint,
    is_authority: bool,
    is_self_issued: bool,
}

impl TrustedCertificate {
    fn read(der: &[u8]) -> Result<Self, Malformed> {
        let view = x509::Certificate::parse(der)?;
        let (not_before, not_after) = view.validity()?;
        Ok(Self {
            name: view.common_names()?.join(", "),
            validity: not_before..=not_after,
            fingerprint: Fingerprint::of(der),
            is_authority: view.is_authority()?,
            is_self_issued: view.issuer == view.subject,
        })
    }

    /// The common name of its subject
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last second in which it is valid
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        *self.validity.end()
    }

    /// SHA-256 of the whole certificate
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether it says that it may issue certificates (RFC 5280, 4.2.1.9)
    #[must_use]
    pub const fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether issuer and subject have the same name, as those of a root do (RFC 5280, 3.2)
    ///
    /// Such a certificate is of no use among [`intermediates`](Trust::intermediates).
    #[must_use]
    pub const fn is_self_issued(&self) -> bool {
        self.is_self_issued
    }

    fn is_valid_at(&self, now: SystemTime) -> bool {
        // The last second is valid to its end.
        let ended = now.duration_since(self.not_after()).is_ok_and(|past| past >= SECOND);
        *self.validity.start() <= now && !ended
    }
}

#[derive(Clone, Debug)]
struct Root {
    anchor: TrustAnchor<'static>,
    /// As encoded
    subject: Vec<u8>,
    certificate: TrustedCertificate,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Builtin,
    Operator,
}

impl Root {
    fn read(block: &pem::Block<'_>, origin: Origin) -> Result<Self, Error> {
        let certificate = TrustedCertificate::read(block.certificate()?).map_err(unusable)?;
        let der = CertificateDer::from(block.der.as_slice());
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(unusable)?.to_owned();
        let subject = x509::Certificate::parse(&block.der).map_err(unusable)?.subject.to_owned();
        Ok(Self { anchor, subject, certificate, origin })
    }
}

#[derive(Clone, Debug)]
struct Intermediate {
    der: Vec<u8>,
    subject: Vec<u8>,
    certificate: TrustedCertificate,
}

impl Intermediate {
    fn read(block: &pem::Block<'_>) -> Result<Self, Error> {
        let der = block.certificate()?;
        let certificate = TrustedCertificate::read(der).map_err(unusable)?;
        let subject = x509::Certificate::parse(der).map_err(unusable)?.subject;
        Ok(Self { der: der.to_owned(), subject: subject.to_owned(), certificate })
    }
}

fn borrow<'a>(anchor: &'a TrustAnchor<'static>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: Der::from_slice(&anchor.subject),
        subject_public_key_info: Der::from_slice(&anchor.subject_public_key_info),
        name_constraints: anchor.name_constraints.as_deref().map(Der::from_slice),
    }
}

fn unusable<E>(_: E) -> Error {
    Error::trust("a certificate is malformed")
}

const SECOND: Duration = Duration::from_secs(1);
const ROOTS: &[u8] = include_bytes!("../../data/azure/roots.pem");
const INTERMEDIATES: &[u8] = include_bytes!("../../data/azure/intermediates.pem");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_certificates_are_read_once_and_are_not_changed_by_additions() {
        let (mut own, other) = (Trust::builtin(), Trust::builtin());
        assert!(Arc::ptr_eq(&own.0, &other.0));
        own.add_root_pem(ROOTS).unwrap();
        own.add_intermediate_pem(INTERMEDIATES).unwrap();
        assert_eq!((own.roots().len(), own.intermediates().len()), (14, 62));
        let other = Trust::builtin();
        assert_eq!((other.roots().len(), other.intermediates().len()), (7, 31));
    }

    #[test]
    fn webpki_reads_every_built_in_certificate() {
        let trust = Trust::builtin();
        assert_eq!((trust.0.roots.len(), trust.0.intermediates.len()), (7, 31));
        for Intermediate { der, certificate, .. } in &trust.0.intermediates {
            // An extension that it does not know and must would be an error.
            let der = CertificateDer::from(der.as_slice());
            let read = webpki::EndEntityCert::try_from(&der);
            assert!(read.is_ok(), "{}: {:?}", certificate.name(), read.err());
        }
    }

    #[test]
    fn every_built_in_intermediate_has_a_built_in_issuer() {
        let trust = Trust::builtin();
        for Intermediate { der, certificate, .. } in &trust.0.intermediates {
            let issuer = x509::Certificate::parse(der).unwrap().issuer;
            let name = webpki_name(issuer);
            let by_root = trust.0.roots.iter().any(|root| *root.anchor.subject == *name);
            assert!(by_root || trust.issuers(issuer).count() > 0, "{}", certificate.name());
        }
    }

    /// webpki keeps names without their outer header
    fn webpki_name(name: &[u8]) -> &[u8] {
        let mut outer = crate::asn1::Reader::new(name, crate::asn1::Rules::Der);
        outer.read(crate::asn1::SEQUENCE).unwrap().body
    }
}
