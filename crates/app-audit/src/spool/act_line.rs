use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::line::{in_words, present, time};
use crate::record::MAX_TEXT;
use crate::{Act, ActKind, AgentId, Subject, SubjectKind, UserId, WorkspaceId, time as times};

/// An act as a line of JSON
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    act: WrittenAct<'a>,
}

#[derive(Serialize)]
struct WrittenAct<'a> {
    id: Uuid,
    time: String,
    kind: ActKind,
    reason: Option<&'a str>,
    user_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    workspace_id: Option<Uuid>,
    subject_type: Option<SubjectKind>,
    subject: Option<&'a str>,
    proof: Option<&'a str>,
    ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
    request_id: Option<Uuid>,
    times: u64,
    detail: &'a Map<String, Value>,
}

pub(crate) fn write(act: &Act) -> Option<Vec<u8>> {
    let act = WrittenAct {
        id: act.fresh,
        time: times::text(act.time),
        kind: act.kind,
        reason: act.reason.as_deref(),
        user_id: act.user.map(|id| id.0),
        agent_id: act.agent.map(|id| id.0),
        workspace_id: act.workspace.map(|id| id.0),
        subject_type: act.subject.as_ref().map(|of| of.kind),
        subject: act.subject.as_ref().map(|of| of.name.as_str()),
        proof: act.proof.as_deref(),
        ip: act.ip,
        user_agent: act.user_agent.as_deref(),
        request_id: act.request,
        times: act.times,
        detail: &act.detail,
    };
    serde_json::to_vec(&Written { version: VERSION, act }).ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "version")]
    _version: u32,
    act: ActLine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActLine {
    id: Uuid,
    time: String,
    kind: ActKind,
    #[serde(deserialize_with = "present")]
    reason: Option<String>,
    #[serde(deserialize_with = "present")]
    user_id: Option<Uuid>,
    #[serde(deserialize_with = "present")]
    agent_id: Option<Uuid>,
    #[serde(deserialize_with = "present")]
    workspace_id: Option<Uuid>,
    #[serde(deserialize_with = "present")]
    subject_type: Option<SubjectKind>,
    #[serde(deserialize_with = "present")]
    subject: Option<String>,
    #[serde(deserialize_with = "present")]
    proof: Option<String>,
    #[serde(deserialize_with = "present")]
    ip: Option<IpAddr>,
    #[serde(deserialize_with = "present")]
    user_agent: Option<String>,
    #[serde(deserialize_with = "present")]
    request_id: Option<Uuid>,
    times: u64,
    detail: Map<String, Value>,
}

/// Reads a line; an error says what is wrong with it
pub(super) fn read(line: &[u8]) -> Result<Act, String> {
    let Line { act: line, .. } = serde_json::from_slice(line).map_err(in_words)?;
    if line.times == 0 {
        return Err("`times` is 0".to_owned());
    }
    let texts = [&line.reason, &line.subject, &line.proof, &line.user_agent];
    for text in texts.into_iter().flatten() {
        if text.chars().count() > MAX_TEXT || text.contains('\0') {
            return Err(format!("a text has NUL or more than {MAX_TEXT} characters"));
        }
    }
    let subject = match (line.subject_type, line.subject) {
        (Some(kind), Some(name)) => Some(Subject { kind, name }),
        (None, None) => None,
        _ => return Err("`subject` does not fit `subject_type`".to_owned()),
    };
    Ok(Act {
        time: time(&line.time).ok_or("`time` is not RFC 3339")?,
        kind: line.kind,
        reason: line.reason.map(Cow::Owned),
        user: line.user_id.map(UserId),
        agent: line.agent_id.map(AgentId),
        workspace: line.workspace_id.map(WorkspaceId),
        subject,
        proof: line.proof.map(Cow::Owned),
        ip: line.ip,
        user_agent: line.user_agent,
        request: line.request_id,
        times: line.times,
        detail: line.detail,
        fresh: line.id,
    })
}

/// The form of the lines; earlier releases, which do not know it, refuse the file as a whole
pub(super) const VERSION: u32 = 2;
