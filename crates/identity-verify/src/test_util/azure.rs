//! A test Azure: a root, an authority below it, and a metadata service that signs

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    nid::Nid,
    x509::{
        X509, X509Extension, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName},
    },
};

use super::{Key, cms::Message};
use crate::{azure::Trust, x509::Certificate};

/// A root, an authority it certified, and a leaf `metadata.azure.com` of that
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The root to trust
    pub root: Authority,
    /// The authority between
    pub intermediate: Authority,
    /// Whose key signs
    pub leaf: Leaf,
}

impl Cloud {
    /// Makes keys of 2048 bits, and certificates that are valid from 2020 to 2040
    #[must_use]
    pub fn generate() -> Self {
        let root = Authority::root("Test Azure Root");
        let intermediate = root.issue("Test Azure Issuing CA 01", &[]);
        let leaf = intermediate.issue_leaf(&LeafOptions::default());
        Self { root, intermediate, leaf }
    }

    /// The root and the intermediate, and nothing else
    #[must_use]
    pub fn trust(&self) -> Trust {
        let mut trust = Trust::none();
        trust.add_root_pem(self.root.pem().as_bytes()).unwrap();
        trust.add_intermediate_pem(self.intermediate.pem().as_bytes()).unwrap();
        trust
    }

    /// Signs any bytes, and writes the message as the metadata service does
    #[must_use]
    pub fn sign(&self, document: &[u8]) -> String {
        encode(&self.leaf.message(document).sign(&self.leaf.key))
    }
}

/// An authority: its certificate and key
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: X509,
    key: Key,
}

impl Authority {
    /// A self-signed root
    #[must_use]
    pub fn root(name: &str) -> Self {
        let key = Key::generate(2048);
        let options = LeafOptions { authority: true, ..LeafOptions::named(name, &[]) };
        Self { certificate: certificate(&options, &key, None), key }
    }

    /// An authority below this one, whose own issuer can be fetched at `urls`
    #[must_use]
    pub fn issue(&self, name: &str, urls: &[&str]) -> Self {
        let key = Key::generate(2048);
        Self { certificate: self.certify(name, urls, &key), key }
    }

    /// Another authority's key and name, certified by this one too
    #[must_use]
    pub fn cross_sign(&self, name: &str, other: &Self) -> Self {
        Self { certificate: self.certify(name, &[], &other.key), key: other.key.clone() }
    }

    /// A leaf below this authority
    #[must_use]
    pub fn issue_leaf(&self, options: &LeafOptions) -> Leaf {
        let key = options.key.clone().unwrap_or_else(|| Key::generate(2048));
        Leaf { certificate: certificate(options, &key, Some(self)), key }
    }

    /// Its certificate, for a file of a trust folder
    #[must_use]
    pub fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// Its certificate, as an issuer URL serves it
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    fn certify(&self, name: &str, urls: &[&str], key: &Key) -> X509 {
        let mut options = LeafOptions { authority: true, ..LeafOptions::named(name, &[]) };
        options.issuer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        certificate(&options, key, Some(self))
    }
}

/// What a leaf's certificate says
#[derive(Clone, Debug)]
pub struct LeafOptions {
    /// The subject's common name, if it has one
    pub common_name: Option<String>,
    /// The DNS names it is for
    pub alternative_names: Vec<String>,
    /// The IP addresses it is for
    pub alternative_addresses: Vec<String>,
    /// The first second it is valid, since 1970
    pub not_before: i64,
    /// The last second it is valid, since 1970
    pub not_after: i64,
    /// Its key; `None` to make one of 2048 bits
    pub key: Option<Key>,
    /// Its extended key usages by OpenSSL's short names; empty for no such extension
    pub usages: Vec<String>,
    /// Where the issuer's certificate can be fetched
    pub issuer_urls: Vec<String>,
    /// Whether it may itself issue
    pub authority: bool,
    /// Its key usages by OpenSSL's names; `None` for no such extension
    pub key_usage: Option<String>,
}

impl Default for LeafOptions {
    fn default() -> Self {
        let names = ["metadata.azure.com", "eastus.metadata.azure.com"];
        Self::named("metadata.azure.com", &names)
    }
}

impl LeafOptions {
    /// Options of a leaf with those names
    #[must_use]
    pub fn named(common_name: &str, alternative_names: &[&str]) -> Self {
        Self {
            common_name: Some(common_name.to_owned()),
            alternative_names: alternative_names.iter().map(|&name| name.to_owned()).collect(),
            alternative_addresses: Vec::new(),
            not_before: 1_577_836_800,
            not_after: 2_208_988_800,
            key: None,
            usages: vec!["serverAuth".to_owned()],
            issuer_urls: Vec::new(),
            authority: false,
            key_usage: None,
        }
    }
}

/// A leaf: its certificate and key
#[derive(Clone, Debug)]
pub struct Leaf {
    certificate: X509,
    key: Key,
}

impl Leaf {
    /// Its key
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Its certificate
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// An authority of the same certificate and key, as if it were one
    #[must_use]
    pub fn as_authority(&self) -> Authority {
        Authority { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// A message that names this leaf and holds its certificate, not yet signed
    #[must_use]
    pub fn message(&self, document: &[u8]) -> Message {
        let der = self.der();
        let view = Certificate::parse(&der).unwrap();
        let mut message = Message::new(document, view.issuer, view.serial);
        message.certificates = vec![der];
        message
    }

    /// Signs any bytes, and writes the message as the metadata service does
    #[must_use]
    pub fn sign(&self, document: &[u8]) -> String {
        encode(&self.message(document).sign(&self.key))
    }
}

/// Attested data
#[derive(Clone, Debug)]
pub struct Document {
    /// `vmId`
    pub vm_id: String,
    /// `subscriptionId`
    pub subscription_id: String,
    /// `nonce`
    pub nonce: String,
    /// `timeStamp.createdOn`, as Azure writes it: `04/19/22 01:27:21 -0000`
    pub created_on: String,
    /// `timeStamp.expiresOn`
    pub expires_on: String,
}

impl Document {
    /// A document for which no nonce was asked, with those fields of any text
    #[must_use]
    pub fn new(vm_id: &str, subscription_id: &str, created_on: &str, expires_on: &str) -> Self {
        Self {
            vm_id: vm_id.to_owned(),
            subscription_id: subscription_id.to_owned(),
            nonce: "20260101-060000".to_owned(),
            created_on: created_on.to_owned(),
            expires_on: expires_on.to_owned(),
        }
    }

    /// The document as the metadata service lays it out
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "licenseType": "",
            "nonce": self.nonce,
            "plan": {"name": "", "product": "", "publisher": ""},
            "sku": "22_04-lts-gen2",
            "subscriptionId": self.subscription_id,
            "timeStamp": {"createdOn": self.created_on, "expiresOn": self.expires_on},
            "vmId": self.vm_id,
        })
        .to_string()
    }
}

/// Base64 in one line, as the metadata service writes it
#[must_use]
pub fn encode(message: &[u8]) -> String {
    STANDARD.encode(message)
}

fn certificate(options: &LeafOptions, key: &Key, issuer: Option<&Authority>) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    if let Some(common_name) = &options.common_name {
        name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    }
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::ONE, false).unwrap();

    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(issuer.map_or(&name, |i| i.certificate.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(options.not_before).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(options.not_after).unwrap()).unwrap();
    builder.set_pubkey(key.pkey()).unwrap();

    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if options.authority {
        constraints.ca();
    }
    builder.append_extension(constraints.build().unwrap()).unwrap();
    if let Some(usage) = &options.key_usage {
        #[expect(deprecated, reason = "the crate's builder takes no names")]
        let extension = X509Extension::new_nid(None, None, Nid::KEY_USAGE, usage).unwrap();
        builder.append_extension(extension).unwrap();
    }
    if !options.usages.is_empty() && !options.authority {
        let mut usages = ExtendedKeyUsage::new();
        for usage in &options.usages {
            usages.other(usage);
        }
        builder.append_extension(usages.build().unwrap()).unwrap();
    }
    let issuer_certificate = issuer.map(|i| &*i.certificate);
    if !options.alternative_names.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for dns in &options.alternative_names {
            names.dns(dns);
        }
        for address in &options.alternative_addresses {
            names.ip(address);
        }
        let names = names.build(&builder.x509v3_context(issuer_certificate, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    if !options.issuer_urls.is_empty() {
        let access = options.issuer_urls.iter().map(|url| format!("caIssuers;URI:{url}"));
        let access = access.collect::<Vec<_>>().join(",");
        let context = builder.x509v3_context(issuer_certificate, None);
        #[expect(deprecated, reason = "the crate has no builder for this extension")]
        let extension =
            X509Extension::new_nid(None, Some(&context), Nid::INFO_ACCESS, &access).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sign(issuer.map_or(key, |i| &i.key).pkey(), MessageDigest::sha384()).unwrap();
    builder.build()
}
