//! Session tokens: where a request carries them, and whether one is good
//!
//! A token is `ID-SECRET`. The store has the id and a digest of the secret, and
//! [`authenticate`] compares them. What is to be written back, such as a later expiry, is part
//! of the answer.

mod app_session;
mod audience;
mod authenticate;
mod cookie;
mod key;
mod sessions;
mod set_cookie;
mod source;
mod token;
mod withheld;

pub use app_session::AppSession;
pub use authenticate::{
    Identified, Session, SessionDenial, Terms, authenticate, authenticate_first, identify,
};
pub use cookie::CookieNames;
pub use key::{ApiKey, KeyHolder, KeyUpdate, LoginType, OauthLink, UserStatus};
pub use sessions::{DynSessions, MAX_MADE, MAX_MADE_FOR_USER, NewKey, OtherSessions, Sessions};
pub use set_cookie::{CookieAttributes, Expiry, SameSite, SetCookie};
pub use source::{Carried, MAX_TOKENS, Source};
pub use token::SessionToken;
pub(crate) use token::{ID_LENGTH, random_letters};
pub use withheld::Withheld;
