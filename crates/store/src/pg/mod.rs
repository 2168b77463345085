#[cfg(feature = "cluster")]
pub mod cluster;
