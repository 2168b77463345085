use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::Signer,
};

/// An RSA key pair
#[derive(Clone)]
pub struct Key(PKey<Private>);

impl Key {
    /// Makes a key of `bits`
    ///
    /// # Panics
    ///
    /// If OpenSSL makes no key of that size.
    #[must_use]
    pub fn generate(bits: u32) -> Self {
        Self(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    /// The public key as a PEM SubjectPublicKeyInfo
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        String::from_utf8(self.0.public_key_to_pem().unwrap()).unwrap()
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_with(Hash::Sha256, message)
    }

    /// Signs with RSASSA-PKCS1-v1_5 and `hash`
    #[must_use]
    pub fn sign_with(&self, hash: Hash, message: &[u8]) -> Vec<u8> {
        Signer::new(hash.digest(), &self.0).unwrap().sign_oneshot_to_vec(message).unwrap()
    }

    /// Signs with RSASSA-PSS and SHA-256, which no cloud does
    #[must_use]
    pub fn sign_pss(&self, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0).unwrap();
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    pub(super) const fn pkey(&self) -> &PKey<Private> {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(RSA, {} bits)", self.0.bits())
    }
}

/// A hash function to sign with
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, which no verifier accepts
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    pub(super) fn digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// Base64 in lines of 76 digits, as AWS's metadata service writes it
pub(super) fn lines(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}
