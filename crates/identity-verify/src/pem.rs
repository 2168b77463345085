use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    Error,
    asn1::{INTEGER, Malformed, Reader, Rules, SEQUENCE, context},
};

/// One `-----BEGIN …-----` block of a PEM file (RFC 7468)
pub(crate) struct Block<'a> {
    /// The lines between the block before and this one
    pub(crate) preamble: &'a str,
    pub(crate) label: &'a str,
    pub(crate) der: Vec<u8>,
}

impl Block<'_> {
    /// The DER SubjectPublicKeyInfo in a certificate or public key block
    ///
    /// Of a certificate nothing else is read: no version, date, name, extension or
    /// signature is looked at.
    pub(crate) fn spki(&self) -> Result<&[u8], Error> {
        match self.label {
            "CERTIFICATE" => spki_of_certificate(&self.der)
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

/// The SubjectPublicKeyInfo of an X.509 certificate of any version (RFC 5280, 4.1)
fn spki_of_certificate(der: &[u8]) -> Result<&[u8], Malformed> {
    let mut outer = Reader::new(der, Rules::Der);
    let certificate = outer.read(SEQUENCE)?;
    outer.finish()?;
    let mut tbs = certificate.open()?.read(SEQUENCE)?.open()?;
    let _version = tbs.optional(context(0))?;
    let _serial = tbs.read(INTEGER)?;
    let _signature = tbs.read(SEQUENCE)?;
    let _issuer = tbs.read(SEQUENCE)?;
    let _validity = tbs.read(SEQUENCE)?;
    let _subject = tbs.read(SEQUENCE)?;
    Ok(tbs.read(SEQUENCE)?.raw)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const BROKEN: Error = Error::trust("a PEM block is broken");
const MAX_PEM: usize = 1 << 20;
