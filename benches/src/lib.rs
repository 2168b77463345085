//! Comparing two ways of doing the same on a machine that does other things too
//!
//! A time says more about the machine than about the code: the same loop takes
//! three times as long a minute later. A ratio survives that, if both sides are
//! measured in turn, in rounds so short that the machine is the same for both, and
//! if the best rounds of each are compared: noise only ever makes a round slower.

mod contest;
mod report;
mod spread;

pub use contest::{Contest, Effort, Result, Round, Until, concurrently};
pub use report::Report;
pub use spread::Spread;
