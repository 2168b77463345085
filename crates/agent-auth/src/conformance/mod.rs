//! The rules of [`Candidates`] as checks, for the tests of an implementation
//!
//! Each [`Rule`] has the [`Rows`] that it needs and a check. You provide a function that makes
//! your implementation over tables with exactly these rows. [`candidates`] checks all rules:
//!
//! ```no_run
//! # use agent_auth::{Candidate, Candidates, ProvenInstance};
//! # struct Agents;
//! # impl Candidates for Agents {
//! #     type Id = i64;
//! #     type Token = String;
//! #     type Error = std::convert::Infallible;
//! #     async fn by_instance(
//! #         &self,
//! #         _: ProvenInstance<'_>,
//! #     ) -> Result<Vec<Candidate<i64, String>>, Self::Error> {
//! #         Ok(Vec::new())
//! #     }
//! # }
//! use agent_auth::conformance::{Rows, candidates};
//!
//! async fn make(rows: &Rows) -> Agents {
//!     for (workspace, build, agent) in rows.agents() {
//!         // Insert a row into your table.
//!     }
//!     Agents
//! }
//!
//! # async fn test() {
//! candidates(make).await;
//! # }
//! ```
//!
//! [`candidates_conformance!`](crate::candidates_conformance) makes a test of each rule instead.
//!
//! The checks read only what `Candidates` returns. They do not check that the candidates are read
//! with one statement, and from a primary server, nor what happens to pins if two callers ask at the
//! same time.

mod checks;
mod rows;

use std::fmt;

use thiserror::Error;

pub use self::rows::{Agent, Build, Rows, Workspace};
use crate::Candidates;

/// Checks all rules, each with an implementation of its own that `make` returns
///
/// # Panics
///
/// Panics with the name of each rule that is broken, and with what was found.
pub async fn candidates<C>(make: impl AsyncFn(&Rows) -> C)
where
    C: Candidates,
    C::Token: fmt::Display,
{
    let mut broken = Vec::new();
    for rule in Rule::ALL {
        let implementation = make(&rule.rows()).await;
        broken.extend(rule.check(&implementation).await.err().map(|broken| broken.to_string()));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A rule that an implementation does not keep
///
/// `Debug` prints the same as `Display`, for tests that return it.
#[derive(Error)]
#[error("the rule `{}` is broken: {found}", .rule.name())]
pub struct Broken {
    rule: Rule,
    found: String,
}

impl Broken {
    /// Returns the rule
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes a test of each rule of [`Candidates`]
///
/// The argument is a function that takes [`Rows`] and returns an implementation over tables that
/// have exactly these rows, as for [`candidates`]. The tests are named as the rules are, so call
/// the macro in a module of its own. An attribute in front of the function replaces
/// `#[tokio::test]`, for which your tests need tokio with the features `macros` and `rt`.
///
/// ```ignore
/// mod conformance {
///     agent_auth::candidates_conformance!(super::make);
/// }
/// ```
#[macro_export]
macro_rules! candidates_conformance {
    (#[$test:meta] $make:expr) => {
        $crate::__candidates_rules! { $crate::__candidates_tests { #[$test] $make } }
    };
    ($make:expr) => {
        $crate::candidates_conformance! { #[::tokio::test] $make }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __candidates_tests {
    ({ #[$test:meta] $make:expr } $($(#[$doc:meta])+ $variant:ident = $name:ident,)+) => {$(
        #[$test]
        async fn $name() -> ::core::result::Result<(), $crate::conformance::Broken> {
            let rule = $crate::conformance::Rule::$variant;
            let implementation = ($make)(&rule.rows()).await;
            rule.check(&implementation).await
        }
    )+};
}

/// Calls a macro with the list of rules
#[doc(hidden)]
#[macro_export]
macro_rules! __candidates_rules {
    ($then:path { $($arguments:tt)* }) => {
        $then! {
            { $($arguments)* }
            /// The agent that carries an instance's id is found, with its name and token, and no
            /// agent of another instance
            TheAgent = the_agent_of_an_instance_is_found,
            /// Ids are compared byte for byte: with case, white space and NUL, and without
            /// wildcards
            SameBytes = ids_are_compared_byte_for_byte,
            /// An id is any text, and never part of a statement
            AnyText = any_text_is_an_id,
            /// A UUID is found whether it is stored in lower or in upper case, and asked for in
            /// either
            UuidInEitherCase = a_uuid_is_found_in_either_case,
            /// All agents of a workspace's newest build are live
            AllOfABuild = all_agents_of_the_newest_build_are_live,
            /// Candidates of one build have the same build, those of one workspace the same
            /// workspace, and no others
            Ids = candidates_have_the_ids_of_their_rows,
            /// Agents that another agent started are not candidates, even if they carry the id
            SubAgents = sub_agents_are_not_candidates,
            /// Agents that are soft-deleted are not candidates
            DeletedAgents = deleted_agents_are_not_candidates,
            /// Agents that do not belong to a build of a workspace, such as those of template
            /// imports, are not candidates
            WithoutBuild = agents_without_a_build_are_not_candidates,
            /// Agents of earlier builds are stale, and the newest come first
            EarlierBuilds = agents_of_earlier_builds_are_stale_and_the_newest_come_first,
            /// A newer build makes all agents stale, even if it has none itself
            NewerBuildWithoutAgents = a_newer_build_without_agents_makes_all_stale,
            /// The agents of a deleted workspace are deleted, of whichever build
            DeletedWorkspace = agents_of_a_deleted_workspace_are_deleted,
            /// An id that the newest builds of two workspaces carry is live in both
            TwoWorkspaces = an_id_in_two_workspaces_is_live_in_both,
            /// Live agents come before stale ones that are younger
            LiveFirst = live_agents_come_before_younger_stale_ones,
            /// However many earlier builds there are, the live agent is returned, and at most
            /// [`MAX_CANDIDATES`](crate::MAX_CANDIDATES)` + 1` candidates: the newest
            LongHistory = history_never_pushes_out_a_live_agent,
            /// Of more live agents than the most, one more than the most is returned
            TooManyLive = one_more_than_the_most_live_agents_is_returned,
            /// Agents of one moment are in the same order each time
            OneMoment = agents_of_one_moment_are_in_the_same_order_each_time,
            /// An instance has a pin in each build, which is its newest moment and never moves back,
            /// or no pins are kept
            Pins = a_pin_is_the_newest_moment_of_an_instance_in_a_build,
            /// A UUID has the same pin in lower and in upper case
            PinOfUuid = the_spellings_of_a_uuid_share_a_pin,
            /// The builds of all live candidates are pinned
            PinOfEachBuild = each_live_build_of_an_instance_is_pinned,
        }
    };
}

macro_rules! define {
    ({} $($(#[$doc:meta])+ $variant:ident = $name:ident,)+) => {
        /// A rule that every implementation of [`Candidates`] keeps
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])+ $variant,)+
        }

        impl Rule {
            /// All rules
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the rule as a name of a test
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }

            /// Returns the rows that the check needs
            ///
            /// Leave out what your tables cannot hold: a control plane without sub-agents keeps
            /// the rule about them in any case.
            #[must_use]
            pub fn rows(self) -> Rows {
                match self {
                    $(Self::$variant => rows::$name(),)+
                }
            }

            /// Checks the rule with an implementation over tables that have its
            /// [`rows`](Self::rows) and no others
            ///
            /// # Errors
            ///
            /// Fails if the implementation does not keep the rule, or fails itself.
            pub async fn check<C>(self, candidates: &C) -> Result<(), Broken>
            where
                C: Candidates,
                C::Token: fmt::Display,
            {
                let checked = match self {
                    $(Self::$variant => checks::$name(candidates).await,)+
                };
                checked.map_err(|found| Broken { rule: self, found })
            }
        }
    };
}

crate::__candidates_rules! { define {} }
