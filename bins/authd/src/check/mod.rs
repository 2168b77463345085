//! Whether authd can work with its settings, its trust folder and its database
//!
//! `authd check` prints all findings. `authd serve` checks the same at its start, and logs the
//! findings that are not as they should be.

mod database;
mod finding;
mod names;
mod settings;
mod trust;

pub(crate) use self::database::{asked, of_database};
pub(crate) use self::finding::{Finding, State, log};
pub(crate) use self::settings::of_settings;
pub(crate) use self::trust::{missing_keys, of_trust, without_effect};
