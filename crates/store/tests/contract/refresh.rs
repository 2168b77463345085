//! Links to identity providers whose access token has ended, and is refreshed

use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::{LoginType, OauthLink};
use store::fleet::{self, Fleet, Hidden, UserLink};
use store::refresh::{BegunRefresh, LinkId, LinkTokens as _, RefreshEnd, RefreshTurn};
use testkit::Database;
use uuid::Uuid;

use crate::{session, sessions};

const MINUTE: Duration = Duration::from_secs(60);

contract! {
    since V2_24;

    fn only_a_link_that_has_ended_and_has_a_refresh_token_is_refreshed(store, fleet: links) {
        let at = |n: u32| ended(&fleet) + MINUTE * n;
        let begin = async |user: usize, login_type, now| {
            let link = LinkId::new(UserId(fleet.users[user].id), login_type);
            store.begin_refresh(link, Uuid::new_v4(), now, now + MINUTE).await.unwrap()
        };
        // The access token of alice is good until this very moment.
        assert_eq!(begin(0, LoginType::Oidc, at(0)).await, RefreshTurn::Over);
        // Bob's link to GitHub does not end, and his other has no refresh token.
        assert_eq!(begin(1, LoginType::Github, at(5)).await, RefreshTurn::Over);
        assert_eq!(begin(1, LoginType::Oidc, at(5)).await, RefreshTurn::Over);
        // Carol has no link.
        assert_eq!(begin(2, LoginType::Oidc, at(5)).await, RefreshTurn::Over);
        let RefreshTurn::Begun(begun) = begin(0, LoginType::Oidc, at(1)).await else { panic!() };
        assert_eq!(begun.refresh_token, "refresh");
        assert!(!format!("{begun:?}").contains("refresh\""));
        // Until the attempt is over, nothing else begins.
        for now in [at(1), at(2)] {
            assert_eq!(begin(0, LoginType::Oidc, now).await, RefreshTurn::Other);
        }
        let RefreshTurn::Begun(_) = begin(0, LoginType::Oidc, at(3)).await else { panic!() };
    }

    fn new_tokens_are_stored_once(store, fleet: links) {
        let now = ended(&fleet) + MINUTE;
        let begun = begun(&store, &fleet, now).await;
        let end = RefreshEnd::Refreshed {
            access_token: "new",
            refresh_token: Some("next"),
            expires_at: Some(now + MINUTE * 60),
        };
        assert!(store.end_refresh(&begun, end).await.unwrap());
        assert_eq!(link(&store).await, OauthLink::new(now + MINUTE * 60, true));
        // The link has changed by now.
        assert!(!store.end_refresh(&begun, end).await.unwrap());
        let id = begun.link;
        let turn = store.begin_refresh(id, Uuid::new_v4(), now, now).await.unwrap();
        assert_eq!(turn, RefreshTurn::Over);
        let later = now + MINUTE * 61;
        let RefreshTurn::Begun(again) =
            store.begin_refresh(id, Uuid::new_v4(), later, later).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(again.refresh_token, "next");
        // Without another refresh token, this one stays. The new access token does not end.
        let end =
            RefreshEnd::Refreshed { access_token: "last", refresh_token: None, expires_at: None };
        assert!(store.end_refresh(&again, end).await.unwrap());
        assert_eq!(link(&store).await, OauthLink::new(None, true));
    }

    fn a_refusal_counts_until_the_link_changes(store, fleet: links) {
        let now = ended(&fleet) + MINUTE;
        let begun = begun(&store, &fleet, now).await;
        assert!(!store.end_refresh(&begun, RefreshEnd::Refused).await.unwrap());
        let later = now + MINUTE * 99;
        let turn = store.begin_refresh(begun.link, Uuid::new_v4(), later, later).await.unwrap();
        assert_eq!(turn, RefreshTurn::Over);
        assert_eq!(link(&store).await, OauthLink::new(ended(&fleet), true), "as it was");
    }

    fn a_failure_lets_others_begin_at_once(store, fleet: links) {
        let now = ended(&fleet) + MINUTE;
        let first = begun(&store, &fleet, now).await;
        assert!(!store.end_refresh(&first, RefreshEnd::Failed).await.unwrap());
        let second = begun(&store, &fleet, now).await;
        // An attempt that is late ends only itself, and what it was given is kept.
        let end = RefreshEnd::Refreshed {
            access_token: "new", refresh_token: None, expires_at: Some(now + MINUTE),
        };
        assert!(store.end_refresh(&first, end).await.unwrap());
        assert!(!store.end_refresh(&second, RefreshEnd::Refused).await.unwrap());
        assert_eq!(link(&store).await, OauthLink::new(now + MINUTE, true));
        let later = now + MINUTE * 2;
        let turn = store.begin_refresh(first.link, Uuid::new_v4(), later, later).await.unwrap();
        assert!(matches!(turn, RefreshTurn::Begun(_)), "the refusal was of an earlier link");
        // This attempt breaks off, and the refusal of before does not become one of its link.
        let later = later + MINUTE;
        let turn = store.begin_refresh(first.link, Uuid::new_v4(), later, later).await.unwrap();
        assert!(matches!(turn, RefreshTurn::Begun(_)), "{turn:?}");
    }

    fn an_attempt_that_is_late_ends_only_itself(store, fleet: links) {
        let now = ended(&fleet) + MINUTE;
        let first = begun(&store, &fleet, now).await;
        let later = now + MINUTE * 2;
        let second = begun(&store, &fleet, later).await;
        for end in [RefreshEnd::Failed, RefreshEnd::Refused] {
            assert!(!store.end_refresh(&first, end).await.unwrap());
            let turn = store.begin_refresh(first.link, Uuid::new_v4(), later, later).await.unwrap();
            assert_eq!(turn, RefreshTurn::Other, "{end:?}");
        }
        assert!(!store.end_refresh(&second, RefreshEnd::Failed).await.unwrap());
        begun(&store, &fleet, later).await;
    }

    fn a_link_that_has_changed_is_left_as_it_is(store, fleet: links) {
        let mut now = ended(&fleet) + MINUTE;
        for next in [None, Some("next")] {
            let early = begun(&store, &fleet, now).await;
            assert!(!store.end_refresh(&early, RefreshEnd::Failed).await.unwrap());
            let late = begun(&store, &fleet, now).await;
            // The same refresh token with another end, then another refresh token with the same end
            let end = if next.is_none() { now + MINUTE * 60 } else { now - MINUTE };
            let refreshed = |refresh_token, end| RefreshEnd::Refreshed {
                access_token: "new", refresh_token, expires_at: Some(end),
            };
            assert!(store.end_refresh(&early, refreshed(next, end)).await.unwrap());
            let other = refreshed(Some("other"), end + MINUTE);
            assert!(!store.end_refresh(&late, other).await.unwrap(), "{next:?}");
            assert_eq!(link(&store).await, OauthLink::new(end, true));
            now = end + MINUTE;
        }
    }
}

#[tokio::test]
async fn each_is_one_statement_and_one_of_many_begins() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    let fleet = links();
    store.load(&fleet).await.unwrap();
    let now = ended(&fleet) + MINUTE;
    let before = statements.get();
    let begun = begun(&store, &fleet, now).await;
    assert_eq!(statements.get() - before, 1);
    store.end_refresh(&begun, RefreshEnd::Failed).await.unwrap();
    assert_eq!(statements.get() - before, 2);
    let all = (0..20).map(|_| store.begin_refresh(begun.link, Uuid::new_v4(), now, now + MINUTE));
    let turns = futures_util::future::join_all(all).await;
    let begun = turns.iter().filter(|turn| matches!(turn, Ok(RefreshTurn::Begun(_)))).count();
    assert_eq!(begun, 1);
}

/// The snapshot of a statement that waits for the other attempt shows the refusal of before
#[tokio::test]
async fn a_refusal_of_an_earlier_link_does_not_hide_an_attempt_that_begins_meanwhile() {
    let database = Database::new().await;
    let store = database.store().await;
    let fleet = links();
    store.load(&fleet).await.unwrap();
    let now = ended(&fleet) + MINUTE;
    let refused = begun(&store, &fleet, now).await;
    store.end_refresh(&refused, RefreshEnd::Refused).await.unwrap();
    // The user has signed in again.
    database.sql("UPDATE user_links SET oauth_expiry = oauth_expiry + interval '1 minute'").await;
    let begins = "UPDATE authd_token_refreshes
        SET expiry = expiry + interval '1 minute', until = 'infinity', is_settled = false";
    let other = database.hold(begins).await;
    let later = now + MINUTE * 2;
    let commit = async {
        other.wait_for_other().await;
        other.commit().await;
    };
    let turn = store.begin_refresh(refused.link, Uuid::new_v4(), later, later);
    let (turn, ()) = tokio::join!(turn, commit);
    assert_eq!(turn.unwrap(), RefreshTurn::Other);
}

/// alice's link has ended, bob's do not end or cannot be refreshed, and carol has none
fn links() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [alice, bob, _] = ["alice", "bob", "carol"].map(|name| fleet.user(name, acme));
    sessions(&mut fleet);
    for key in &mut fleet.api_keys {
        key.login_type = fleet::LoginType::Oidc;
    }
    let end = fleet.users[0].created_at;
    let year_one = "0001-01-01T00:00:00Z".parse().unwrap();
    for (user_id, login_type, refresh, oauth_expiry) in [
        (alice, fleet::LoginType::Oidc, "refresh", end),
        (bob, fleet::LoginType::Oidc, "", end),
        (bob, fleet::LoginType::Github, "refresh", year_one),
    ] {
        let oauth_refresh_token = Hidden(refresh.to_owned());
        fleet.user_links.push(UserLink { user_id, login_type, oauth_refresh_token, oauth_expiry });
    }
    fleet
}

/// When alice's access token has ended
fn ended(fleet: &Fleet) -> SystemTime {
    fleet.user_links[0].oauth_expiry.into()
}

async fn begun<S: store::Store>(store: &S, fleet: &Fleet, now: SystemTime) -> BegunRefresh {
    let link = LinkId::new(UserId(fleet.users[0].id), LoginType::Oidc);
    match store.begin_refresh(link, Uuid::new_v4(), now, now + MINUTE).await.unwrap() {
        RefreshTurn::Begun(begun) => begun,
        turn => panic!("{turn:?}"),
    }
}

async fn link<S: store::Store>(store: &S) -> OauthLink {
    store.holders(&[session(0)]).await.unwrap()[0].link.unwrap()
}
