//! The headers in which proxies and authd talk

use http::header::HeaderName;

pub(super) const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

pub(super) const USER: HeaderName = HeaderName::from_static("x-authd-user");
pub(super) const OWNER_ID: HeaderName = HeaderName::from_static("x-authd-owner-id");
pub(super) const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-authd-workspace-id");
pub(super) const AGENT_ID: HeaderName = HeaderName::from_static("x-authd-agent-id");
pub(super) const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
pub(super) const URI: HeaderName = HeaderName::from_static("x-authd-uri");
pub(super) const CORS: HeaderName = HeaderName::from_static("x-authd-cors");

/// The part of the visitor's path that the app does not see
pub(super) const FOLDER: HeaderName = HeaderName::from_static("x-authd-folder");

/// Whose page may read the app's answer
pub(super) const CORS_ORIGIN: HeaderName = HeaderName::from_static("x-authd-cors-origin");

/// The host as the upstream is to be asked for it
pub(super) const HOST: HeaderName = HeaderName::from_static("x-authd-host");

pub(super) const COOKIE: HeaderName = HeaderName::from_static("x-authd-cookie");
pub(super) const AUTHORIZATION: HeaderName = HeaderName::from_static("x-authd-authorization");

/// All that only authd says
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

/// What Envoy is to take out of the request
pub(super) const ENVOY_REMOVES: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Says that an answer of 403 is to be 204: what a page asks ahead for is allowed
pub(super) const PREFLIGHT: HeaderName = HeaderName::from_static("x-authd-preflight");

/// Carries an answer through nginx
pub(super) const ANSWER: HeaderName = HeaderName::from_static("x-authd-answer");
