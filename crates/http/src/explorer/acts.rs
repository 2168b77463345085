use std::fmt::Write;

use app_audit::{ActKind, ActRow, Decision, printable};
use chrono::{DateTime, Utc};

use super::form::{Field, Form};
use super::table::{cell, head};
use crate::reply::Escaped;

/// Acts as a table; what can be filtered by is a link
pub(super) fn write(acts: &[ActRow], form: &Form, html: &mut String) {
    let columns =
        ["Time, UTC", "What", "User", "Subject", "Workspace", "Outcome", "Address", "Times"];
    head("Sign-ins and acts", &columns, html);
    for act in acts {
        row(act, form, html);
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

fn row(act: &ActRow, form: &Form, html: &mut String) {
    let time = DateTime::<Utc>::from(act.time);
    let denied = if act.decision == Decision::Deny { " class=\"denied\"" } else { "" };
    let _ = write!(
        html,
        "<tr{denied}>\n<td data-label=\"Time\"><time datetime=\"{}\">{}</time></td>\n",
        time.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
        time.format("%F %T")
    );
    let kind = ActKind::from_label(&act.kind);
    let what = match kind {
        Some(kind) => words(kind),
        None => &act.kind,
    };
    cell("What", what, (Field::Kind, kind.map_or("", ActKind::as_str)), form, html);
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let user = id(act.user_id);
    cell("User", act.username.as_deref().unwrap_or(&user), (Field::User, &user), form, html);
    subject(act, form, html);
    let workspace = id(act.workspace_id);
    let name = act.workspace_owner.as_ref().zip(act.workspace_name.as_ref());
    let name = name.map_or_else(|| workspace.clone(), |(owner, name)| format!("{owner}/{name}"));
    cell("Workspace", &name, (Field::Workspace, &workspace), form, html);
    outcome(act, form, html);
    let address = act.ip.map(|ip| ip.to_string()).unwrap_or_default();
    cell("Address", &address, (Field::Address, &address), form, html);
    let _ = writeln!(html, "<td data-label=\"Times\">{}</td>\n</tr>", act.times);
}

fn subject(act: &ActRow, form: &Form, html: &mut String) {
    let name = act.subject.as_deref().unwrap_or_default();
    let mut notes = Vec::new();
    if act.subject_type.as_deref() == Some("claimed_instance") {
        notes.push("not verified");
    }
    notes.extend(act.proof.as_deref());
    let link = form.link("/audit", Some((Field::Subject, name)));
    let _ = write!(html, "<td data-label=\"Subject\">");
    if !name.is_empty() {
        let _ = write!(html, "<a href=\"{}\">{}</a>", Escaped(&link), Escaped(&printable(name)));
    }
    if !notes.is_empty() {
        let _ = write!(html, "<small>{}</small>", Escaped(&notes.join(", ")));
    }
    html.push_str("</td>\n");
}

fn outcome(act: &ActRow, form: &Form, html: &mut String) {
    let (class, word) = match act.decision {
        Decision::Allow => ("good", "Done"),
        Decision::Deny => ("bad", "Refused"),
    };
    let link = form.link("/audit", Some((Field::Decision, act.decision.as_str())));
    let _ = write!(
        html,
        "<td data-label=\"Outcome\"><a class=\"{class}\" href=\"{}\">{word}</a>",
        Escaped(&link)
    );
    if !act.reason.is_empty() {
        let link = form.link("/audit", Some((Field::Reason, &act.reason)));
        let reason = printable(&act.reason);
        let (link, reason) = (Escaped(&link), Escaped(&reason));
        let _ = write!(html, "<small><a href=\"{link}\">{reason}</a></small>");
    }
    html.push_str("</td>\n");
}

/// A kind in words
pub(super) const fn words(kind: ActKind) -> &'static str {
    match kind {
        ActKind::AgentSignIn => "Agent sign-in",
        ActKind::LogIn => "Log-in",
        ActKind::LogOut => "Log-out",
        ActKind::TokenCreate => "Token created",
        ActKind::TokenRevoke => "Token revoked",
        ActKind::KeysRotate => "Keys rotated",
        ActKind::Import => "Import",
        ActKind::ShareChange => "Shares changed",
        kind => kind.as_str(),
    }
}
