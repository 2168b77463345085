//! What the tests of several crates need

mod database;

pub use database::{Database, OwnServer};
