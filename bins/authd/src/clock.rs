use std::sync::Arc;
use std::time::SystemTime;

use authd_http::Clock;

/// Returns the system's clock
#[must_use]
#[expect(clippy::disallowed_methods, reason = "only the binary reads the clock")]
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}
