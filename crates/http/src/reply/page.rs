//! Pages that a visitor sees instead of an app
//!
//! A page is one small document without scripts and without resources from other places. Every
//! text in it is escaped, regardless of its source.

use std::fmt::{self, Write};

use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use serde::{Deserialize, Serialize};

use super::{Response, content};

/// A page for a visitor
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) text: String,
    /// Hints for the operator
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// Whether the page offers to repeat the request
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) retry: bool,
    /// The user as whom the visitor is signed in
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
}

impl Page {
    /// The page as an answer, with a link to `dashboard`
    pub(crate) fn into_response(self, dashboard: Option<&str>) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        let title = format!("{} - {}", self.status, self.title);
        document(status, POLICY, &title, &self.content(dashboard))
    }

    fn content(&self, dashboard: Option<&str>) -> String {
        let Self { status: code, title, text, .. } = self;
        let mut html = format!(
            "<p class=\"status\">{code}</p>\n<h1>{}</h1>\n<p>{}</p>\n",
            Escaped(title),
            Escaped(text)
        );
        if let Some(username) = &self.username {
            let _ = writeln!(
                html,
                "<p>You are signed in as <strong>{}</strong>. To use another account, sign out of \
                 the site first.</p>",
                Escaped(username)
            );
        }
        if !self.warnings.is_empty() {
            html.push_str("<ul>\n");
            for warning in &self.warnings {
                let _ = writeln!(html, "<li>{}</li>", Escaped(warning));
            }
            html.push_str("</ul>\n");
        }
        if self.retry || dashboard.is_some() {
            html.push_str("<nav>\n");
            if self.retry {
                // The empty reference is the page's own address.
                html.push_str("<a href=\"\">Retry</a>\n");
            }
            if let Some(dashboard) = dashboard {
                let _ = writeln!(html, "<a href=\"{}\">Back to site</a>", Escaped(dashboard));
            }
            html.push_str("</nav>\n");
        }
        html
    }
}

/// A whole document around `main`, which must be escaped
pub(super) fn document(
    status: StatusCode,
    policy: &'static str,
    title: &str,
    main: &str,
) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{main}\
         </main>\n</body>\n</html>\n",
        Escaped(title)
    );
    let mut response = content(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    // Not `no-referrer`: browsers would then leave out the origin of a submitted form too.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Displays a text escaped for an element or a quoted attribute
pub(super) struct Escaped<'a>(pub(super) &'a str);

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

/// In a separate file, since the policy contains the digest of its exact bytes
const STYLE: &str = include_str!("page.css");

/// Allows the style above and no other resource
macro_rules! policy {
    ($more:literal) => {
        concat!(
            "default-src 'none'; style-src 'sha256-I1mGeogbXqOBFFTI8UN1sAUUHrutDqqCqQXF0elDPbU='; ",
            "base-uri 'none'; ",
            $more
        )
    };
}

/// Allows framing: apps are embedded in other pages, and a blank frame would explain nothing
const POLICY: &str = policy!("form-action 'none'");

/// Without `form-action`, which browsers apply to redirects after the form is submitted too
pub(super) const FORM_POLICY: &str = policy!("frame-ancestors 'none'");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_contains_the_digest_of_the_style() {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        let hash = openssl::base64::encode_block(digest.as_ref());
        for policy in [POLICY, FORM_POLICY] {
            assert!(policy.contains(&format!("'sha256-{hash}'")), "{hash}");
        }
    }

    #[test]
    fn everything_is_escaped() {
        let page = Page {
            status: 404,
            title: "Title".to_owned(),
            text: "</p><script>alert(1)</script>".to_owned(),
            warnings: vec!["<img src=x onerror='a'>".to_owned()],
            retry: true,
            username: Some("<script>".to_owned()),
        };
        let html = page.content(Some("https://x/\"><script>"));
        for raw in ["<script", "<img", "onerror='", "\"><"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
        assert!(html.contains("&lt;/p&gt;&lt;script&gt;"));
    }
}
