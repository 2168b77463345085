//! The rules of the ports as checks, for the tests of an implementation
//!
//! Each rule has the [`Rows`] that it needs and a check. You provide a function that makes your
//! implementation over tables with exactly these rows.
//!
//! | port | all rules | a test for each rule | one rule |
//! | --- | --- | --- | --- |
//! | [`Directory`](crate::Directory) | [`directory`] | [`directory_conformance!`](crate::directory_conformance) | [`DirectoryRule`] |
//! | [`Sessions`](crate::credential::Sessions) | [`sessions`] | [`sessions_conformance!`](crate::sessions_conformance) | [`SessionsRule`] |
//! | [`KeyStore`](crate::token::KeyStore) and [`Rotation`](crate::token::Rotation) | [`keys`] | [`keys_conformance!`](crate::keys_conformance) | [`KeysRule`] |
//! | [`Proxies`](crate::proxy::Proxies) | [`proxies`] | [`proxies_conformance!`](crate::proxies_conformance) | [`ProxiesRule`] |
//!
//! ```no_run
//! # use app_authz::{AppRequest, Directory, app::AppFacts, credential::SessionToken};
//! # struct Tables;
//! # impl Directory for Tables {
//! #     type Error = std::convert::Infallible;
//! #     async fn app_access(
//! #         &self,
//! #         _: &AppRequest,
//! #         _: &[SessionToken],
//! #     ) -> Result<AppFacts, Self::Error> {
//! #         Ok(AppFacts::default())
//! #     }
//! # }
//! use app_authz::conformance::{Rows, directory};
//!
//! async fn make(rows: &Rows) -> Tables {
//!     for workspace in &rows.workspaces {
//!         // Insert a row into your table.
//!     }
//!     Tables
//! }
//!
//! # async fn test() {
//! directory(make).await;
//! # }
//! ```
//!
//! The macros make a test of each rule instead. A host leaves a rule out whose rows its tables cannot
//! hold: one without groups, for example, calls [`DirectoryRule::check`] with each of
//! [`DirectoryRule::ALL`] but [`DirectoryRule::Shared`].
//!
//! The checks read only what the ports answer. They do not see how many statements a call takes,
//! whether it reads from a primary server, nor what a database does under load.

mod directory;
mod keys;
mod rows;
mod sessions;

use std::borrow::Borrow;
use std::error::Error;
use std::fmt;

pub use self::directory::{DirectoryRule, directory};
pub use self::keys::{KeysRule, ProxiesRule, keys, proxies};
pub use self::rows::{Build, BuildAgent, RegisteredProxy, Rows, Session, User, Workspace};
pub use self::sessions::{SessionsRule, sessions};
use crate::UserId;
use crate::credential::KeyHolder;

/// A rule that an implementation does not keep
///
/// `Debug` prints the same as `Display`, for tests that return it.
pub struct Broken {
    rule: &'static str,
    found: String,
}

impl Broken {
    /// The name of the rule
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rule `{}` is broken: {}", self.rule, self.found)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Broken {}

/// What was found instead of what a rule demands
type Checked = Result<(), String>;

fn same<A, B>(found: &A, expected: &B, what: &str) -> Checked
where
    A: PartialEq<B> + fmt::Debug + ?Sized,
    B: fmt::Debug + ?Sized,
{
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}"))
}

fn holds(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(format!("it does not hold that {what}")) }
}

/// The users of holders, sorted
fn users<H: Borrow<KeyHolder>>(holders: &[H]) -> Vec<UserId> {
    sorted(holders.iter().map(Borrow::<KeyHolder>::borrow).map(|holder| holder.key.user))
}

/// The items in their order, to compare answers whose order is not part of a rule
fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// What a port answers, or that it failed
fn worked<T>(answer: Result<T, impl Error>, what: &str) -> Result<T, String> {
    answer.map_err(|error| format!("{what} failed: {error}"))
}

/// Defines the rules of a port: an enum, a function that checks all, and a macro that makes tests
macro_rules! rules {
    (
        $d:tt
        $(#[$of:meta])+ $rule:ident of $($port:path),+;
        $(#[$all_doc:meta])+ fn $all:ident;
        $(#[$macro_doc:meta])+ macro $tests:ident;
        $($(#[$doc:meta])+ $variant:ident = $name:ident over $rows:ident,)+
    ) => {
        $(#[$of])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $rule {
            $($(#[$doc])+ $variant,)+
        }

        impl $rule {
            /// All rules
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The rule as a name of a test
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }

            /// The rows that the check needs
            #[must_use]
            pub fn rows(self) -> Rows {
                match self {
                    $(Self::$variant => Rows::$rows(),)+
                }
            }

            /// Checks the rule with an implementation over tables that have its
            /// [`rows`](Self::rows) and no others
            ///
            /// # Errors
            ///
            /// Fails if the implementation does not keep the rule, or fails itself.
            pub async fn check<P: $($port +)+>(self, port: &P) -> Result<(), Broken> {
                let checked = match self {
                    $(Self::$variant => $name(port).await,)+
                };
                checked.map_err(|found| Broken { rule: self.name(), found })
            }
        }

        $(#[$all_doc])+
        ///
        /// # Panics
        ///
        /// Panics with the name of each rule that is broken, and with what was found.
        pub async fn $all<P: $($port +)+>(make: impl AsyncFn(&Rows) -> P) {
            let mut broken = Vec::new();
            for rule in $rule::ALL {
                let port = make(&rule.rows()).await;
                broken.extend(rule.check(&port).await.err().map(|broken| broken.to_string()));
            }
            assert!(broken.is_empty(), "{}", broken.join("\n"));
        }

        $(#[$macro_doc])+
        ///
        /// The argument is a function that takes [`Rows`](crate::conformance::Rows) and returns an
        /// implementation over tables that have exactly these rows. The tests are named as the rules
        /// are, so call the macro in a module of its own. An attribute in front of the function
        /// replaces `#[tokio::test]`, for which your tests need tokio with the features `macros` and
        /// `rt`.
        #[macro_export]
        macro_rules! $tests {
            (#[$d test:meta] $d make:expr) => {$(
                #[$d test]
                async fn $name() -> ::core::result::Result<(), $crate::conformance::Broken> {
                    let rule = $crate::conformance::$rule::$variant;
                    let port = ($d make)(&rule.rows()).await;
                    rule.check(&port).await
                }
            )+};
            ($d make:expr) => {
                $crate::$tests! { #[::tokio::test] $d make }
            };
        }
    };
}

use rules;
