use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation};

use super::settings::settings;
use super::text::{self, Parameter, quoted};
use super::{DatabaseUrl, Host, Secret, SessionAttributes, invalid};
use crate::Error;
use crate::pg::tls::{Identity, Pem, Security, Tls, Version};

/// The parameters of a database URL that are not yet evaluated
pub(super) struct Given(Vec<Parameter>);

impl Given {
    pub(super) fn of(text: &str) -> Result<Self, Error> {
        text::parameters(text).map(Self)
    }

    /// Evaluates every parameter
    ///
    /// Names and values are those of libpq (PostgreSQL's manual, section "Parameter Key Words"),
    /// and of lib/pq where it has more.
    pub(super) fn understand(mut self) -> Result<DatabaseUrl, Error> {
        self.refuse_unsupported()?;
        let mut config = Config::new();
        if let Some(user) = self.text("user") {
            config.user(user);
        }
        if let Some(password) = self.text("password") {
            config.password(password);
        }
        if let Some(database) = self.text("dbname") {
            config.dbname(database);
        }
        let fallback = self.text("fallback_application_name");
        let name = self.text("application_name").or(fallback);
        config.application_name(name.unwrap_or_else(|| "authd".to_owned()));
        if let Some(binding) = self.choice("channel_binding", &CHANNEL_BINDINGS)? {
            config.channel_binding(binding);
        }
        self.keep_alive(&mut config)?;
        let tcp_user_timeout = self.number("tcp_user_timeout", 0..=DAY * 1000)?;
        if let Some(milliseconds) = tcp_user_timeout {
            config.tcp_user_timeout(Duration::from_millis(milliseconds.into()));
        }
        let random_order =
            self.choice("load_balance_hosts", &[("disable", false), ("random", true)])?;
        if random_order == Some(true) {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        let connect_timeout = self.number("connect_timeout", 0..=HOUR)?.filter(|n| *n > 0);
        let session = self.choice("target_session_attrs", &SessionAttributes::NAMES)?;
        let passfile = self.text("passfile").map(PathBuf::from);
        if passfile.is_some() && config.get_user().is_none() {
            return Err(invalid("`passfile` needs a `user`"));
        }

        let security = self.security(&mut config)?;
        let hosts = Host::list(
            self.text("host").as_deref(),
            self.text("hostaddr").as_deref(),
            self.text("port").as_deref(),
        )?;
        if security != Security::Clear && hosts.iter().any(|host| !host.has_name()) {
            return Err(invalid(
                "`hostaddr` stands without `host`, so TLS has nothing to verify the server's name against",
            ));
        }

        // These have no effect: the session is in UTC and UTF-8, parameters are sent as
        // binary, and neither GSSAPI encryption nor TLS compression is ever used.
        let _ = self.text("binary_parameters");
        let _ = self.text("sslcompression");
        let _ = self.choice("gssencmode", &[("disable", ()), ("prefer", ())])?;
        if let Some(encoding) = self.text("client_encoding")
            && !["utf8", "utf-8", "unicode", "auto"].contains(&encoding.to_lowercase().as_str())
        {
            return Err(invalid("`client_encoding` is not `UTF8`"));
        }
        let (settings, statement_timeout) = settings(self.0)?;
        Ok(DatabaseUrl {
            config,
            hosts,
            random_order: random_order.unwrap_or(false),
            session: session.unwrap_or(SessionAttributes::Any),
            security,
            passfile,
            settings,
            connect_timeout: connect_timeout.map(|seconds| Duration::from_secs(seconds.into())),
            statement_timeout,
            tcp_user_timeout: tcp_user_timeout.is_some(),
        })
    }

    fn refuse_unsupported(&self) -> Result<(), Error> {
        for Parameter { name, .. } in &self.0 {
            if let Some((_, why)) = UNSUPPORTED.iter().find(|(unsupported, _)| name == unsupported)
            {
                return Err(invalid(format_args!("`{name}` is not supported: {why}")));
            }
        }
        Ok(())
    }

    fn keep_alive(&mut self, config: &mut Config) -> Result<(), Error> {
        // Without this it takes two hours to notice that a host has vanished.
        config.keepalives_idle(KEEPALIVE_IDLE);
        if let Some(keepalives) = self.number("keepalives", 0..=1)? {
            config.keepalives(keepalives == 1);
        }
        let mut seconds = |name| {
            let seconds = self.number(name, 0..=DAY)?.filter(|seconds| *seconds > 0);
            Ok::<_, Error>(seconds.map(|seconds| Duration::from_secs(seconds.into())))
        };
        if let Some(idle) = seconds("keepalives_idle")? {
            config.keepalives_idle(idle);
        }
        if let Some(interval) = seconds("keepalives_interval")? {
            config.keepalives_interval(interval);
        }
        if let Some(count) = self.number("keepalives_count", 0..=127)?.filter(|count| *count > 0) {
            config.keepalives_retries(count);
        }
        Ok(())
    }

    /// The security that `sslmode` and its companions ask for
    fn security(&mut self, config: &mut Config) -> Result<Security, Error> {
        let mode = self.choice("sslmode", &SSL_MODES)?;
        let inline = self.choice("sslinline", &FLAGS)?.unwrap_or(false);
        let pem = |text: String| match inline {
            true => Pem::Inline(Secret(text)),
            false => Pem::File(PathBuf::from(text)),
        };
        let roots = self.text("sslrootcert");
        let certificate = self.text("sslcert");
        let key = self.text("sslkey");
        let passphrase = self.text("sslpassword").map(Secret);
        let certificates = [("allow", true), ("disable", false)];
        let shows_certificate = self.choice("sslcertmode", &certificates)?.unwrap_or(true);
        let identity = match (certificate, key) {
            _ if !shows_certificate => None,
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: pem(certificate), key: pem(key), passphrase })
            }
            (None, None) => None,
            (Some(_), None) => return Err(invalid("`sslcert` needs an `sslkey` beside it")),
            (None, Some(_)) => return Err(invalid("`sslkey` needs an `sslcert` beside it")),
        };
        let sends_name = self.choice("sslsni", &FLAGS)?.unwrap_or(true);
        let direct = self.choice("sslnegotiation", &[("postgres", false), ("direct", true)])?;
        let oldest = self.choice("ssl_min_protocol_version", &OLDEST)?.unwrap_or(Version::Tls1_2);
        let newest = self.choice("ssl_max_protocol_version", &NEWEST)?;
        if oldest == Version::Tls1_3 && newest == Some(Version::Tls1_2) {
            return Err(invalid(
                "`ssl_min_protocol_version` is newer than `ssl_max_protocol_version`",
            ));
        }

        // As in libpq, whose default is `verify-full` in this case.
        let of_system = roots.as_deref() == Some("system");
        if !mode.unwrap_or(of_system) {
            let needs_tls = [
                ("sslrootcert", roots.is_some()),
                ("sslcert", identity.is_some()),
                ("sslnegotiation", direct == Some(true)),
            ];
            // Without TLS they would have no effect, which is not what the operator meant.
            // `disable` alone is clear.
            if let Some((name, _)) = needs_tls.iter().find(|(_, given)| *given) {
                return Err(invalid(format_args!(
                    "`{name}` is for TLS, which needs `sslmode=require`, `verify-ca` or `verify-full`"
                )));
            }
            config.ssl_mode(SslMode::Disable);
            return Ok(Security::Clear);
        }
        config.ssl_mode(SslMode::Require);
        let direct = direct.unwrap_or(false);
        if direct {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        let roots = roots.filter(|_| !of_system).map(pem);
        Ok(Security::Tls(Tls { roots, identity, sends_name, oldest, newest, direct }))
    }

    /// The value of a parameter; `None` if it is empty, which means the default
    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that takes one of several words
    ///
    /// An empty value is refused: it may come from a variable that was not set, and must not
    /// switch TLS off.
    fn choice<T: Clone>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(meaning.clone())),
            None => Err(invalid(format_args!("`{name}` is not {}", any_of(words)))),
        }
    }

    fn number(&mut self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(invalid(format_args!(
                "`{name}` is not a number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|parameter| parameter.name == name)?;
        Some(self.0.remove(index).value)
    }
}

/// The error for an unknown parameter
pub(super) fn unknown(parameter: &Parameter) -> Error {
    invalid(format_args!(
        "{} is not a parameter that authd knows; \
         what the server shall set is written `options=-cNAME=VALUE`",
        quoted(&parameter.name, parameter.follows_secret)
    ))
}

fn any_of<T>(words: &[(&str, T)]) -> impl Display + use<T> {
    let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Whether connections use TLS, with the certificate and the name of the server verified
///
/// With `allow` and `prefer` an active attacker decides, which secures nothing: they count as not
/// encrypted. In libpq `require` and `verify-ca` leave the server's name unverified, and `require`
/// the certificate as well; here they verify both.
const SSL_MODES: [(&str, bool); 6] = [
    ("disable", false),
    ("allow", false),
    ("prefer", false),
    ("require", true),
    ("verify-ca", true),
    ("verify-full", true),
];

const CHANNEL_BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const FLAGS: [(&str, bool); 4] = [("0", false), ("1", true), ("false", false), ("true", true)];

/// The oldest TLS version, whatever the URL allows
const OLDEST: [(&str, Version); 4] = [
    ("TLSv1", Version::Tls1_2),
    ("TLSv1.1", Version::Tls1_2),
    ("TLSv1.2", Version::Tls1_2),
    ("TLSv1.3", Version::Tls1_3),
];

const NEWEST: [(&str, Version); 2] = [("TLSv1.2", Version::Tls1_2), ("TLSv1.3", Version::Tls1_3)];

/// Parameters of other clients, and why they are refused and not ignored
const UNSUPPORTED: [(&str, &str); 14] = [
    ("service", "write its parameters out"),
    ("servicefile", "write its parameters out"),
    ("sslcrl", "revocation is not looked up"),
    ("sslcrldir", "revocation is not looked up"),
    ("requiressl", "write `sslmode=require`"),
    ("requirepeer", "the owner of a socket is not looked up; its folder's rights protect it"),
    ("require_auth", "the way of authentication is the server's choice"),
    ("krbsrvname", "there is no GSSAPI"),
    ("krbspn", "there is no GSSAPI"),
    ("gsslib", "there is no GSSAPI"),
    ("gssdelegation", "there is no GSSAPI"),
    ("replication", "authd replicates nothing"),
    ("standard_conforming_strings", "statements are written for its default"),
    ("sslkeylogfile", "TLS secrets are not written to files"),
];

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const HOUR: u32 = 3600;
const DAY: u32 = 86_400;
