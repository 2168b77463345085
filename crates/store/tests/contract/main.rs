//! Every store gives the same answers for the same rows
#![allow(clippy::unwrap_used, reason = "helpers outside of `#[test]` functions")]

use app_authz::credential::SessionToken;
use store::fleet::Fleet;

/// Runs each check over every store, loaded with the fleet that it asks for: in memory, on
/// tables of our own, and on those of each release of the control plane since the named one
///
/// Names the list of the checks `CHECKS`, or as the first argument says.
macro_rules! contract {
    (since $since:ident; $($checks:tt)*) => {
        contract! { CHECKS: since $since; $($checks)* }
    };
    (
        $all:ident: since $since:ident;
        $($(#[$attr:meta])* fn $name:ident($store:ident, $fleet:ident: $make:expr) $body:block)*
    ) => {
        $($(#[$attr])* mod $name {
            use super::*;

            const MAKE: fn() -> Fleet = $make;

            async fn check<S: store::Store>($store: S, $fleet: Fleet) $body

            #[tokio::test]
            async fn in_memory() {
                let fleet = MAKE();
                let store = store::MemoryStore::default();
                store.load(&fleet);
                check(store, fleet).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                let fleet = MAKE();
                let store = testkit::Database::new().await.store().await;
                store.load(&fleet).await.unwrap();
                check(store, fleet).await;
            }

            #[tokio::test]
            async fn on_releases() {
                let since = testkit::Release::$since;
                crate::releases::run(module_path!(), since, MAKE, check::<store::PgStore>).await;
            }
        })*

        pub(crate) const $all: &[&str] =
            &[$(concat!(module_path!(), "::", stringify!($name))),*];
    };
}

/// Runs each published rule of a port as `contract!` runs a check, over what `fleet` makes of the
/// rule's rows
macro_rules! rules {
    (
        $all:ident: $rule:ident since $since:ident;
        $($(#[$doc:meta])* $variant:ident = $name:ident,)+
    ) => {
        contract! {
            $all: since $since;
            $(fn $name(store, _fleet: || fleet(&$rule::$variant.rows())) {
                $rule::$variant.check(&store).await.unwrap();
            })+
        }

        const _: () = assert!($rule::ALL.len() == $all.len(), "a rule is not run");
    };
    // As a crate passes the list of its rules.
    ({ $($head:tt)* } $($rules:tt)+) => {
        rules! { $($head)* $($rules)+ }
    };
}

mod app_access;
mod authorized;
mod candidates;
mod holders;
mod limits;
mod listing;
mod made;
mod ports;
mod provider;
mod refresh;
mod releases;
mod revocations;
mod roles;
mod sessions;
mod sharing;
mod withdrawals;

/// Adds a session for each user
fn sessions(fleet: &mut Fleet) {
    for n in 0..fleet.users.len() {
        fleet.session(fleet.users[n].id);
        let row = fleet.api_keys.last_mut().unwrap();
        row.id = session(n).id().to_owned();
        row.hashed_secret.0 = session(n).secret_digest().to_vec();
    }
}

/// The token of a user's session
fn session(user: usize) -> SessionToken {
    format!("{user:010}-{user:022}").parse().unwrap()
}
