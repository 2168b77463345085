use std::fmt::Write;
use std::time::{Duration, SystemTime};

use app_audit::{ActKind, Cursor, Plot};

use super::form::{ACTS, Field, Form};
use super::rows::Rows;
use super::{acts, plot, table};
use crate::reply::Escaped;

/// The page of the explorer
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) form: &'a Form,
    /// `None` if the form has errors
    pub(crate) found: Option<&'a Rows>,
    /// Visits over time; left out on pages after the first
    pub(crate) plot: Option<&'a Plot>,
    /// Where the next page begins
    pub(crate) next: Option<Cursor>,
    pub(crate) now: SystemTime,
}

impl Page<'_> {
    /// The content of the page
    pub(crate) fn content(&self) -> String {
        let mut html = String::from("<h1>Audit log</h1>\n");
        self.write_tabs(&mut html);
        self.write_form(&mut html);
        let Some(rows) = self.found else {
            html.push_str(
                "<p class=\"error\" role=\"alert\">Nothing was searched: correct the marked \
                 fields.</p>\n",
            );
            return html;
        };
        if let Some(plot) = self.plot.filter(|_| !self.is_about_one()) {
            plot::draw(plot, &mut html);
        }
        match rows {
            rows if rows.len() == 0 => html.push_str("<p role=\"status\">Nothing matches.</p>\n"),
            Rows::Visits(visits) => table::write(visits, self.form, &mut html),
            Rows::Acts(acts) => acts::write(acts, self.form, &mut html),
        }
        self.write_paging(&mut html);
        if let Rows::Visits(visits) = rows
            && let [session] = &visits[..]
            && self.is_about_one()
        {
            table::detail(session, &mut html);
        }
        html
    }

    /// Visits, and everything else that is recorded
    fn write_tabs(&self, html: &mut String) {
        let kind = if self.form.is_of_acts() { "" } else { ACTS };
        let other = self.form.other_kind(kind);
        let (here, visits, acts) = (" aria-current=\"page\"", "Visits", "Sign-ins and acts");
        let link = Escaped(&other);
        let _ = match self.form.is_of_acts() {
            false => writeln!(
                html,
                "<nav class=\"tabs\" aria-label=\"Kinds\"><a href=\"/audit\"{here}>{visits}</a>\
                 <a href=\"{link}\">{acts}</a></nav>"
            ),
            true => writeln!(
                html,
                "<nav class=\"tabs\" aria-label=\"Kinds\"><a href=\"{link}\">{visits}</a>\
                 <a href=\"/audit?kind={ACTS}\"{here}>{acts}</a></nav>"
            ),
        };
    }

    fn is_about_one(&self) -> bool {
        [Field::Session, Field::Request].iter().any(|field| !self.form.value(*field).is_empty())
    }

    fn write_form(&self, html: &mut String) {
        html.push_str("<form class=\"filter\" method=\"get\" action=\"/audit\">\n");
        let is_of_acts = self.form.is_of_acts();
        if is_of_acts || self.form.error(Field::Kind).is_some() {
            self.write_field(Field::Kind, "What", Input::Kind, html);
        }
        for (field, label, kind) in [
            (Field::From, "From, UTC", Input::Time),
            (Field::To, "To, UTC", Input::Time),
            (Field::User, "User", Input::Text("name, id, or -")),
            (Field::Workspace, "Workspace", Input::Text("owner/name or id")),
            match is_of_acts {
                false => (Field::App, "App", Input::Text("slug, agent or id")),
                true => (Field::Subject, "Instance, token or proxy", Input::Text("id or name")),
            },
            (Field::Decision, "Decision", Input::Decision),
            (Field::Reason, "Reason", Input::Text("such as not_shared")),
            (Field::Address, "Address", Input::Text("IP address")),
        ] {
            self.write_field(field, label, kind, html);
        }
        // These come from links, and are shown once they are there. A field that the list does not
        // have is shown with its error.
        for (field, label) in [
            match is_of_acts {
                false => (Field::Subject, "Instance, token or proxy"),
                true => (Field::App, "App"),
            },
            (Field::Organization, "Organization"),
            (Field::Session, "Session"),
            (Field::Request, "Request"),
        ] {
            if !self.form.value(field).is_empty() || self.form.error(field).is_some() {
                self.write_field(field, label, Input::Text("id"), html);
            }
        }
        let clear = if is_of_acts { "/audit?kind=acts" } else { "/audit" };
        let _ = writeln!(
            html,
            "<p class=\"send\"><button>Search</button>\n<a href=\"{clear}\">Clear</a></p>"
        );
        html.push_str("</form>\n<nav class=\"ranges\" aria-label=\"Time\">\n");
        for (text, hours) in
            [("Last hour", 1), ("24 hours", 24), ("7 days", 24 * 7), ("30 days", 24 * 30)]
        {
            let from = Form::ago(self.now, Duration::from_secs(3_600 * hours));
            let link = self.form.link("/audit", Some((Field::From, &from)));
            let _ = writeln!(html, "<a href=\"{}\">{text}</a>", Escaped(&link));
        }
        let all = self.form.link("/audit", Some((Field::From, "")));
        let _ = writeln!(html, "<a href=\"{}\">All</a>\n</nav>", Escaped(&all));
    }

    fn write_field(&self, field: Field, label: &str, kind: Input, html: &mut String) {
        let name = field.name();
        let error = self.form.error(field);
        let described = match error {
            Some(_) => format!(" aria-invalid=\"true\" aria-describedby=\"{name}-error\""),
            None => String::new(),
        };
        let _ = writeln!(html, "<p><label for=\"{name}\">{label}</label>");
        let value = self.form.value(field);
        let _ = match kind {
            Input::Text(hint) => writeln!(
                html,
                "<input id=\"{name}\" name=\"{name}\" value=\"{}\" placeholder=\"{hint}\" \
                 maxlength=\"256\" autocapitalize=\"none\" autocomplete=\"off\" \
                 spellcheck=\"false\"{described}>",
                Escaped(value)
            ),
            Input::Time => writeln!(
                html,
                "<input id=\"{name}\" name=\"{name}\" type=\"datetime-local\" step=\"1\" \
                 value=\"{}\"{described}>",
                Escaped(&self.form.time(field))
            ),
            Input::Decision => {
                let _ = writeln!(html, "<select id=\"{name}\" name=\"{name}\"{described}>");
                for (option, text) in [("", "Any"), ("allow", "Allowed"), ("deny", "Denied")] {
                    let selected = if option == value { " selected" } else { "" };
                    let _ = writeln!(html, "<option value=\"{option}\"{selected}>{text}</option>");
                }
                writeln!(html, "</select>")
            }
            Input::Kind => {
                let _ = writeln!(html, "<select id=\"{name}\" name=\"{name}\"{described}>");
                let kinds = ActKind::ALL.iter().map(|kind| (kind.as_str(), acts::words(*kind)));
                for (option, text) in std::iter::once((ACTS, "Everything")).chain(kinds) {
                    let selected = if option == value { " selected" } else { "" };
                    let _ = writeln!(html, "<option value=\"{option}\"{selected}>{text}</option>");
                }
                writeln!(html, "</select>")
            }
        };
        if let Some(error) = error {
            let _ = writeln!(
                html,
                "<small class=\"wrong\" id=\"{name}-error\">{}</small>",
                Escaped(error)
            );
        }
        html.push_str("</p>\n");
    }

    fn write_paging(&self, html: &mut String) {
        html.push_str("<nav class=\"paging\" aria-label=\"Pages\">\n");
        if self.form.after.is_some() {
            let first = self.form.link("/audit", None);
            let _ = writeln!(html, "<a href=\"{}\">Newest</a>", Escaped(&first));
        }
        if let Some(next) = self.next {
            let older = self.form.older("/audit", next);
            let _ = writeln!(html, "<a href=\"{}\" rel=\"next\">Older</a>", Escaped(&older));
        }
        html.push_str("<span>Export all that match:</span>\n");
        for (path, text) in [("/audit/export.csv", "CSV"), ("/audit/export.jsonl", "JSON lines")] {
            let link = self.form.link(path, None);
            let _ = writeln!(html, "<a href=\"{}\" download>{text}</a>", Escaped(&link));
        }
        html.push_str("</nav>\n");
    }
}

#[derive(Clone, Copy, Debug)]
enum Input {
    /// With a hint
    Text(&'static str),
    Time,
    Decision,
    Kind,
}
