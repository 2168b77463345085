use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Calls `make` with a function that fills a slice with the system's random bytes
///
/// # Errors
///
/// Fails if the system had none. What `make` returned is then dropped, since it could be guessed.
pub(crate) fn with_random<T>(
    make: impl FnOnce(&mut dyn FnMut(&mut [u8])) -> T,
) -> Result<T, Unspecified> {
    let system = SystemRandom::new();
    let mut filled = Ok(());
    let made = make(&mut |bytes| {
        if let Err(error) = system.fill(bytes) {
            filled = Err(error);
        }
    });
    filled.map(|()| made)
}
