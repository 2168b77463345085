use super::{ID_DATA, Signer};
use crate::{
    Error,
    asn1::{
        AlgorithmIdentifier, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader, Rules, SEQUENCE,
        SET, Value, context,
    },
};

/// Checks that signed attributes speak of this content and this signature
///
/// They must be DER, hold one content type, which is id-data, and one message
/// digest, which is that of `content` (RFC 5652 section 11). If they hold an
/// algorithm protection, it must name the signer's algorithms (RFC 6211). Others,
/// such as the signing time, are not looked at.
pub(super) fn check(attributes: &[u8], signer: &Signer<'_>, content: &[u8]) -> Result<(), Error> {
    let mut outer = Reader::new(attributes, Rules::Der);
    let mut attributes = outer.read(context(0))?.open()?;
    outer.finish()?;

    let (mut content_type, mut digest, mut protection) = (None, None, None);
    while !attributes.is_empty() {
        let mut attribute = attributes.read(SEQUENCE)?.open()?;
        let slot = match attribute.read(OBJECT_IDENTIFIER)?.body {
            CONTENT_TYPE => &mut content_type,
            MESSAGE_DIGEST => &mut digest,
            ALGORITHM_PROTECTION => &mut protection,
            _ => continue,
        };
        let mut values = attribute.read(SET)?.open()?;
        attribute.finish()?;
        if slot.replace(values.any()?).is_some() || !values.is_empty() {
            return Err(Error::malformed("a signed attribute occurs twice"));
        }
    }

    let tagged = |tag: u8| move |value: &Value<'_>| value.tag == tag;
    if content_type.filter(tagged(OBJECT_IDENTIFIER)).map(|value| value.body) != Some(ID_DATA) {
        return Err(Error::malformed("the signed content type is not plain data"));
    }
    let digest = digest
        .filter(tagged(OCTET_STRING))
        .ok_or(Error::malformed("the signed attributes have no message digest"))?;
    if !signer.algorithm.digests(content, digest.body) {
        return Err(Error::BadSignature);
    }
    match protection {
        Some(protection) if !names(protection, signer)? => {
            Err(Error::malformed("the signed algorithms are not those of the signer"))
        }
        _ => Ok(()),
    }
}

/// Whether a CMSAlgorithmProtection names the signer's algorithms and no MAC
fn names(protection: Value<'_>, signer: &Signer<'_>) -> Result<bool, Malformed> {
    if protection.tag != SEQUENCE {
        return Err(Malformed);
    }
    let mut fields = protection.open()?;
    let digest = AlgorithmIdentifier::read(fields.read(SEQUENCE)?)?;
    let signature = AlgorithmIdentifier::read(fields.read(context(1))?)?;
    fields.finish()?;
    Ok(digest == signer.digest_algorithm && signature == signer.signature_algorithm)
}

/// 1.2.840.113549.1.9.3 (RFC 5652 section 11.1)
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];

/// 1.2.840.113549.1.9.4 (RFC 5652 section 11.2)
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];

/// 1.2.840.113549.1.9.52 (RFC 6211 section 2)
const ALGORITHM_PROTECTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x34];
