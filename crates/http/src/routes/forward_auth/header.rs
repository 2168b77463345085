//! The headers that proxies and authd exchange

use http::header::HeaderName;

pub(super) const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
pub(super) const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");

pub(super) const USER: HeaderName = HeaderName::from_static("x-authd-user");
pub(super) const OWNER_ID: HeaderName = HeaderName::from_static("x-authd-owner-id");
pub(super) const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-authd-workspace-id");
pub(super) const AGENT_ID: HeaderName = HeaderName::from_static("x-authd-agent-id");
pub(super) const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
pub(super) const URI: HeaderName = HeaderName::from_static("x-authd-uri");
pub(super) const CORS: HeaderName = HeaderName::from_static("x-authd-cors");

/// The part of the visitor's path that is not sent to the app
pub(super) const FOLDER: HeaderName = HeaderName::from_static("x-authd-folder");

/// The origin whose page may read the app's answer
pub(super) const CORS_ORIGIN: HeaderName = HeaderName::from_static("x-authd-cors-origin");

/// The host that the proxy has to send to the upstream
pub(super) const HOST: HeaderName = HeaderName::from_static("x-authd-host");

pub(super) const COOKIE: HeaderName = HeaderName::from_static("x-authd-cookie");
pub(super) const AUTHORIZATION: HeaderName = HeaderName::from_static("x-authd-authorization");

/// All headers that only authd may set
pub(super) const OURS: [HeaderName; 14] = [
    USER,
    OWNER_ID,
    WORKSPACE_ID,
    AGENT_ID,
    APP_URL,
    URI,
    FOLDER,
    CORS,
    CORS_ORIGIN,
    HOST,
    COOKIE,
    AUTHORIZATION,
    PREFLIGHT,
    ANSWER,
];

/// The headers that Envoy has to remove from the request
pub(super) const ENVOY_REMOVES: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Marks an answer with status 403 that has to become 204: a preflight request that is allowed
pub(super) const PREFLIGHT: HeaderName = HeaderName::from_static("x-authd-preflight");

/// The answer to the visitor, which nginx passes on
pub(super) const ANSWER: HeaderName = HeaderName::from_static("x-authd-answer");
