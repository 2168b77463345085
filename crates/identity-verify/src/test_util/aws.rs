//! A test AWS region

use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    sign::Signer,
    x509::{X509, X509NameBuilder},
};

use crate::aws::Keys;

/// The signing key of a test region
#[derive(Clone, Debug)]
pub struct Cloud {
    region: String,
    key: PKey<Private>,
}

impl Cloud {
    /// Makes an RSA-1024 key for `region`, like the ones behind `/signature`
    ///
    /// # Panics
    ///
    /// If OpenSSL cannot make a key.
    #[must_use]
    pub fn generate(region: &str) -> Self {
        Self::generate_bits(region, 1024)
    }

    /// Makes an RSA key of `bits` for `region`
    ///
    /// # Panics
    ///
    /// If OpenSSL cannot make a key.
    #[must_use]
    pub fn generate_bits(region: &str, bits: u32) -> Self {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        Self { region: region.to_owned(), key }
    }

    /// The region it was made for
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Its public key, for a file `aws/REGION.pem` of a trust folder
    ///
    /// # Panics
    ///
    /// Never in practice.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        String::from_utf8(self.key.public_key_to_pem().unwrap()).unwrap()
    }

    /// A certificate over its public key, as AWS would publish it
    ///
    /// X.509 version 1, self-signed and expired in 1971: only the key counts.
    ///
    /// # Panics
    ///
    /// Never in practice.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("O", "Test Web Services LLC").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_serial_number(&serial()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(31_536_000).unwrap()).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
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
    ///
    /// # Panics
    ///
    /// Never in practice.
    #[must_use]
    pub fn sign(&self, document: &[u8]) -> String {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        super::lines(&signer.sign_oneshot_to_vec(document).unwrap())
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

fn serial() -> Asn1Integer {
    BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()
}
