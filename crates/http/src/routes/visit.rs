use std::sync::Arc;

use crate::allowed::{admit_visitor, has_bare_mark};
use crate::apps::{AppService, Upstream};
use crate::context::Context;
use crate::error::Rejection;
use crate::ports::AppPorts;
use crate::reply::Response;

/// A request for an app's own address that reached authd without a proxy's check
///
/// Every reply is as through a proxy. An admitted visit ends here, since authd does not carry
/// traffic.
pub(crate) async fn direct<S: AppPorts>(apps: &Arc<AppService<S>>, cx: &Context<'_>) -> Response {
    let reply = match admit_visitor(apps, cx, has_bare_mark(cx.head), Upstream::Apps, false).await {
        Ok(admitted) => {
            let reply = Rejection::NotProxied.into_reply(cx.purpose());
            reply.with_cookie(admitted.cookie)
        }
        Err(reply) => reply,
    };
    reply.into_response()
}
