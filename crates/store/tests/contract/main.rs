//! Every store gives the same answers for the same rows
#![allow(clippy::unwrap_used, reason = "helpers outside of `#[test]` functions")]

use app_authz::credential::SessionToken;
use store::fleet::Fleet;

/// Runs each check over every store, loaded with the fleet that it asks for: in memory, on
/// tables of our own, and on those of each release of the control plane since the named one
macro_rules! contract {
    (
        since $since:ident;
        $($(#[$attr:meta])* fn $name:ident($store:ident, $fleet:ident: $make:ident) $body:block)*
    ) => {
        $($(#[$attr])* mod $name {
            use super::*;

            async fn check<S: store::Store>($store: S, $fleet: Fleet) $body

            #[tokio::test]
            async fn in_memory() {
                let fleet = $make();
                let store = store::MemoryStore::default();
                store.load(&fleet);
                check(store, fleet).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                let fleet = $make();
                let store = testkit::Database::new().await.store().await;
                store.load(&fleet).await.unwrap();
                check(store, fleet).await;
            }

            #[tokio::test]
            async fn on_releases() {
                let since = testkit::Release::$since;
                crate::releases::run(module_path!(), since, $make, check::<store::PgStore>).await;
            }
        })*

        pub(crate) const CHECKS: &[&str] =
            &[$(concat!(module_path!(), "::", stringify!($name))),*];
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
mod releases;
mod roles;
mod sessions;

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
