//! Clients, proxies and TLS for tests over HTTP

mod client;
mod collector;
mod forward_proxy;
mod port;
mod tls_front;

pub use client::{Answer, Client, ClientError};
pub use collector::{Collector, Received};
pub use forward_proxy::ForwardProxy;
pub use port::free_address;
pub use tls_front::TlsFront;
