use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

#[cfg(feature = "postgres")]
use crate::pg::schema::sql_types;

/// Declares an enumeration of the database
///
/// An enumeration that decisions also use converts `into` their type. The two types stay apart:
/// rows have the defaults of their columns and a form in JSON, and decisions have neither.
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
        impl super::CopyValue for $name {
            fn write(&self, out: &mut String) {
                out.push_str(self.as_str());
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
    /// Result of an app's last health check
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
    /// Who answers cross-origin preflight requests for an app
    CorsBehavior {
        #[default]
        Simple = "simple",
        Passthru = "passthru",
    } into app_authz::app::CorsBehavior
);

value!(
    ProvisionerJobType,
    /// The purpose of a provisioner job
    JobType {
        TemplateVersionImport = "template_version_import",
        #[default]
        WorkspaceBuild = "workspace_build",
        TemplateVersionDryRun = "template_version_dry_run",
    } into app_authz::jobs::JobKind
);

value!(
    WorkspaceAgentLifecycleState,
    /// Lifecycle state of an agent
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
    /// How a user signed in
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
    /// The protocol of a shared port
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
    } into app_authz::app::SharingLevel
);

value!(
    WorkspaceTransition,
    /// What a build does to its workspace
    Transition {
        #[default]
        Start = "start",
        Stop = "stop",
        Delete = "delete",
    } into app_authz::app::Transition
);

value!(
    UserStatus,
    /// Account status of a user
    UserStatus {
        Active = "active",
        Suspended = "suspended",
        #[default]
        Dormant = "dormant",
    } into app_authz::credential::UserStatus
);

/// A scope of an API key: its label in the database, such as `coder:all`
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(
    feature = "postgres",
    derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)
)]
#[cfg_attr(feature = "postgres", diesel(sql_type = sql_types::ApiKeyScope))]
pub struct KeyScope(pub String);

impl KeyScope {
    /// Everything that the user of the key may do
    #[must_use]
    pub fn all() -> Self {
        Self("coder:all".to_owned())
    }

    /// Opening apps, and nothing else
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
    /// The purpose of a key in `crypto_keys`
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

/// From text only; errors never contain it
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
