//! Compares two implementations on a machine that is also used for other work
//!
//! Absolute times depend on the load: the same loop may take three times as long a minute later.
//! Ratios are reliable if both sides are measured in turn, in short rounds with the same load, and
//! if the best rounds are compared, since noise only makes rounds slower.
//!
//! [`storm`] is of another kind: it drives the real binary with a fleet of machines, and measures how
//! long they take to be in.

mod contest;
mod report;
mod spread;
pub mod storm;

pub use contest::{Contest, Effort, Result, Round, Until, concurrently};
pub use report::Report;
pub use spread::Spread;
