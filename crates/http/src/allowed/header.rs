//! The headers that proxies and authd exchange

use http::header::HeaderName;

pub(crate) const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
pub(crate) const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");

/// The visitor's id, or [`ANONYMOUS`], or that the token does not name the visitor
pub(crate) const USER: HeaderName = HeaderName::from_static("x-authd-user");
/// [`USER`] of a visitor who is not signed in
pub(crate) const ANONYMOUS: &str = "anonymous";

pub(crate) const OWNER_ID: HeaderName = HeaderName::from_static("x-authd-owner-id");
pub(crate) const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-authd-workspace-id");
pub(crate) const AGENT_ID: HeaderName = HeaderName::from_static("x-authd-agent-id");
pub(crate) const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
pub(crate) const URI: HeaderName = HeaderName::from_static("x-authd-uri");
pub(crate) const CORS: HeaderName = HeaderName::from_static("x-authd-cors");

/// The part of the visitor's path that is not sent to the app
pub(crate) const FOLDER: HeaderName = HeaderName::from_static("x-authd-folder");

/// The origin whose page may read the app's answer
pub(crate) const CORS_ORIGIN: HeaderName = HeaderName::from_static("x-authd-cors-origin");

/// The host that the proxy has to send to the upstream
pub(crate) const HOST: HeaderName = HeaderName::from_static("x-authd-host");

pub(crate) const COOKIE: HeaderName = HeaderName::from_static("x-authd-cookie");
pub(crate) const AUTHORIZATION: HeaderName = HeaderName::from_static("x-authd-authorization");

pub(crate) const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What an answer says that holds for its whole origin, beyond the page at hand
///
/// TLS or none, reports of all requests (Network Error Logging), and cookies that requests wait for
/// (Device Bound Session Credentials).
pub(crate) const OF_ORIGIN: [HeaderName; 3] = [
    http::header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("nel"),
    HeaderName::from_static("secure-session-registration"),
];

/// The pages that a service worker may stand in front of (Service Workers, section 3.1.2)
pub(crate) const SERVICE_WORKER_ALLOWED: HeaderName =
    HeaderName::from_static("service-worker-allowed");

/// All headers that only authd may set
pub(crate) const OURS: [HeaderName; 14] = [
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
pub(crate) const ENVOY_REMOVES: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Marks an answer with status 403 that has to become 204: a preflight request that is allowed
pub(crate) const PREFLIGHT: HeaderName = HeaderName::from_static("x-authd-preflight");

/// The answer to the visitor, which nginx passes on
pub(crate) const ANSWER: HeaderName = HeaderName::from_static("x-authd-answer");
