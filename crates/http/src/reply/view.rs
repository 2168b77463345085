//! The layout that all pages share
//!
//! A handler answers with a [`View`]. The service puts it into the layout of the site at the end,
//! when the answer has its id: [`Layout::render`]. No page has a script. Every text is escaped,
//! regardless of its source.

use std::fmt::{self, Write};
use std::time::SystemTime;

use app_authz::address::HttpUrl;
use bytes::Bytes;
use chrono::DateTime;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};

use super::Response;
use super::branding::Branding;
use crate::request_facts::X_REQUEST_ID;

/// A page before it is put into the layout of the site
#[derive(Clone, Debug)]
pub(crate) struct View {
    title: String,
    /// The content of `<main>`
    main: String,
    /// Links below it, if it is a page that a visitor did not ask for
    actions: Option<String>,
    /// Whether pages of other sites may show it in a frame; such a page has no form
    is_embeddable: bool,
    is_wide: bool,
    /// A style sheet in addition to that of all pages
    style: Option<Style>,
    /// Whether the page shows the id of the answer and the time, for reports
    has_reference: bool,
    nav: Option<Nav>,
}

/// A style sheet, with the digest of its bytes as a policy has it
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) text: &'static str,
    pub(crate) digest: &'static str,
}

impl Style {
    /// The policy that allows this style too
    fn allowed_by(self, policy: &HeaderValue) -> Option<HeaderValue> {
        let both = format!("'{STYLE_DIGEST}' '{}'", self.digest);
        let policy = policy.to_str().ok()?.replace(&format!("'{STYLE_DIGEST}'"), &both);
        HeaderValue::from_str(&policy).ok()
    }
}

/// The links of a signed-in user, on pages of the dashboard's own host
#[derive(Clone, Debug)]
pub(crate) struct Nav {
    pub(crate) username: String,
    pub(crate) links: Vec<NavLink>,
}

impl Nav {
    /// The links of a user on the page at `current`
    pub(crate) fn new(username: &str, current: &str, reads_audit: bool) -> Self {
        let pages = [("/", "Apps", true), ("/audit", "Audit log", reads_audit)];
        let links = pages.into_iter().filter(|(_, _, is_open)| *is_open);
        let links = links.map(|(path, text, _)| {
            let is_current = path == current;
            NavLink { path, text, is_current }
        });
        Self { username: username.to_owned(), links: links.collect() }
    }
}

/// A link to a page of this host
#[derive(Clone, Copy, Debug)]
pub(crate) struct NavLink {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    /// Whether it leads to the page at hand
    pub(crate) is_current: bool,
}

impl View {
    /// A page of this host with a plain `title`; `main` is HTML, whose texts must be [`Escaped`]
    pub(crate) const fn new(title: String, main: String) -> Self {
        Self {
            title,
            main,
            actions: None,
            is_embeddable: false,
            is_wide: false,
            style: None,
            has_reference: false,
            nav: None,
        }
    }

    /// The same, with links that lead further; the layout adds one to the dashboard
    pub(crate) fn with_actions(self, actions: String) -> Self {
        Self { actions: Some(actions), ..self }
    }

    /// The same without forms, for other sites to embed: a blank frame would explain nothing
    pub(crate) fn embeddable(self) -> Self {
        Self { is_embeddable: true, ..self }
    }

    /// The same, with room for a list or a table
    pub(crate) fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }

    /// The same, with a style sheet in addition to that of all pages
    pub(crate) fn with_style(self, style: Style) -> Self {
        Self { style: Some(style), ..self }
    }

    /// The same, with the id of the answer and the time, for a visitor who reports it
    pub(crate) fn with_reference(self) -> Self {
        Self { has_reference: true, ..self }
    }

    /// The same, with the links of a signed-in user and a button to sign out
    pub(crate) fn with_nav(self, nav: Nav) -> Self {
        Self { nav: Some(nav), ..self }
    }

    /// The answer; the service puts the page into the layout
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let mut response = Response::default();
        *response.status_mut() = status;
        response.extensions_mut().insert(self);
        response
    }
}

/// What all pages of a deployment have in common
#[derive(Debug)]
pub(crate) struct Layout {
    branding: Branding,
    /// The name of the deployment, or its host
    name: String,
    dashboard: Option<String>,
    /// For pages of this host, which have forms
    ///
    /// Without `form-action`, which browsers apply to redirects after the form is submitted too.
    policy: HeaderValue,
    /// For pages that other sites may embed
    embeddable_policy: HeaderValue,
}

impl Layout {
    /// `dashboard` is the access URL; pages without one have no link
    pub(crate) fn new(branding: Branding, dashboard: Option<&HttpUrl>) -> Self {
        let host = || dashboard.map_or_else(|| "authd".to_owned(), HttpUrl::authority);
        let name = branding.name.as_ref().map_or_else(host, |name| name.as_str().to_owned());
        let picture = branding.logo.as_ref();
        let picture = picture.map(|logo| format!("img-src {}; ", logo.allowed()));
        let policy = |more: &str| {
            let pictures = picture.as_deref().unwrap_or_default();
            let policy = format!(
                "default-src 'none'; style-src '{STYLE_DIGEST}'; {pictures}base-uri 'none'; {more}"
            );
            // A logo's address consists of characters that a header may hold.
            HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
        };
        Self {
            name,
            dashboard: dashboard.map(ToString::to_string),
            policy: policy("frame-ancestors 'none'"),
            embeddable_policy: policy("form-action 'none'"),
            branding,
        }
    }

    /// Puts the page of an answer, if it has one, into the layout
    ///
    /// The reference is the answer's request id, with the time.
    pub(crate) fn render(&self, response: &mut Response, now: SystemTime) {
        let Some(view) = response.extensions_mut().remove::<View>() else { return };
        let reference = response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
        let html = self.document(&view, reference.filter(|_| view.has_reference), now);
        *response.body_mut() = Bytes::from(html).into();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let policy = if view.is_embeddable { &self.embeddable_policy } else { &self.policy };
        let policy =
            view.style.and_then(|style| style.allowed_by(policy)).unwrap_or_else(|| policy.clone());
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        // Not `no-referrer`: browsers would then leave out the origin of a submitted form too.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }

    fn document(&self, view: &View, reference: Option<&str>, now: SystemTime) -> String {
        let View { title, main, is_wide, .. } = view;
        let more =
            view.style.map_or(String::new(), |style| format!("<style>{}</style>\n", style.text));
        let (title, name) = (Escaped(title), Escaped(&self.name));
        let class = if *is_wide { " class=\"wide\"" } else { "" };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} - {name}</title>\n<style>{STYLE}</style>\n{more}</head>\n<body{class}>\n"
        );
        self.write_header(&mut html, view.nav.as_ref());
        let _ = write!(html, "<main>\n{main}");
        if let Some(actions) = &view.actions {
            let back = self.dashboard.as_ref().map_or(String::new(), |url| {
                format!("<a href=\"{}\">Back to site</a>\n", Escaped(url))
            });
            let _ = write!(html, "<p class=\"actions\">\n{actions}{back}</p>\n");
        }
        html.push_str("</main>\n");
        self.write_footer(&mut html, reference, now);
        html.push_str("</body>\n</html>\n");
        html
    }

    fn write_header(&self, html: &mut String, nav: Option<&Nav>) {
        html.push_str("<header>\n");
        let logo = self.branding.logo.as_ref().map_or(String::new(), |logo| {
            format!("<img src=\"{}\" alt=\"\" height=\"28\">", Escaped(logo.source()))
        });
        let name = Escaped(&self.name);
        let _ = match &self.dashboard {
            Some(url) => {
                writeln!(html, "<a class=\"site\" href=\"{}\">{logo}{name}</a>", Escaped(url))
            }
            None => writeln!(html, "<span class=\"site\">{logo}{name}</span>"),
        };
        if let Some(Nav { username, links }) = nav {
            html.push_str("<nav aria-label=\"Site\">\n");
            for NavLink { path, text, is_current } in links {
                let current = if *is_current { " aria-current=\"page\"" } else { "" };
                let _ = writeln!(html, "<a href=\"{path}\"{current}>{}</a>", Escaped(text));
            }
            let _ = writeln!(
                html,
                "</nav>\n<form class=\"user\" method=\"post\" action=\"/logout\">\n\
                 <span>{}</span>\n<button class=\"plain\">Sign out</button>\n</form>",
                Escaped(username)
            );
        }
        html.push_str("</header>\n");
    }

    fn write_footer(&self, html: &mut String, reference: Option<&str>, now: SystemTime) {
        if reference.is_none() && self.branding.contact.is_none() {
            return;
        }
        html.push_str("<footer>\n");
        if let Some(contact) = &self.branding.contact {
            let subject = reference.filter(|id| id.bytes().all(is_unreserved));
            let subject = subject.map(|id| format!("Reference%20{id}"));
            let _ = writeln!(
                html,
                "<p>Need help? Contact <a href=\"{}\">{}</a>.</p>",
                Escaped(&contact.href(subject.as_deref())),
                Escaped(contact.text())
            );
        }
        if let Some(reference) = reference {
            let _ = writeln!(
                html,
                "<p>Reference <code>{}</code><br>at {}</p>",
                Escaped(reference),
                Utc(now)
            );
        }
        html.push_str("</footer>\n");
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// Displays a text escaped for an element or a quoted attribute
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// Displays a time as an element with seconds, in UTC
pub(crate) struct Utc(pub(crate) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<chrono::Utc>::from(self.0);
        let (machine, shown) = (time.format("%Y-%m-%dT%H:%M:%SZ"), time.format("%F %T UTC"));
        write!(f, "<time datetime=\"{machine}\">{shown}</time>")
    }
}

/// In a separate file, since the policy contains the digest of its exact bytes
const STYLE: &str = include_str!("page.css");

const STYLE_DIGEST: &str = "sha256-JukjPGR9o7GgpHobEQ4jrb3cs1xzA7497JliMzD6DDc=";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_policy_contains_the_digest_of_the_style() {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        let hash = openssl::base64::encode_block(digest.as_ref());
        assert_eq!(STYLE_DIGEST, format!("sha256-{hash}"));
    }

    #[test]
    fn everything_is_escaped() {
        let name = Some("<script>\"&'".parse().unwrap());
        let branding = Branding { name, ..Branding::default() };
        let dashboard = "https://a.example".parse().unwrap();
        let layout = Layout::new(branding, Some(&dashboard));
        let nav = Nav { username: "<img onerror='a'>".to_owned(), links: Vec::new() };
        let view = View::new("</title><script>".to_owned(), String::new()).with_nav(nav);
        let html = layout.document(&view, Some("<b>"), SystemTime::UNIX_EPOCH);
        for raw in ["<script", "<img", "onerror='", "<b>"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
    }

    #[test]
    fn the_reference_has_a_time() {
        let contact = Some("mailto:help@a.example".parse().unwrap());
        let branding = Branding { contact, ..Branding::default() };
        let layout = Layout::new(branding, None);
        let view = View::new(String::new(), String::new());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let html = layout.document(&view, Some("0a-1"), now);
        let time = "<time datetime=\"2001-09-09T01:46:40Z\">2001-09-09 01:46:40 UTC</time>";
        assert!(html.contains(&format!("Reference <code>0a-1</code><br>at {time}")), "{html}");
        assert!(html.contains("mailto:help@a.example?subject=Reference%200a-1"), "{html}");
    }
}
