//! What a browser keeps while it is at the provider: its flow and where it goes on, encrypted

use std::time::{Duration, SystemTime};

use app_authz::token::{KeyCache, KeyStore, NonceKey, Want};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oidc_client::Flow;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::error::AccessError;
use crate::random::with_random;

/// A flow of this browser
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) flow: Flow,
    /// The path to go on to
    pub(crate) back: String,
}

/// Encrypts flows with keys that are derived from those of app tokens, which all replicas share
#[derive(Debug)]
pub(super) struct Seals {
    keys: KeyCache<NonceKey>,
}

impl Seals {
    pub(super) fn new() -> Self {
        Self { keys: KeyCache::new() }
    }

    /// The value of a cookie, good for ten minutes
    pub(super) async fn seal<S: KeyStore>(
        &self,
        store: &S,
        kept: &Kept,
        now: SystemTime,
    ) -> Result<String, AccessError> {
        if self.keys.ring().signing(now).is_err() {
            self.fetch(store, now).await?;
        }
        let ring = self.keys.ring();
        let key = ring.signing(now).ok().and_then(|(_, key)| cipher(key));
        let key = key.ok_or(AccessError::NoRandomness)?;
        let mut text =
            format!("{} {} {}", seconds(now), kept.flow.reveal(), kept.back).into_bytes();
        let random = |fill: &mut dyn FnMut(&mut [u8])| {
            let mut nonce = [0; NONCE_LEN];
            fill(&mut nonce);
            nonce
        };
        let nonce = with_random(random).map_err(|_| AccessError::NoRandomness)?;
        let sealed = key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(LABEL),
            &mut text,
        );
        sealed.map_err(|_| AccessError::NoRandomness)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// Opens the values of cookies, and returns the flow with this state if it is not too old
    ///
    /// Values of other origins and times are left out.
    pub(super) async fn open<S: KeyStore>(
        &self,
        store: &S,
        values: &[String],
        state: &str,
        now: SystemTime,
    ) -> Result<Option<Kept>, AccessError> {
        let find = || values.iter().filter_map(|value| self.open_one(value, now));
        let mut found = find().find(|kept| kept.flow.has_state(state));
        // Another replica may have a key that this one has not fetched yet.
        if found.is_none() && !values.is_empty() {
            self.fetch(store, now).await?;
            found = find().find(|kept| kept.flow.has_state(state));
        }
        Ok(found)
    }

    fn open_one(&self, value: &str, now: SystemTime) -> Option<Kept> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let ring = self.keys.ring();
        let text = ring.good(now).find_map(|(_, key)| {
            let (mut sealed, nonce) = (sealed.to_vec(), Nonce::try_assume_unique_for_key(nonce));
            let text =
                cipher(key)?.open_in_place(nonce.ok()?, Aad::from(LABEL), &mut sealed).ok()?;
            String::from_utf8(text.to_vec()).ok()
        })?;
        let mut parts = text.splitn(3, ' ');
        let (made, flow) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse().ok()?);
        let is_recent = seconds(now).checked_sub(made).is_none_or(|age| age <= LIFETIME.as_secs());
        is_recent.then(|| parts.next().map(|back| Kept { flow, back: back.to_owned() }))?
    }

    async fn fetch<S: KeyStore>(&self, store: &S, now: SystemTime) -> Result<(), AccessError> {
        let fetched = self.keys.fetch(store, Want::Missing, now).await;
        fetched.map(drop).map_err(AccessError::Internal)
    }
}

/// Another hash function than that of the nonces which machines get, so that none is the key
fn cipher(key: &NonceKey) -> Option<LessSafeKey> {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key.reveal()), LABEL);
    UnboundKey::new(&AES_256_GCM, derived.as_ref().get(..32)?).ok().map(LessSafeKey::new)
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long a browser may stay at the provider
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

const LABEL: &[u8] = b"authd OIDC flow 1";
