//! Databases, servers and test data for the tests of several crates

mod catalog;
mod database;
mod ddl;
mod folder;
pub mod net;
mod release;
mod rows;
mod world;

pub use database::{Database, Held, Loan, OwnServer};
pub use folder::Folder;
pub use release::Release;
pub use rows::{Refusal, Rows};
pub use world::{Answer, JobOf, JobQuestion, SignIn, SignedIn, Target, Visit, World};
