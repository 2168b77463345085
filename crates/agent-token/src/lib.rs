#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod certificates;
mod challenge;
mod cloud;
mod connect;
mod control_plane;
mod failure;
mod http_error;
mod machine;
mod metadata;
mod progress;
mod proxy;
mod request;
mod retry;
mod retry_timeout;
mod server_verifier;
mod token;
mod token_file;
mod url;

use std::sync::Arc;
use std::time::SystemTime;

pub use backoff::Backoff;
pub use certificates::CertificatesError;
pub use cloud::Cloud;
pub use connect::Connector;
pub use machine::{Machine, Report, SetupError, SignInError};
pub use proxy::ProxyError;
pub use request::Timeouts;
pub use retry_timeout::RetryTimeout;
pub use token::SessionToken;
pub use token_file::TokenFile;
pub use url::{BaseUrl, UrlError};

/// Returns the current time: the system's clock on a machine, any other in a test
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
