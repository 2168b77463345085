use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Makes something of the system's random bytes
///
/// # Errors
///
/// If the system had none: what was made is then dropped, as it might be guessed.
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
