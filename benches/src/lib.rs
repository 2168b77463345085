//! Compares two implementations on a machine that is also used for other work
//!
//! Absolute times depend on the load: the same loop may take three times as long a minute later.
//! Ratios are reliable if both sides are measured in turn, in short rounds with the same load. The
//! median over the rounds is judged, and the smallest and the largest ratio are shown beside it.
//!
//! [`suites`] has every comparison once. The program `report` runs all of them, and a benchmark of
//! `cargo bench` one of them at length.
//!
//! [`storm`] is of another kind: it drives the real binary with a fleet of machines, and measures how
//! long they take to be in.

mod callers;
mod case;
mod contest;
mod measurement;
pub mod report;
mod setting;
pub mod storm;
mod suite;
pub mod suites;

pub use callers::{Operation, callers, operation};
pub(crate) use case::as_f64;
pub use case::{Case, Duel};
pub use contest::{Contest, Effort, Round, Side, Until, repeat};
pub use measurement::{Finding, Goal, Measurement, Range, Unit};
pub use setting::{Binary, CountAllocations, Filled, Setting};
pub use suite::{Row, Suite};
