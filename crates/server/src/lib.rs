#![doc = include_str!("../README.md")]

mod answer;
mod connection;
mod descriptors;
mod limits;
mod process;
mod registry;
mod server;
mod serving;
mod stream;
pub mod systemd;

pub use limits::Limits;
pub use process::Process;
pub use server::{Counts, Server};
