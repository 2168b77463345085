//! Which service answers a request that passes an `AuthorizeLayer`

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use authd_http::{Allowed, AppsConfig, AuthorizeLayer, Limits, Service};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use identity_fetch::Identity;
use store::MemoryStore;
use tower_layer::Layer;
use tower_service::Service as _;

/// The host's own router, which has every path
#[derive(Clone)]
struct Own;

impl tower_service::Service<Request<Full<Bytes>>> for Own {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"the host's own")))))
    }
}

async fn carry(_: Allowed, _: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(b"carried")))
}

#[tokio::test]
async fn the_layer_keeps_requests_for_apps_and_for_chosen_routes_from_the_host() {
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let mut config = AppsConfig::new("http://coder.test".parse().unwrap());
    config.app_hosts = Some("*.apps.test".parse().unwrap());
    let authd =
        Service::over(&store, Identity::builtin(), Rules::default(), Limits::default(), clock)
            .with_apps(store, config);
    let plain = AuthorizeLayer::new(authd.clone(), carry);
    let with_routes = AuthorizeLayer::new(authd, carry).with_routes();
    for (host, path, of_plain, of_routes) in [
        ("coder.test", "/", true, false),
        ("coder.test", "/login", true, false),
        ("coder.test", "/healthz", true, false),
        ("coder.test", "/api/v2/unknown", true, true),
        ("coder.test", "/@alice/dev", true, true),
        ("coder.test", "/@alice/dev/apps/code/", false, false),
        ("code--dev--alice.apps.test", "/", false, false),
        ("code--dev--alice.apps.test", "/login", false, false),
        ("code--dev--alice.apps.test", "/api/v2/unknown", false, false),
    ] {
        for (layer, expected) in [(&plain, of_plain), (&with_routes, of_routes)] {
            let request = Request::get(path).header("host", host).body(Full::default()).unwrap();
            let answer = layer.layer(Own).call(request).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body == "the host's own", expected, "{host}{path}: {body:?}");
        }
    }
}
