use std::sync::Arc;

use app_authz::id::OrganizationId;
use app_authz::rbac::{Action, Object, ResourceType};
use futures_util::future::try_join;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use super::login;
use crate::apps::{AppService, Require, SignedIn, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error, quote};
use crate::explorer::{self, Field, Form, Format, Page, Rows, Selection};
use crate::ports::{AnyLog, AppPorts};
use crate::reply::{Nav, Response, ResponseBody, View};

/// `GET /audit`
///
/// Shows the audit log to users who may read it, as `GET /api/v2/audit` does. A user who may read
/// the log of one organization alone sees that one.
pub(crate) async fn page<S: AppPorts>(
    apps: &AppService<S>,
    log: &dyn AnyLog,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = match Require::session().check(apps, cx).await {
        Err(AccessError::SignedOut(denial))
            if cx.is_of_person() && denial.is_none_or(|denial| !denial.is_final()) =>
        {
            return Ok(login::redirect_back(cx));
        }
        checked => checked?,
    };
    let form = form(log, cx, &caller).await?;
    let after = form.after;
    let (mut found, mut plot) = (None, None);
    if let Some(selection) = form.selection() {
        let page = app_audit::Page::first(ROWS + 1);
        let page = after.map_or(page, |after| page.after(after));
        let plotted = async {
            // Later pages are of the same visits.
            match (&selection, after) {
                (Selection::Visits(filter), None) => log.plot(filter).await.map(Some),
                _ => Ok(None),
            }
        };
        let rows = Rows::load(log, &selection, page);
        let (rows, plotted) = try_join(rows, plotted).await.map_err(AccessError::Store)?;
        (found, plot) = (Some(rows), plotted);
    }
    let next = found.as_mut().and_then(|rows| rows.cut(ROWS));
    let page = Page { form: &form, found: found.as_ref(), plot: plot.as_ref(), next, now: cx.now };
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let nav = Nav::new(&caller.holder.username, "/audit", true);
    let view = View::new("Audit log".to_owned(), page.content()).wide().with_style(explorer::STYLE);
    let view = view.with_nav(nav);
    Ok(view.into_response(status))
}

/// Whether the caller may read some of the audit log
pub(crate) fn is_open_to(caller: &SignedIn) -> bool {
    !matches!(readable(caller), Readable::OfOrganizations(organizations) if organizations.is_empty())
}

/// The part of the audit log that a caller may read
enum Readable {
    Everything,
    OfOrganizations(Vec<OrganizationId>),
}

/// Rows of the log have no owner, so that a right to one's own objects opens none of them.
fn readable(caller: &SignedIn) -> Readable {
    let log = Object::new(ResourceType::AuditLog);
    if caller.subject.is_allowed(&Action::Read, &log) {
        return Readable::Everything;
    }
    let filter = caller.subject.filter(&Action::Read, &ResourceType::AuditLog);
    let is_whole = filter.ids.is_none();
    Readable::OfOrganizations(if is_whole { filter.organizations } else { Vec::new() })
}

/// `GET /audit/export.csv` and `GET /audit/export.jsonl`
///
/// All sessions that the same filter finds, as a file that is made while it is sent.
pub(crate) async fn export<S: AppPorts>(
    apps: &AppService<S>,
    log: &Arc<dyn AnyLog>,
    cx: &Context<'_>,
    format: Format,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let form = form(&**log, cx, &caller).await?;
    let Some(selection) = form.selection() else {
        let wrong = Field::ALL.into_iter().find_map(|field| Some((field, form.error(field)?)));
        let detail = wrong
            .map_or(String::new(), |(field, error)| format!("{}: {error}", quote(field.name())));
        return Err(invalid(detail));
    };
    let permit = Arc::clone(&apps.exports).try_acquire_owned();
    let Ok(permit) = permit else { return Err(Error::Overloaded { retry_after: RETRY_SECONDS }) };
    let pieces = explorer::export(Arc::clone(log), selection, format, cx.facts, permit);
    let mut response = Response::new(ResponseBody::pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(format.disposition()));
    Ok(response)
}

/// The filter of the request, within what the caller may read
async fn form(log: &dyn AnyLog, cx: &Context<'_>, caller: &SignedIn) -> Result<Form, Error> {
    let mut form = Form::parse(&parameters(cx.query)).map_err(invalid)?;
    confine(&mut form, caller)?;
    if form.selection().is_some() && !form.names().is_empty() {
        let found = log.look_up(form.names()).await.map_err(AccessError::Store)?;
        form.resolve(found);
    }
    Ok(form)
}

/// Errs with [`AccessError::Forbidden`] if the caller may read no part of the log
fn confine(form: &mut Form, caller: &SignedIn) -> Result<(), AccessError> {
    let log = Object::new(ResourceType::AuditLog);
    if let Some(organization) = form.organization() {
        return caller.demand(&Action::Read, &log.organization(OrganizationId(organization.0)));
    }
    let Readable::OfOrganizations(readable) = readable(caller) else { return Ok(()) };
    match readable[..] {
        [] => return Err(AccessError::Forbidden),
        // Acts are of the deployment, and not of an organization.
        _ if form.is_of_acts() => return Err(AccessError::Forbidden),
        [organization] => form.restrict(app_audit::OrganizationId(organization.0)),
        ref several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            form.fail(Field::Organization, format!("Name one of {}.", ids.join(", ")));
        }
    }
    Ok(())
}

fn invalid(detail: String) -> Error {
    AccessError::invalid("Invalid query parameter.", detail).into()
}

/// Rows of a page
const ROWS: u32 = 50;

/// Seconds after which an export may be tried again
const RETRY_SECONDS: u64 = 10;
