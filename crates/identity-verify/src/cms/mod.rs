//! Signed messages of the Cryptographic Message Syntax (RFC 5652), once PKCS#7
//!
//! Only what AWS and Azure send: attached data, one signer named by issuer and
//! serial number. Read with our own reader, because the crates for it demand DER,
//! and AWS sends BER; because what is hashed must be the bytes as they came; and
//! because nothing needs to be copied for that.

mod algorithm;
mod attributes;

use std::borrow::Cow;

pub(crate) use algorithm::Algorithm;

use crate::{
    Error,
    asn1::{
        AlgorithmIdentifier, INTEGER, Malformed, OBJECT_IDENTIFIER, Reader, Rules, SEQUENCE, SET,
        Value, context,
    },
};

/// A SignedData with one signer, nothing of it verified
#[derive(Debug)]
pub(crate) struct SignedData<'a> {
    content: Cow<'a, [u8]>,
    certificates: Vec<&'a [u8]>,
    signer: Signer<'a>,
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo that holds a SignedData, and nothing after it
    ///
    /// `rules` apply to all but the signed attributes, which are DER in any case
    /// (RFC 5652 section 5.3).
    pub(crate) fn parse(bytes: &'a [u8], rules: Rules) -> Result<Self, Error> {
        let mut outer = Reader::new(bytes, rules);
        let mut content_info = outer.read(SEQUENCE)?.open()?;
        outer.finish()?;
        if content_info.read(OBJECT_IDENTIFIER)?.body != ID_SIGNED_DATA {
            return Err(Error::malformed("the message is not a SignedData"));
        }
        let mut explicit = content_info.read(context(0))?.open()?;
        content_info.finish()?;
        let mut fields = explicit.read(SEQUENCE)?.open()?;
        explicit.finish()?;

        version_one(&mut fields)?;
        let digest_algorithms = fields.read(SET)?;
        let content = encapsulated(fields.read(SEQUENCE)?)?;
        let certificates = fields.optional(context(0))?.map_or(Ok(Vec::new()), certificates)?;
        let _revocation_lists = fields.optional(context(1))?;
        let signer = only_signer(fields.read(SET)?)?;
        fields.finish()?;
        if !lists(digest_algorithms, signer.algorithm)? {
            return Err(Error::malformed("the signer's digest is not among those listed"));
        }
        Ok(Self { content, certificates, signer })
    }

    /// The octets that the signer vouches for, if the signature verifies
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The certificates in the message, in no particular order, which no signature covers
    pub(crate) fn certificates(&self) -> &[&'a [u8]] {
        &self.certificates
    }

    pub(crate) const fn signer(&self) -> &Signer<'a> {
        &self.signer
    }

    /// The bytes that the signature is made over (RFC 5652 section 5.4)
    ///
    /// Without signed attributes, the content. With them, the attributes, after it
    /// is checked that they name this content by type and digest.
    pub(crate) fn signed_bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        match self.signer.attributes {
            Some(attributes) => {
                attributes::check(attributes, &self.signer, &self.content)?;
                // The tag [0] IMPLICIT of the message becomes the SET it stands for.
                let mut set = attributes.to_vec();
                if let Some(tag) = set.first_mut() {
                    *tag = SET;
                }
                Ok(Cow::Owned(set))
            }
            // The attributes of another message, presented as content, would carry
            // a genuine signature.
            None if self.content.first() == Some(&SET) => {
                Err(Error::malformed("the content could be signed attributes"))
            }
            None => Ok(Cow::Borrowed(&self.content)),
        }
    }
}

/// A SignerInfo (RFC 5652 section 5.3)
#[derive(Debug)]
pub(crate) struct Signer<'a> {
    /// The issuer's name, as encoded
    pub(crate) issuer: &'a [u8],
    /// The serial number, as encoded
    pub(crate) serial: &'a [u8],
    pub(crate) algorithm: Algorithm,
    pub(crate) signature: Cow<'a, [u8]>,
    digest_algorithm: AlgorithmIdentifier<'a>,
    signature_algorithm: AlgorithmIdentifier<'a>,
    attributes: Option<&'a [u8]>,
}

/// Reads a version, which follows from what we accept (RFC 5652, 5.1 and 5.3)
fn version_one(fields: &mut Reader<'_>) -> Result<(), Error> {
    match fields.read(INTEGER)?.body {
        [1] => Ok(()),
        _ => Err(Error::malformed("the message is not of version 1")),
    }
}

/// Whether a set of digest algorithms has that of the signer
fn lists(set: Value<'_>, signer: Algorithm) -> Result<bool, Malformed> {
    let mut algorithms = set.open()?;
    let mut found = false;
    while !algorithms.is_empty() {
        found |= signer.hashes_with(AlgorithmIdentifier::read(algorithms.read(SEQUENCE)?)?);
    }
    Ok(found)
}

/// The content of an EncapsulatedContentInfo of type id-data
fn encapsulated<'a>(value: Value<'a>) -> Result<Cow<'a, [u8]>, Error> {
    let mut fields = value.open()?;
    if fields.read(OBJECT_IDENTIFIER)?.body != ID_DATA {
        return Err(Error::malformed("the content is not plain data"));
    }
    let Some(explicit) = fields.optional(context(0))? else {
        return Err(Error::malformed("the content is detached"));
    };
    fields.finish()?;
    let mut explicit = explicit.open()?;
    let content = explicit.octet_string()?;
    explicit.finish()?;
    Ok(content)
}

fn certificates<'a>(set: Value<'a>) -> Result<Vec<&'a [u8]>, Error> {
    let mut certificates = Vec::new();
    let mut reader = set.open()?;
    while !reader.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(Error::malformed("the message has more than 8 certificates"));
        }
        certificates.push(reader.read(SEQUENCE)?.raw);
    }
    Ok(certificates)
}

fn only_signer<'a>(set: Value<'a>) -> Result<Signer<'a>, Error> {
    let mut signers = set.open()?;
    if signers.is_empty() {
        return Err(Error::malformed("the message has no signer"));
    }
    let mut fields = signers.read(SEQUENCE)?.open()?;
    if !signers.is_empty() {
        return Err(Error::malformed("the message has several signers"));
    }

    version_one(&mut fields)?;
    let mut name = fields.read(SEQUENCE)?.open()?;
    let issuer = name.read(SEQUENCE)?.raw;
    let serial = name.read(INTEGER)?.body;
    name.finish()?;
    let digest = AlgorithmIdentifier::read(fields.read(SEQUENCE)?)?;
    let attributes = fields.optional(context(0))?.map(|value| value.raw);
    let signature_algorithm = AlgorithmIdentifier::read(fields.read(SEQUENCE)?)?;
    let signature = fields.octet_string()?;
    let _unsigned_attributes = fields.optional(context(1))?;
    fields.finish()?;
    Ok(Signer {
        issuer,
        serial,
        algorithm: Algorithm::of(digest, signature_algorithm)?,
        signature,
        digest_algorithm: digest,
        signature_algorithm,
        attributes,
    })
}

/// Azure sends one, AWS none
const MAX_CERTIFICATES: usize = 8;

/// 1.2.840.113549.1.7.2 (RFC 5652 section 5.1)
const ID_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// 1.2.840.113549.1.7.1 (RFC 5652 section 4)
const ID_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
