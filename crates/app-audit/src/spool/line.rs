use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use chrono::DateTime;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::act_line;
use crate::record::MAX_TEXT;
use crate::{Act, Decision, Entry, Record};

/// An entry as a line of JSON, without its line break
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    key: String,
    agent_id: Uuid,
    agent_name: Option<&'a str>,
    visits: u64,
    record: &'a Record,
}

pub(crate) fn write(entry: &Entry) -> Option<Vec<u8>> {
    let line = Written {
        version: VERSION,
        key: format!("{:?}", entry.key),
        agent_id: entry.agent_id,
        agent_name: entry.record.agent_name.as_deref(),
        visits: entry.visits,
        record: &entry.record,
    };
    serde_json::to_vec(&line).ok()
}

pub(crate) use super::act_line::write as write_act;

/// What a line holds
pub(super) enum Line {
    Visit(Box<Entry>),
    Act(Box<Act>),
}

/// A line whose version is read before anything else is
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitLine {
    #[serde(rename = "version")]
    _version: u32,
    key: String,
    agent_id: Uuid,
    #[serde(deserialize_with = "present")]
    agent_name: Option<String>,
    visits: u64,
    record: RecordLine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    session: Uuid,
    time: String,
    user_id: Uuid,
    organization_id: Uuid,
    workspace_id: Uuid,
    #[serde(deserialize_with = "present")]
    ip: Option<IpAddr>,
    #[serde(deserialize_with = "present")]
    user_agent: Option<String>,
    resource_type: String,
    resource_id: Uuid,
    resource_target: String,
    action: String,
    status_code: u16,
    decision: Decision,
    #[serde(deserialize_with = "present")]
    reason: Option<String>,
    request_id: Uuid,
    additional_fields: Map<String, Value>,
}

/// Reads a line; an error says what is wrong with it
pub(super) fn read(line: &[u8]) -> Result<Line, String> {
    let Versioned { version } = serde_json::from_slice(line).map_err(in_words)?;
    match version {
        VERSION => Ok(Line::Visit(Box::new(read_visit(line)?))),
        act_line::VERSION => Ok(Line::Act(Box::new(act_line::read(line)?))),
        _ => Err(format!("version {version} is not known to this release of authd")),
    }
}

fn read_visit(line: &[u8]) -> Result<Entry, String> {
    let line: VisitLine = serde_json::from_slice(line).map_err(in_words)?;
    if line.visits == 0 {
        return Err("`visits` is 0".to_owned());
    }
    Ok(Entry {
        key: line.key.parse().map_err(|error| format!("`key`: {error}"))?,
        agent_id: line.agent_id,
        visits: line.visits,
        record: line.record.checked(line.agent_name)?,
    })
}

impl RecordLine {
    fn checked(self, agent_name: Option<String>) -> Result<Record, String> {
        let resource_type = match self.resource_type.as_str() {
            "workspace_app" => "workspace_app",
            "workspace_agent" => "workspace_agent",
            _ => return Err("`resource_type` is not known".to_owned()),
        };
        if self.action != "open" {
            return Err("`action` is not `open`".to_owned());
        }
        if (self.decision == Decision::Deny) != self.reason.is_some() {
            return Err("`reason` does not fit `decision`".to_owned());
        }
        let texts = [&agent_name, &self.user_agent, &self.reason];
        let texts = texts.into_iter().flatten().chain([&self.resource_target]);
        for text in texts {
            if text.chars().count() > MAX_TEXT || text.contains('\0') {
                return Err(format!("a text has NUL or more than {MAX_TEXT} characters"));
            }
        }
        Ok(Record {
            session: self.session,
            time: time(&self.time).ok_or("`time` is not RFC 3339")?,
            user_id: self.user_id,
            organization_id: self.organization_id,
            workspace_id: self.workspace_id,
            ip: self.ip,
            user_agent: self.user_agent,
            resource_type,
            resource_id: self.resource_id,
            resource_target: self.resource_target,
            agent_name,
            action: "open",
            status_code: self.status_code,
            decision: self.decision,
            reason: self.reason.map(Cow::Owned),
            request_id: self.request_id,
            additional_fields: Value::Object(self.additional_fields),
        })
    }
}

pub(super) fn time(text: &str) -> Option<SystemTime> {
    DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from)
}

/// A field that may be `null`, but not be left out
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// The message of a parser, which counts lines for itself
pub(super) fn in_words(error: serde_json::Error) -> String {
    let text = error.to_string();
    let (text, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    match error.is_eof() {
        true => format!("it ends early ({text})"),
        false => format!("{text}, at column {}", error.column()),
    }
}

/// The form of the lines, which changes whenever an older release would misread one
const VERSION: u32 = 1;
