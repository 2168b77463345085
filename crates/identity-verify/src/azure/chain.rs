use std::{
    sync::atomic::AtomicUsize,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error as ThisError;
use webpki::{EndEntityCert, KeyUsage};

use super::Trust;
use crate::{
    Error,
    error::cut,
    rsa,
    x509::{self, Certificate},
};

/// What the signatures of a path may cost, in verifications with RSA-2048
///
/// The dearest genuine path has two signatures by keys of 4096 bits, or three if a root of 2048
/// bits certified a root of 4096 bits. A known authority stands in front of all others and its
/// signatures verify, so a genuine proof spends nothing on attempts that fail. A larger budget
/// would serve only those who make certificates that nearly lead to a root.
pub(super) fn budget() -> AtomicUsize {
    AtomicUsize::new(MAX_COST)
}

/// Finds a path from `leaf` to a trusted root that is valid at `now`
///
/// As in RFC 5280 section 6, by webpki: signatures, dates, authority, path length,
/// name constraints, and the extended key usage serverAuth wherever usages are
/// limited. Not checked: revocation. No authority offers it for these leaves in a way that
/// an edge service could wait for, and they live for half a year.
///
/// `untrusted` certificates came with the proof or from the network. They can lead
/// to a root, never be one. What the search spends is taken from `budget`.
pub(super) fn verify(
    trust: &Trust,
    leaf: &[u8],
    untrusted: &[&[u8]],
    now: SystemTime,
    budget: &AtomicUsize,
) -> Result<Path, Error> {
    let intermediates = candidates(trust, leaf, untrusted)?;
    let anchors = trust.anchors(now);
    let found = path(leaf, &intermediates, &anchors, now, budget);
    let anchor = found.map_err(|error| match error {
        NO_PATH => missing_issuer(trust, leaf, untrusted).unwrap_or(error),
        error => error,
    })?;
    Ok(Path { by_operators_root: trust.is_operators(&anchor) })
}

/// The issuer at which the way upwards from `leaf` ends, if it is not known at all
///
/// Names are followed, and nothing is verified: this is for an operator who looks for the
/// certificate to add.
fn missing_issuer(trust: &Trust, leaf: &[u8], untrusted: &[&[u8]]) -> Option<Error> {
    let mut below = Certificate::parse(leaf).ok()?;
    for _ in 0..=MAX_INTERMEDIATES {
        if trust.has_root(below.issuer) {
            return None;
        }
        let sent = untrusted.iter().copied().filter_map(|der| Certificate::parse(der).ok());
        let known = trust.issuers(below.issuer).filter_map(|der| Certificate::parse(der).ok());
        // What issued itself leads no further.
        let is_above = |above: &Certificate<'_>| {
            above.subject == below.issuer && above.issuer != above.subject
        };
        match known.chain(sent).find(is_above) {
            Some(above) => below = above,
            None => break,
        }
    }
    let names = x509::common_names(below.issuer).unwrap_or_default().join(", ");
    let urls = below.issuer_urls().unwrap_or_default().into_iter().take(3);
    Some(Error::UnknownIssuer {
        issuer: cut(&names, Error::MAX_ECHO),
        urls: urls.map(|url| cut(url, 2 * Error::MAX_ECHO)).collect(),
    })
}

/// A path that has been verified
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Whether it ends at a root the operator added
    pub(super) by_operators_root: bool,
}

/// Whether `issuer` issued the end of the path from `leaf` through `between`
pub(super) fn is_issued(leaf: &[u8], between: &[Vec<u8>], issuer: &[u8], now: SystemTime) -> bool {
    let between: Vec<_> = between.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let issuer = CertificateDer::from(issuer);
    webpki::anchor_from_trusted_cert(&issuer)
        .is_ok_and(|anchor| path(leaf, &between, &[anchor], now, &budget()).is_ok())
}

/// The certificates that could stand between `leaf` and a root, by their names
///
/// webpki would look at each of them at each step, and most have nothing to do with
/// this leaf. Of the untrusted only a few are taken, those in front first: it tries
/// them in every order that their names allow, and a handful that name one another
/// in a circle would keep it busy for tens of milliseconds.
fn candidates<'a>(
    trust: &'a Trust,
    leaf: &'a [u8],
    untrusted: &[&'a [u8]],
) -> Result<Vec<CertificateDer<'a>>, Error> {
    let mut known = Vec::new();
    for der in untrusted {
        known.push((Certificate::parse(der)?.subject, *der));
    }
    let mut found: Vec<&[u8]> = Vec::new();
    let mut untrusted_left = MAX_UNTRUSTED;
    let mut names = vec![Certificate::parse(leaf)?.issuer];
    for _ in 0..MAX_INTERMEDIATES {
        let mut next_names = Vec::new();
        for name in names {
            let named = known.iter().filter(|(subject, _)| *subject == name);
            let sent = named.map(|(_, der)| *der).filter(|der| !found.contains(der));
            let sent: Vec<&[u8]> = sent.take(untrusted_left).collect();
            untrusted_left -= sent.len();
            let known = trust.issuers(name).filter(|der| !found.contains(der));
            for der in known.chain(sent).collect::<Vec<_>>() {
                let certificate = Certificate::parse(der)?;
                // RFC 5280, 6.1.4 (n), which webpki leaves out.
                if certificate.may_certify()? {
                    found.push(der);
                    next_names.push(certificate.issuer);
                }
            }
        }
        names = next_names;
    }
    Ok(found.into_iter().map(CertificateDer::from).collect())
}

fn path(
    leaf: &[u8],
    intermediates: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    now: SystemTime,
    budget: &AtomicUsize,
) -> Result<TrustAnchor<'static>, Error> {
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(untrusted)?;
    // No certificate begins before 1970, as far as this crate reads dates.
    let since_epoch = now.duration_since(UNIX_EPOCH).map_err(|_| Error::NotYetValid {
        what: PATH,
        time: now,
        not_before: UNIX_EPOCH,
    })?;
    let algorithms = rsa::chain_algorithms(budget);
    let algorithms = algorithms.each_ref().map(rsa::Budgeted::as_dyn);
    leaf.verify_for_usage(
        &algorithms,
        anchors,
        intermediates,
        UnixTime::since_unix_epoch(since_epoch),
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map(|path| path.anchor().to_owned())
    .map_err(untrusted)
}

/// Why path validation refused a certificate, as the source of an [`Error`](enum@Error)
///
/// Its text is that of the library which validates paths, and may change with it.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{0}")]
pub struct PathError(Box<webpki::Error>);

fn untrusted(error: webpki::Error) -> Error {
    let system_time = |time: UnixTime| {
        UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(UNIX_EPOCH)
    };
    let why = match error {
        webpki::Error::CertExpired { time, not_after } => {
            let (time, not_after) = (system_time(time), system_time(not_after));
            return Error::Expired { what: PATH, time, not_after };
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            let (time, not_before) = (system_time(time), system_time(not_before));
            return Error::NotYetValid { what: PATH, time, not_before };
        }
        webpki::Error::UnknownIssuer => return NO_PATH,
        webpki::Error::CaUsedAsEndEntity => "it is an authority",
        webpki::Error::EndEntityUsedAsCa => "its issuer is not an authority",
        webpki::Error::RequiredEkuNotFoundContext(_) => "it must not identify servers",
        webpki::Error::InvalidSignatureForPublicKey => "its issuer did not sign it",
        webpki::Error::UnsupportedCertVersion => "it is not an X.509 version 3 certificate",
        _ => "its path is not valid",
    };
    not_trusted(why, error)
}

pub(super) fn not_trusted(why: &'static str, error: webpki::Error) -> Error {
    Error::UntrustedSigner { why, source: Some(PathError(Box::new(error))) }
}

const NO_PATH: Error =
    Error::UntrustedSigner { why: "no path leads to a trusted root", source: None };

/// The longest path seen has two
const MAX_INTERMEDIATES: usize = 4;

/// As many as may be fetched, so that certificates sent along cannot crowd those out
const MAX_UNTRUSTED: usize = 3;

/// See [`budget`]
const MAX_COST: usize = 9;

const PATH: &str = "a certificate of the signer's path";
