use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Error, asn1::Malformed, x509::Certificate};

/// One `-----BEGIN …-----` block of a PEM file (RFC 7468)
pub(crate) struct Block<'a> {
    /// The lines between the block before and this one
    pub(crate) preamble: &'a str,
    pub(crate) label: &'a str,
    pub(crate) der: Vec<u8>,
}

impl Block<'_> {
    /// The words of the preamble's line `Regions:`, which our own files have
    pub(crate) fn regions(&self) -> impl Iterator<Item = &str> {
        let line = self.preamble.lines().find_map(|line| line.strip_prefix("Regions: "));
        line.unwrap_or_default().split_ascii_whitespace()
    }

    /// The DER in a certificate block
    pub(crate) fn certificate(&self) -> Result<&[u8], Error> {
        match self.label {
            "CERTIFICATE" => Ok(&self.der),
            _ => Err(Error::trust("a PEM block is not a certificate")),
        }
    }

    /// The DER SubjectPublicKeyInfo in a certificate or public key block
    ///
    /// Of a certificate nothing else is read: no version, date, name, extension or
    /// signature is looked at.
    pub(crate) fn spki(&self) -> Result<&[u8], Error> {
        match self.label {
            "CERTIFICATE" => Certificate::parse(&self.der)
                .map(|certificate| certificate.spki)
                .map_err(|Malformed| Error::trust("a certificate is malformed")),
            "PUBLIC KEY" => Ok(&self.der),
            _ => Err(Error::trust("a PEM block is neither a certificate nor a public key")),
        }
    }
}

/// The blocks of a PEM file of at most [`MAX_PEM`] bytes, at least one
///
/// Text outside of blocks is explanatory (RFC 7468 section 2) and kept as the
/// preamble of the block it precedes.
pub(crate) fn blocks(pem: &[u8]) -> Result<Vec<Block<'_>>, Error> {
    if pem.len() > MAX_PEM {
        return Err(Error::trust("a PEM file is larger than 1 MiB"));
    }
    let mut rest = std::str::from_utf8(pem).map_err(|_| Error::trust("a PEM file is not UTF-8"))?;
    let mut blocks = Vec::new();
    while let Some((preamble, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once("-----").ok_or(BROKEN)?;
        let (body, after) = after.split_once(END).ok_or(BROKEN)?;
        rest = after.strip_prefix(label).and_then(|s| s.strip_prefix("-----")).ok_or(BROKEN)?;
        let digits: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(digits).map_err(|_| BROKEN)?;
        blocks.push(Block { preamble, label, der });
    }
    if blocks.is_empty() {
        return Err(Error::trust("a PEM file has no block"));
    }
    Ok(blocks)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const BROKEN: Error = Error::trust("a PEM block is broken");
const MAX_PEM: usize = 1 << 20;
