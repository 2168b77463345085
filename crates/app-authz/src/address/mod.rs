//! Where apps live, and where a visitor is sent
//!
//! [`HostMeaning`] says which app a host names, [`Envelope`] builds the address at which a
//! visitor signs in, and [`RedirectHosts`] checks the address that the visitor returns to.

mod host;
mod name_fault;
mod redirect;
mod url;

pub use host::{AgentInHost, AppName, HostMeaning, HostPattern};
pub use name_fault::{NameFault, NamePart};
pub use redirect::{Envelope, RedirectHosts, SignIn, auth_redirect, login};
pub use url::{HttpUrl, Scheme, UrlError, UrlErrorKind, encode_path, encode_query_value};
