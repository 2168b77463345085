use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::{Builder, NoContext, Timestamp, Uuid};

use crate::record::text;
use crate::source::network;
use crate::{AgentId, Decision, SessionKey, UserId, WorkspaceId};

/// What the audit records beside visits: a sign-in, or what an operator did
///
/// Sign-ins of agents and refusals are recorded once for each hour of UTC: acts that have the same
/// kind, reason, user, agent, workspace, subject, proof and network of the address have the same
/// [`id`](Self::id), and are counted. Every other act is a row of its own.
///
/// Texts are made storable when they are set: UTF-8 without NUL, of at most 256 characters. An act
/// must not contain secrets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Act {
    /// When it was done
    pub time: SystemTime,
    /// What was done
    pub kind: ActKind,
    /// The class of the refusal; `None` if it was allowed
    pub reason: Option<Cow<'static, str>>,
    /// The user who acted, or whose token it is
    pub user: Option<UserId>,
    /// The agent whose token was asked for
    pub agent: Option<AgentId>,
    /// The workspace of the agent
    pub workspace: Option<WorkspaceId>,
    /// What it was done with or to
    pub subject: Option<Subject>,
    /// The kind of proof: the cloud that signed it
    pub proof: Option<Cow<'static, str>>,
    /// The client's address in canonical form; `None` if it is unknown
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header
    pub user_agent: Option<String>,
    /// The request id that the server's log has; `None` for commands
    pub request: Option<Uuid>,
    /// How often it was done; at least one
    pub times: u64,
    /// What has no column of its own
    pub detail: Map<String, Value>,
    /// The id of an act that is a row of its own
    pub(crate) fresh: Uuid,
}

impl Act {
    /// Returns an act at this time that was allowed, with all other fields empty
    #[must_use]
    pub fn new(kind: ActKind, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        Self {
            time,
            kind,
            reason: None,
            user: None,
            agent: None,
            workspace: None,
            subject: None,
            proof: None,
            ip: None,
            user_agent: None,
            request: None,
            times: 1,
            detail: Map::new(),
            fresh: Uuid::new_v7(since),
        }
    }

    /// Returns the same act, refused for a reason of this class
    #[must_use]
    pub fn refused(mut self, class: &'static str) -> Self {
        self.reason = Some(Cow::Borrowed(class));
        self
    }

    /// Returns the same act by or for a user
    #[must_use]
    pub fn user(mut self, user: Uuid) -> Self {
        self.user = Some(UserId(user));
        self
    }

    /// Returns the same act about an agent of a workspace
    #[must_use]
    pub fn agent(mut self, agent: Uuid, workspace: Uuid) -> Self {
        self.agent = Some(AgentId(agent));
        self.workspace = Some(WorkspaceId(workspace));
        self
    }

    /// Returns the same act with or to a subject
    #[must_use]
    pub fn subject(mut self, kind: SubjectKind, name: &str) -> Self {
        self.subject = Some(Subject { kind, name: text(name.as_bytes()) });
        self
    }

    /// Returns the same act with a proof that this cloud signed, or is said to have signed
    #[must_use]
    pub fn proof(mut self, cloud: &'static str) -> Self {
        self.proof = Some(Cow::Borrowed(cloud));
        self
    }

    /// Returns the same act in a request, from an address
    #[must_use]
    pub fn request(mut self, id: Uuid, ip: Option<IpAddr>, user_agent: &[u8]) -> Self {
        self.request = Some(id);
        self.ip = ip.map(|ip| ip.to_canonical());
        self.user_agent = Some(text(user_agent)).filter(|text| !text.is_empty());
        self
    }

    /// Returns the same act by an operator, with names that come from the environment and are not
    /// verified
    #[must_use]
    pub fn operator(self, name: &str, before_sudo: &str, uid: Option<u32>) -> Self {
        let act = self.detail("operator", name).detail_value("operator_uid", uid.into());
        let act = match before_sudo {
            "" => act,
            name => act.detail("operator_before_sudo", name),
        };
        act.detail_value("operator_is_verified", false.into())
    }

    /// Returns the same act with a further text in [`detail`](Self::detail)
    #[must_use]
    pub fn detail(mut self, name: &str, value: &str) -> Self {
        self.detail.insert(name.to_owned(), Value::String(text(value.as_bytes())));
        self
    }

    /// Returns the same act with a further value in [`detail`](Self::detail)
    ///
    /// The texts of the value are not cut, so the caller bounds them. They must not contain NUL,
    /// which a database cannot store.
    #[must_use]
    pub fn detail_value(mut self, name: &str, value: Value) -> Self {
        self.detail.insert(name.to_owned(), value);
        self
    }

    /// Returns whether it was allowed
    #[must_use]
    pub const fn decision(&self) -> Decision {
        if self.reason.is_some() { Decision::Deny } else { Decision::Allow }
    }

    /// Returns the id of the row, which acts that are recorded together share
    ///
    /// It begins with a time, so that rows of one time are near each other in the index.
    #[must_use]
    pub fn id(&self) -> Uuid {
        if !self.is_hourly() {
            return self.fresh;
        }
        let mut random = [0; 10];
        random.copy_from_slice(&self.key().as_bytes()[..10]);
        let millis = u64::try_from(self.hour().as_millis()).unwrap_or(u64::MAX);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    pub(crate) const fn is_hourly(&self) -> bool {
        matches!(self.kind, ActKind::AgentSignIn) || self.reason.is_some()
    }

    /// Returns the digest that acts of one row share, and no others
    pub(crate) fn key(&self) -> SessionKey {
        let mut digest = Context::new(&SHA256);
        let mut field = |bytes: &[u8]| {
            // `usize` has at most 64 bits on every supported platform.
            digest.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(bytes);
        };
        let id = |id: Option<Uuid>| id.unwrap_or(Uuid::nil()).into_bytes();
        field(b"authd act 1");
        if self.is_hourly() {
            field(&self.hour().as_secs().to_be_bytes());
        } else {
            field(self.fresh.as_bytes());
        }
        field(self.kind.as_str().as_bytes());
        field(self.reason.as_deref().unwrap_or_default().as_bytes());
        field(&id(self.user.map(|user| user.0)));
        field(&id(self.agent.map(|agent| agent.0)));
        field(&id(self.workspace.map(|workspace| workspace.0)));
        let subject = self.subject.as_ref();
        field(subject.map_or("", |subject| subject.kind.as_str()).as_bytes());
        field(subject.map_or("", |subject| &subject.name).as_bytes());
        field(self.proof.as_deref().unwrap_or_default().as_bytes());
        match self.ip.map(network) {
            Some(IpAddr::V4(ip)) => field(&ip.octets()),
            Some(IpAddr::V6(ip)) => field(&ip.octets()),
            None => field(&[]),
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        SessionKey::from_bytes(key)
    }

    /// The beginning of the hour, since 1970
    fn hour(&self) -> Duration {
        let secs = self.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Duration::from_secs(secs - secs % HOUR)
    }
}

/// The thing that something was done with or to
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What the thing is
    pub kind: SubjectKind,
    /// The name or id
    pub name: String,
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All values
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the value as rows and filters spell it
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The labels of all values, in a sentence
            fn labels() -> String {
                Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", ")
            }

            /// Returns the value with this label; `None` for any other text
            #[must_use]
            pub fn from_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == label)
            }
        }

        impl FromStr for $name {
            type Err = ParseLabelError;

            fn from_str(label: &str) -> Result<Self, ParseLabelError> {
                Self::from_label(label).ok_or_else(|| ParseLabelError { known: Self::labels() })
            }
        }
    };
}

/// A text is not a label of a kind of acts or subjects
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("it is one of {known}")]
pub struct ParseLabelError {
    known: String,
}

labels! {
    /// What was done
    ActKind {
        /// An instance asked for the token of its agent
        AgentSignIn = "agent_sign_in",
        /// A user signed in at authd's own page
        LogIn = "log_in",
        /// A user ended a session
        LogOut = "log_out",
        /// An operator created a token of a user or a proxy
        TokenCreate = "token_create",
        /// An operator revoked a session or a token
        TokenRevoke = "token_revoke",
        /// Keys of app access were created, ended or cleared
        KeysRotate = "keys_rotate",
        /// A document of users, workspaces and apps was imported
        Import = "import",
        /// Users or groups with whom an app or a port is shared were changed
        ShareChange = "share_change",
    }
}

labels! {
    /// What a [`Subject`] is
    SubjectKind {
        /// An instance whose proof was verified
        Instance = "instance",
        /// An instance that a rejected proof names; not verified
        ClaimedInstance = "claimed_instance",
        /// The id of a session or token of a user, which is its public part
        Token = "token",
        /// The name of a proxy
        Proxy = "proxy",
        /// An app or a port: agent and slug or number, such as `main/code`
        App = "app",
        /// The feature of keys of app access
        Keys = "keys",
    }
}

/// Seconds for which acts that are the same share a row
const HOUR: u64 = 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(minute: u64) -> Act {
        let time = UNIX_EPOCH + Duration::from_secs(7 * HOUR + minute * 60);
        let request = Uuid::from_u128(minute.into());
        Act::new(ActKind::AgentSignIn, time)
            .agent(Uuid::from_u128(1), Uuid::from_u128(2))
            .subject(SubjectKind::Instance, "i-1")
            .proof("aws")
            .request(request, Some([192, 0, 2, 7].into()), b"curl")
    }

    #[test]
    fn the_same_act_has_one_row_an_hour() {
        let first = sign_in(0);
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let with = |change: fn(&mut Act)| {
            let mut act = sign_in(59);
            change(&mut act);
            act
        };
        assert_eq!(sign_in(59).id(), first.id(), "another request of the hour");
        assert_eq!(with(|act| act.user_agent = None).id(), first.id());
        for (what, other) in [
            ("hour", sign_in(60)),
            ("agent", with(|act| act.agent = Some(AgentId(Uuid::nil())))),
            ("workspace", with(|act| act.workspace = None)),
            ("user", with(|act| act.user = Some(UserId(Uuid::max())))),
            ("instance", with(|act| act.subject = None)),
            ("address", with(|act| act.ip = Some([192, 0, 2, 8].into()))),
            ("proof", with(|act| act.proof = Some("azure".into()))),
            ("outcome", sign_in(59).refused("not_found")),
            ("kind", with(|act| act.kind = ActKind::LogIn)),
        ] {
            assert_ne!(other.id(), first.id(), "{what}");
            assert_ne!(other.key(), first.key(), "{what}");
        }
        let claimed = sign_in(1).subject(SubjectKind::ClaimedInstance, "i-1");
        assert_ne!(claimed.id(), first.id(), "verified or not");
        let of = |ip| {
            let mut act = sign_in(1);
            act.ip = Some(ip);
            act.id()
        };
        assert_eq!(of(v6(1)), of(v6(2)), "one network");
    }

    #[test]
    fn what_an_operator_does_is_a_row_each_time() {
        let act = || Act::new(ActKind::TokenCreate, UNIX_EPOCH);
        let (first, second) = (act(), act());
        assert_ne!(first.id(), second.id());
        assert_ne!(first.key(), second.key());
        assert_eq!(first.id(), first.id());
        assert_eq!(act().refused("no").id(), act().refused("no").id(), "refusals are counted");
    }

    #[test]
    fn texts_can_be_stored() {
        let act = Act::new(ActKind::Import, UNIX_EPOCH)
            .subject(SubjectKind::Token, &"\0é".repeat(500))
            .request(Uuid::nil(), None, b"\xff\0")
            .detail("note", &"x".repeat(5_000));
        let subject = act.subject.unwrap().name;
        assert!(subject.chars().count() == 256 && !subject.contains('\0'));
        assert_eq!(act.user_agent.as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(act.detail["note"].as_str().unwrap().len(), 256);
    }
}
