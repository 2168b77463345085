use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

#[cfg(feature = "postgres")]
use crate::pg::schema::sql_types;

/// An enumeration of the database, whose labels rows hold
///
/// One that a decision knows as well converts into its type there. The two stay apart: rows have
/// the defaults of their columns and a form in JSON, and a decision has neither.
macro_rules! value {
    ($sql_type:ident, $(#[$doc:meta])* $name:ident {
        $($(#[$attr:meta])* $variant:ident = $text:literal,)*
    } into $domain:ty) => {
        value!($sql_type, $(#[$doc])* $name { $($(#[$attr])* $variant = $text,)* });

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant,)* }
            }
        }
    };
    ($sql_type:ident, $(#[$doc:meta])* $name:ident {
        $($(#[$attr:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "postgres", derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow))]
        #[cfg_attr(feature = "postgres", diesel(sql_type = sql_types::$sql_type))]
        #[allow(missing_docs)] // the variants are the labels of the type
        #[non_exhaustive]
        pub enum $name {
            $($(#[$attr])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The label in the database
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value of a label in the database
            #[must_use]
            pub fn of_label(label: &str) -> Option<Self> {
                [$(Self::$variant,)*].into_iter().find(|value| value.as_str() == label)
            }
        }

        #[cfg(feature = "postgres")]
        impl diesel::serialize::ToSql<sql_types::$sql_type, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                std::io::Write::write_all(out, self.as_str().as_bytes())?;
                Ok(diesel::serialize::IsNull::No)
            }
        }

        #[cfg(feature = "postgres")]
        impl diesel::deserialize::FromSql<sql_types::$sql_type, diesel::pg::Pg> for $name {
            fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                let label = std::str::from_utf8(bytes.as_bytes())?;
                let unknown =
                    || format!("`{label}` is not a label of {}", stringify!($sql_type)).into();
                Self::of_label(label).ok_or_else(unknown)
            }
        }
    };
}

value!(
    WorkspaceAppHealth,
    /// What an app's health check last said
    AppHealth {
        #[default]
        Disabled = "disabled",
        Initializing = "initializing",
        Healthy = "healthy",
        Unhealthy = "unhealthy",
    }
);

value!(
    CorsBehavior,
    /// Who answers an app's cross-origin preflights
    CorsBehavior {
        #[default]
        Simple = "simple",
        Passthru = "passthru",
    } into app_authz::CorsBehavior
);

value!(
    ProvisionerJobType,
    /// What a job is for
    JobType {
        TemplateVersionImport = "template_version_import",
        #[default]
        WorkspaceBuild = "workspace_build",
        TemplateVersionDryRun = "template_version_dry_run",
    } into app_authz::JobKind
);

value!(
    WorkspaceAgentLifecycleState,
    /// How far an agent's start or stop got
    LifecycleState {
        #[default]
        Created = "created",
        Starting = "starting",
        StartTimeout = "start_timeout",
        StartError = "start_error",
        Ready = "ready",
        ShuttingDown = "shutting_down",
        ShutdownTimeout = "shutdown_timeout",
        ShutdownError = "shutdown_error",
        Off = "off",
    }
);

value!(
    LoginType,
    /// How a user or a key signed in
    LoginType {
        #[default]
        Password = "password",
        Github = "github",
        Oidc = "oidc",
        Token = "token",
        None = "none",
        Oauth2ProviderApp = "oauth2_provider_app",
    } into app_authz::credential::LoginType
);

value!(
    PortShareProtocol,
    /// What a shared port speaks
    PortShareProtocol {
        #[default]
        Http = "http",
        Https = "https",
    }
);

value!(
    AppSharingLevel,
    /// Who may open an app or port
    SharingLevel {
        #[default]
        Owner = "owner",
        Authenticated = "authenticated",
        Organization = "organization",
        Public = "public",
    } into app_authz::SharingLevel
);

value!(
    WorkspaceTransition,
    /// What a build does to its workspace
    Transition {
        #[default]
        Start = "start",
        Stop = "stop",
        Delete = "delete",
    } into app_authz::Transition
);

value!(
    UserStatus,
    /// Whether a user may sign in
    UserStatus {
        Active = "active",
        Suspended = "suspended",
        #[default]
        Dormant = "dormant",
    } into app_authz::credential::UserStatus
);

/// What a key may do, by the label in the database, such as `coder:all`
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(
    feature = "postgres",
    derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)
)]
#[cfg_attr(feature = "postgres", diesel(sql_type = sql_types::ApiKeyScope))]
pub struct KeyScope(pub String);

impl KeyScope {
    /// All that its user may do
    #[must_use]
    pub fn all() -> Self {
        Self("coder:all".to_owned())
    }

    /// To open apps, and nothing else
    #[must_use]
    pub fn application_connect() -> Self {
        Self("coder:application_connect".to_owned())
    }
}

#[cfg(feature = "postgres")]
impl diesel::serialize::ToSql<sql_types::ApiKeyScope, diesel::pg::Pg> for KeyScope {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        std::io::Write::write_all(out, self.0.as_bytes())?;
        Ok(diesel::serialize::IsNull::No)
    }
}

value!(
    CryptoKeyFeature,
    /// What a key of the deployment's own is for
    KeyFeature {
        #[default]
        WorkspaceAppsToken = "workspace_apps_token",
        WorkspaceAppsApiKey = "workspace_apps_api_key",
    } into app_authz::token::Feature
);

macro_rules! secret {
    ($sql_type:ident, $(#[$attr:meta])* $name:ident($inner:ty)) => {
        $(#[$attr])*
        #[derive(Clone, PartialEq, Eq)]
        #[cfg_attr(feature = "postgres", derive(diesel::expression::AsExpression))]
        #[cfg_attr(feature = "postgres", diesel(sql_type = diesel::sql_types::$sql_type))]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        #[cfg(feature = "postgres")]
        impl diesel::serialize::ToSql<diesel::sql_types::$sql_type, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                <$inner as diesel::serialize::ToSql<
                    diesel::sql_types::$sql_type,
                    diesel::pg::Pg,
                >>::to_sql(&self.0, out)
            }
        }
    };
}

secret!(
    Text,
    /// A secret text, of which `Debug` prints nothing
    #[derive(Default, Serialize, Deserialize)]
    #[serde(transparent)]
    Hidden(String)
);

secret!(
    Uuid,
    /// An agent's session token, of which `Debug` prints nothing
    #[derive(Copy, Serialize)]
    #[serde(transparent)]
    Token(Uuid)
);

/// From a text alone, and without a word of it in the error
impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(Self).map_err(|_| D::Error::custom("not a UUID"))
    }
}

secret!(
    Binary,
    /// The digest of a secret, of which `Debug` prints nothing
    ///
    /// In JSON it is the text that PostgreSQL prints: `\\x` and hexadecimal digits.
    Digest(Vec<u8>)
);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&format!("\\x{digits}"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.strip_prefix("\\x").and_then(|digits| {
            // `from_str_radix` would take a sign for a digit.
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
            let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            rest.is_empty().then(|| pairs.iter().map(|pair| byte(pair)).collect::<Option<_>>())?
        });
        bytes.map(Self).ok_or_else(|| D::Error::custom("not `\\x` and hexadecimal digits"))
    }
}
