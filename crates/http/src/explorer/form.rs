use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use app_audit::{
    ActFilter, ActKind, App, AppId, Cursor, Decision, Filter, Found, Names, OrganizationId, UserId,
    WorkspaceId, parse_time,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The filter of the explorer as a visitor wrote it, with what is wrong with it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    values: Vec<(Field, String)>,
    errors: Vec<(Field, Cow<'static, str>)>,
    filter: Filter,
    names: Names,
    /// What is listed instead of visits, with its filter
    acts: Option<ActFilter>,
    subject: Option<String>,
    pub(crate) after: Option<Cursor>,
}

/// What a form without errors selects
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Visits(Filter),
    /// Sign-ins, and what operators did
    Acts(ActFilter),
}

/// A field of the form, which is a parameter of the address
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Kind,
    From,
    To,
    User,
    Workspace,
    App,
    Decision,
    Reason,
    Address,
    Subject,
    Organization,
    Request,
    Session,
}

impl Field {
    pub(crate) const ALL: [Self; 13] = [
        Self::Kind,
        Self::From,
        Self::To,
        Self::User,
        Self::Workspace,
        Self::App,
        Self::Decision,
        Self::Reason,
        Self::Address,
        Self::Subject,
        Self::Organization,
        Self::Request,
        Self::Session,
    ];

    /// The name in the address
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::From => "from",
            Self::To => "to",
            Self::User => "user",
            Self::Workspace => "workspace",
            Self::App => "app",
            Self::Decision => "decision",
            Self::Reason => "reason",
            Self::Address => "address",
            Self::Subject => "subject",
            Self::Organization => "organization",
            Self::Request => "request",
            Self::Session => "session",
        }
    }
}

impl Form {
    /// Reads the parameters of an address
    ///
    /// A parameter that is unknown, repeated or malformed is an error of its field, since a filter
    /// that is ignored would show too much. Empty ones count as not given, as forms send them.
    pub(crate) fn parse(parameters: &[(String, String)]) -> Result<Self, String> {
        let mut form = Self::default();
        for (name, value) in parameters {
            let value = value.trim();
            // The caller's session.
            if value.is_empty() || matches!(&**name, "coder_session_token" | "access_token") {
                continue;
            }
            if name == "after" {
                form.after = Some(value.parse().map_err(|_| "`after` is not a page.".to_owned())?);
                continue;
            }
            let Some(field) = Field::ALL.into_iter().find(|field| field.name() == name) else {
                return Err(format!("{} is not a parameter.", crate::error::quote(name)));
            };
            if !form.value(field).is_empty() {
                form.errors.push((field, "It is given twice.".into()));
                continue;
            }
            form.values.push((field, value.to_owned()));
            if let Err(error) = form.read(field, value) {
                form.errors.push((field, error));
            }
        }
        form.check();
        Ok(form)
    }

    fn read(&mut self, field: Field, value: &str) -> Result<(), Cow<'static, str>> {
        if value.contains('\0') || value.chars().count() > MAX_TEXT {
            return Err("It is too long, or contains a character that no text has.".into());
        }
        let filter = &mut self.filter;
        match field {
            Field::Kind if value == ACTS => self.acts = Some(ActFilter::default()),
            Field::Kind => {
                let kind = ActKind::from_label(value).ok_or("This kind does not exist.")?;
                self.acts = Some(ActFilter { kind: Some(kind), ..ActFilter::default() });
            }
            Field::Subject => self.subject = Some(value.to_owned()),
            Field::From => filter.from = Some(time(value)?),
            Field::To => filter.to = Some(time(value)?),
            Field::User if value == NOT_SIGNED_IN => filter.user = Some(UserId(Uuid::nil())),
            Field::User => match value.parse() {
                Ok(id) => filter.user = Some(UserId(id)),
                Err(_) => self.names.user = Some(value.to_owned()),
            },
            Field::Workspace => match (value.parse(), value.split_once('/')) {
                (Ok(id), _) => filter.workspace = Some(WorkspaceId(id)),
                (Err(_), Some((owner, name))) if !owner.is_empty() && !name.is_empty() => {
                    self.names.workspace = Some((owner.to_owned(), name.to_owned()));
                }
                _ => return Err("It has the form `owner/name`, or is an id.".into()),
            },
            Field::App => {
                let id = value.parse::<Uuid>();
                filter.app = Some(match id {
                    Ok(id) => App::Id(AppId(id)),
                    Err(_) => App::Slug(value.to_owned()),
                });
            }
            Field::Decision => {
                let decision = Decision::from_label(value).ok_or("It is `allow` or `deny`.")?;
                filter.decision = Some(decision);
            }
            Field::Reason => filter.reason = Some(value.to_owned()),
            Field::Address => {
                let address: Result<IpAddr, _> = value.parse();
                filter.ip = Some(address.map_err(|_| "It is not an IP address.")?.to_canonical());
            }
            Field::Organization => filter.organization = Some(OrganizationId(id(value)?)),
            Field::Request => filter.request = Some(id(value)?),
            Field::Session => filter.session = Some(id(value)?),
        }
        Ok(())
    }

    fn check(&mut self) {
        if let (Some(from), Some(to)) = (self.filter.from, self.filter.to)
            && from >= to
        {
            self.errors.push((Field::To, "It is not after the beginning.".into()));
        }
        if self.filter.reason.is_some() && self.filter.decision == Some(Decision::Allow) {
            self.errors.push((Field::Reason, "What was allowed has no reason.".into()));
        }
        let (foreign, error) = match self.acts {
            Some(_) => (OF_VISITS, "Only visits have this."),
            None => (OF_ACTS, "Visits do not have this."),
        };
        let given = foreign.iter().copied().filter(|field| !self.value(*field).is_empty());
        let wrong: Vec<_> = given.map(|field| (field, error.into())).collect();
        self.errors.extend(wrong);
    }

    /// Names that have to be looked up
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Puts in the ids of the names
    ///
    /// Within an organization, a name that does not exist finds nothing, as one of another
    /// organization does: an auditor of one must not learn who is in the others.
    pub(crate) fn resolve(&mut self, found: Found) {
        let is_confined = self.filter.organization.is_some();
        if self.names.user.is_some() {
            self.filter.user = found.user.or_else(|| is_confined.then_some(UserId(NO_ROW)));
            if self.filter.user.is_none() {
                let error = "No user has this name. A deleted user is found by id.";
                self.errors.push((Field::User, error.into()));
            }
        }
        if self.names.workspace.is_some() {
            self.filter.workspace =
                found.workspace.or_else(|| is_confined.then_some(WorkspaceId(NO_ROW)));
            if self.filter.workspace.is_none() {
                let error = "No workspace has this name. A deleted one is found by id.";
                self.errors.push((Field::Workspace, error.into()));
            }
        }
    }

    /// Restricts the filter to an organization
    pub(crate) fn restrict(&mut self, organization: OrganizationId) {
        self.filter.organization = Some(organization);
        if self.value(Field::Organization).is_empty() {
            self.values.push((Field::Organization, organization.to_string()));
        }
    }

    pub(crate) fn fail(&mut self, field: Field, error: impl Into<Cow<'static, str>>) {
        self.errors.push((field, error.into()));
    }

    /// What is selected; `None` if the form has errors
    pub(crate) fn selection(&self) -> Option<Selection> {
        if !self.errors.is_empty() {
            return None;
        }
        let filter = self.filter.clone();
        Some(match &self.acts {
            None => Selection::Visits(filter),
            Some(acts) => Selection::Acts(ActFilter {
                from: filter.from,
                to: filter.to,
                decision: filter.decision,
                reason: filter.reason,
                user: filter.user,
                workspace: filter.workspace,
                subject: self.subject.clone(),
                ip: filter.ip,
                request: filter.request,
                ..acts.clone()
            }),
        })
    }

    /// Whether acts are listed, and not visits
    pub(crate) const fn is_of_acts(&self) -> bool {
        self.acts.is_some()
    }

    /// The organization that is asked for
    pub(crate) const fn organization(&self) -> Option<OrganizationId> {
        self.filter.organization
    }

    /// What the visitor wrote; empty if nothing
    pub(crate) fn value(&self, field: Field) -> &str {
        let value = self.values.iter().find(|(of, _)| *of == field);
        value.map_or("", |(_, value)| value)
    }

    pub(crate) fn error(&self, field: Field) -> Option<&str> {
        self.errors.iter().find(|(of, _)| *of == field).map(|(_, error)| &**error)
    }

    /// A time of the form as its field wants it; what was written if that is not a time
    pub(crate) fn time(&self, field: Field) -> String {
        let value = self.value(field);
        match time(value) {
            Ok(time) => DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S").to_string(),
            Err(_) => value.to_owned(),
        }
    }

    /// The address of `path` with this filter, and with one field changed; empty for none
    pub(crate) fn link(&self, path: &str, change: Option<(Field, &str)>) -> String {
        let changed = change.map(|(field, _)| field);
        let kept = self.values.iter().map(|(field, value)| (*field, value.as_str()));
        let kept = kept.filter(|(field, _)| Some(*field) != changed);
        let all = kept.chain(change).filter(|(_, value)| !value.is_empty());
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (field, value) in all {
            query.append_pair(field.name(), value);
        }
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// The address of the other list, for the same time, user and place
    pub(crate) fn other_kind(&self, kind: &str) -> String {
        let kept = [Field::From, Field::To, Field::User, Field::Workspace, Field::Address];
        let values = self.values.iter().filter(|(field, _)| kept.contains(field)).cloned();
        let form = Self { values: values.collect(), ..Self::default() };
        form.link("/audit", Some((Field::Kind, kind)))
    }

    /// The address of the page that begins after a row
    pub(crate) fn older(&self, path: &str, after: Cursor) -> String {
        let link = self.link(path, None);
        let separator = if link.contains('?') { '&' } else { '?' };
        format!("{link}{separator}after={after}")
    }

    /// The beginning of a time that ends now, as a value of the field
    pub(crate) fn ago(now: SystemTime, ago: Duration) -> String {
        let time = now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn id(value: &str) -> Result<Uuid, Cow<'static, str>> {
    value.parse().map_err(|_| "It is not an id.".into())
}

fn time(value: &str) -> Result<SystemTime, Cow<'static, str>> {
    parse_time(value).ok_or_else(|| "It is a time such as `2026-11-27T06:00`, in UTC.".into())
}

/// Fields that acts do not have
const OF_VISITS: &[Field] = &[Field::App, Field::Organization, Field::Session];

/// Fields that visits do not have
const OF_ACTS: &[Field] = &[Field::Subject];

/// The kind that stands for acts of all kinds
pub(crate) const ACTS: &str = "acts";

/// What stands for visitors who were not signed in
pub(crate) const NOT_SIGNED_IN: &str = "-";

/// An id that no row has
const NO_ROW: Uuid = Uuid::max();

/// The longest text of a row, in characters
const MAX_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn visits(form: &Form) -> Filter {
        match form.selection() {
            Some(Selection::Visits(filter)) => filter,
            other => panic!("{other:?}"),
        }
    }

    fn form(query: &str) -> Form {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Form::parse(&pairs).unwrap()
    }

    #[test]
    fn each_field_says_what_is_wrong_with_it() {
        for (query, field) in [
            ("from=yesterday", Field::From),
            ("to=2026-13-01", Field::To),
            ("from=2026-11-02&to=2026-11-01", Field::To),
            ("workspace=dev", Field::Workspace),
            ("workspace=/dev", Field::Workspace),
            ("decision=maybe", Field::Decision),
            ("address=10.0.0", Field::Address),
            ("organization=acme", Field::Organization),
            ("request=1", Field::Request),
            ("session=x", Field::Session),
            ("app=a&app=b", Field::App),
            ("user=%00", Field::User),
            ("decision=allow&reason=not_shared", Field::Reason),
            ("kind=other", Field::Kind),
            ("kind=acts&app=code", Field::App),
            ("kind=log_in&organization=00000000-0000-0000-0000-000000000001", Field::Organization),
            ("subject=i-1", Field::Subject),
        ] {
            let form = form(query);
            assert!(form.error(field).is_some() && form.selection().is_none(), "{query}: {form:?}");
        }
        for unknown in ["unknown=1", "after=x", "limit=5"] {
            let pairs: Vec<_> = form_urlencoded::parse(unknown.as_bytes()).into_owned().collect();
            assert!(Form::parse(&pairs).is_err(), "{unknown}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_759_200);
        for text in [
            "2026-11-27T06:00:00Z",
            "2026-11-27T06:00",
            "2026-11-27T06:00:00",
            "2026-11-27 06:00:00",
            "2026-11-27T07:00:00+01:00",
        ] {
            let encoded = text.replace('+', "%2B");
            let form = form(&format!("from={encoded}"));
            assert_eq!(visits(&form).from, Some(expected), "{text}");
            assert_eq!(form.time(Field::From), "2026-11-27T06:00:00", "{text}");
        }
        let day = visits(&form("to=2026-11-27")).to;
        assert_eq!(day, Some(expected - Duration::from_secs(6 * 3600)));
    }

    #[test]
    fn links_keep_the_filter_and_change_one_field() {
        let form = form("user=ann&app=a%26b%3D%22&from=&reason=");
        assert_eq!(form.link("/audit", None), "/audit?user=ann&app=a%26b%3D%22");
        assert_eq!(form.link("/x", Some((Field::User, ""))), "/x?app=a%26b%3D%22");
        let other = form.link("/x", Some((Field::User, "é/+")));
        assert_eq!(other, "/x?app=a%26b%3D%22&user=%C3%A9%2F%2B");
        assert_eq!(self::form("").link("/audit", None), "/audit");
    }

    #[test]
    fn names_are_looked_up_and_ids_are_not() {
        let id = Uuid::from_u128(7);
        let form_of_ids = form(&format!("user={id}&workspace={id}&app={id}"));
        assert!(form_of_ids.names().is_empty());
        assert_eq!(visits(&form_of_ids).workspace, Some(WorkspaceId(id)));
        assert_eq!(visits(&form("user=-")).user, Some(UserId(Uuid::nil())));
        let mut unknown = form("user=ann&workspace=ann/dev");
        assert!(!unknown.names().is_empty());
        unknown.resolve(Found::default());
        assert!(unknown.error(Field::User).is_some() && unknown.error(Field::Workspace).is_some());
    }

    #[test]
    fn acts_have_the_filter_of_the_form() {
        let all = form("kind=acts&decision=deny&subject=i-1&address=10.0.0.1").selection();
        let Some(Selection::Acts(all)) = all else { panic!("{all:?}") };
        assert_eq!((all.kind, all.decision), (None, Some(Decision::Deny)));
        assert_eq!((all.subject.as_deref(), all.ip.is_some()), (Some("i-1"), true));
        let one = form("kind=log_in&user=-").selection();
        let Some(Selection::Acts(one)) = one else { panic!("{one:?}") };
        assert_eq!(one.kind, Some(ActKind::LogIn));
    }
}
