use std::borrow::Cow;
use std::fmt::Write;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::view::{Escaped, View};
use super::{Problem, Response};

/// A page for a visitor who does not get what was asked for
///
/// It may be shown on any host, and in a frame. It travels in a [`Reply`](super::Reply).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Where the visitor can go on
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<PageLink>,
}

/// A link that takes a visitor further
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageLink {
    pub(crate) text: Cow<'static, str>,
    pub(crate) url: String,
}

impl Page {
    /// The problem in the words for visitors
    pub(crate) fn of(problem: Problem<'_>) -> Self {
        let Problem { status, retry, .. } = problem;
        let (title, text) = problem.into_words();
        Self {
            status: status.as_u16(),
            title: title.into_owned(),
            text: text.into_owned(),
            warnings: Vec::new(),
            // What may work in a moment is worth another try.
            retry: retry || RETRIED.contains(&status),
            username: None,
            links: Vec::new(),
        }
    }

    /// The page as an answer
    pub(crate) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        let title = format!("{} - {}", self.status, self.title);
        let view = View::new(title, self.content()).with_actions(self.actions());
        view.embeddable().with_reference().into_response(status)
    }

    fn content(&self) -> String {
        let Self { status, title, text, username, warnings, .. } = self;
        let mut html = format!(
            "<div role=\"alert\">\n<p class=\"status\">Error {status}</p>\n<h1>{}</h1>\n<p>{}</p>\n\
             </div>\n",
            Escaped(title),
            Escaped(text)
        );
        if let Some(username) = username {
            let how = match self.links.is_empty() {
                true => " To use another account, sign out of the site first.",
                false => "",
            };
            let username = Escaped(username);
            let _ = writeln!(html, "<p>You are signed in as <strong>{username}</strong>.{how}</p>");
        }
        if !warnings.is_empty() {
            html.push_str("<ul>\n");
            for warning in warnings {
                let _ = writeln!(html, "<li>{}</li>", Escaped(warning));
            }
            html.push_str("</ul>\n");
        }
        html
    }

    fn actions(&self) -> String {
        let mut html = String::new();
        if self.retry {
            // The empty reference is the page's own address.
            html.push_str("<a href=\"\">Retry</a>\n");
        }
        for PageLink { text, url } in &self.links {
            let _ = writeln!(html, "<a href=\"{}\">{}</a>", Escaped(url), Escaped(text));
        }
        html
    }
}

/// Statuses that another attempt may change
const RETRIED: [StatusCode; 4] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_escaped() {
        let page = Page {
            status: 404,
            title: "Title".to_owned(),
            text: "</p><script>alert(1)</script>".to_owned(),
            warnings: vec!["<img src=x onerror='a'>".to_owned()],
            retry: true,
            username: Some("<script>".to_owned()),
            links: vec![PageLink { text: "<b>".into(), url: "https://x/\"><script>".to_owned() }],
        };
        let html = page.content() + &page.actions();
        for raw in ["<script", "<img", "onerror='", "\"><", "<b>"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
        assert!(html.contains("&lt;/p&gt;&lt;script&gt;"));
    }
}
