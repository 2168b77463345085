use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// The system has no random bytes
#[derive(Clone, Copy, Debug, Error)]
#[error("the system has no random bytes")]
pub(crate) struct NoRandomness;

/// Builds a value from the system's random bytes, with which `build` fills what it is given
///
/// # Errors
///
/// If the system had no random bytes. The value is then dropped, as it could be guessed.
pub(crate) fn with_random<T>(
    build: impl FnOnce(&mut dyn FnMut(&mut [u8])) -> T,
) -> Result<T, NoRandomness> {
    let system = SystemRandom::new();
    let mut filled = Ok(());
    let built = build(&mut |bytes| {
        if system.fill(bytes).is_err() {
            filled = Err(NoRandomness);
        }
    });
    filled.map(|()| built)
}

/// Returns random bytes of the system
///
/// # Errors
///
/// If the system had none.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    with_random(|fill| {
        let mut bytes = [0; N];
        fill(&mut bytes);
        bytes
    })
}
