//! Signed messages, well made or not

use openssl::hash::hash;

use super::{Hash, Key};
use crate::asn1::{INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, context};

/// A SignedData to be made
///
/// Every field is public, so that a test can make it wrong.
#[derive(Clone, Debug)]
pub struct Message {
    /// The content; detached if `None`
    pub content: Option<Vec<u8>>,
    /// DER certificates that come along
    pub certificates: Vec<Vec<u8>>,
    /// The signer's issuer, a DER Name
    pub issuer: Vec<u8>,
    /// The signer's serial number
    pub serial: Vec<u8>,
    /// Sign attributes that speak of the content, instead of the content
    pub signed_attributes: bool,
    /// What is hashed and signed with
    pub hash: Hash,
    /// The identifier that stands for the digest
    pub digest_algorithm: Vec<u8>,
    /// The digests that the message lists, where not just the signer's
    pub listed_digests: Option<Vec<Vec<u8>>>,
    /// The identifier that stands for the signature
    pub signature_algorithm: Vec<u8>,
    /// How many times the signer stands in it
    pub signers: usize,
    /// Indefinite lengths and split strings, as AWS writes them
    pub ber: bool,
}

impl Message {
    /// A message as Azure writes it: DER, no attributes, the signature's identifier
    /// where the digest's belongs
    #[must_use]
    pub fn new(content: &[u8], issuer: &[u8], serial: &[u8]) -> Self {
        Self {
            content: Some(content.to_owned()),
            certificates: Vec::new(),
            issuer: issuer.to_owned(),
            serial: serial.to_owned(),
            signed_attributes: false,
            hash: Hash::Sha256,
            digest_algorithm: SHA256_WITH_RSA.to_owned(),
            listed_digests: None,
            signature_algorithm: RSA_ENCRYPTION.to_owned(),
            signers: 1,
            ber: false,
        }
    }

    /// Signs the content, or else the attributes, and writes the message
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        let content = self.content.as_deref().unwrap_or_default();
        let attributes = self.signed_attributes.then(|| self.attributes(content));
        let signature = match &attributes {
            Some(attributes) => key.sign_with(self.hash, &tlv(SET, &[attributes])),
            None => key.sign_with(self.hash, content),
        };
        self.with_signature(attributes.as_deref(), &signature)
    }

    /// Writes the message with any attributes and signature
    #[must_use]
    pub fn with_signature(&self, attributes: Option<&[u8]>, signature: &[u8]) -> Vec<u8> {
        let signer = tlv(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[1]]),
                &tlv(SEQUENCE, &[&self.issuer, &tlv(INTEGER, &[&self.serial])]),
                &algorithm(&self.digest_algorithm),
                &attributes.map_or_else(Vec::new, |body| tlv(context(0), &[body])),
                &algorithm(&self.signature_algorithm),
                &tlv(OCTET_STRING, &[signature]),
            ],
        );
        let content = self.content.as_ref().map_or_else(Vec::new, |content| {
            let octets = tlv(OCTET_STRING, &[content]);
            let octets = if self.ber { self.wrap(OCTET_STRING | 0x20, &[&octets]) } else { octets };
            self.wrap(context(0), &[&octets])
        });
        let certificates = match self.certificates.concat() {
            none if none.is_empty() => none,
            some => tlv(context(0), &[&some]),
        };
        let own = std::slice::from_ref(&self.digest_algorithm);
        let listed = self.listed_digests.as_deref().unwrap_or(own);
        let listed: Vec<u8> = listed.iter().flat_map(|id| algorithm(id)).collect();
        let signed_data = self.wrap(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[1]]),
                &tlv(SET, &[&listed]),
                &self.wrap(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[ID_DATA]), &content]),
                &certificates,
                &tlv(SET, &vec![&*signer; self.signers]),
            ],
        );
        let id = tlv(OBJECT_IDENTIFIER, &[ID_SIGNED_DATA]);
        self.wrap(SEQUENCE, &[&id, &self.wrap(context(0), &[&signed_data])])
    }

    /// Content type, algorithm protection and message digest, without their tag
    #[must_use]
    pub fn attributes(&self, content: &[u8]) -> Vec<u8> {
        let digest = hash(self.hash.digest(), content).unwrap();
        let mut signature = algorithm(&self.signature_algorithm);
        *signature.first_mut().unwrap() = context(1);
        let protection = tlv(SEQUENCE, &[&algorithm(&self.digest_algorithm), &signature]);
        [
            attribute(CONTENT_TYPE, &tlv(OBJECT_IDENTIFIER, &[ID_DATA])),
            attribute(ALGORITHM_PROTECTION, &protection),
            attribute(MESSAGE_DIGEST, &tlv(OCTET_STRING, &[&digest])),
        ]
        .concat()
    }

    fn wrap(&self, tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        if self.ber { [&[tag, 0x80], &*parts.concat(), &[0, 0]].concat() } else { tlv(tag, parts) }
    }
}

/// One signed attribute with one value
#[must_use]
pub fn attribute(id: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[id]), &tlv(SET, &[value])])
}

/// A DER value of `tag` around `parts`
#[must_use]
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u32::try_from(body.len()).unwrap();
    let digits: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|&b| b == 0).collect();
    let mut bytes = vec![tag];
    match digits.as_slice() {
        [] => bytes.push(0),
        [short @ 0..=0x7f] => bytes.push(*short),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).unwrap());
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend(body);
    bytes
}

fn algorithm(id: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[id]), &tlv(NULL, &[])])
}

/// sha256WithRSAEncryption
pub const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
/// sha384WithRSAEncryption
pub const SHA384_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
/// sha1WithRSAEncryption
pub const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
/// id-RSASSA-PSS
pub const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// rsaEncryption
pub const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-sha256
pub const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// id-sha384
pub const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// id-sha512
pub const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
/// id-sha1
pub const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// md5
pub const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];
/// id-contentType
pub const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// id-messageDigest
pub const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// id-aa-CMSAlgorithmProtection
pub const ALGORITHM_PROTECTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x34];
/// id-data
pub const ID_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ID_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
