use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::{AppToken, KeyRing, TokenError, VerifyingKey};
use crate::digest::equal_in_constant_time;

/// The tokens that one key ring has verified recently
///
/// Comparing a text with a remembered one is many times cheaper than computing a signature
/// and parsing the claims. The signature of a token determines its slot, and a token replaces
/// the one that was in its slot, so at most [`SLOTS`] are kept and none has to be removed. A
/// token is remembered only once it comes a second time.
#[derive(Default)]
pub(super) struct Recent {
    slots: OnceLock<Box<[Slot]>>,
}

#[derive(Default)]
struct Slot {
    known: ArcSwapOption<Known>,
    /// The mark of the signature that was last verified in this slot
    mark: AtomicU64,
}

struct Known {
    text: Box<str>,
    /// How long the signed part of the text is
    signed: usize,
    token: Arc<AppToken>,
}

impl Recent {
    /// Verifies a token as `ring` does, which must be the same for all calls
    pub(super) fn verify<K: VerifyingKey>(
        &self,
        token: &str,
        ring: &KeyRing<K>,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<Arc<AppToken>, TokenError> {
        let Some((slot, signed, mark)) = self.slot(token) else {
            return ring.verify(token, now, leeway).map(Arc::new);
        };
        if let Some(known) = slot.known.load().as_ref().filter(|known| known.is(token)) {
            ring.check(&known.token, now, leeway)?;
            return Ok(Arc::clone(&known.token));
        }
        let verified = Arc::new(ring.verify(token, now, leeway)?);
        if slot.mark.swap(mark, Ordering::Relaxed) == mark {
            let known = Known { text: token.into(), signed, token: Arc::clone(&verified) };
            slot.known.store(Some(Arc::new(known)));
        }
        Ok(verified)
    }

    /// The slot of a token, how long its signed part is, and the mark of its signature; `None` if
    /// the token is too long
    ///
    /// Only good signatures leave a mark, and these are practically random, so a client cannot
    /// choose which slot it replaces.
    fn slot(&self, token: &str) -> Option<(&Slot, usize, u64)> {
        let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX_LEN)?;
        let mark = signature.bytes().take(16).fold(0_u64, |mark, byte| {
            mark.rotate_left(5).wrapping_add(u64::from(byte)).wrapping_mul(SPREAD)
        });
        let empty = || (0..SLOTS).map(|_| Slot::default()).collect();
        let slot = usize::try_from(mark >> (u64::BITS - SLOTS.ilog2())).ok()?;
        Some((self.slots.get_or_init(empty).get(slot)?, signed.len(), mark))
    }
}

impl Known {
    fn is(&self, token: &str) -> bool {
        let own = self.text.split_at_checked(self.signed);
        let (Some(own), Some(others)) = (own, token.split_at_checked(self.signed)) else {
            return false;
        };
        // In constant time: the duration of the comparison would tell a forger how much of a
        // signature is right. The signed part is not secret.
        own.0 == others.0 && equal_in_constant_time(own.1.as_bytes(), others.1.as_bytes())
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recent(..)")
    }
}

/// A power of two: enough for thousands of browsers, in a few megabytes
const SLOTS: usize = 4096;

/// Twice the length of most tokens; longer ones are not remembered
const MAX_LEN: usize = 2 * 1024;

/// An odd constant with irregular bits, to spread marks over the slots
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
