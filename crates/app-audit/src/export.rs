use std::fmt::Write;

use crate::explorer::{app_of, workspace_of};
use crate::{ActRow, Listed, time};

/// The first line of a CSV file of sessions
pub const CSV_HEAD: &str = "time,user,user_id,address,workspace,workspace_id,organization_id,app,\
                            app_id,decision,reason,status,last_seen,visits,user_agent,request_id,\
                            session_id\r\n";

/// Adds a session to a CSV file (RFC 4180)
///
/// Every field is quoted. One that a spreadsheet would take for a formula, such as a user agent
/// that begins with `=`, gets an apostrophe in front, which makes it text
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
pub fn csv_line(session: &Listed, to: &mut String) {
    let row = &session.row;
    let id = |id: uuid::Uuid| if id.is_nil() { String::new() } else { id.to_string() };
    let end = session.end.as_ref();
    let fields = [
        time::text(row.time),
        session.username.clone().unwrap_or_default(),
        id(row.user_id),
        row.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        workspace_of(row).unwrap_or_default(),
        id(row.workspace_id),
        id(row.organization_id),
        app_of(row),
        id(row.resource_id),
        row.decision.as_str().to_owned(),
        row.reason.clone(),
        row.status_code.to_string(),
        end.and_then(|end| end.last_seen.clone()).unwrap_or_default(),
        end.and_then(|end| end.visits).map(|visits| visits.to_string()).unwrap_or_default(),
        row.user_agent.clone().unwrap_or_default(),
        row.request_id.to_string(),
        row.session_id.map(|id| id.to_string()).unwrap_or_default(),
    ];
    line(&fields, to);
}

/// The first line of a CSV file of acts
pub const ACTS_CSV_HEAD: &str = "time,kind,decision,reason,user,user_id,agent_id,workspace,\
                                 workspace_id,subject_type,subject,proof,address,user_agent,times,\
                                 request_id\r\n";

/// Adds an act to a CSV file, as [`csv_line`] does a session
pub fn act_csv_line(act: &ActRow, to: &mut String) {
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let workspace = act.workspace_owner.as_ref().zip(act.workspace_name.as_ref());
    let fields = [
        time::text(act.time),
        act.kind.clone(),
        act.decision.as_str().to_owned(),
        act.reason.clone(),
        text(&act.username),
        id(act.user_id),
        id(act.agent_id),
        workspace.map(|(owner, name)| format!("{owner}/{name}")).unwrap_or_default(),
        id(act.workspace_id),
        text(&act.subject_type),
        text(&act.subject),
        text(&act.proof),
        act.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        text(&act.user_agent),
        act.times.to_string(),
        id(act.request_id),
    ];
    line(&fields, to);
}

/// Adds an act as a line of JSON
pub fn act_json_line(act: &ActRow, to: &mut String) {
    to.push_str(&act.to_json());
    to.push('\n');
}

fn line(fields: &[String], to: &mut String) {
    for (n, field) in fields.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let apostrophe = if field.starts_with(FORMULA) { "'" } else { "" };
        let _ = write!(to, "{comma}\"{apostrophe}{}\"", field.replace('"', "\"\""));
    }
    to.push_str("\r\n");
}

/// Adds a session as a line of JSON
pub fn json_line(session: &Listed, to: &mut String) {
    // Only a map whose keys are not strings fails, and a session contains none.
    to.push_str(&serde_json::to_string(session).unwrap_or_default());
    to.push('\n');
}

/// What a spreadsheet may take for the beginning of a formula, in full width too
const FORMULA: &[char] =
    &['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
