use std::fmt::Write;

use app_audit::{Decision, End, Listed, printable};
use chrono::{DateTime, Utc};

use super::form::{Field, Form, NOT_SIGNED_IN};
use crate::reply::Escaped;

/// The rows of a page as a table; what can be filtered by is a link
pub(super) fn write(sessions: &[Listed], form: &Form, html: &mut String) {
    let columns =
        ["Time, UTC", "Visitor", "Workspace", "App", "Decision", "Address", "Browser or program"];
    head("Visits", &columns, html);
    for session in sessions {
        row(session, form, html);
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

/// Begins a table that can be scrolled, also with the keyboard
pub(super) fn head(name: &str, columns: &[&str], html: &mut String) {
    let _ = write!(
        html,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\">\n\
         <table class=\"log\">\n<thead><tr>"
    );
    for column in columns {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
}

fn row(session: &Listed, form: &Form, html: &mut String) {
    let row = &session.row;
    let time = DateTime::<Utc>::from(row.time);
    let by_id = match row.session_id {
        Some(id) => form.link(PATH, Some((Field::Session, &id.to_string()))),
        None => form.link(PATH, Some((Field::Request, &row.request_id.to_string()))),
    };
    let denied = if row.decision == Decision::Deny { " class=\"denied\"" } else { "" };
    let _ = write!(
        html,
        "<tr{denied}>\n<td data-label=\"Time\"><a href=\"{}\"><time datetime=\"{}\">{}</time></a>",
        Escaped(&by_id),
        time.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
        time.format("%F %T")
    );
    if let Some(end) = &session.end {
        let _ = write!(html, "<small>{}</small>", Escaped(&ended(end)));
    }
    html.push_str("</td>\n");
    visitor(session, form, html);
    let workspace = session.workspace().unwrap_or_default();
    let id = if row.workspace_id.is_nil() { String::new() } else { row.workspace_id.to_string() };
    cell("Workspace", &workspace, (Field::Workspace, &id), form, html);
    cell("App", &session.app(), (Field::App, &row.resource_target), form, html);
    decision(session, form, html);
    let address = row.ip.map(|ip| ip.to_string()).unwrap_or_default();
    cell("Address", &address, (Field::Address, &address), form, html);
    let agent = printable(row.user_agent.as_deref().unwrap_or_default());
    let _ = write!(
        html,
        "<td data-label=\"Program\" class=\"agent\" title=\"{agent}\">{agent}</td>\n</tr>\n",
        agent = Escaped(&agent)
    );
}

fn visitor(session: &Listed, form: &Form, html: &mut String) {
    let row = &session.row;
    let id = row.user_id.to_string();
    match &session.username {
        Some(name) => cell("Visitor", name, (Field::User, &id), form, html),
        None if row.user_id.is_nil() => {
            cell("Visitor", "not signed in", (Field::User, NOT_SIGNED_IN), form, html);
        }
        None => cell("Visitor", &id, (Field::User, &id), form, html),
    }
}

fn decision(session: &Listed, form: &Form, html: &mut String) {
    let row = &session.row;
    let (class, word) = match row.decision {
        Decision::Allow => ("good", "Allowed"),
        Decision::Deny => ("bad", "Denied"),
    };
    let link = form.link(PATH, Some((Field::Decision, row.decision.as_str())));
    let _ = write!(
        html,
        "<td data-label=\"Decision\"><span class=\"verdict\"><a class=\"{class}\" \
         href=\"{}\">{word}</a> {}</span>",
        Escaped(&link),
        row.status_code
    );
    if !row.reason.is_empty() {
        let link = form.link(PATH, Some((Field::Reason, &row.reason)));
        let _ = write!(
            html,
            "<small><a href=\"{}\">{}</a></small>",
            Escaped(&link),
            Escaped(&printable(&row.reason))
        );
    }
    html.push_str("</td>\n");
}

/// A cell whose text links to the rows with the same value; without one, a text alone
pub(super) fn cell(label: &str, text: &str, value: (Field, &str), form: &Form, html: &mut String) {
    let text = printable(text);
    let text = Escaped(&text);
    let _ = if value.1.is_empty() {
        writeln!(html, "<td data-label=\"{label}\">{text}</td>")
    } else {
        let link = form.link(PATH, Some(value));
        writeln!(html, "<td data-label=\"{label}\"><a href=\"{}\">{text}</a></td>", Escaped(&link))
    };
}

fn ended(end: &End) -> String {
    let last = end.last_seen.as_deref().and_then(|last| DateTime::parse_from_rfc3339(last).ok());
    let last = last.map_or_else(|| DateTime::<Utc>::from(end.ended_at), Into::into);
    match end.visits {
        Some(1) => "1 visit".to_owned(),
        Some(visits) => format!("{visits} visits until {}", last.format("%T")),
        None => format!("until {}", last.format("%T")),
    }
}

/// All that is recorded of one session, with its end
pub(super) fn detail(session: &Listed, html: &mut String) {
    let row = &session.row;
    let id = |id: uuid::Uuid| if id.is_nil() { String::new() } else { id.to_string() };
    let end = session.end.as_ref();
    let fields = [
        ("Session", row.session_id.map(id).unwrap_or_default()),
        ("Request", row.request_id.to_string()),
        ("Began", rfc3339(row.time)),
        ("Last visit", end.and_then(|end| end.last_seen.clone()).unwrap_or_default()),
        ("Visits", end.and_then(|end| end.visits).map(|n| n.to_string()).unwrap_or_default()),
        ("Ended", end.map(|end| rfc3339(end.ended_at)).unwrap_or_default()),
        ("User", id(row.user_id)),
        ("Workspace", id(row.workspace_id)),
        ("Organization", id(row.organization_id)),
        ("App or agent", id(row.resource_id)),
        ("Browser or program", row.user_agent.clone().unwrap_or_default()),
    ];
    html.push_str("<h2>All that is recorded</h2>\n<dl>\n");
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(html, "<dt>{name}</dt><dd>{}</dd>", Escaped(&printable(value)));
    }
    html.push_str("</dl>\n");
}

fn rfc3339(time: std::time::SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

const PATH: &str = "/audit";
