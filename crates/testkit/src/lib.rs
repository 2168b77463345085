//! What the tests of several crates need

mod catalog;
mod database;
mod ddl;
mod release;
mod rows;

pub use database::{Database, Loan, OwnServer};
pub use release::Release;
pub use rows::{Refusal, Rows};
