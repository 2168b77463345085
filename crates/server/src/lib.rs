#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod connection;
mod descriptors;
mod limits;
mod listen;
mod process;
mod registry;
mod server;
mod serving;
mod stream;
pub mod systemd;
mod tls;

pub use limits::Limits;
pub use listen::{ListenAddress, Listener, ParseListenAddressError};
pub use process::Process;
pub use server::{Counts, Server};
pub use tls::{EXPIRY_WARNING, Tls, TlsError};
