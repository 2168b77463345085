//! The published rules: a right implementation keeps them, and each wrong one breaks its own

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::as_conversions, reason = "to trait objects")]

mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use app_authz::app::DynDirectory;
use app_authz::conformance::{
    DirectoryRule, KeysRule, ProxiesRule, Rows, SessionsRule, directory, keys, proxies, sessions,
};
use app_authz::credential::DynSessions;
use app_authz::proxy::DynProxies;

use self::tables::Tables;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    AllBuilds,
    AllHolders,
    AlwaysStarts,
    AnyFormOfId,
    AnyParent,
    AnySecret,
    AnyUser,
    CaseCounts,
    ClearedKeys,
    DeletedAgents,
    DeletedProxies,
    DeletedUsers,
    DeletedWorkspaces,
    FirstHolder,
    HalfRotations,
    LaterUse,
    LiveKeysOnly,
    MadeKeysOutlive,
    NamesOnly,
    NeverDormant,
    NeverFirst,
    NoAccessLists,
    NoAddresses,
    NoCors,
    NoGroups,
    NoHoldersAlone,
    NoLevels,
    NoLock,
    NoMemberRole,
    NoOrganizations,
    NoPeople,
    NoPortShares,
    NoTimes,
    NoWidestLevel,
    NoneEnded,
    NulFails,
    OlderUpdates,
    OneOfEachCase,
    OneSecret,
    OwnerIsAsked,
    StaysSignedIn,
    PeopleOfAnyAgent,
    PeopleOfAnyCase,
    Suspended,
    TakenIds,
    TerminalsOfThePast,
    Unbuilt,
    UpdatesAll,
    UpdatesRevive,
    WiderList,
    WiderScope,
    Wildcards,
}

/// Each mistake with a rule of the port that it breaks
macro_rules! mistakes {
    ($name:ident: $rule:ident; $($mistake:ident => $broken:ident,)+) => {
        #[tokio::test]
        async fn $name() {
            let mut broken = BTreeSet::new();
            for (mistake, rule) in [$((Mistake::$mistake, $rule::$broken)),+] {
                let tables = Tables::new(&rule.rows(), Some(mistake));
                let found = rule.check(&tables).await;
                let found = found.expect_err(&format!("{mistake:?} keeps {rule:?}"));
                assert_eq!(found.rule(), rule.name());
                assert!(found.to_string().contains(rule.name()), "{found}");
                broken.insert(rule);
            }
            // A rule that nothing breaks is not checked.
            assert_eq!(broken, $rule::ALL.iter().copied().collect());
        }
    };
}

mistakes! {
    each_mistake_of_a_directory_is_found: DirectoryRule;
    NamesOnly => NamesAndIds,
    CaseCounts => NoCase,
    Wildcards => UnknownNames,
    AnyFormOfId => UnknownNames,
    NulFails => UnknownNames,
    OwnerIsAsked => AskedOwner,
    DeletedUsers => DeletedUser,
    DeletedWorkspaces => DeletedWorkspace,
    Unbuilt => Unbuilt,
    AllBuilds => NewestBuild,
    DeletedAgents => NewestBuild,
    AlwaysStarts => Transition,
    NoTimes => Contact,
    NoLevels => Apps,
    OneOfEachCase => ExactName,
    NoPortShares => Ports,
    NoWidestLevel => Ports,
    NoPeople => People,
    PeopleOfAnyAgent => People,
    PeopleOfAnyCase => People,
    NeverDormant => Dormant,
    NoCors => Cors,
    TerminalsOfThePast => Terminal,
    AllHolders => Holders,
    NoOrganizations => Holders,
    FirstHolder => Alone,
    NoHoldersAlone => Alone,
    NoAccessLists => Shared,
    NoGroups => Shared,
}

mistakes! {
    each_mistake_with_sessions_is_found: SessionsRule;
    LaterUse => Stored,
    AllHolders => Many,
    FirstHolder => Many,
    AnySecret => Secret,
    NoMemberRole => Members,
    NoOrganizations => Members,
    NoGroups => Groups,
    DeletedUsers => Names,
    UpdatesAll => Update,
    OlderUpdates => NewerUpdate,
    StaysSignedIn => LogOut,
    UpdatesRevive => LogOut,
    WiderScope => NewKey,
    WiderList => Limits,
    AnyUser => Refused,
    TakenIds => Refused,
    MadeKeysOutlive => Made,
    AnyParent => MadeOfOwn,
    NoneEnded => Ended,
    Suspended => Ended,
}

mistakes! {
    each_mistake_with_keys_is_found: KeysRule;
    ClearedKeys => ByFeature,
    LiveKeysOnly => Planned,
    NeverFirst => First,
    HalfRotations => Whole,
    NoLock => Replicas,
}

mistakes! {
    each_mistake_with_proxies_is_found: ProxiesRule;
    DeletedProxies => Registered,
    NoAddresses => Registered,
    OneSecret => Token,
}

async fn right(rows: &Rows) -> Tables {
    Tables::new(rows, None)
}

#[tokio::test]
async fn a_right_implementation_keeps_all_rules() {
    directory(right).await;
    sessions(right).await;
    keys(right).await;
    proxies(right).await;
}

/// The same, with a test for each rule
mod directory_rules {
    app_authz::directory_conformance!(super::right);
}

mod sessions_rules {
    app_authz::sessions_conformance!(super::right);
}

mod keys_rules {
    app_authz::keys_conformance!(super::right);
}

mod proxies_rules {
    app_authz::proxies_conformance!(
        #[tokio::test(flavor = "current_thread")]
        super::right
    );
}

#[tokio::test]
async fn implementations_behind_dyn_keep_them_too() {
    directory(async |rows: &Rows| Arc::new(Tables::new(rows, None)) as Arc<dyn DynDirectory>).await;
    sessions(async |rows: &Rows| Box::new(Tables::new(rows, None)) as Box<dyn DynSessions>).await;
    proxies(async |rows: &Rows| Arc::new(Tables::new(rows, None)) as Arc<dyn DynProxies>).await;
    keys(async |rows: &Rows| Arc::new(Tables::new(rows, None))).await;
}

#[tokio::test]
#[should_panic(expected = "the rule `a_workspace_without_a_build_is_not_found` is broken: \
    (\"ann\", \"unbuilt\", \"\", \"code\"): Some(WorkspaceId(")]
async fn a_broken_rule_is_named() {
    directory(async |rows: &Rows| Tables::new(rows, Some(Mistake::Unbuilt))).await;
}
