//! The checks on the tables of the control plane's releases

use store::fleet::Fleet;
use store::{Options, PgStore};
use testkit::{Database, Release, Rows};
use tokio::task::{LocalSet, spawn_local};

/// Runs a check on all releases since one, and says on which it failed
///
/// A release that cannot hold the fleet is left out, and has to be among [`SKIPPED`].
pub(crate) async fn run<F: Future<Output = ()> + 'static>(
    check: &str,
    since: Release,
    make: fn() -> Fleet,
    run: impl Fn(PgStore, Fleet) -> F,
) {
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for release in since.and_later() {
        let fleet = make();
        let database = match Database::lent(*release, Rows::of(&fleet)).await {
            Ok(database) => database,
            Err(refusal) => {
                skipped.push((*release, refusal.to_string()));
                continue;
            }
        };
        // The older ones have no tables for the rest.
        let with_apps = *release >= Release::FIRST_WITH_APPS;
        let options = Options::default().app_access(with_apps);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        // A task, so that a failure leaves the other releases their turn.
        let checked = async { spawn_local(run(store, fleet)).await };
        if LocalSet::new().run_until(checked).await.is_err() {
            failed.push(*release);
        }
    }
    assert!(failed.is_empty(), "the check failed on {failed:?}");
    let expected = expected(check, since);
    let same = skipped.len() == expected.len()
        && skipped.iter().zip(&expected).all(|((release, refusal), (expected, why))| {
            release == expected && refusal.contains(why)
        });
    assert!(same, "skipped on {skipped:?}, and expected to be on {expected:?}");
}

/// The releases that leave a check out, each with a part of the reason
fn expected(check: &str, since: Release) -> Vec<(Release, &'static str)> {
    let skipped = SKIPPED.iter().find(|(name, ..)| full(name) == check);
    let (_, first, why) = skipped.copied().unwrap_or(("", Some(Release::OLDEST), ""));
    let releases = since.and_later().iter().copied();
    let left_out = releases.filter(|release| first.is_none_or(|first| *release < first));
    left_out.map(|release| (release, why)).collect()
}

#[test]
fn what_is_skipped_is_a_check() {
    let checks = [
        crate::app_access::CHECKS,
        crate::authorized::CHECKS,
        crate::candidates::CHECKS,
        crate::candidates::RULES,
        crate::holders::CHECKS,
        crate::limits::CHECKS,
        crate::listing::CHECKS,
        crate::made::CHECKS,
        crate::ports::DIRECTORY,
        crate::ports::KEYS,
        crate::ports::PROXIES,
        crate::ports::SESSIONS,
        crate::refresh::CHECKS,
        crate::revocations::CHECKS,
        crate::roles::CHECKS,
        crate::sharing::CHECKS,
        crate::sessions::CHECKS,
    ]
    .concat();
    for (name, ..) in SKIPPED {
        assert!(checks.contains(&&*full(name)), "{name}");
    }
}

fn full(name: &str) -> String {
    format!("{}::{name}", module_path!().trim_end_matches("::releases"))
}

/// Checks of what not all releases can hold: which, the first release that can, if one does,
/// and why the others cannot
const SKIPPED: &[(&str, Option<Release>, &str)] = &[
    ("app_access::a_workspace_without_owner_is_not_found", None, "foreign key"),
    (
        "app_access::an_access_list_counts_and_a_broken_one_grants_nothing",
        Some(Release::V2_26),
        ACL,
    ),
    ("app_access::without_a_template_nothing_is_shared_by_port", None, "foreign key"),
    ("authorized::a_broken_access_list_grants_nothing", Some(Release::V2_26), ACL),
    ("candidates::rows_that_lead_nowhere_are_no_candidates", None, "foreign key"),
    ("candidates::deleted_agents_are_not_candidates", Some(Release::V2_24), AGENT_DELETED),
    (
        "candidates::sub_agents_are_not_candidates",
        Some(Release::V2_22),
        "workspace_agents.parent_id",
    ),
    ("ports::cors", Some(Release::V2_26), CORS),
    ("ports::shared", Some(Release::V2_26), ACL),
    (
        "holders::roles_of_one_name_are_those_of_their_organizations",
        Some(Release::V2_30),
        "unique constraint \"custom_roles_lower_name__idx\"",
    ),
    ("roles::a_service_account_holds_a_role_of_its_own", Some(Release::V2_32), SERVICE_ACCOUNT),
    ("roles::an_organization_gives_roles_to_each_member", Some(Release::V2_35), DEFAULT_ROLES),
];

const ACL: &str = "no column workspaces.user_acl";
const AGENT_DELETED: &str = "no column workspace_agents.deleted";
const DEFAULT_ROLES: &str = "no column organizations.default_org_member_roles";
const SERVICE_ACCOUNT: &str = "no column users.is_service_account";
const CORS: &str = "no column templates.cors_behavior";
