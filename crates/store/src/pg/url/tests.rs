use super::*;
use crate::pg::tls::Pem;

/// What a URL was understood to say, in the order of libpq's list of parameters
fn said(url: &DatabaseUrl) -> String {
    let mut said: Vec<String> = url.hosts.iter().map(ToString::to_string).collect();
    let mut add = |name: &str, value: Option<String>| {
        said.extend(value.map(|value| format!("{name}={value}")));
    };
    let config = &url.config;
    add("dbname", config.get_dbname().map(str::to_owned));
    add("user", config.get_user().map(str::to_owned));
    add("password", url.config.get_password().map(|text| String::from_utf8_lossy(text).into()));
    add("passfile", url.passfile.as_ref().map(|file| file.display().to_string()));
    add("connect_timeout", url.connect_timeout.map(|timeout| format!("{timeout:?}")));
    add("statement_timeout", url.statement_timeout.map(|timeout| format!("{timeout:?}")));
    let name = config.get_application_name().filter(|name| *name != "authd");
    add("application_name", name.map(str::to_owned));
    let binding = config.get_channel_binding();
    let binding = format!("{binding:?}").to_lowercase();
    add("channel_binding", Some(binding).filter(|binding| binding != "prefer"));
    add("order", url.random_order.then(|| "random".to_owned()));
    let session = format!("{:?}", url.session);
    add("session", Some(session).filter(|session| session != "Any"));
    if let Security::Tls(tls) = &url.security {
        let pem = |pem: &Pem| match pem {
            Pem::File(path) => path.display().to_string(),
            Pem::Inline(text) => format!("({})", text.reveal()),
        };
        add("roots", Some(tls.roots.as_ref().map_or_else(|| "system".to_owned(), pem)));
        if let Some(identity) = &tls.identity {
            add("certificate", Some(pem(&identity.certificate)));
            add("key", Some(pem(&identity.key)));
            add("passphrase", identity.passphrase.as_ref().map(|text| text.reveal().to_owned()));
        }
        add("sni", (!tls.sends_name).then(|| "off".to_owned()));
        add("direct", tls.direct.then(|| "yes".to_owned()));
    }
    said.extend(url.settings.iter().map(|(name, value)| format!("{name}:{value}")));
    said.join(" ")
}

#[test]
fn urls_of_control_planes_are_understood() {
    for (text, expected) in [
        // The parts before the `?`.
        ("postgres://db", "db:5432"),
        ("postgresql://authd@db/coder", "db:5432 dbname=coder user=authd"),
        ("postgresql://a:b@db:6432/c?", "db:6432 dbname=c user=a password=b"),
        ("  postgresql://db/coder\n", "db:5432 dbname=coder"),
        ("postgresql://a%40b:p%2F%3a%25@db/c%20d", "db:5432 dbname=c d user=a@b password=p/:%"),
        ("postgresql://a:p@ss@db/c", "db:5432 dbname=c user=a password=p@ss"),
        ("postgresql://a:p:q#r@db", "db:5432 user=a password=p:q#r"),
        ("postgresql://a:@db", "db:5432 user=a"),
        ("postgresql://[::1]:5433,[fe80::1]/d", "[::1]:5433 [fe80::1]:5432 dbname=d"),
        // Sockets.
        ("postgresql://%2Fvar%2Frun%2Fpg/d", "/var/run/pg/.s.PGSQL.5432 dbname=d"),
        ("postgresql:///d?host=/var/run/pg&port=5433", "/var/run/pg/.s.PGSQL.5433 dbname=d"),
        (
            "postgresql://u@localhost/d?host=/cloudsql/a:b:c",
            "/cloudsql/a:b:c/.s.PGSQL.5432 dbname=d user=u",
        ),
        ("postgresql://localhost:5433/d?host=/run/pg", "/run/pg/.s.PGSQL.5433 dbname=d"),
        ("host=/var/run/postgresql dbname=d", "/var/run/postgresql/.s.PGSQL.5432 dbname=d"),
        // Several hosts.
        (
            "postgresql://a:1,b,c:3/d?target_session_attrs=read-write",
            "a:1 b:5432 c:3 dbname=d session=ReadWrite",
        ),
        ("postgresql:///d?host=a,b&port=1", "a:1 b:1 dbname=d"),
        ("host=a,b port=1,2", "a:1 b:2"),
        ("host=a,/run,b port=,2,", "a:5432 /run/.s.PGSQL.2 b:5432"),
        ("hostaddr=192.0.2.1,::1 port=5433", "192.0.2.1:5433 [::1]:5433"),
        ("host=a hostaddr=192.0.2.1", "a:5432"),
        ("host=a load_balance_hosts=random", "a:5432 order=random"),
        ("host=a load_balance_hosts=disable target_session_attrs=any", "a:5432"),
        ("host=a target_session_attrs=read-only", "a:5432 session=ReadOnly"),
        ("host=a target_session_attrs=primary", "a:5432 session=Primary"),
        ("host=a target_session_attrs=standby", "a:5432 session=Standby"),
        ("host=a target_session_attrs=prefer-standby", "a:5432 session=PreferStandby"),
        // Lists.
        ("host = h  user='a b'\tpassword = 'it\\'s \\\\'", "h:5432 user=a b password=it's \\"),
        ("host=h password=a\\ b dbname=", "h:5432 password=a b"),
        ("host=h password='' user=''", "h:5432"),
        // Schemas and other settings.
        ("postgres://db/c?sslmode=disable&search_path=coder", "db:5432 dbname=c search_path:coder"),
        ("postgres://db/c?options=-csearch_path%3Dcoder", "db:5432 dbname=c search_path:coder"),
        (
            "postgres://db?options=-c%20search_path%3Da,%5C%20b%20--lock-timeout=1s",
            "db:5432 search_path:a, b lock_timeout:1s",
        ),
        (
            "postgres://db?search_path=a&options=-c%20search_path=a%20-cwork_mem=8MB",
            "db:5432 search_path:a work_mem:8MB",
        ),
        (
            "postgres://db?search_path=%22%24user%22,%20public",
            "db:5432 search_path:\"$user\", public",
        ),
        ("host=db options='-c jit=on' lock_timeout=500", "db:5432 jit:on lock_timeout:500"),
        ("postgres://db?options=", "db:5432"),
        ("postgres://db?app.tenant=x&Role=authd", "db:5432 app.tenant:x role:authd"),
        ("postgres://db?TimeZone=America/St_Johns&datestyle=ISO", "db:5432 datestyle:ISO"),
        ("postgres://db?statement_timeout=5s", "db:5432 statement_timeout=5s"),
        ("postgres://db?options=-cstatement_timeout=250", "db:5432 statement_timeout=250ms"),
        ("postgres://db?statement_timeout=2min", "db:5432 statement_timeout=120s"),
        // TLS.
        ("postgres://db?sslmode=disable&sslsni=0", "db:5432"),
        ("postgres://db?sslmode=prefer", "db:5432"),
        ("postgres://db?sslmode=allow", "db:5432"),
        ("postgres://db?sslmode=require", "db:5432 roots=system"),
        ("postgres://db?%73slmode=%72equire", "db:5432 roots=system"),
        ("postgres://db?ssl=true", "db:5432 roots=system"),
        ("host=db sslmode = require", "db:5432 roots=system"),
        ("postgres://db?sslmode=verify-ca&sslrootcert=system", "db:5432 roots=system"),
        ("postgres://db?sslrootcert=system", "db:5432 roots=system"),
        (
            "postgres://db?sslmode=verify-full&sslrootcert=%2Fca%20s.pem&sslsni=0",
            "db:5432 roots=/ca s.pem sni=off",
        ),
        (
            "host=db sslmode=verify-full sslrootcert='/ca s.pem' sslcompression=0",
            "db:5432 roots=/ca s.pem",
        ),
        (
            "postgres://db?sslmode=require&sslcert=/c&sslkey=/k&sslpassword=p",
            "db:5432 roots=system certificate=/c key=/k passphrase=p",
        ),
        (
            "postgres://db?sslmode=require&sslcert=/c&sslkey=/k&sslcertmode=disable",
            "db:5432 roots=system",
        ),
        (
            "postgres://db?sslmode=require&sslinline=true&sslcert=C&sslkey=K&sslrootcert=R",
            "db:5432 roots=(R) certificate=(C) key=(K)",
        ),
        ("postgres://db?sslmode=require&sslnegotiation=direct", "db:5432 roots=system direct=yes"),
        (
            "postgres://db?sslmode=require&sslnegotiation=postgres&ssl_min_protocol_version=TLSv1",
            "db:5432 roots=system",
        ),
        (
            "postgres://db?sslmode=require&channel_binding=require",
            "db:5432 channel_binding=require roots=system",
        ),
        // The rest.
        (
            "postgres://db?connect_timeout=10&application_name=a",
            "db:5432 connect_timeout=10s application_name=a",
        ),
        (
            "postgres://db?connect_timeout=0&fallback_application_name=b",
            "db:5432 application_name=b",
        ),
        (
            "postgres://db?application_name=a&fallback_application_name=b",
            "db:5432 application_name=a",
        ),
        (
            "postgres://db?keepalives=1&keepalives_idle=9&keepalives_interval=9&keepalives_count=9",
            "db:5432",
        ),
        ("postgres://db?tcp_user_timeout=5000&gssencmode=disable", "db:5432"),
        ("postgres://db?client_encoding=UTF8&binary_parameters=yes", "db:5432"),
        ("postgres://a@db/d?passfile=/run/pw", "db:5432 dbname=d user=a passfile=/run/pw"),
        ("postgres://db/d?user=me@corp&password=x", "db:5432 dbname=d user=me@corp password=x"),
    ] {
        match DatabaseUrl::parse(text) {
            Ok(url) => assert_eq!(said(&url), expected, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[test]
fn what_is_not_understood_is_named_and_no_secret_is() {
    // Each `hunter2` is a password or a piece of one.
    for (text, expected) in [
        // The form.
        ("", "empty"),
        ("  ", "empty"),
        ("hunter2", "it is neither a URL nor `NAME=VALUE`"),
        ("mysql://u:hunter2@h", "must begin with `postgresql://`"),
        ("mysql://u:hunter2@h?a=b", "must begin with `postgresql://`"),
        ("postgresql:/u:hunter2@h", "neither a URL nor"),
        ("POSTGRES://u:hunter2@h", "must begin with"),
        ("host=h password=a hunter2", "what follows `password` is neither"),
        ("host=h password=a hunter2=b", "a parameter is not a parameter that authd knows"),
        ("host=h password='hunter2", "the value of `password` has no closing quote"),
        ("host=h sslmode", "what follows `host`"),
        ("postgres://h?sslmode", "after `?`, something is not `NAME=VALUE`"),
        ("postgres://h?user=u&password=a&hunter2=b", "a parameter is not"),
        ("postgres://u:%hunter2@h", "in the user or the password, `%`"),
        ("postgres://u:hunter2%ff@h", "in the user or the password, `%`"),
        ("postgres://u:hunter2%00@h", "in the user or the password, `%`"),
        ("postgres://h?sslrootcert=%f", "in `sslrootcert`, `%`"),
        ("postgres://h?sslrootcert=%+1", "in `sslrootcert`, `%`"),
        ("postgres://h?sslmode=disable&sslmode=require", "`sslmode` is given twice"),
        ("postgres://u:a@h?password=hunter2", "`password` is given twice"),
        // Passwords that are not encoded.
        ("postgres://u:a/hunter2@h/d", "`%2F`"),
        ("postgres://u:1/hunter2@h/d", "`%2F`"),
        ("postgres://u:hunter2/b@h/d", "`%2F`"),
        ("postgres://u:a?hunter2@h/d", "`%3F`"),
        ("postgres://u:a?hunter2=b@h/d", "`%3F`"),
        ("postgres://u:a@hunter2?x=b@h/d", "`%3F`"),
        ("postgres://u:hunter2", "a port is not a number from 1 to 65535"),
        // Hosts.
        ("postgres://", "names no host"),
        ("postgres:///d", "names no host"),
        ("user=u password=hunter2", "names no host"),
        ("postgres://a,/d", "a `host` is empty"),
        ("postgres://u:hunter2@h:x/d", "a port is not"),
        ("postgres://h:0", "a port is not"),
        ("postgres://h:65536", "a port is not"),
        ("postgres://[::1/d", "begins with `[`"),
        ("postgres://[::1]5/d", "begins with `[`"),
        ("host=a,b port=1,2,3", "`port` has 3 entries for 2 hosts"),
        ("host=a,b hostaddr=::1", "`host` has 2 entries and `hostaddr` has 1"),
        ("hostaddr=h", "`hostaddr` is not an IP address"),
        ("host=@abstract", "abstract socket"),
        ("host='a b'", "no host name has"),
        ("hostaddr=::1 sslmode=require", "TLS has nothing to verify"),
        (
            "host=h target_session_attrs=write",
            "`target_session_attrs` is not `any`, `read-write`, `read-only`, `primary`, `standby` or `prefer-standby`",
        ),
        ("host=h load_balance_hosts=yes", "`load_balance_hosts` is not `disable` or `random`"),
        // TLS.
        ("postgres://h?sslmode=sure", "`sslmode` is not `disable`, `allow`"),
        ("postgres://h?sslmode=", "`sslmode` is not"),
        ("postgres://h?sslmode=require#x", "`sslmode` is not"),
        ("postgres://h?SSLMODE=require", "`SSLMODE` is not a parameter"),
        (
            "postgres://h?sslmod=require",
            "`sslmod` is not a parameter that authd knows; what the server shall set is written `options=-cNAME=VALUE`",
        ),
        ("postgres://h?ssl=false", "`ssl` is not a parameter"),
        (
            "postgres://h?sslrootcert=/ca.pem",
            "`sslrootcert` is for TLS, which needs `sslmode=require`",
        ),
        ("postgres://h?sslmode=prefer&sslcert=/c&sslkey=/k", "`sslcert` is for TLS"),
        ("postgres://h?sslnegotiation=direct", "`sslnegotiation` is for TLS"),
        ("postgres://h?sslmode=require&sslcert=/c", "`sslcert` needs an `sslkey`"),
        ("postgres://h?sslmode=require&sslkey=/k", "`sslkey` needs an `sslcert`"),
        ("postgres://h?sslmode=require&sslinline=1&sslkey=hunter2", "`sslkey` needs an `sslcert`"),
        (
            "postgres://h?sslmode=require&ssl_max_protocol_version=TLSv1.1",
            "`ssl_max_protocol_version` is not `TLSv1.2` or `TLSv1.3`",
        ),
        (
            "postgres://h?sslmode=require&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "is newer than",
        ),
        ("postgres://h?channel_binding=on", "`channel_binding` is not"),
        ("postgres://h?sslcrl=/crl", "`sslcrl` is not supported: revocation"),
        // Settings.
        ("postgres://h?search_path=", "`search_path` is empty"),
        ("postgres://h?options=-csearch_path=", "`search_path` is empty"),
        (
            "postgres://h?search_path=a&options=-csearch_path=b",
            "`search_path` is given twice, with different values",
        ),
        (
            "postgres://h?options=search_path=a",
            "`options` holds something else than `-cNAME=VALUE`",
        ),
        ("postgres://h?options=-c", "`options` holds"),
        ("postgres://h?options=-chunter2", "`options` holds"),
        ("postgres://h?options=-e", "`options` holds"),
        ("postgres://h?statement_timeout=0", "`statement_timeout` is not"),
        ("postgres://h?statement_timeout=5x", "`statement_timeout` is not"),
        ("postgres://h?statement_timeout=90d", "`statement_timeout` is not"),
        ("host=h passw0rd=hunter2", "`passw0rd` is not a parameter"),
        ("postgres://h?a'b=hunter2", "a parameter is not"),
        ("postgres://h?client_encoding=LATIN1", "`client_encoding` is not `UTF8`"),
        // The rest.
        ("postgres://h?connect_timeout=soon", "`connect_timeout` is not a number from 0 to 3600"),
        ("postgres://h?connect_timeout=-1", "`connect_timeout` is not a number"),
        ("postgres://h?keepalives=2", "`keepalives` is not a number from 0 to 1"),
        ("postgres://h?keepalives_idle=x", "`keepalives_idle` is not a number"),
        ("postgres://h?tcp_user_timeout=", "`tcp_user_timeout` is not a number"),
        ("postgres://h?gssencmode=require", "`gssencmode` is not `disable` or `prefer`"),
        ("postgres://h?service=prod", "`service` is not supported: write its parameters out"),
        ("postgres://h?require_auth=scram-sha-256", "`require_auth` is not supported"),
        ("postgres://h?passfile=/run/pw", "`passfile` needs a `user`"),
    ] {
        let error = match DatabaseUrl::parse(text) {
            Ok(url) => panic!("{text} is understood: {url:?}"),
            Err(error) => error,
        };
        let Error::InvalidUrl { reason } = &error else { panic!("{text}: {error}") };
        assert!(reason.contains(expected), "{text}: {reason}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn nothing_prints_a_secret() {
    for text in [
        "postgres://u:hunter2@h/d?app.secret=hunter2&options=-capp.key%3Dhunter2",
        "postgres://h?password=hunter2",
        "host=h password=hunter2",
        "postgres://h?sslmode=require&sslinline=true&sslcert=c&sslkey=hunter2&sslpassword=hunter2",
    ] {
        let url = DatabaseUrl::parse(text).unwrap();
        assert!(!format!("{url:?} {url:#?}").contains("hunter2"), "{url:?}");
    }
}

#[test]
fn settings_survive_the_way_to_the_server() {
    let value = "a b\t\\ \"$user\", 'x'=\u{b}y";
    let options = to_options([("search_path", value), ("jit", "off")]);
    let url = format!("host=h options='{}'", options.replace('\\', "\\\\").replace('\'', "\\'"));
    let url = DatabaseUrl::parse(&url).unwrap();
    let settings: Vec<_> = url.settings.iter().collect();
    assert_eq!(settings, [("search_path", value), ("jit", "off")]);
}

#[test]
fn a_server_must_be_what_is_asked_for() {
    use SessionAttributes::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    // A primary, a primary whose sessions are read-only, and a standby.
    let servers = [(false, false), (false, true), (true, true)];
    for (wanted, fits) in [
        (Any, [true, true, true]),
        (ReadWrite, [true, false, false]),
        (ReadOnly, [false, true, true]),
        (Primary, [true, true, false]),
        (Standby, [false, false, true]),
        (PreferStandby, [true, true, true]),
    ] {
        let found = servers.map(|(standby, read_only)| wanted.fault(standby, read_only).is_none());
        assert_eq!(found, fits, "{wanted:?}");
    }
}
