use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::{AppToken, KeyRing, TokenError, VerifyingKey};

/// Tokens that one ring has found authentic
///
/// To compute a signature and to read the claims costs many times what it takes to see
/// that the very same text was looked at a moment ago. Each text has one slot, by its
/// signature, from which the next of that slot drives it out: no more than
/// [`SLOTS`] are kept, and nobody has to take old ones away. One that comes only once
/// takes nobody's slot.
#[derive(Default)]
pub(super) struct Recent {
    slots: OnceLock<Box<[Slot]>>,
}

#[derive(Default)]
struct Slot {
    known: ArcSwapOption<Known>,
    /// Of the signature that was verified here last
    mark: AtomicU64,
}

struct Known {
    text: Box<str>,
    token: Arc<AppToken>,
}

impl Recent {
    /// Verifies a token as `ring` does, which must be the same each time
    pub(super) fn verify<K: VerifyingKey>(
        &self,
        token: &str,
        ring: &KeyRing<K>,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<Arc<AppToken>, TokenError> {
        let Some((slot, mark)) = self.slot(token) else {
            return ring.verify(token, now, leeway).map(Arc::new);
        };
        if let Some(known) = slot.known.load().as_ref().filter(|known| known.is(token)) {
            ring.check(&known.token, now, leeway)?;
            return Ok(Arc::clone(&known.token));
        }
        let verified = Arc::new(ring.verify(token, now, leeway)?);
        if slot.mark.swap(mark, Ordering::Relaxed) == mark {
            let known = Known { text: token.into(), token: Arc::clone(&verified) };
            slot.known.store(Some(Arc::new(known)));
        }
        Ok(verified)
    }

    /// Where a token would be, and the mark of its signature; nowhere if it is too long
    ///
    /// Only good signatures ever leave a mark, and they are as good as random: nobody can
    /// choose whose slot to take.
    fn slot(&self, token: &str) -> Option<(&Slot, u64)> {
        let (_, signature) = parts(token).filter(|_| token.len() <= MAX_LEN)?;
        let mark = signature.bytes().take(16).fold(0_u64, |mark, byte| {
            mark.rotate_left(5).wrapping_add(u64::from(byte)).wrapping_mul(SPREAD)
        });
        let empty = || (0..SLOTS).map(|_| Slot::default()).collect();
        let slot = usize::try_from(mark >> (u64::BITS - SLOTS.ilog2())).ok()?;
        Some((self.slots.get_or_init(empty).get(slot)?, mark))
    }
}

impl Known {
    fn is(&self, token: &str) -> bool {
        let (Some(own), Some(others)) = (parts(&self.text), parts(token)) else { return false };
        // In constant time, as how long it compares would tell a forger how much of a
        // signature was right. What is signed is no secret.
        own.0 == others.0
            && own.1.len() == others.1.len()
            && openssl::memcmp::eq(own.1.as_bytes(), others.1.as_bytes())
    }
}

/// What is signed, and the signature
fn parts(token: &str) -> Option<(&str, &str)> {
    token.rsplit_once('.')
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recent(..)")
    }
}

/// Some thousand browsers at a time, in a few megabytes; a power of two
const SLOTS: usize = 4096;

/// Twice the length of most tokens; longer ones are verified each time
const MAX_LEN: usize = 2 * 1024;

/// An odd number whose bits follow no pattern
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
