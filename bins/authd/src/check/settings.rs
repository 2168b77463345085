use std::io;
use std::net::IpAddr;
use std::path::Path;

use app_authz::address::Scheme;
use authd_http::{AppsConfig, SameSite, TrustedProxies};
use authd_server::ListenAddress;
use identity_verify::Cloud;
use rustix::fs::Access;

use super::Finding;
use crate::config::Config;

/// What is wrong with the combination of settings that are each valid
pub(crate) fn of_settings(config: &Config) -> Vec<Finding> {
    let of_apps = config.apps.iter().flat_map(|apps| {
        RULES.iter().filter_map(move |(setting, rule)| {
            rule(apps, config).map(|found| match found {
                Found::Never(text) => Finding::error(*setting, text),
                Found::Perhaps(text) => Finding::warning(*setting, text),
            })
        })
    });
    let has_fixed_nonce = config.identity.policy.azure_expected_nonce.is_some();
    let fixed_nonce =
        (has_fixed_nonce && config.freshness.nonces().contains(&Cloud::Azure)).then(|| {
            let text = "no machine can answer this nonce and one of `require_nonce`; leave it out";
            Finding::error("azure_expected_nonce", text)
        });
    let found: Vec<Finding> = fixed_nonce.into_iter().chain(of_apps).collect();
    if found.is_empty() {
        let text = match &config.apps {
            Some(apps) => format!("app access is on, at {}", apps.access_url),
            None => "agents can sign in; app access is off without --access-url".to_owned(),
        };
        return vec![Finding::ok("settings", text)];
    }
    found
}

/// What a rule found
enum Found {
    /// It can never work
    Never(String),
    /// It may not be what the operator meant
    Perhaps(String),
}

type Rule = fn(&AppsConfig, &Config) -> Option<Found>;

/// The combinations that do not work together, each under the setting to change
///
/// A value that is never usable is refused when the settings are read, and has no rule here.
const RULES: &[(&str, Rule)] = &[
    ("secure_auth_cookie", |apps, _| {
        let url = &apps.access_url;
        match (url.scheme(), apps.cookies.secure) {
            (Scheme::Http, true) if is_loopback(url.host()) => Some(Found::Perhaps(format!(
                "some browsers drop Secure cookies of {url}; serve the dashboard over https, or \
                 leave this out"
            ))),
            (Scheme::Http, true) => Some(Found::Never(format!(
                "browsers drop Secure cookies of {url}, so that users cannot sign in; serve the \
                 dashboard over https, or leave this out"
            ))),
            (Scheme::Https, false) => Some(Found::Perhaps(
                "cookies are also sent without TLS, and an app can obtain sessions for other apps; \
                 leave this out"
                    .to_owned(),
            )),
            _ => None,
        }
    }),
    ("access_url", |apps, _| {
        let url = &apps.access_url;
        (url.scheme() == Scheme::Http && !is_loopback(url.host())).then(|| {
            Found::Perhaps(format!("sessions are sent to {url} without TLS; serve it over https"))
        })
    }),
    ("wildcard_access_url", |apps, _| {
        let pattern = apps.app_hosts.as_ref()?;
        let domain = pattern.domain();
        if ends_in_number(domain) {
            return Some(Found::Never(format!(
                "browsers read the hosts of {pattern} as IP addresses and cannot open them; use a \
                 domain name"
            )));
        }
        if !domain.contains('.') {
            return Some(Found::Never(format!(
                "browsers drop cookies for all of `{domain}`, so that no app of {pattern} can be \
                 opened; use a domain of two labels or more, such as `*.apps.{domain}`"
            )));
        }
        let dashboard = apps.access_url.host();
        (pattern.capture(dashboard).is_some() || is_at_or_below(domain, dashboard)).then(|| {
            Found::Perhaps(format!(
                "an app of {pattern} can set cookies that the dashboard at {dashboard} receives; \
                 give apps a domain that the dashboard is not part of"
            ))
        })
    }),
    ("disable_path_apps", |apps, _| {
        if !apps.disable_path_apps {
            return None;
        }
        if apps.app_hosts.is_none() {
            return Some(Found::Perhaps(
                "without `wildcard_access_url` no app can be opened here, only terminals and the \
                 apps of registered proxies"
                    .to_owned(),
            ));
        }
        let rules = &apps.rules;
        (rules.allow_path_app_sharing || rules.allow_path_app_site_owner_access).then(|| {
            Found::Perhaps(
                "with it, `dangerous_allow_path_app_sharing` and \
                 `dangerous_allow_path_app_site_owner_access` have no effect"
                    .to_owned(),
            )
        })
    }),
    ("partitioned_auth_cookie", |apps, _| {
        (apps.cookies.partitioned && apps.cookies.same_site != SameSite::None).then(|| {
            Found::Perhaps(
                "it is for apps that other sites embed, and their cookies are only sent with \
                 `samesite_auth_cookie = \"none\"`"
                    .to_owned(),
            )
        })
    }),
    ("proxy_trusted_origins", |apps, config| {
        let TrustedProxies { origins, unix_sockets, .. } = &apps.trusted;
        if trusts_none(apps) {
            return Some(Found::Perhaps(
                "no proxy is trusted, so that none can ask about a visit; name the networks of \
                 your proxies"
                    .to_owned(),
            ));
        }
        if origins.iter().any(|network| network.is_everything()) {
            return Some(Found::Perhaps(
                "the headers of every client about its address and host are trusted; name only \
                 the networks of your proxies"
                    .to_owned(),
            ));
        }
        let addresses = &config.listen.addresses;
        let is_socket = |address: &ListenAddress| matches!(address, ListenAddress::Unix(_));
        let reached = addresses.iter().any(|address| match address {
            ListenAddress::Unix(_) => *unix_sockets,
            ListenAddress::Tcp(address) => {
                let is_local = address.ip().is_loopback();
                !origins.is_empty()
                    && (!is_local || origins.iter().any(|network| network.has_loopback()))
            }
        });
        (!reached).then(|| {
            let which: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let trust = if addresses.iter().all(is_socket) { "unix" } else { "127.0.0.1" };
            Found::Perhaps(format!(
                "no trusted proxy can reach {}, which only this machine can; change `listen`, or \
                 trust `{trust}`",
                which.join(", ")
            ))
        })
    }),
    ("proxy_trusted_headers", |apps, _| {
        (trusts_none(apps) && !apps.trusted.headers.is_empty()).then(|| {
            Found::Perhaps("these headers are ignored without `proxy_trusted_origins`".to_owned())
        })
    }),
    ("proxy_trusted_headers", |apps, _| {
        (!trusts_none(apps) && apps.trusted.headers.is_empty()).then(|| {
            Found::Perhaps(
                "the addresses of visitors are not known, and null in the audit log, because no \
                 header is named in which the proxy sends them"
                    .to_owned(),
            )
        })
    }),
    ("audit_close_rows", |apps, _| {
        (apps.audit_close_rows && apps.audit_session_timeout.is_zero()).then(|| {
            Found::Perhaps(
                "sessions have no end while every visit is recorded; set \
                 `audit_session_timeout_seconds` above 0, or leave this out"
                    .to_owned(),
            )
        })
    }),
    ("audit_spool", |apps, _| {
        let spool = apps.audit_spool.as_deref()?;
        if let Err(error) = writable(spool) {
            return Some(Found::Perhaps(format!(
                "events that the database does not take would be in the log alone, because {} \
                 cannot be written: {error}",
                spool.display()
            )));
        }
        std::fs::metadata(spool).is_ok_and(|file| file.len() > 0).then(|| {
            Found::Perhaps(format!(
                "{0} has events that are not in the audit log; run `authd audit replay {0}`",
                spool.display()
            ))
        })
    }),
    ("into_control_plane", |_, config| {
        config.into_control_plane.then(|| {
            Found::Perhaps(
                "an import over HTTP may change users, roles and workspaces of a control plane, \
                 which is not notified"
                    .to_owned(),
            )
        })
    }),
];

/// Whether lines can be added to a file, which is created with its folders if it is missing
fn writable(file: &Path) -> io::Result<()> {
    let found = file.ancestors().find_map(|path| Some((path, path.metadata().ok()?)));
    let (path, metadata) = found.unwrap_or((Path::new("."), Path::new(".").metadata()?));
    let rights = match (path == file, metadata.is_dir()) {
        (true, true) => return Err(io::ErrorKind::IsADirectory.into()),
        (false, false) => return Err(io::ErrorKind::NotADirectory.into()),
        (true, false) => Access::READ_OK | Access::WRITE_OK,
        (false, true) => Access::WRITE_OK | Access::EXEC_OK,
    };
    Ok(rustix::fs::access(path, rights)?)
}

fn trusts_none(apps: &AppsConfig) -> bool {
    apps.trusted.origins.is_empty() && !apps.trusted.unix_sockets
}

/// Whether browsers resolve the host to this machine without asking a resolver
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the last label is a number, so that browsers parse the name as an address
/// (WHATWG URL, section 3.5)
fn ends_in_number(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or_default();
    let hex =
        last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_at_or_below(domain: &str, host: &str) -> bool {
    domain == host || domain.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    /// The settings that are named for a configuration file with these lines, and the states
    fn found(toml: &str) -> Vec<(String, State)> {
        let config = Config::from_toml(&format!("audit_spool = \"\"\n{toml}")).unwrap();
        of_settings(&config).into_iter().map(|finding| (finding.subject, finding.state)).collect()
    }

    #[test]
    fn settings_that_do_not_work_together_are_named() {
        const HTTPS: &str = "access_url = \"https://coder.example.com\"\n\
                             proxy_trusted_origins = [\"127.0.0.1\"]\n\
                             proxy_trusted_headers = [\"x-real-ip\"]\n";
        const HTTP: &str = "access_url = \"http://coder.example.com\"\n\
                            proxy_trusted_origins = [\"127.0.0.1\"]\n\
                            proxy_trusted_headers = [\"x-real-ip\"]\n";
        const LOCAL: &str = "access_url = \"http://localhost:3000\"\n\
                             proxy_trusted_origins = [\"127.0.0.1\"]\n\
                             proxy_trusted_headers = [\"x-real-ip\"]\n";
        use State::{Error, Ok, Warning};
        for (base, line, expected) in [
            ("", "", vec![("settings", Ok)]),
            (HTTPS, "", vec![("settings", Ok)]),
            (HTTPS, "secure_auth_cookie = false", vec![("secure_auth_cookie", Warning)]),
            (HTTPS, "wildcard_access_url = \"*.apps.example.com\"", vec![("settings", Ok)]),
            (HTTPS, "wildcard_access_url = \"*--apps.example.com\"", vec![("settings", Ok)]),
            (HTTPS, "wildcard_access_url = \"*.apps.localhost\"", vec![("settings", Ok)]),
            (HTTPS, "wildcard_access_url = \"*.localhost\"", vec![("wildcard_access_url", Error)]),
            (HTTPS, "wildcard_access_url = \"*.internal\"", vec![("wildcard_access_url", Error)]),
            (HTTPS, "wildcard_access_url = \"*--a.com\"", vec![("wildcard_access_url", Error)]),
            (HTTPS, "wildcard_access_url = \"*.10.0.0.1\"", vec![("wildcard_access_url", Error)]),
            (HTTPS, "wildcard_access_url = \"*.0x7f\"", vec![("wildcard_access_url", Error)]),
            (
                HTTPS,
                "wildcard_access_url = \"*.example.com\"",
                vec![("wildcard_access_url", Warning)],
            ),
            (
                HTTPS,
                "wildcard_access_url = \"*.coder.example.com\"",
                vec![("wildcard_access_url", Warning)],
            ),
            (
                HTTPS,
                "wildcard_access_url = \"*.apps.coder.example.com\"",
                vec![("wildcard_access_url", Warning)],
            ),
            (HTTPS, "wildcard_access_url = \"*.mycoder.example.com\"", vec![("settings", Ok)]),
            (HTTP, "", vec![("access_url", Warning)]),
            (
                HTTP,
                "secure_auth_cookie = true",
                vec![("secure_auth_cookie", Error), ("access_url", Warning)],
            ),
            (LOCAL, "", vec![("settings", Ok)]),
            (LOCAL, "secure_auth_cookie = true", vec![("secure_auth_cookie", Warning)]),
            (HTTPS, "disable_path_apps = true", vec![("disable_path_apps", Warning)]),
            (
                HTTPS,
                "disable_path_apps = true\ndangerous_allow_path_app_sharing = true\n\
                 wildcard_access_url = \"*.apps.example.com\"",
                vec![("disable_path_apps", Warning)],
            ),
            (HTTPS, "partitioned_auth_cookie = true", vec![("partitioned_auth_cookie", Warning)]),
            (
                HTTPS,
                "audit_close_rows = true\naudit_session_timeout_seconds = 0",
                vec![("audit_close_rows", Warning)],
            ),
            (HTTPS, "into_control_plane = true", vec![("into_control_plane", Warning)]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
            assert_eq!(found(&format!("{base}{line}")), expected, "{line}");
        }
    }

    #[test]
    fn a_spool_that_cannot_be_written_or_has_events_is_named() {
        let folder = testkit::Folder::create("authd-spool").unwrap();
        let text = |spool: &Path| {
            let lines = format!(
                "access_url = \"http://localhost\"\nproxy_trusted_origins = [\"127.0.0.1\"]\n\
                 proxy_trusted_headers = [\"x-real-ip\"]\naudit_spool = \"{}\"",
                spool.display()
            );
            let config = Config::from_toml(&lines).unwrap();
            of_settings(&config).iter().map(Finding::line).collect::<Vec<_>>().join("\n")
        };
        let [empty, full] = ["empty", "full"].map(|name| folder.path().join(name));
        std::fs::write(&empty, "").unwrap();
        std::fs::write(&full, "{}\n").unwrap();
        for good in [&empty, &folder.path().join("new/folder/file")] {
            assert!(text(good).starts_with("settings: app access is on"), "{}", text(good));
        }
        for (spool, problem) in [
            (full.clone(), "run `authd audit replay"),
            (full.join("file"), "cannot be written: not a directory"),
            (folder.path().to_owned(), "cannot be written: is a directory"),
        ] {
            assert!(text(&spool).contains(problem), "{}", text(&spool));
        }
    }

    #[test]
    fn proxies_that_cannot_ask_are_named() {
        const URL: &str = "access_url = \"https://a.example.com\"\naudit_spool = \"\"\n";
        let text = |lines: &str| {
            let config = Config::from_toml(&format!("{URL}{lines}")).unwrap();
            of_settings(&config).iter().map(Finding::line).collect::<Vec<_>>().join("\n")
        };
        for (lines, expected) in [
            ("", "no proxy is trusted"),
            ("proxy_trusted_headers = [\"x-real-ip\"]", "are ignored without"),
            ("proxy_trusted_origins = [\"127.0.0.1\"]", "addresses of visitors are not known"),
            ("proxy_trusted_origins = [\"0.0.0.0/0\"]", "every client about"),
            ("proxy_trusted_origins = [\"::/0\"]", "every client about"),
            ("proxy_trusted_origins = [\"10.0.0.0/8\"]", "no trusted proxy can reach"),
        ] {
            assert!(text(lines).contains(expected), "{lines}: {}", text(lines));
        }
        for good in [
            "proxy_trusted_origins = [\"10.0.0.0/8\", \"127.0.0.0/8\"]",
            "proxy_trusted_origins = [\"::1\"]",
            "proxy_trusted_origins = [\"10.0.0.0/8\"]\nlisten = \"0.0.0.0:8080\"",
        ] {
            assert!(
                text(&format!("{good}\nproxy_trusted_headers = [\"x-real-ip\"]"))
                    .starts_with("settings: app access is on"),
                "{}",
                text(good)
            );
        }
    }
}
