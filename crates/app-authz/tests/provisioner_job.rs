//! Which subjects may read a provisioner job, and for which no query is needed

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use app_authz::app::Workspace;
use app_authz::id::{JobId, OrganizationId, TemplateId};
use app_authz::jobs::{
    JobDenial, JobKind, JobOrigin, Jobs, ProvisionerJob, authorize_provisioner_job,
};
use app_authz::rbac::{
    AccessList, Acl, AllowList, BuiltInRoles, Scope, Subject, Switches, WorkspaceSharing,
};
use app_authz::{Error, UserId, WorkspaceId};
use uuid::Uuid;

const ACME: OrganizationId = OrganizationId(Uuid::from_u128(1));
const ANN: UserId = UserId(Uuid::from_u128(2));
const BEN: UserId = UserId(Uuid::from_u128(3));

#[derive(Debug, PartialEq)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

struct Facts {
    origin: Result<Option<JobOrigin>, ()>,
    asked: AtomicU32,
}

impl Jobs for Facts {
    type Error = Down;

    async fn origin(&self, job: ProvisionerJob) -> Result<Option<JobOrigin>, Down> {
        assert_eq!(job.id, JobId(Uuid::from_u128(9)));
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.origin.clone().map_err(|()| Down)
    }
}

fn authorize(
    subject: &Subject,
    kind: JobKind,
    origin: Result<Option<JobOrigin>, ()>,
) -> (Result<(), JobDenial<Down>>, u32) {
    let facts = Facts { origin, asked: AtomicU32::new(0) };
    let job = ProvisionerJob::new(JobId(Uuid::from_u128(9)), kind);
    let decision = match pin!(authorize_provisioner_job(subject, job, &facts))
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(decision) => decision,
        Poll::Pending => panic!("the decision waits for something"),
    };
    (decision, facts.asked.into_inner())
}

fn subject(id: UserId, names: &[&str], scope: Scope) -> Subject {
    let names: Vec<_> =
        names.iter().map(|name| name.replace("ORG", &ACME.to_string()).parse().unwrap()).collect();
    let names = names.iter().map(|name| (name, WorkspaceSharing::Everyone));
    Subject::new(id, BuiltInRoles::new(Switches::default()).expand(names, &[]), scope)
}

fn member(id: UserId) -> Subject {
    subject(id, &["member", "organization-member:ORG"], Scope::all())
}

fn workspace() -> Result<Option<JobOrigin>, ()> {
    let id = WorkspaceId(Uuid::from_u128(4));
    Ok(Some(JobOrigin::Workspace(Workspace::new((id, "dev"), (ANN, "ann"), ACME))))
}

fn template(id: Option<TemplateId>, groups: AccessList) -> Result<Option<JobOrigin>, ()> {
    let acl = Acl::new(AccessList::EMPTY, groups);
    Ok(Some(JobOrigin::Template { id, organization: ACME, acl }))
}

#[test]
fn a_subject_that_may_read_the_system_is_allowed_without_a_query() {
    let all =
        [JobKind::WorkspaceBuild, JobKind::TemplateVersionImport, JobKind::TemplateVersionDryRun];
    for kind in all {
        for subject in [Subject::system_restricted(), subject(BEN, &["owner"], Scope::all())] {
            for origin in [workspace(), Ok(None), Err(())] {
                assert_eq!(authorize(&subject, kind, origin), (Ok(()), 0));
            }
        }
    }
}

#[test]
fn a_build_may_be_read_with_its_workspace() {
    let build = JobKind::WorkspaceBuild;
    assert_eq!(authorize(&member(ANN), build, workspace()), (Ok(()), 1));
    assert_eq!(authorize(&member(BEN), build, workspace()), (Err(JobDenial::Workspace), 1));
    let admin = subject(BEN, &["organization-admin:ORG"], Scope::all());
    assert_eq!(authorize(&admin, build, workspace()), (Ok(()), 1));
    let narrow = ["template:read".parse().unwrap()];
    let narrow = Scope::of_credential(&narrow, &AllowList::everything()).unwrap();
    let owner = subject(ANN, &["owner"], narrow);
    assert_eq!(authorize(&owner, build, workspace()).0, Err(JobDenial::Workspace));
}

#[test]
fn the_job_of_a_template_version_may_be_read_with_the_template() {
    let id = Some(TemplateId(Uuid::from_u128(5)));
    for kind in [JobKind::TemplateVersionImport, JobKind::TemplateVersionDryRun] {
        let admin = subject(BEN, &["template-admin"], Scope::all());
        assert_eq!(authorize(&admin, kind, template(id, AccessList::EMPTY)), (Ok(()), 1));
        assert_eq!(authorize(&admin, kind, template(None, AccessList::EMPTY)), (Ok(()), 1));
        let denied = authorize(&member(ANN), kind, template(id, AccessList::EMPTY));
        assert_eq!(denied, (Err(JobDenial::Template), 1));
        let everyone = [(ACME.0, ["read", "use"])].into_iter().collect();
        assert_eq!(authorize(&member(ANN), kind, template(id, everyone)), (Ok(()), 1));
    }
}

#[test]
fn a_job_without_origin_is_denied_and_a_failed_query_is_an_error() {
    let build = JobKind::WorkspaceBuild;
    let admin = subject(BEN, &["template-admin"], Scope::all());
    assert_eq!(authorize(&admin, build, Ok(None)).0, Err(JobDenial::NoOrigin));
    let version = template(None, AccessList::EMPTY);
    assert_eq!(authorize(&admin, build, version).0, Err(JobDenial::NoOrigin));
    let import = JobKind::TemplateVersionImport;
    assert_eq!(authorize(&admin, import, workspace()).0, Err(JobDenial::NoOrigin));
    assert_eq!(authorize(&admin, build, Err(())).0, Err(JobDenial::Unavailable(Down)));
}

#[test]
fn stored_types_are_parsed() {
    assert_eq!("workspace_build".parse(), Ok(JobKind::WorkspaceBuild));
    assert_eq!("template_version_import".parse(), Ok(JobKind::TemplateVersionImport));
    assert_eq!("template_version_dry_run".parse(), Ok(JobKind::TemplateVersionDryRun));
    assert_eq!("chat".parse::<JobKind>(), Err(Error::UnknownJobKind("chat".to_owned())));
}
