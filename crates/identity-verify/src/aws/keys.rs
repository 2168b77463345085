use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

#[cfg(feature = "dsa")]
use super::dsa::DsaKey;
use crate::{Error, Fingerprint, pem, rsa::PublicKey};

/// The public keys that sign for the AWS regions
///
/// A key is trusted for regions, not for a kind of proof: its size and the form of
/// a signature decide what it can have made. Certificates are mere containers here.
/// AWS re-issues them over the same keys, so neither their dates nor their own
/// signatures are looked at.
///
/// Clones share the keys until one of them is added to.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Table>);

#[derive(Clone, Debug, Default)]
struct Table {
    keys: Vec<TrustedKey>,
    /// Indices into `keys`
    by_region: BTreeMap<String, Vec<usize>>,
    /// Whether the key of `/pkcs7` is trusted
    #[cfg(feature = "dsa")]
    has_dsa: bool,
}

impl Keys {
    /// No key: nothing verifies until one is added
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The keys AWS publishes, for 39 regions (November 2026)
    ///
    /// For each region the RSA-1024 key of `/signature`, shared by many regions,
    /// and the RSA-2048 key of `/rsa2048`. With the feature `dsa` also the one key of
    /// `/pkcs7`, which is not listed and serves nothing unless the policy allows it.
    /// Source: the certificates of the *EC2 User Guide*, "Verify the instance
    /// identity document", compared by key with those that SPIRE, smallstep and
    /// go-witness ship.
    ///
    /// They are read once in the life of the process; after that a call costs an atomic addition.
    #[must_use]
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Keys> = LazyLock::new(Keys::read_builtin);
        BUILTIN.clone()
    }

    fn read_builtin() -> Self {
        let mut table = Table {
            #[cfg(feature = "dsa")]
            has_dsa: true,
            ..Table::default()
        };
        for block in [RSA1024, RSA2048].into_iter().flat_map(|f| pem::blocks(f).unwrap_or_default())
        {
            // A key that cannot be read is not trusted; a test counts them.
            if let Ok(key) = TrustedKey::read(&block) {
                for region in block.regions() {
                    table.add(region, key.clone());
                }
            }
        }
        Self(Arc::new(table))
    }

    /// Trusts every key in `pem` for `region`, beside those trusted already
    ///
    /// `pem` holds certificates of any X.509 version, expired or not, of which only
    /// the key is read, or public keys. The holder of the private key can speak for every
    /// instance of the region, so the source of the file must be beyond doubt.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidTrust`] if the file has no block, a block of another kind or
    /// a key other than RSA of 1024 to 8192 bits, or if `region` is not lower-case
    /// letters, digits and hyphens. No key of the file is then trusted.
    pub fn add_pem(&mut self, region: &str, pem: &[u8]) -> Result<(), Error> {
        let named = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !matches!(region.len(), 1..=64) || !region.bytes().all(named) {
            return Err(Error::trust(
                "a region has other than lower-case letters, digits, hyphens",
            ));
        }
        let blocks = pem::blocks(pem)?;
        let keys = blocks.iter().map(TrustedKey::read).collect::<Result<Vec<_>, _>>()?;
        let table = Arc::make_mut(&mut self.0);
        for key in keys {
            table.add(region, key);
        }
        Ok(())
    }

    /// The regions that have a key, in alphabetical order
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.by_region.keys().map(String::as_str)
    }

    /// Every key, each once
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TrustedKey> {
        self.0.keys.iter()
    }

    /// The keys that speak for `region`
    pub(super) fn of_region(&self, region: &str) -> impl Iterator<Item = &TrustedKey> {
        let indices = self.0.by_region.get(region).map_or(&[][..], Vec::as_slice);
        indices.iter().filter_map(|&i| self.0.keys.get(i))
    }

    /// The key of `/pkcs7`, if it is trusted
    ///
    /// It is read when it is first needed: OpenSSL then starts, and takes up to a megabyte.
    #[cfg(feature = "dsa")]
    pub(super) fn dsa(&self) -> Option<&DsaKey> {
        static KEY: LazyLock<Option<DsaKey>> =
            LazyLock::new(|| DsaKey::read(pem::blocks(DSA).ok()?.first()?));
        KEY.as_ref().filter(|_| self.0.has_dsa)
    }
}

impl Table {
    fn add(&mut self, region: &str, key: TrustedKey) {
        let index = match self.keys.iter().position(|known| known.key == key.key) {
            Some(index) => index,
            None => {
                self.keys.push(key);
                self.keys.len() - 1
            }
        };
        let known = self.keys.get_mut(index);
        if known.is_some_and(|key| key.regions.insert(region.to_owned())) {
            self.by_region.entry(region.to_owned()).or_default().push(index);
        }
    }
}

/// A public key and the regions it signs for
#[derive(Clone, Debug)]
pub struct TrustedKey {
    key: PublicKey,
    fingerprint: Fingerprint,
    regions: BTreeSet<String>,
}

impl TrustedKey {
    fn read(block: &pem::Block<'_>) -> Result<Self, Error> {
        let spki = block.spki()?;
        let key = PublicKey::from_spki(spki)?;
        Ok(Self { key, fingerprint: Fingerprint::of(spki), regions: BTreeSet::new() })
    }

    /// The regions in alphabetical order
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.regions.iter().map(String::as_str)
    }

    /// The size of its modulus in bits
    #[must_use]
    pub fn bits(&self) -> usize {
        self.key.bits()
    }

    /// SHA-256 of its SubjectPublicKeyInfo
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(super) const fn region_set(&self) -> &BTreeSet<String> {
        &self.regions
    }
}

const RSA1024: &[u8] = include_bytes!("../../data/aws/rsa1024.pem");
const RSA2048: &[u8] = include_bytes!("../../data/aws/rsa2048.pem");
#[cfg(feature = "dsa")]
const DSA: &[u8] = include_bytes!("../../data/aws/dsa.pem");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_keys_are_read_once_and_are_not_changed_by_additions() {
        let (mut own, other) = (Keys::builtin(), Keys::builtin());
        assert!(Arc::ptr_eq(&own.0, &other.0));
        own.add_pem("moon-1", RSA2048).unwrap();
        assert!(own.regions().any(|region| region == "moon-1"));
        assert!(!Keys::builtin().regions().any(|region| region == "moon-1"));
    }

    #[cfg(feature = "dsa")]
    #[test]
    fn the_dsa_key_is_among_the_built_in_ones_alone() {
        let (mut none, mut builtin) = (Keys::none(), Keys::builtin());
        assert!(builtin.dsa().is_some_and(|key| key.regions().contains("us-east-1")));
        none.add_pem("us-east-1", RSA2048).unwrap();
        assert!(none.dsa().is_none());
        builtin.add_pem("moon-1", RSA2048).unwrap();
        assert!(builtin.dsa().is_some());
    }
}
