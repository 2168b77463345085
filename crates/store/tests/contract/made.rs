//! Sessions that are made from others: they end with those, and are extended with those

use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::{
    KeyHolder, KeyUpdate, MAX_MADE, NewKey, OtherSessions, SessionToken, Sessions,
};
use app_authz::rbac::ScopeName;
use store::Error;
use store::fleet::{Fleet, KeyScope, UserStatus};
use uuid::Uuid;

use crate::{session, sessions};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

contract! {
    since V2_24;

    fn signing_out_ends_what_was_made_in_this_browser_and_not_in_others(store, fleet: browsers) {
        let (here, there) = (made_twice(&store, &fleet, 0).await, made_twice(&store, &fleet, 1).await);
        let key = holder(&store, &session(0)).await.unwrap().key;
        let mut ended = store.log_out(&key, OtherSessions::EndOfApps).await.unwrap();
        ended.sort();
        // What it was made from is not known of `oldforapps`, as before.
        let mut expected = [key.id.as_str(), here[0].id(), here[1].id(), "oldforapps"];
        expected.sort_unstable();
        assert_eq!(ended, expected);
        assert_eq!(good(&store, &here).await, 0);
        assert_eq!(good(&store, &there).await, 2);
        assert!(holder(&store, &session(1)).await.is_some());
        assert!(store.log_out(&key, OtherSessions::EndOfApps).await.unwrap().is_empty());
    }

    fn a_session_is_given_to_one_browser_alone(store, fleet: browsers) {
        let given = made_twice(&store, &fleet, 0).await;
        let now = fleet.api_keys[0].created_at.into();
        let both = [given[0].id(), given[1].id()];
        let (first, second) = tokio::join!(store.give(both[0], now), store.give(both[0], now));
        assert!(first.unwrap() != second.unwrap(), "one of two at the same time");
        for (id, is_first) in [(both[0], false), (both[1], true), (both[1], false)] {
            assert_eq!(store.give(id, now).await.unwrap(), is_first, "{id}");
        }
        // One that was not made from another session has no seal, and one that has ended is of no use.
        let key = holder(&store, &session(0)).await.unwrap().key;
        assert!(!store.give(&key.id, now).await.unwrap());
        assert!(!store.give("unknown000", now).await.unwrap());
        let more = make(&store, &fleet, 3, 0, key.expires_at).await;
        store.log_out(&key, OtherSessions::EndOfApps).await.unwrap();
        assert!(!store.give(more.id(), now).await.unwrap());
    }

    fn a_session_that_may_end_no_others_ends_those_made_from_it(store, fleet: browsers) {
        let (here, there) = (made_twice(&store, &fleet, 0).await, made_twice(&store, &fleet, 1).await);
        let key = holder(&store, &session(0)).await.unwrap().key;
        assert_eq!(store.log_out(&key, OtherSessions::Keep).await.unwrap().len(), 3);
        assert_eq!((good(&store, &here).await, good(&store, &there).await), (0, 2));
        assert!(holder(&store, &token("oldforapps")).await.is_some());
    }

    fn signing_out_of_apps_ends_those_of_this_browser(store, fleet: browsers) {
        let (here, there) = (made_twice(&store, &fleet, 0).await, made_twice(&store, &fleet, 1).await);
        let key = holder(&store, &here[0]).await.unwrap().key;
        assert_eq!(store.log_out(&key, OtherSessions::Keep).await.unwrap(), [here[0].id()]);
        assert_eq!(good(&store, &here).await, 1);
        let key = holder(&store, &here[1]).await.unwrap().key;
        let more = make(&store, &fleet, 3, 0, key.expires_at).await;
        assert_eq!(store.log_out(&key, OtherSessions::EndOfApps).await.unwrap().len(), 2);
        assert!(holder(&store, &more).await.is_none());
        assert_eq!(good(&store, &there).await, 2);
        assert!(holder(&store, &session(0)).await.is_some());
        assert!(holder(&store, &token("oldforapps")).await.is_some());
    }

    fn a_session_made_before_this_was_noted_still_ends_those_like_it(store, _fleet: browsers) {
        let key = holder(&store, &token("oldforapps")).await.unwrap().key;
        assert_eq!(store.log_out(&key, OtherSessions::EndOfApps).await.unwrap(), ["oldforapps"]);
        assert!(holder(&store, &session(0)).await.is_some());
    }

    fn nothing_is_made_from_a_session_that_has_ended_or_is_of_another(store, fleet: browsers) {
        let key = holder(&store, &session(0)).await.unwrap().key;
        let token = SessionToken::generate(|bytes| bytes.fill(4));
        let new = |parent, user: usize| {
            NewKey::new(&token, UserId(fleet.users[user].id), key.last_used, key.expires_at)
                .with_scope(ScopeName::ApplicationConnect)
                .with_allow_list(&key.allow_list)
                .with_lifetime(DAY)
                .with_parent(parent)
        };
        for (parent, user) in [("gone", 0), (&*key.id, 1)] {
            assert!(store.insert(&new(parent, user)).await.is_err(), "{parent} {user}");
            assert!(holder(&store, &token).await.is_none());
        }
        store.insert(&new(&key.id, 0)).await.unwrap();
    }

    fn sessions_are_extended_together(store, fleet: browsers) {
        let parent = holder(&store, &session(0)).await.unwrap().key;
        let made = made_twice(&store, &fleet, 0).await;
        let other = made_twice(&store, &fleet, 1).await;
        let now = parent.expires_at - 2 * HOUR;
        for used in [&made[0], &session(0)] {
            let read = holder(&store, used).await.unwrap().key;
            let now = now.max(read.expires_at - 2 * HOUR);
            let update = KeyUpdate { last_used: Some(now), expires_at: Some(now + read.lifetime) };
            store.update(&read, update, None).await.unwrap();
            for token in [&session(0), &made[0], &made[1]] {
                let key = holder(&store, token).await.unwrap().key;
                assert_eq!(key.expires_at, now + DAY, "{token:?} after {used:?}");
                assert_eq!(key.last_used == now, key.id == read.id, "{token:?} after {used:?}");
            }
            let kept = holder(&store, &other[0]).await.unwrap().key.expires_at;
            assert_eq!(kept, parent.expires_at);
        }
    }

    fn what_use_never_extends_is_not_extended_by_another(store, fleet: browsers) {
        let parent = holder(&store, &session(0)).await.unwrap().key;
        let short = make_with(&store, &fleet, (1, 0), parent.expires_at, HOUR / 2).await;
        // This has expired by the time at which the other is used.
        let early = make(&store, &fleet, 2, 0, parent.expires_at - 3 * HOUR).await;
        let now = parent.expires_at - 2 * HOUR;
        let update = KeyUpdate { last_used: None, expires_at: Some(now + parent.lifetime) };
        store.update(&parent, update, None).await.unwrap();
        let ends = async |token: SessionToken| holder(&store, &token).await.unwrap().key.expires_at;
        assert_eq!(ends(session(0)).await, now + DAY);
        assert_eq!(ends(short).await, parent.expires_at);
        assert_eq!(ends(early).await, parent.expires_at - 3 * HOUR);
    }

    fn sessions_that_have_ended_are_named(store, fleet: browsers) {
        let parent = holder(&store, &session(0)).await.unwrap().key;
        let late = make(&store, &fleet, 1, 0, parent.expires_at + DAY).await;
        let early = make(&store, &fleet, 2, 0, parent.expires_at - HOUR).await;
        let there = make(&store, &fleet, 3, 1, parent.expires_at).await;
        let suspended = session(2);
        let (zero, one) = (session(0), session(1));
        let all = [&zero, &one, &late, &early, &there, &suspended].map(SessionToken::id);
        let ids = [&all[..], &["gone"], &["oldforapps"]].concat();
        let ended = async |now| {
            let mut ended = store.ended(&ids, now).await.unwrap();
            ended.sort_by_key(|id| ids.iter().position(|asked| asked == id));
            ended
        };
        let before = parent.expires_at - 2 * HOUR;
        assert_eq!(ended(before).await, [suspended.id(), "gone"]);
        // A key still counts at the time at which it expires.
        assert_eq!(ended(parent.expires_at - HOUR).await, [suspended.id(), "gone"]);
        assert_eq!(ended(parent.expires_at).await, [early.id(), suspended.id(), "gone"]);
        let after = parent.expires_at + HOUR;
        assert_eq!(ended(after).await.len(), ids.len());
        store.log_out(&parent, OtherSessions::Keep).await.unwrap();
        assert_eq!(ended(before).await, [zero.id(), late.id(), early.id(), suspended.id(), "gone"]);
        assert!(store.ended(&[], before).await.unwrap().is_empty());
    }

    fn only_the_newest_of_a_session_are_kept(store, fleet: browsers) {
        let end = holder(&store, &session(0)).await.unwrap().key.expires_at;
        let there = make(&store, &fleet, 1, 1, end).await;
        let mut here = Vec::new();
        for n in 0..MAX_MADE + 5 {
            here.push(make(&store, &fleet, 100 + n, 0, end).await);
        }
        let (old, new) = here.split_at(5);
        assert_eq!((good(&store, old).await, good(&store, new).await), (0, MAX_MADE));
        assert!(holder(&store, &there).await.is_some());
        assert!(holder(&store, &session(0)).await.is_some());
        assert!(holder(&store, &token("oldforapps")).await.is_some());
    }

    fn those_that_have_ended_are_forgotten(store, fleet: browsers) {
        let parent = holder(&store, &session(0)).await.unwrap().key;
        let early = make(&store, &fleet, 1, 0, parent.expires_at - HOUR).await;
        let late = make(&store, &fleet, 2, 0, parent.expires_at + DAY).await;
        let there = make(&store, &fleet, 3, 1, parent.expires_at + DAY).await;
        let now = parent.expires_at - HOUR / 2;
        assert_eq!(store.forget_ended(now, 10).await.unwrap(), 1);
        assert!(holder(&store, &early).await.is_none());
        assert_eq!(good(&store, &[late.clone(), there]).await, 2);
        assert_eq!(store.forget_ended(now, 10).await.unwrap(), 0);
        let later = parent.expires_at + HOUR;
        assert_eq!(store.forget_ended(later, 1).await.unwrap(), 1);
        assert_eq!(store.forget_ended(later, 10).await.unwrap(), 1);
        // These were not made here: the control plane forgets them.
        assert_eq!(good(&store, &[session(0), session(1), token("oldforapps")]).await, 3);
    }
}

/// Makes a session for apps from that of a browser
async fn make(
    store: &impl Sessions<Error = Error>,
    fleet: &Fleet,
    n: usize,
    browser: usize,
    expires_at: SystemTime,
) -> SessionToken {
    make_with(store, fleet, (n, browser), expires_at, DAY).await
}

async fn make_with(
    store: &impl Sessions<Error = Error>,
    fleet: &Fleet,
    (n, browser): (usize, usize),
    expires_at: SystemTime,
    lifetime: Duration,
) -> SessionToken {
    let token: SessionToken = format!("made{n:03}{browser:03}-{:022}", 0).parse().unwrap();
    let parent = session(browser);
    let created_at =
        fleet.api_keys[browser].created_at + chrono::TimeDelta::seconds(i64::try_from(n).unwrap());
    let key = NewKey::new(&token, UserId(fleet.users[0].id), created_at.into(), expires_at)
        .with_scope(ScopeName::ApplicationConnect)
        .with_lifetime(lifetime)
        .with_parent(parent.id());
    store.insert(&key).await.unwrap();
    token
}

/// Two sessions for apps of a browser, which expire with its own
async fn made_twice(
    store: &impl Sessions<Error = Error>,
    fleet: &Fleet,
    browser: usize,
) -> [SessionToken; 2] {
    let end = fleet.api_keys[browser].expires_at.into();
    let first = make(store, fleet, 1, browser, end).await;
    [first, make(store, fleet, 2, browser, end).await]
}

async fn holder(store: &impl Sessions<Error = Error>, token: &SessionToken) -> Option<KeyHolder> {
    store.holders(std::slice::from_ref(token)).await.unwrap().pop()
}

/// How many of the sessions are there
async fn good(store: &impl Sessions<Error = Error>, tokens: &[SessionToken]) -> usize {
    store.holders(tokens).await.unwrap().len()
}

fn token(id: &str) -> SessionToken {
    format!("{id}-{:022}", 0).parse().unwrap()
}

/// Alice in two browsers, with a session for apps of before; and Sue, who is suspended
fn browsers() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let sue = fleet.user("sue", acme);
    fleet.users[1].status = UserStatus::Suspended;
    sessions(&mut fleet);
    let (first, of_sue) = (fleet.api_keys[0].clone(), fleet.api_keys[1].clone());
    fleet.api_keys[1] = ApiKeyOf(alice, session(1)).like(&first);
    fleet.api_keys.push(ApiKeyOf(sue, session(2)).like(&of_sue));
    let mut old = ApiKeyOf(alice, token("oldforapps")).like(&first);
    old.scopes = vec![KeyScope::application_connect()];
    fleet.api_keys.push(old);
    for key in &mut fleet.api_keys {
        key.lifetime_seconds = 24 * 3600;
    }
    fleet
}

struct ApiKeyOf(Uuid, SessionToken);

impl ApiKeyOf {
    fn like(self, row: &store::fleet::ApiKey) -> store::fleet::ApiKey {
        let Self(user_id, token) = self;
        let hashed_secret = store::fleet::Digest(token.secret_digest().to_vec());
        store::fleet::ApiKey { id: token.id().to_owned(), user_id, hashed_secret, ..row.clone() }
    }
}
