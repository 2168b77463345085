//! The rules of the ports as checks, for the tests of an implementation
//!
//! A test makes a [`World`]: your store, empty, with a clock that the test can move. Each rule
//! gets a world of its own.
//!
//! | port | all rules | a test for each rule | one rule |
//! | --- | --- | --- | --- |
//! | [`Journal`](crate::Journal) | [`journal`] | [`journal_conformance!`](crate::journal_conformance) | [`JournalRule`] |
//! | [`AuditLog`](crate::AuditLog) | [`audit_log`] | [`audit_log_conformance!`](crate::audit_log_conformance) | [`AuditLogRule`] |
//! | [`AuditExplorer`](crate::AuditExplorer) | [`audit_explorer`] | [`audit_explorer_conformance!`](crate::audit_explorer_conformance) | [`AuditExplorerRule`] |
//! | [`ActJournal`](crate::ActJournal) | [`act_journal`] | [`act_journal_conformance!`](crate::act_journal_conformance) | [`ActJournalRule`] |
//! | [`ActLog`](crate::ActLog) | [`act_log`] | [`act_log_conformance!`](crate::act_log_conformance) | [`ActLogRule`] |
//!
//! ```no_run
//! # use std::time::{Duration, SystemTime};
//! use app_audit::conformance::{World, journal};
//! # struct Store;
//! # impl Store { fn set_clock(&self, _: Duration) {} }
//!
//! struct TestWorld {
//!     store: Store,
//! }
//!
//! impl World for TestWorld {
//!     type Store = Store;
//!
//!     fn store(&self) -> &Store {
//!         &self.store
//!     }
//!
//!     fn now(&self) -> SystemTime {
//!         SystemTime::now()
//!     }
//!
//!     async fn later(&self, time: Duration) {
//!         // With an own clock: put it forward. With the clock of a database:
//!         // UPDATE sessions SET started_at = started_at - …, updated_at = updated_at - …
//!         // UPDATE log SET time = time - …
//!     }
//! }
//!
//! async fn make() -> TestWorld {
//!     TestWorld { store: Store }
//! }
//! # use app_audit::*;
//! # impl Journal for Store {
//! #     type Error = std::convert::Infallible;
//! #     async fn note(&self, _: &[Entry], _: Window) -> Result<Vec<Answer>, Self::Error> { Ok(Vec::new()) }
//! #     fn is_unavailable(_: &Self::Error) -> bool { false }
//! # }
//! # impl AuditLog for Store {
//! #     type Error = std::convert::Infallible;
//! #     async fn list(&self, _: &Filter, _: Page) -> Result<Vec<Row>, Self::Error> { Ok(Vec::new()) }
//! # }
//!
//! # async fn test() {
//! journal(make).await;
//! # }
//! ```
//!
//! The checks of a journal read its rows as an [`AuditLog`](crate::AuditLog). A journal that is not
//! one implements it in the test: with all rows at hand,
//! [`Filter::select`](crate::Filter::select) does it in a line. In the same way a log that is
//! written by something else implements [`Journal`](crate::Journal) in the test.
//!
//! A journal that does not override a provided method of its trait breaks the rules about that
//! method. Check the others one by one, with [`JournalRule::check`].
//!
//! The checks do not see how many statements a call takes, nor what a database does under load.

mod act_journal;
mod act_log;
mod audit_explorer;
mod audit_log;
mod journal;
mod journal_ends;
mod visits;

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::task::yield_now;

pub use self::act_journal::{ActJournalRule, act_journal};
pub use self::act_log::{ActLogRule, act_log};
pub use self::audit_explorer::{AuditExplorerRule, audit_explorer};
pub use self::audit_log::{AuditLogRule, audit_log};
pub use self::journal::{JournalRule, journal};

/// A store under test, with its clock
pub trait World: Send + Sync + 'static {
    /// The store
    type Store: Send + Sync;

    /// Returns the store, which was empty when the world was made
    fn store(&self) -> &Self::Store;

    /// Returns the time of the store's clock
    fn now(&self) -> SystemTime;

    /// Lets time pass for the store: puts its clock forward, or moves the times of all that it
    /// keeps back
    ///
    /// Sessions and rows of visits are moved. Acts may stay as they are.
    fn later(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// A rule that an implementation does not keep
///
/// `Debug` prints the same as `Display`, for tests that return it.
#[derive(thiserror::Error)]
#[error("the rule `{rule}` is broken: {found}")]
pub struct Broken {
    rule: &'static str,
    found: String,
}

impl Broken {
    /// Returns the name of the rule
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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

/// Returns the answer of a port, or says that it failed
fn worked<T>(answer: Result<T, impl Error>, what: &str) -> Result<T, String> {
    answer.map_err(|error| format!("{what} failed: {error}"))
}

/// Polls a future at most so many times, and drops it, as a caller that goes away does
async fn abandoned(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let is_done = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready()));
        if is_done.await {
            return;
        }
        yield_now().await;
    }
}

/// How often a future is polled before it is dropped, in turn
const POLLS: [usize; 12] = [1, 2, 3, 4, 5, 6, 8, 10, 15, 25, 50, 100];

/// Makes the rules of a port: an enum, a function that checks all, and a macro that makes tests
macro_rules! rules {
    (
        $d:tt
        $(#[$of:meta])* $rule:ident: $($bound:path),+;
        $(#[$all_doc:meta])* fn $all:ident;
        $(#[$macro_doc:meta])* macro $tests:ident;
        $($(#[$doc:meta])+ $variant:ident = $name:ident,)+
    ) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $rule {
            $($(#[$doc])+ $variant,)+
        }

        impl $rule {
            /// All rules
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the rule as a name of a test
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }

            /// Checks the rule in a world that was just made
            ///
            /// # Errors
            ///
            /// Fails if the store does not keep the rule, or fails itself.
            pub async fn check<W: $crate::conformance::World>(
                self,
                world: W,
            ) -> Result<(), $crate::conformance::Broken>
            where
                W::Store: $($bound +)+,
            {
                let world = std::sync::Arc::new(world);
                let checked = match self {
                    $(Self::$variant => Box::pin($name(world)).await,)+
                };
                checked.map_err(|found| $crate::conformance::Broken { rule: self.name(), found })
            }
        }

        $(#[$all_doc])*
        ///
        /// `make` returns a world with an empty store.
        ///
        /// # Panics
        ///
        /// Panics with the name of each rule that is broken, and with what was found.
        pub async fn $all<W: $crate::conformance::World>(make: impl AsyncFn() -> W)
        where
            W::Store: $($bound +)+,
        {
            let mut broken = Vec::new();
            for rule in $rule::ALL {
                let checked = rule.check(make().await).await;
                broken.extend(checked.err().map(|broken| broken.to_string()));
            }
            assert!(broken.is_empty(), "{}", broken.join("\n"));
        }

        $(#[$macro_doc])*
        ///
        /// The argument is a function that returns a [`World`](crate::conformance::World) with an
        /// empty store. The tests are named as the rules are, so call the macro in a module of its
        /// own. An attribute in front of the function replaces `#[tokio::test]`, for which your tests
        /// need tokio with the features `macros` and `rt`.
        #[macro_export]
        macro_rules! $tests {
            (#[$d test:meta] $d make:expr) => {$(
                #[$d test]
                async fn $name() -> ::core::result::Result<(), $crate::conformance::Broken> {
                    let world = ($d make)().await;
                    $crate::conformance::$rule::$variant.check(world).await
                }
            )+};
            ($d make:expr) => {
                $crate::$tests! { #[::tokio::test] $d make }
            };
        }
    };
}
use rules;
