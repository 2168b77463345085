use app_audit::{ActKind, SubjectKind};
use app_authz::rbac::{Action, Object, ResourceType};
use fleet_import::{Document, DocumentError, Options};
use http::StatusCode;
use store::import::Details;

use crate::acts::act;
use crate::apps::{AppService, Require, parameter, parameters};
use crate::body::{self, Bounds};
use crate::context::{Body, Context};
use crate::error::{AccessError, Error};
use crate::imports::invalid;
use crate::ports::{AnyImport, AppPorts};
use crate::reply::{Response, json};

/// `POST /api/v2/authd/import`
///
/// Does what `authd import` does, for a control plane that pushes its changes. For users who may
/// update the system.
pub(crate) async fn import<S: AppPorts>(
    apps: &AppService<S>,
    rows: &dyn AnyImport,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    let system = Object::new(ResourceType::System);
    let caller =
        Require::session().same_origin().allowed(Action::Update, system).check(apps, cx).await?;
    let dry_run = dry_run(cx.query)?;
    let text = body::read(body, Bounds { size: MAX_DOCUMENT, ..apps.bounds }).await?;
    // A large document takes longer to parse than other requests should have to wait.
    let parsed = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&text).map_err(|_| DocumentError::not_text())?;
        Document::from_json(text)
    });
    let document = parsed.await.map_err(|_| Error::Panicked)?.map_err(invalid)?;

    let key = &caller.holder.key;
    let act = act(ActKind::Import, cx).user(key.user.0).subject(SubjectKind::Token, &key.id);
    let options = Options { dry_run, details: Details::All, now: cx.now.into(), act: Some(act) };
    Ok(json(StatusCode::OK, &rows.import(document, options).await?))
}

fn dry_run(query: &str) -> Result<bool, AccessError> {
    match parameter(&parameters(query), "dry_run") {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => {
            let detail = "`dry_run` is `true` or `false`.";
            Err(AccessError::invalid("Invalid query parameter.", detail))
        }
    }
}

const MAX_DOCUMENT: usize = 16 << 20;
