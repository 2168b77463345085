use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::Error;

/// Keys with which a control plane encrypts some columns
///
/// A column `c` of an encrypted row has base64 of a random nonce of 12 bytes, the ciphertext
/// and the tag of AES-256-GCM, and the column `c_key_id` has the digest of the key. The
/// digest is that of the table `dbcrypt_keys`, where the control plane lists its keys.
///
/// `Debug` prints neither keys nor digests. A clone shares the keys.
#[derive(Clone, Default)]
pub struct EncryptionKeys(Arc<[Key]>);

struct Key {
    digest: String,
    cipher: LessSafeKey,
}

impl EncryptionKeys {
    /// Reads keys in base64, each of 32 bytes
    ///
    /// The first key is preferred for encryption; all keys decrypt. White space around a key is
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEncryptionKey`] for the first key that is not base64, has another length,
    /// or occurs twice.
    pub fn from_base64(texts: &[impl AsRef<str>]) -> Result<Self, Error> {
        let mut keys: Vec<Key> = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let invalid = |problem: String| Error::InvalidEncryptionKey {
                number: index + 1,
                of: texts.len(),
                problem,
            };
            let bytes = BASE64.decode(text.as_ref().trim());
            let bytes = bytes.map_err(|_| invalid("is not base64".to_owned()))?;
            let key = Key::new(&bytes).ok_or_else(|| {
                invalid(format!("has {} bytes instead of {KEY_LEN}", bytes.len()))
            })?;
            if let Some(earlier) = keys.iter().position(|earlier| earlier.digest == key.digest) {
                return Err(invalid(format!("is the same as key {}", earlier + 1)));
            }
            keys.push(key);
        }
        Ok(Self(keys.into()))
    }

    /// Whether there are no keys
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key with this digest is one of these
    #[must_use]
    pub fn contains(&self, digest: &str) -> bool {
        self.key(digest).is_some()
    }

    /// The digest of the preferred key among those whose digests are given
    pub(crate) fn first_of<'a>(&'a self, digests: &[String]) -> Option<&'a str> {
        let mut ours = self.0.iter().map(|key| &*key.digest);
        ours.find(|ours| digests.iter().any(|digest| digest == ours))
    }

    /// The digest of the preferred key
    pub(crate) fn preferred(&self) -> Option<&str> {
        self.0.first().map(|key| &*key.digest)
    }

    /// Decrypts the value of a column, which must be UTF-8
    ///
    /// # Errors
    ///
    /// [`Error::MissingEncryptionKey`] if no key has the digest; [`Error::InvalidRow`] if the
    /// value was not encrypted with the key that has it.
    pub(crate) fn decrypt(&self, value: &str, digest: &str) -> Result<String, Error> {
        let missing = || Error::MissingEncryptionKey { digest: digest.to_owned() };
        let key = self.key(digest).ok_or_else(missing)?;
        let invalid = |problem: &str| {
            Error::invalid_row(format!("a value of the encryption key `{digest}` {problem}"))
        };
        let mut bytes = BASE64.decode(value).map_err(|_| invalid("is not base64"))?;
        let (nonce, sealed) =
            bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(|| invalid("is too short"))?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.cipher.open_in_place(nonce, Aad::empty(), sealed);
        let text = text.map_err(|_| invalid("cannot be decrypted with it"))?;
        let text = str::from_utf8(text).map_err(|_| invalid("is not text"))?;
        Ok(text.to_owned())
    }

    /// Encrypts the value of a column, under a new random nonce
    ///
    /// # Errors
    ///
    /// [`Error::MissingEncryptionKey`] if no key has the digest; [`Error::NoRandomness`].
    pub(crate) fn encrypt(&self, text: &str, digest: &str) -> Result<String, Error> {
        let missing = || Error::MissingEncryptionKey { digest: digest.to_owned() };
        let key = self.key(digest).ok_or_else(missing)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::NoRandomness)?;
        let mut bytes = Vec::with_capacity(NONCE_LEN + text.len() + MAX_TAG_LEN);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(text.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag =
            key.cipher.seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes[NONCE_LEN..]);
        let tag = tag.map_err(|_| Error::query("a value is too long to be encrypted"))?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(BASE64.encode(bytes))
    }

    fn key(&self, digest: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.digest == digest)
    }
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKeys({} hidden)", self.0.len())
    }
}

impl Key {
    /// The key with these bytes; `None` if their number is wrong
    fn new(bytes: &[u8]) -> Option<Self> {
        // The digest covers the name of the cipher, so the same key has another digest with
        // another cipher.
        let mut digest = Context::new(&SHA256);
        digest.update(b"aes256gcm");
        digest.update(bytes);
        let digest = digest.finish();
        let mut digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        digest.truncate(DIGEST_LEN);
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        Some(Self { digest, cipher })
    }
}

/// Standard base64 with padding; like the control plane, it accepts any bits after the last byte
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Length of an AES-256 key in bytes
const KEY_LEN: usize = 32;

/// Number of hexadecimal digits of a digest as the control plane stores it
const DIGEST_LEN: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes 0 to 31
    const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    /// 32 times the byte 97
    const SECOND: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";
    const FIRST_DIGEST: &str = "6d28cf8";
    const SECOND_DIGEST: &str = "864f702";

    /// Made with Python's `cryptography` 48, under the first key and a fixed nonce:
    ///
    /// ```python
    /// key, nonce = bytes(range(32)), bytes(range(100, 112))
    /// base64.b64encode(nonce + AESGCM(key).encrypt(nonce, text, None))
    /// ```
    const VECTORS: [(&str, &str); 3] = [
        ("coder", "ZGVmZ2hpamtsbW5vK3S6AwuLh1dV98FNmbnVUC7jWR8b"),
        ("", "ZGVmZ2hpamtsbW5vYJvVD2rXbfZl8Ei6jF/XBg=="),
        (
            "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
            "ZGVmZ2hpamtsbW5veH3uAEmPZvgOBG+O6gNam3KkNmy7CsMUl7ecLsvFlS6kj3CmfHSrYs2VSFnNJPqpKz2o\
             gRAscU7Kl5yw3+eV7HD9RKE2rDlOx2Xw5stS59Y=",
        ),
    ];

    fn keys(texts: &[&str]) -> EncryptionKeys {
        EncryptionKeys::from_base64(texts).unwrap()
    }

    /// `printf aes256gcm | cat - KEY | sha256sum | head -c 7`
    #[test]
    fn digests_are_those_of_an_independent_program() {
        let keys = keys(&[FIRST, SECOND]);
        assert!(keys.contains(FIRST_DIGEST) && keys.contains(SECOND_DIGEST));
        // The digest without the cipher's name, and one that is too long.
        assert!(!keys.contains("3ba3f5f") && !keys.contains("864f702e") && !keys.contains(""));
    }

    #[test]
    fn values_of_an_independent_program_are_read() {
        for list in [&[FIRST][..], &[SECOND, FIRST]] {
            for (text, value) in VECTORS {
                assert_eq!(keys(list).decrypt(value, FIRST_DIGEST).unwrap(), text);
            }
        }
    }

    #[test]
    fn what_is_encrypted_is_read_again_and_never_looks_the_same() {
        let keys = keys(&[SECOND, FIRST]);
        for text in ["", "coder", "é", &"0f".repeat(64)] {
            for digest in [FIRST_DIGEST, SECOND_DIGEST] {
                let value = keys.encrypt(text, digest).unwrap();
                assert_eq!(keys.decrypt(&value, digest).unwrap(), text);
                assert_ne!(keys.encrypt(text, digest).unwrap(), value, "the nonce is random");
                assert_eq!(value.len(), (text.len() + 28).div_ceil(3) * 4);
            }
        }
    }

    #[test]
    fn a_value_is_read_with_its_own_key_and_unchanged_alone() {
        let all = keys(&[FIRST, SECOND]);
        let (_, value) = VECTORS[0];
        let missing = keys(&[SECOND]).decrypt(value, FIRST_DIGEST);
        assert_eq!(missing, Err(Error::MissingEncryptionKey { digest: FIRST_DIGEST.to_owned() }));
        let missing = EncryptionKeys::default().encrypt("coder", FIRST_DIGEST);
        assert_eq!(missing, Err(Error::MissingEncryptionKey { digest: FIRST_DIGEST.to_owned() }));

        let bytes = BASE64.decode(value).unwrap();
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            BASE64.encode(bytes)
        };
        let last = bytes.len() - 1;
        let not_text = all.key(FIRST_DIGEST).unwrap();
        let mut sealed = vec![0xff];
        let nonce = Nonce::assume_unique_for_key([7; NONCE_LEN]);
        not_text.cipher.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).unwrap();
        for (value, digest, problem) in [
            (value.to_owned(), SECOND_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes[0] ^= 1), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes[NONCE_LEN] ^= 1), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes[last] ^= 1), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes.truncate(last)), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes.push(0)), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes.truncate(27)), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes.truncate(12)), FIRST_DIGEST, "cannot be decrypted"),
            (changed(&|bytes| bytes.truncate(11)), FIRST_DIGEST, "is too short"),
            (String::new(), FIRST_DIGEST, "is too short"),
            ("coder!".to_owned(), FIRST_DIGEST, "is not base64"),
            (value.trim_end_matches(|c| c != 'R').to_owned(), FIRST_DIGEST, "is not base64"),
            (BASE64.encode([&[7; NONCE_LEN][..], &sealed].concat()), FIRST_DIGEST, "is not text"),
        ] {
            let Err(Error::InvalidRow { reason }) = all.decrypt(&value, digest) else {
                panic!("{value}")
            };
            assert!(
                reason.to_string().contains(digest) && reason.to_string().contains(problem),
                "{value}: {reason}"
            );
        }
    }

    #[test]
    fn a_key_that_is_not_one_is_named_by_its_place() {
        let long = BASE64.encode([1; 33]);
        for (list, number, problem) in [
            (&["hunter2"][..], 1, "is not base64"),
            (&[FIRST, "aHVudGVyMg=="], 2, "has 7 bytes instead of 32"),
            (&[FIRST, SECOND, &long], 3, "has 33 bytes instead of 32"),
            (&[FIRST, ""], 2, "has 0 bytes instead of 32"),
            (&[FIRST, SECOND, FIRST], 3, "is the same as key 1"),
            (&[&FIRST[..43]], 1, "is not base64"),
            (&["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,"], 1, "is not base64"),
        ] {
            let error = EncryptionKeys::from_base64(list).unwrap_err();
            let of = list.len();
            assert_eq!(
                error,
                Error::InvalidEncryptionKey { number, of, problem: problem.to_owned() }
            );
            let message = error.to_string();
            assert_eq!(message, format!("encryption key {number} of {of} {problem}"));
        }
        assert!(keys(&[]).is_empty());
        assert!(keys(&[&format!(" {FIRST}\n")]).contains(FIRST_DIGEST));
    }

    #[test]
    fn the_first_key_that_the_control_plane_has_is_preferred() {
        let ours = keys(&[SECOND, FIRST]);
        let of = |digests: &[&str]| {
            let digests: Vec<String> = digests.iter().map(|digest| (*digest).to_owned()).collect();
            ours.first_of(&digests).map(str::to_owned)
        };
        assert_eq!(of(&[FIRST_DIGEST, SECOND_DIGEST]).unwrap(), SECOND_DIGEST);
        assert_eq!(of(&["0000000", FIRST_DIGEST]).unwrap(), FIRST_DIGEST);
        assert_eq!(of(&["0000000"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn keys_are_never_printed() {
        let printed = format!("{:?}", keys(&[FIRST, SECOND]));
        assert_eq!(printed, "EncryptionKeys(2 hidden)");
    }
}
