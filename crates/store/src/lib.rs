//! x
#[cfg(feature = "postgres")]
mod pg;

#[cfg(feature = "cluster")]
pub use pg::cluster;
