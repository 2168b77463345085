use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A cookie to set, as the value of a `Set-Cookie` header (RFC 6265bis, section 4.1)
///
/// Every cookie is `HttpOnly`, so that no script can read it. Without a [domain](Self::domain) the
/// browser sends it only to the host that sets it.
///
/// ```
/// use app_authz::credential::{CookieAttributes, SetCookie};
///
/// let secure = CookieAttributes::default().secure(true);
/// let cookie = SetCookie::new("__Host-session", "abc").attributes(secure).to_text();
/// assert_eq!(cookie.unwrap(), "__Host-session=abc; Path=/; HttpOnly; Secure; SameSite=Lax");
///
/// // A path of the visitor's does not become another attribute.
/// assert!(SetCookie::new("a", "b").path("/x; Domain=example.com").to_text().is_none());
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct SetCookie<'a> {
    name: &'a str,
    value: &'a str,
    path: &'a str,
    domain: Option<&'a str>,
    expiry: Expiry,
    attributes: CookieAttributes,
}

impl<'a> SetCookie<'a> {
    /// A cookie for all paths of the host, which ends when the browser closes
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        let (expiry, attributes) = (Expiry::Session, CookieAttributes::new());
        Self { name, value, path: "/", domain: None, expiry, attributes }
    }

    /// The same, for the paths below `path`: the base path of an app, for its app token
    pub const fn path(self, path: &'a str) -> Self {
        Self { path, ..self }
    }

    /// The same, for all hosts of a domain
    pub const fn domain(self, domain: Option<&'a str>) -> Self {
        Self { domain, ..self }
    }

    /// The same, until `expiry`
    pub const fn expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// The same, with the attributes that a deployment demands
    pub const fn attributes(self, attributes: CookieAttributes) -> Self {
        Self { attributes, ..self }
    }

    /// The value of the header
    ///
    /// `None` if the browser would read something else than was meant, or refuse the cookie: if a part
    /// has a byte that would end it or that a header must not have, if the name is empty or has an
    /// equals sign, if the path does not begin with a slash, if the name begins with `__Host-` or
    /// `__Secure-`, in any case, and the cookie is not as that prefix requires, and if a cookie with
    /// `SameSite=None` or `Partitioned` is not `Secure`.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        self.is_sound().then(|| self.to_string())
    }

    fn is_sound(&self) -> bool {
        let parts = [self.name, self.value, self.path, self.domain.unwrap_or_default()];
        let is_part = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b';');
        let has_prefix = |prefix: &str| {
            let begin = self.name.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        let CookieAttributes { secure, same_site, partitioned } = self.attributes;
        let is_of_host = self.path == "/" && self.domain.is_none();
        parts.into_iter().all(is_part)
            && !self.name.is_empty()
            && !self.name.contains('=')
            && self.path.starts_with('/')
            && (secure || !has_prefix(HOST_PREFIX) && !has_prefix(SECURE_PREFIX))
            && (secure || same_site == SameSite::Lax && !partitioned)
            && (is_of_host || !has_prefix(HOST_PREFIX))
    }
}

impl fmt::Display for SetCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}; Path={}", self.name, self.value, self.path)?;
        if let Some(domain) = self.domain {
            write!(f, "; Domain={domain}")?;
        }
        match self.expiry {
            Expiry::Session => {}
            Expiry::At(end) => write!(f, "; Expires={}", HttpDate::from(end))?,
            Expiry::Delete => f.write_str("; Max-Age=0")?,
        }
        f.write_str("; HttpOnly")?;
        if self.attributes.secure {
            f.write_str("; Secure")?;
        }
        f.write_str(match self.attributes.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        })?;
        f.write_str(if self.attributes.partitioned { "; Partitioned" } else { "" })
    }
}

impl fmt::Debug for SetCookie<'_> {
    /// Without the value, which is a secret
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetCookie({}=..)", self.name)
    }
}

/// When a browser deletes a cookie
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// When the browser closes
    Session,
    /// At this time; its second is the precision
    At(SystemTime),
    /// At once
    Delete,
}

/// The attributes that all cookies of a deployment have
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieAttributes {
    /// `Secure`: browsers send the cookies over TLS only
    pub secure: bool,
    /// `SameSite`: whether requests that pages of other sites make carry the cookies
    pub same_site: SameSite,
    /// `Partitioned`: browsers keep separate cookies for each site that embeds an app
    pub partitioned: bool,
}

impl CookieAttributes {
    /// `SameSite=Lax` and nothing else
    #[must_use]
    pub const fn new() -> Self {
        Self { secure: false, same_site: SameSite::Lax, partitioned: false }
    }

    /// The same, with `Secure` as given
    #[must_use]
    pub const fn secure(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// The same, with `SameSite` as given
    #[must_use]
    pub const fn same_site(self, same_site: SameSite) -> Self {
        Self { same_site, ..self }
    }

    /// The same, with `Partitioned` as given
    #[must_use]
    pub const fn partitioned(self, partitioned: bool) -> Self {
        Self { partitioned, ..self }
    }
}

/// Whether a cookie is sent with requests that pages of other sites make
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Only when the visitor follows a link
    #[default]
    Lax,
    /// Always, which apps in frames of other sites need
    None,
}

impl SameSite {
    /// All values
    pub const ALL: [Self; 2] = [Self::Lax, Self::None];

    /// The value as text: `lax` or `none`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "lax",
            Self::None => "none",
        }
    }
}

impl FromStr for SameSite {
    type Err = Error;

    /// Parses `lax` or `none`
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|value| value.as_str() == text);
        known.ok_or_else(|| Error::UnknownSameSite(text.to_owned()))
    }
}

/// A time as HTTP writes it: `Sun, 09 Sep 2001 01:46:40 GMT` (RFC 9110, section 5.6.7)
struct HttpDate {
    days: u64,
    second: u64,
}

impl From<SystemTime> for HttpDate {
    /// A time before 1970 is written as the first second of that year, and one after 9999 as the last
    /// of that one: both have four digits
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = since.as_secs().min(END_OF_9999);
        Self { days: seconds / 86_400, second: seconds % 86_400 }
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In years that begin in March a leap day is the last. 719,468 days lie between March 1 of the
        // year 0 and 1970, and 146,097 in four centuries.
        let days = self.days + 719_468;
        let (century, day) = (days / 146_097, days % 146_097);
        let year_of = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year_of + year_of / 4 - year_of / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let is_next = month >= 10;
        let year = 400 * century + year_of + u64::from(is_next);
        let month = if is_next { month - 10 } else { month + 2 };
        let name = |names: &[&'static str], at: u64| {
            usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
        };
        let weekday = name(&["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"], self.days % 7);
        let (hour, minute, second) = (self.second / 3_600, self.second / 60 % 60, self.second % 60);
        write!(f, "{weekday}, {date:02} {} {year:04} ", name(&MONTHS, month))?;
        write!(f, "{hour:02}:{minute:02}:{second:02} GMT")
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const END_OF_9999: u64 = 253_402_300_799;

/// The prefixes of names of which browsers require attributes (RFC 6265bis, section 4.1.3)
pub(super) const HOST_PREFIX: &str = "__Host-";
pub(super) const SECURE_PREFIX: &str = "__Secure-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_the_attributes_of_the_deployment() {
        let strict =
            CookieAttributes::new().secure(true).same_site(SameSite::None).partitioned(true);
        let cookie = SetCookie::new("a", "b").path("/x/");
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (cookie, expected) in [
            (cookie, "a=b; Path=/x/; HttpOnly; SameSite=Lax"),
            (SetCookie::new("a", ""), "a=; Path=/; HttpOnly; SameSite=Lax"),
            (
                cookie.expiry(Expiry::At(until)),
                "a=b; Path=/x/; Expires=Sun, 09 Sep 2001 01:46:40 GMT; HttpOnly; SameSite=Lax",
            ),
            (
                cookie.domain(Some("example.com")).expiry(Expiry::Delete).attributes(strict),
                "a=b; Path=/x/; Domain=example.com; Max-Age=0; HttpOnly; Secure; SameSite=None; \
                 Partitioned",
            ),
        ] {
            assert_eq!(cookie.to_text().as_deref(), Some(expected));
        }
        assert!(!format!("{:?}", SetCookie::new("a", "secret")).contains("secret"));
    }

    #[test]
    fn what_a_browser_would_read_otherwise_is_not_set() {
        let plain = SetCookie::new("a", "b");
        for bad in [
            "/a; Domain=evil.example",
            "/a;Secure",
            "/a\r\nSet-Cookie: x=y",
            "/a\nb",
            "/a\tb",
            "/a b",
            "/a\0",
            "/a\x7f",
            "/\u{e4}",
        ] {
            for cookie in [
                plain.path(bad),
                plain.domain(Some(bad)),
                SetCookie::new("a", bad),
                SetCookie::new(bad, "b"),
            ] {
                assert_eq!(cookie.to_text(), None, "{bad}");
            }
        }
        for cookie in
            [SetCookie::new("", "b"), SetCookie::new("a=c", "b"), plain.path(""), plain.path("x/")]
        {
            assert_eq!(cookie.to_text(), None, "{cookie}");
        }
        let plain = CookieAttributes::new();
        for insecure in [plain.same_site(SameSite::None), plain.partitioned(true)] {
            assert_eq!(SetCookie::new("a", "b").attributes(insecure).to_text(), None);
            let cookie = SetCookie::new("a", "b").attributes(insecure.secure(true));
            assert!(cookie.to_text().is_some(), "{cookie}");
        }
    }

    #[test]
    fn a_prefix_of_the_name_has_its_attributes() {
        let secure = CookieAttributes::new().secure(true);
        for (name, path, domain, attributes, is_set) in [
            ("__Host-a", "/", None, secure, true),
            ("__Host-a", "/", None, CookieAttributes::new(), false),
            ("__Host-a", "/x", None, secure, false),
            ("__Host-a", "/", Some("example.com"), secure, false),
            ("__HOST-a", "/x", None, secure, false),
            ("__host-a", "/", None, CookieAttributes::new(), false),
            ("__Secure-a", "/x", Some("example.com"), secure, true),
            ("__Secure-a", "/", None, CookieAttributes::new(), false),
            ("__secure-a", "/", None, CookieAttributes::new(), false),
            ("__Hosta", "/x", None, CookieAttributes::new(), true),
        ] {
            let cookie = SetCookie::new(name, "b").path(path).domain(domain).attributes(attributes);
            assert_eq!(cookie.to_text().is_some(), is_set, "{cookie}");
        }
    }

    #[test]
    fn times_are_written_as_http_does() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_169_599, "Mon, 28 Feb 1972 23:59:59 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (END_OF_9999, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (END_OF_9999 + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(HttpDate::from(time).to_string(), expected, "{seconds}");
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(HttpDate::from(before).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
