use std::fmt::Write;

use app_authz::address::encode_query_value;
use http::StatusCode;

use super::Response;
use super::view::{Escaped, Nav, View};

/// The start page: the apps that a user may open
#[derive(Clone, Copy, Debug)]
pub(crate) struct HomePage<'a> {
    pub(crate) username: &'a str,
    /// Whether the user may read some of the audit log
    pub(crate) reads_audit: bool,
    /// What the user searches for
    pub(crate) search: &'a str,
    /// Whether this is the first page of the list
    pub(crate) is_first: bool,
    pub(crate) list: &'a ShownList,
}

/// What the start page lists
#[derive(Clone, Debug)]
pub(crate) enum ShownList {
    Apps(AppList),
    /// The list could not be read
    Unreadable,
    /// The deployment has no list
    Off,
}

/// A page of the list of apps
#[derive(Clone, Debug, Default)]
pub(crate) struct AppList {
    /// Apps in the user's own workspaces
    pub(crate) own: Vec<ListRow>,
    /// Apps of others
    pub(crate) shared: Vec<ListRow>,
    /// The workspace after which the next page begins, as `OWNER/WORKSPACE`; `None` on the last page
    pub(crate) next: Option<String>,
}

/// An app, or a workspace without apps
#[derive(Clone, Debug)]
pub(crate) struct ListRow {
    pub(crate) name: String,
    pub(crate) link: Option<String>,
    /// The workspace, with owner and agent where these are not obvious
    pub(crate) place: String,
    pub(crate) state: State,
}

/// The state of an app, or of a workspace without apps
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Starting,
    Unhealthy,
    NotStarted,
    NoResponse,
    Stopped,
    WithoutApps,
}

impl State {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Running => ("Running", " good"),
            Self::Starting => ("Starting", ""),
            Self::Unhealthy => ("Unhealthy", " bad"),
            Self::NotStarted => ("Did not start", " bad"),
            Self::NoResponse => ("Does not respond", " bad"),
            Self::Stopped => ("Stopped", ""),
            Self::WithoutApps => ("No apps", ""),
        }
    }
}

impl HomePage<'_> {
    pub(crate) fn into_response(self) -> Response {
        let nav = Nav::new(self.username, "/", self.reads_audit);
        let view = View::new("Apps".to_owned(), self.content()).wide().with_nav(nav);
        view.into_response(StatusCode::OK)
    }

    fn content(&self) -> String {
        let mut html = "<h1>Apps</h1>\n".to_owned();
        if matches!(self.list, ShownList::Off) {
            html.push_str("<p>You are signed in. Apps open at their own addresses.</p>\n");
            return html;
        }
        let _ = write!(
            html,
            "<form class=\"search\" role=\"search\">\n\
             <input name=\"q\" type=\"search\" value=\"{}\" aria-label=\"Search for an app, a \
             workspace or an owner\" placeholder=\"App, workspace or owner\" maxlength=\"100\" \
             autocomplete=\"off\">\n<button>Search</button>\n</form>\n",
            Escaped(self.search)
        );
        let ShownList::Apps(list) = self.list else {
            html.push_str(
                "<p class=\"error\" role=\"alert\">The list cannot be shown at the moment. A longer \
                 search may help. Apps open at their own addresses.</p>\n",
            );
            return html;
        };
        for (title, rows) in [("In your workspaces", &list.own), ("Of others", &list.shared)] {
            write_rows(&mut html, title, rows);
        }
        if list.own.is_empty() && list.shared.is_empty() {
            self.write_empty(&mut html, list.next.is_some());
        }
        if !self.is_first || list.next.is_some() {
            self.write_pages(&mut html, list.next.as_deref());
        }
        html
    }

    fn write_empty(&self, html: &mut String, has_more: bool) {
        let text = match (has_more, self.search.is_empty()) {
            (true, _) => "No app on this page. There may be more.".to_owned(),
            (false, false) => {
                format!("No app that you may open matches “{}”.", Escaped(self.search))
            }
            (false, true) => "You may not open any app yet. Apps appear here when a workspace of \
                              yours has one, or when somebody shares one with you."
                .to_owned(),
        };
        let _ = writeln!(html, "<p>{text}</p>");
        if !self.search.is_empty() {
            html.push_str("<p><a href=\"/\">Show all apps</a></p>\n");
        }
    }

    fn write_pages(&self, html: &mut String, next: Option<&str>) {
        let search = match self.search {
            "" => String::new(),
            search => format!("q={}&", encode_query_value(search)),
        };
        html.push_str("<p class=\"actions\">\n");
        if !self.is_first {
            let search = Escaped(search.trim_end_matches('&')).to_string();
            let _ = writeln!(html, "<a href=\"/?{search}\">First page</a>");
        }
        if let Some(next) = next {
            let url = format!("/?{search}after={}", encode_query_value(next));
            let _ = writeln!(html, "<a href=\"{}\" rel=\"next\">Next page</a>", Escaped(&url));
        }
        html.push_str("</p>\n");
    }
}

fn write_rows(html: &mut String, title: &str, rows: &[ListRow]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(html, "<h2>{title}</h2>\n<ul class=\"rows\">");
    for ListRow { name, link, place, state } in rows {
        let (words, tone) = state.words();
        let name = Escaped(name);
        let name = match link {
            Some(link) => format!("<a href=\"{}\">{name}</a>", Escaped(link)),
            None => name.to_string(),
        };
        let _ = writeln!(
            html,
            "<li><h3>{name}</h3><span class=\"place\">{}</span>\
             <span class=\"state{tone}\">{words}</span></li>",
            Escaped(place)
        );
    }
    html.push_str("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_escaped() {
        let row = ListRow {
            name: "<script>".to_owned(),
            link: Some("/\"><script>".to_owned()),
            place: "<img>".to_owned(),
            state: State::Running,
        };
        let list = AppList {
            own: vec![row.clone()],
            shared: vec![row],
            next: Some("\"><script>/x".to_owned()),
        };
        let page = HomePage {
            username: "alice",
            reads_audit: false,
            search: "\"><script>",
            is_first: false,
            list: &ShownList::Apps(list),
        };
        let empty = HomePage { list: &ShownList::Apps(AppList::default()), ..page };
        for html in [page.content(), empty.content()] {
            for raw in ["<script", "<img", "\"><s"] {
                assert!(!html.contains(raw), "{raw} in {html}");
            }
        }
    }
}
