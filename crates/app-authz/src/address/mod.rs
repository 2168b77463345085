//! Where apps live, and where a visitor is sent
//!
//! [`HostMeaning`] reads which app a host names, [`Envelope`] makes the address at which a
//! visitor signs in, and [`RedirectHosts`] checks the address to come back to.

mod host;
mod redirect;
mod url;

pub use host::{AgentInHost, AppName, HostMeaning, HostPattern};
pub use redirect::{Envelope, RedirectHosts, SignIn, auth_redirect, login};
pub use url::{HttpUrl, Scheme, encode_query_value};
