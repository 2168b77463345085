use std::sync::Arc;
use std::time::SystemTime;

use authd_http::Clock;

/// The system's clock
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the binary is where the clock is read")]
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}
