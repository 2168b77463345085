use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::rbac::{Action, Object, ResourceType};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use store::Store;
use store::import::Difference;

use super::body::{self, Bounds};
use super::json;
use crate::apps::{Apps, parameters, same_origin, signed_in};
use crate::error::{AccessFailure, Failure};
use crate::import::{Document, Invalid};

#[derive(Serialize)]
struct Imported {
    dry_run: bool,
    differences: Vec<Difference>,
    unchanged: usize,
}

/// `POST /api/v2/authd/import`
///
/// Does what `authd import` does, for a control plane that pushes its changes. For
/// whoever may update the system.
pub(crate) async fn import<S: Store, B>(
    apps: &Apps<S>,
    request: Request<B>,
    bounds: Bounds,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let query = request.uri().query().unwrap_or_default().to_owned();
    let visitor = signed_in(apps, request.headers(), &query, client, now).await?;
    if !same_origin(request.headers(), visitor.source, &apps.config.access_url) {
        return Err(AccessFailure::ForeignOrigin.into());
    }
    if !visitor.subject.is_allowed(&Action::Update, &Object::new(ResourceType::System)) {
        return Err(AccessFailure::Forbidden.into());
    }
    let dry_run = dry_run(&query)?;
    let text = body::read(request, Bounds { size: MAX_DOCUMENT, ..bounds }).await?;
    // A large document takes longer to read than others should have to wait.
    let rows = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&text).map_err(|_| Invalid::not_text())?;
        Document::from_json(text)?.rows(now.into())
    });
    let rows =
        rows.await.map_err(|_| Failure::Panicked)?.map_err(|invalid| AccessFailure::Invalid {
            message: "The document is not valid.",
            detail: invalid.to_string(),
        })?;

    let imported = apps.store.import(&rows, dry_run).await;
    let differences = imported.map_err(|error| match error {
        store::Error::ControlPlane { changes } => AccessFailure::ControlPlane(changes),
        store::Error::Query { reason } => AccessFailure::Contradiction(reason.to_string()),
        error => AccessFailure::Store(error),
    })?;
    let removed = |d: &&Difference| d.change == store::import::Change::Removed;
    let touched = differences.len() - differences.iter().filter(removed).count();
    let unchanged = rows.len().saturating_sub(touched);
    Ok(json(StatusCode::OK, &Imported { dry_run, differences, unchanged }))
}

fn dry_run(query: &str) -> Result<bool, AccessFailure> {
    let parameters = parameters(query);
    match parameters.iter().find(|(name, _)| name == "dry_run").map(|(_, value)| &**value) {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => Err(AccessFailure::Invalid {
            message: "Invalid query parameter.",
            detail: "`dry_run` is `true` or `false`.".to_owned(),
        }),
    }
}

const MAX_DOCUMENT: usize = 16 << 20;
