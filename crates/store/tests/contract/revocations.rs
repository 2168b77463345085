//! What was allowed and does not hold any more

use std::time::{Duration, SystemTime};

use app_audit::{Act, ActKind};
use app_authz::app::{Mask, Revocation, RevocationReason};
use app_authz::credential::OtherSessions;
use app_authz::{AgentId, Rules, UserId, WorkspaceId};
use store::Store;
use store::fleet::{Fleet, SharingLevel, Transition, UserStatus};
use store::import::Session as _;
use store::revocations::{Logged, Slice, WATCHED, WatchedGrant};
use store::sharing::{Edit, ShareRequest, change};
use uuid::Uuid;

use crate::session;

const DAY: Duration = Duration::from_secs(24 * 3600);

contract! {
    since V2_24;

    fn what_holds_is_not_reported(store, fleet: team) {
        let now = now(&store).await;
        let grants = [granted(&fleet, Some(0), 0), granted(&fleet, Some(1), 0), granted(&fleet, None, 0)];
        store.watch_grants(&grants, now).await.unwrap();
        store.watch_grants(&[], now).await.unwrap();
        let first = store.revocations(None, Slice::ALL, now).await.unwrap();
        assert_eq!(first.entries, []);
        let next = store.revocations(Some(first.at - DAY), Slice::ALL, now).await.unwrap();
        assert_eq!(next.entries, []);
        assert!(next.at >= first.at);
    }

    fn a_session_that_ends_is_reported_once_for_all_that_it_opened(store, fleet: team) {
        let now = now(&store).await;
        let grants =
            [granted(&fleet, Some(1), 0), granted(&fleet, Some(1), 1), granted(&fleet, Some(0), 0)];
        store.watch_grants(&grants, now).await.unwrap();
        // Of which an import in between forgets nothing.
        store.begin_import(false).await.unwrap().finish(None).await.unwrap();
        end(&store, 1).await;
        let mut mask = user(&fleet, 1);
        mask.session = Some(session(1).id().to_owned());
        let expected = Revocation::new(RevocationReason::SessionEnded, mask);
        let found = store.revocations(None, Slice::ALL, now).await.unwrap();
        assert_eq!(of(&found), std::slice::from_ref(&expected));

        // It does not end once more, and is read by those who come later.
        assert_eq!(store.revocations(None, Slice::ALL, now).await.unwrap().entries, []);
        let again = store.revocations(Some(found.at - DAY), Slice::ALL, now).await.unwrap();
        assert_eq!(again.entries, found.entries);
        let later = store.revocations(Some(found.entries[0].at), Slice::ALL, now).await.unwrap();
        assert_eq!(later.entries, []);
    }

    fn slices_have_each_grant_once_and_those_of_a_session_together(store, fleet: team) {
        let now = now(&store).await;
        let of = 4;
        let mut grants = vec![granted(&fleet, None, 0), granted(&fleet, None, 1)];
        for user in 0..3 {
            grants.extend([granted(&fleet, Some(user), 0), granted(&fleet, Some(user), 1)]);
        }
        store.watch_grants(&grants, now).await.unwrap();
        for user in 0..3 {
            end(&store, user).await;
        }
        let of_none = store.revocations(None, Slice::NONE, now).await.unwrap();
        assert_eq!(of_none.entries, []);
        let mut found = 0;
        for number in 0..of {
            let slice = store.revocations(None, Slice::new(number, of), now).await.unwrap();
            found += slice.entries.len();
        }
        assert_eq!(found, 3);
        assert_eq!(store.revocations(None, Slice::ALL, now).await.unwrap().entries, []);
    }

    fn a_session_that_expires_ends_then(store, fleet: team) {
        let now = now(&store).await;
        let end = store.holders(&[session(1)]).await.unwrap()[0].key.expires_at;
        let before = end - Duration::from_secs(60);
        store.watch_grants(&[granted(&fleet, Some(1), 0)], before).await.unwrap();
        assert_eq!(store.revocations(None, Slice::ALL, now).await.unwrap().entries, []);
        assert_eq!(store.revocations(None, Slice::ALL, end).await.unwrap().entries, []);
        let over = store.revocations(None, Slice::ALL, end + Duration::from_secs(1)).await.unwrap();
        assert_eq!(reasons(&over), [RevocationReason::SessionEnded]);
    }

    /// A grant of a user who is suspended, to the workspace that is stopped
    fn users_and_workspaces_are_reported_with_the_first_reason_that_applies(store, fleet: changed) {
        let now = now(&store).await;
        let grants = [
            granted(&fleet, Some(2), 1),
            granted(&fleet, Some(0), 1),
            granted(&fleet, Some(1), 1),
            granted(&fleet, None, 1),
            granted(&fleet, Some(0), 0),
        ];
        store.watch_grants(&grants, now).await.unwrap();
        let found = store.revocations(None, Slice::ALL, now).await.unwrap();
        let mut stopped = Mask::default();
        stopped.workspace = Some(grants[1].workspace);
        stopped.agent = Some(grants[1].agent);
        let mut expected = [
            Revocation::new(RevocationReason::UserSuspended, user(&fleet, 2)),
            Revocation::new(RevocationReason::WorkspaceStopped, stopped),
        ];
        let mut all = of(&found);
        all.sort_by_key(|revocation| revocation.reason.as_str());
        expected.sort_by_key(|revocation| revocation.reason.as_str());
        assert_eq!(all, expected);
        assert_eq!(store.revocations(None, Slice::ALL, now).await.unwrap().entries, [], "the rest holds");
    }

    fn what_does_not_exist_ends_at_once(store, fleet: team) {
        let now = now(&store).await;
        let mut unknown = granted(&fleet, Some(0), 0);
        unknown.agent = AgentId(Uuid::from_u128(7));
        let mut nowhere = granted(&fleet, None, 0);
        nowhere.workspace = WorkspaceId(Uuid::from_u128(8));
        store.watch_grants(&[unknown, nowhere], now).await.unwrap();
        let found = store.revocations(None, Slice::ALL, now).await.unwrap();
        assert_eq!(reasons(&found), [RevocationReason::WorkspaceStopped; 2]);
    }

    fn a_grant_is_watched_for_a_day_after_it_was_given_last(store, fleet: team) {
        let now = now(&store).await;
        let grant = granted(&fleet, Some(1), 0);
        store.watch_grants(std::slice::from_ref(&grant), now).await.unwrap();
        let noon = now + WATCHED / 2;
        store.watch_grants(std::slice::from_ref(&grant), noon).await.unwrap();
        end(&store, 1).await;
        let over = noon + WATCHED + Duration::from_secs(1);
        assert_eq!(store.revocations(None, Slice::ALL, over).await.unwrap().entries, []);
        let found = store.revocations(None, Slice::ALL, now + WATCHED + Duration::from_secs(1)).await.unwrap();
        assert_eq!(reasons(&found), [RevocationReason::SessionEnded]);
    }

    /// Also if the grant is not watched yet: it may just have been given
    fn a_withdrawn_share_is_reported(store, fleet: team) {
        let now = now(&store).await;
        share(&store, &["bob", "carol"], &["crew"], now).await;
        let before = store.revocations(None, Slice::ALL, now).await.unwrap();
        share(&store, &["carol"], &[], now).await;
        let found = store.revocations(Some(before.at - DAY), Slice::ALL, now).await.unwrap();
        let of_app = |mut mask: Mask| {
            mask.workspace = Some(WorkspaceId(fleet.workspaces[0].id));
            mask.app = Some("code".to_owned());
            Revocation::new(RevocationReason::ShareWithdrawn, mask)
        };
        let mut all = of(&found);
        all.sort_by_key(|revocation| revocation.mask.user);
        assert_eq!(all, [of_app(Mask::default()), of_app(user(&fleet, 1))]);
    }
}

/// A time at which all sessions are good
pub(crate) async fn now(store: &impl Store) -> SystemTime {
    store.holders(&[session(0)]).await.unwrap()[0].key.last_used
}

/// What a user, or a visitor who is not signed in, was let into
pub(crate) fn granted(fleet: &Fleet, user: Option<usize>, place: usize) -> WatchedGrant {
    let session = user.map(|n| (UserId(fleet.users[n].id), session(n).id().into()));
    let workspace = WorkspaceId(fleet.workspaces[place].id);
    WatchedGrant::new(session, workspace, AgentId(fleet.workspace_agents[place].id))
}

pub(crate) fn user(fleet: &Fleet, n: usize) -> Mask {
    let mut mask = Mask::default();
    mask.user = Some(UserId(fleet.users[n].id));
    mask
}

pub(crate) fn of(logged: &Logged) -> Vec<Revocation> {
    logged.entries.iter().map(|entry| entry.revocation.clone()).collect()
}

fn reasons(logged: &Logged) -> Vec<RevocationReason> {
    logged.entries.iter().map(|entry| entry.revocation.reason).collect()
}

async fn end(store: &impl Store, user: usize) {
    let key = store.holders(&[session(user)]).await.unwrap().remove(0).key;
    assert_eq!(store.log_out(&key, OtherSessions::Keep).await.unwrap().len(), 1);
}

pub(crate) async fn share(store: &impl Store, users: &[&str], groups: &[&str], at: SystemTime) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut asked = ShareRequest::of("alice/dev", "code").unwrap();
    (asked.edit, asked.users, asked.groups) = (Edit::Set, names(users), names(groups));
    let facts = store.app_access(&asked.request().unwrap(), &[]).await.unwrap();
    let (place, act) = (facts.workspace.unwrap(), Act::new(ActKind::ShareChange, at));
    change(store, &place, &asked, Rules::default(), (None, at), &act).await.unwrap();
}

/// Two workspaces of Alice's; her colleagues are Bob, who is in a group, and Carol
pub(crate) fn team() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    fleet.user("carol", acme);
    fleet.group("crew", acme, &[bob]);
    for name in ["dev", "other"] {
        let workspace = fleet.workspace(alice, name);
        fleet.templates.last_mut().unwrap().max_port_sharing_level = SharingLevel::Organization;
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", &format!("i-{name}")).id;
        fleet.app(agent, "code");
    }
    crate::sessions(&mut fleet);
    fleet
}

/// The same after Carol was suspended and the second workspace stopped
fn changed() -> Fleet {
    let mut fleet = team();
    fleet.users[2].status = UserStatus::Suspended;
    let stopped = fleet.workspaces[1].id;
    fleet.build(stopped, Transition::Stop);
    fleet
}
