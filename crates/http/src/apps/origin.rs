//! Pages that make requests: of the app itself, of another app of its owner, or of anybody else
//!
//! All hosts of apps and the dashboard's are one site, so a browser sends their cookies along when
//! a page of one addresses another. It also says where the page is, in `Origin` (RFC 6454,
//! section 7) or at least in `Sec-Fetch-Site` (Fetch Metadata, section 2.4:
//! <https://www.w3.org/TR/fetch-metadata/>).

use app_authz::address::{HostMeaning, HostPattern, HttpUrl};
use app_authz::app::{AccessMethod, CorsBehavior};
use http::Method;
use http::header::{HeaderMap, HeaderName, ORIGIN};

use super::{AppsConfig, Visit};
use crate::purpose::is_upgrade;
use crate::reply::single;

/// The page that makes a request
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// A page of the host that is requested, or not a page at all: a person or a program
    Own,
    /// A page of another app of the same owner in the same deployment, at this origin
    Sibling(String),
    /// Any other page
    Foreign,
}

/// Where the apps of one owner are that have hosts of their own
#[derive(Clone, Copy)]
pub(crate) struct Siblings<'a> {
    /// The URL of their deployment
    pub(crate) base: &'a HttpUrl,
    pub(crate) app_hosts: &'a HostPattern,
    /// The name of the owner as the visit has it; names are compared without regard to case
    pub(crate) owner: &'a str,
}

impl Page {
    /// The page that makes a visit to an app of this owner
    pub(crate) fn of_visit(
        visit: &Visit<'_>,
        owner: &str,
        config: &AppsConfig,
        headers: &HeaderMap,
    ) -> Self {
        // The address is only compared with a stated origin.
        let own = headers.contains_key(ORIGIN).then(|| visit.at());
        if visit.method == AccessMethod::Terminal {
            return Self::of_terminal(own.as_ref(), config, headers);
        }
        let app_hosts = visit.deployment.app_hosts.as_ref();
        let app_hosts = app_hosts.filter(|_| visit.method == AccessMethod::Subdomain);
        let base = &visit.deployment.url;
        let siblings = app_hosts.map(|app_hosts| Siblings { base, app_hosts, owner });
        Self::of(own.as_ref(), siblings, headers)
    }

    /// The page that asks for an app at `own`
    pub(crate) fn of(
        own: Option<&HttpUrl>,
        siblings: Option<Siblings<'_>>,
        headers: &HeaderMap,
    ) -> Self {
        match stated(headers, own.into_iter()) {
            Stated::Listed => Self::Own,
            Stated::Other(at) if siblings.is_some_and(|siblings| siblings.include(&at)) => {
                Self::Sibling(at.origin())
            }
            Stated::Other(_) | Stated::Foreign => Self::Foreign,
        }
    }

    /// The page that opens a terminal at `own`, which only the dashboard and the listed origins may
    pub(crate) fn of_terminal(
        own: Option<&HttpUrl>,
        config: &AppsConfig,
        headers: &HeaderMap,
    ) -> Self {
        let listed = own.into_iter().chain([&config.access_url]).chain(&config.terminal_origins);
        match stated(headers, listed) {
            Stated::Listed => Self::Own,
            Stated::Other(_) | Stated::Foreign => Self::Foreign,
        }
    }

    /// The origin, if it is that of a sibling
    pub(crate) fn sibling(&self) -> Option<&str> {
        match self {
            Self::Sibling(origin) => Some(origin),
            Self::Own | Self::Foreign => None,
        }
    }

    /// Whether the page may not make this request, unless the app itself decides about pages
    ///
    /// A request that only reads is not refused, since the page cannot read the answer. A socket is
    /// refused, since the page can read that.
    pub(crate) fn is_refused(&self, method: &str, headers: &HeaderMap) -> bool {
        *self == Self::Foreign && changes(method, headers)
    }
}

/// Whether authd decides about pages, and not the app: a terminal does not decide
pub(crate) fn is_decided_here(method: AccessMethod, cors: CorsBehavior) -> bool {
    method == AccessMethod::Terminal || cors == CorsBehavior::Simple
}

/// Whether a request may change something, or opens a connection that may
fn changes(method: &str, headers: &HeaderMap) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].iter().any(|m| method == m);
    !reads || is_upgrade(headers)
}

/// Whether a request that changes something comes from a page of one of these origins, if it comes
/// from a page at all
pub(crate) fn is_from(headers: &HeaderMap, listed: &[&HttpUrl]) -> bool {
    matches!(stated(headers, listed.iter().copied()), Stated::Listed)
}

/// What a browser says of the page
enum Stated {
    /// It is at a listed origin, or the request comes from no page
    Listed,
    /// It is at this origin, which is written as browsers write it
    Other(HttpUrl),
    /// It is somewhere else
    Foreign,
}

fn stated<'a>(headers: &HeaderMap, mut listed: impl Iterator<Item = &'a HttpUrl>) -> Stated {
    if !headers.contains_key(ORIGIN) {
        // `none`: a person typed the address, or opened a bookmark.
        return match headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Stated::Listed,
            Some(_) => Stated::Foreign,
        };
    }
    // An origin that occurs twice, or that is `null`, does not name a page.
    let Some(text) = single(headers, &ORIGIN) else { return Stated::Foreign };
    let Ok(origin) = text.parse::<HttpUrl>() else { return Stated::Foreign };
    if listed.any(|known| is_same(&origin, known)) {
        return Stated::Listed;
    }
    // As browsers write it. A path, a final dot or upper case would be another origin.
    let written = text == origin.origin() && !text.bytes().any(|b| b.is_ascii_uppercase());
    match written && !origin.host().ends_with('.') {
        true => Stated::Other(origin),
        false => Stated::Foreign,
    }
}

fn is_same(origin: &HttpUrl, known: &HttpUrl) -> bool {
    origin.scheme() == known.scheme()
        && origin.host().eq_ignore_ascii_case(known.host())
        && origin.effective_port() == known.effective_port()
        && origin.path() == "/"
        && origin.query().is_none()
}

impl Siblings<'_> {
    fn include(&self, origin: &HttpUrl) -> bool {
        let Self { base, app_hosts, owner } = *self;
        if origin.scheme() != base.scheme() || !app_hosts.has_port(origin.effective_port(), base) {
            return false;
        }
        match HostMeaning::of(origin.host(), Some(app_hosts), []) {
            HostMeaning::App(name) => name.user.eq_ignore_ascii_case(owner),
            _ => false,
        }
    }
}

pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
