//! A test AWS region

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    x509::{X509, X509NameBuilder},
};

use super::{
    Key,
    cms::{self, Message},
    key::lines,
};
use crate::{asn1::SEQUENCE, aws::Keys};

/// The signing key of a test region
#[derive(Clone, Debug)]
pub struct Cloud {
    region: String,
    key: Key,
}

impl Cloud {
    /// Makes an RSA-1024 key for `region`, like the ones behind `/signature`
    #[must_use]
    pub fn generate(region: &str) -> Self {
        Self::generate_bits(region, 1024)
    }

    /// Makes an RSA key of `bits` for `region`; AWS has 2048 behind `/rsa2048`
    #[must_use]
    pub fn generate_bits(region: &str, bits: u32) -> Self {
        Self { region: region.to_owned(), key: Key::generate(bits) }
    }

    /// The region it was made for
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Its key
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Its public key, for a file `aws/REGION.pem` of a trust folder
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// A certificate over its public key, as AWS would publish it
    ///
    /// X.509 version 1, self-signed and expired in 1971: only the key counts.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("O", "Test Web Services LLC").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder
            .set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(31_536_000).unwrap()).unwrap();
        builder.set_pubkey(self.key.pkey()).unwrap();
        builder.sign(self.key.pkey(), MessageDigest::sha256()).unwrap();
        String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
    }

    /// Keys that trust this region and no other
    ///
    /// # Panics
    ///
    /// If the region's name is not one.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::none();
        keys.add_pem(&self.region, self.public_key_pem().as_bytes()).unwrap();
        keys
    }

    /// Signs any bytes, and writes the signature as `/signature` serves it: base64
    /// in lines of 76 digits, without a line break at the end
    #[must_use]
    pub fn sign(&self, document: &[u8]) -> String {
        lines(&self.key.sign(document))
    }

    /// Signs any bytes, and writes the message as `/rsa2048` serves it
    #[must_use]
    pub fn sign_pkcs7(&self, document: &[u8]) -> String {
        lines(&self.message(document).sign(&self.key))
    }

    /// The message of [`sign_pkcs7`](Self::sign_pkcs7), not yet signed
    #[must_use]
    pub fn message(&self, document: &[u8]) -> Message {
        let mut message = Message::new(document, &cms::tlv(SEQUENCE, &[]), &[1]);
        message.signed_attributes = true;
        message.digest_algorithm = cms::SHA256.to_owned();
        message.signature_algorithm = cms::SHA256_WITH_RSA.to_owned();
        message.ber = true;
        message
    }
}

/// An instance identity document
#[derive(Clone, Debug)]
pub struct Document {
    /// `instanceId`
    pub instance_id: String,
    /// `region`; the zone is its first
    pub region: String,
    /// `accountId`
    pub account_id: String,
    /// `pendingTime`, in RFC 3339
    pub pending_time: String,
}

impl Document {
    /// A document with the given fields, of any text
    #[must_use]
    pub fn new(instance_id: &str, region: &str, account_id: &str, pending_time: &str) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            region: region.to_owned(),
            account_id: account_id.to_owned(),
            pending_time: pending_time.to_owned(),
        }
    }

    /// The document as the metadata service lays it out
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let fields = [
            ("accountId", text(&self.account_id)),
            ("architecture", text("x86_64")),
            ("availabilityZone", text(&format!("{}a", self.region))),
            ("billingProducts", "null".to_owned()),
            ("devpayProductCodes", "null".to_owned()),
            ("marketplaceProductCodes", "null".to_owned()),
            ("imageId", text("ami-0c02fb55956c7d316")),
            ("instanceId", text(&self.instance_id)),
            ("instanceType", text("t2.micro")),
            ("kernelId", "null".to_owned()),
            ("pendingTime", text(&self.pending_time)),
            ("privateIp", text("10.0.0.7")),
            ("ramdiskId", "null".to_owned()),
            ("region", text(&self.region)),
            ("version", text("2017-09-30")),
        ];
        let lines = fields.map(|(name, value)| format!("  \"{name}\" : {value}"));
        format!("{{\n{}\n}}", lines.join(",\n"))
    }
}
