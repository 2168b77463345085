use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    Audience, Claimed, Cloud, Denied, Error, InstanceId, Policy, VerifiedInstance,
    challenge::{AUDIENCE_SEPARATOR, is_nonce},
    json,
    json::Object,
    policy::allows,
    rejection::INSTANCE_ID,
};

/// What Google signed about an instance, besides its id
///
/// The claims of an identity token ("Verify the identity of VM instances", format
/// `full`). `None` where the token has none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// The project that owns the instance
    pub project_id: Option<String>,
    /// The number of the instance's project
    pub project_number: Option<u64>,
    /// The zone that the instance runs in
    pub zone: Option<String>,
    /// The instance's name, which another instance may have later
    pub instance_name: Option<String>,
    /// When the instance was created
    pub created: Option<SystemTime>,
    /// Above zero if the instance is a confidential VM
    pub instance_confidentiality: Option<u64>,
    /// The address of the instance's service account, if Google says that it verified it
    pub service_account: Option<String>,
    /// The nonce behind the audience, if the machine asked for a token with one
    pub nonce: Option<String>,
    /// When the token was made
    pub issued: SystemTime,
    /// When the token ends
    pub expires: SystemTime,
}

/// The payload of a token whose signature has been verified
#[derive(Deserialize)]
pub(crate) struct Payload<'a> {
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aud: Option<Aud<'a>>,
    exp: Option<u64>,
    iat: Option<u64>,
    nbf: Option<u64>,
    email: Option<String>,
    email_verified: Option<bool>,
    /// Decoded separately, because only a machine's token has these claims
    #[serde(borrow)]
    google: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Google {
    compute_engine: Option<Object<ComputeEngine>>,
}

#[derive(Deserialize)]
struct ComputeEngine {
    instance_id: Option<String>,
    instance_name: Option<String>,
    project_id: Option<String>,
    project_number: Option<u64>,
    zone: Option<String>,
    instance_creation_timestamp: Option<u64>,
    instance_confidentiality: Option<u64>,
}

/// One audience or a list of them (RFC 7519, 4.1.3)
enum Aud<'a> {
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl Aud<'_> {
    /// How the token names the audience that is demanded, if it does
    fn named(&self, demanded: &Audience) -> Option<Named<'_>> {
        match self {
            Self::One(one) => named(one, demanded),
            Self::Many(many) => many.iter().find_map(|one| named(one, demanded)),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::One(one) => one.clone().into_owned(),
            Self::Many(many) => many.join(", "),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Aud<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AudVisitor)
    }
}

/// An audience that is ours, with or without a nonce behind it
struct Named<'a> {
    nonce: Option<&'a str>,
}

/// Compares the whole text: nothing but a nonce may stand behind the audience
fn named<'a>(audience: &'a str, demanded: &Audience) -> Option<Named<'a>> {
    let (own, nonce) = match audience.rsplit_once(AUDIENCE_SEPARATOR) {
        Some((own, nonce)) if is_nonce(nonce) => (own, Some(nonce)),
        _ => (audience, None),
    };
    match demanded {
        Audience::Is(demanded) if audience == demanded => Some(Named { nonce: None }),
        Audience::Is(demanded) => (own == demanded).then_some(Named { nonce }),
        Audience::Any => Some(Named { nonce }),
    }
}

/// Not a derived untagged enum, which copies the value before it looks at it
struct AudVisitor;

impl<'de> Visitor<'de> for AudVisitor {
    type Value = Aud<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an audience or a list of audiences")
    }

    fn visit_borrowed_str<E>(self, one: &'de str) -> Result<Aud<'de>, E> {
        Ok(Aud::One(Cow::Borrowed(one)))
    }

    fn visit_str<E>(self, one: &str) -> Result<Aud<'de>, E> {
        Ok(Aud::One(Cow::Owned(one.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Aud<'de>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Aud::Many)
    }
}

impl<'a> Payload<'a> {
    /// Parses the exact bytes that were signed
    pub(crate) fn parse(signed: &'a [u8]) -> Result<Self, Error> {
        json::object(signed).ok_or(Error::malformed("the signed bytes are not an identity token"))
    }

    /// What it says of its machine
    pub(super) fn claimed(&self) -> Claimed {
        let google = self.google.and_then(|google| serde_json::from_str(google.get()).ok());
        let instance = google.and_then(|Object(google): Object<Google>| google.compute_engine);
        let claimed = Claimed::default().with("service_account", self.email.as_deref());
        let Some(Object(instance)) = instance else { return claimed };
        claimed
            .with(INSTANCE_ID, instance.instance_id.as_deref())
            .with("project_id", instance.project_id.as_deref())
            .with("zone", instance.zone.as_deref())
            .with(
                "created",
                instance.instance_creation_timestamp.map(|at| at.to_string()).as_deref(),
            )
    }

    /// The setting that is the cause of `error`, and the value it refuses
    pub(super) fn denied(&self, error: &Error, claimed: &Claimed) -> Option<Denied> {
        Some(match error {
            Error::AudienceMismatch => {
                let audience = self.aud.as_ref().map(Aud::to_text);
                Denied::new("google_audience", audience.as_deref())
            }
            Error::Expired { .. } => {
                Denied::new("leeway_seconds", self.exp.map(|exp| exp.to_string()).as_deref())
            }
            Error::NotYetValid { what: INSTANCE, .. }
            | Error::MissingClaim { claim: CREATED }
            | Error::InstanceTooOld { .. } => {
                Denied::new("google_max_instance_age_seconds", claimed.get("created"))
            }
            Error::NotYetValid { .. } => {
                // `iat`, or `nbf` if that is later.
                let begin = self.iat.max(self.nbf).map(|begin| begin.to_string());
                Denied::new("leeway_seconds", begin.as_deref())
            }
            Error::MissingClaim { claim: "aud" } => Denied::new("google_audience", None),
            Error::LifetimeTooLong { .. } => {
                let seconds = self.exp.zip(self.iat).map(|(exp, iat)| exp.saturating_sub(iat));
                let seconds = seconds.map(|seconds| seconds.to_string());
                Denied::new("google_max_lifetime_seconds", seconds.as_deref())
            }
            Error::ProjectNotAllowed => {
                Denied::new("google_allowed_projects", claimed.get("project_id"))
            }
            Error::ServiceAccountNotAllowed => {
                // An address that Google did not verify does not count, even if it is listed.
                let verified = self.email.as_deref().filter(|_| self.email_verified == Some(true));
                Denied::new("google_allowed_service_accounts", verified)
            }
            _ => return None,
        })
    }

    /// Applies the rules of JWT, the policy and, last, demands an instance id
    pub(super) fn check(self, policy: &Policy, now: SystemTime) -> Result<VerifiedInstance, Error> {
        let issuer = self.iss.as_deref().ok_or(Error::missing("iss"))?;
        if !ISSUERS.contains(&issuer) {
            return Err(Error::IssuerMismatch);
        }
        let (issued, expires) = self.check_times(policy, now)?;
        let nonce = match (&self.aud, &policy.google_audience) {
            (None, Audience::Any) => None,
            (None, Audience::Is(_)) => return Err(Error::missing("aud")),
            (Some(aud), demanded) => {
                aud.named(demanded).ok_or(Error::AudienceMismatch)?.nonce.map(str::to_owned)
            }
        };

        let service_account = self.email.filter(|_| self.email_verified == Some(true));
        let google = self.google.ok_or(Error::missing("google"))?;
        let Object(google): Object<Google> =
            serde_json::from_str(google.get()).map_err(|_| Error::MalformedClaims)?;
        let Object(instance) =
            google.compute_engine.ok_or(Error::missing("google.compute_engine"))?;
        if !allows(policy.google_allowed_projects.as_ref(), instance.project_id.as_deref()) {
            return Err(Error::ProjectNotAllowed);
        }
        let service_accounts = policy.google_allowed_service_accounts.as_ref();
        if !allows(service_accounts, service_account.as_deref()) {
            return Err(Error::ServiceAccountNotAllowed);
        }
        let created = instance.instance_creation_timestamp.map(moment).transpose()?;
        if let Some(max_seconds) = policy.google_max_instance_age_seconds {
            let created = created.ok_or(Error::missing(CREATED))?;
            policy.check_begun(INSTANCE, created, now)?;
            policy.check_age(INSTANCE, created, max_seconds, now).map_err(|_| {
                let limit = Duration::from_secs(max_seconds);
                Error::InstanceTooOld { created, time: now, limit }
            })?;
        }
        let id =
            InstanceId::parse(Cloud::Google, instance.instance_id.as_deref().unwrap_or_default())?;
        let claims = Claims {
            project_id: instance.project_id,
            project_number: instance.project_number,
            zone: instance.zone,
            instance_name: instance.instance_name,
            created,
            instance_confidentiality: instance.instance_confidentiality,
            service_account,
            nonce,
            issued,
            expires,
        };
        Ok(VerifiedInstance::new(id, crate::Claims::Google(claims)))
    }

    /// Holds `exp`, `iat` and `nbf` against the clock (RFC 7519, 4.1.4 to 4.1.6);
    /// answers `iat` and `exp`
    fn check_times(
        &self,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<(SystemTime, SystemTime), Error> {
        const TOKEN: &str = "the token";
        let exp = self.exp.ok_or(Error::missing("exp"))?;
        let iat = self.iat.ok_or(Error::missing("iat"))?;
        let expires = moment(exp)?;
        policy.check_before_end(TOKEN, expires, now)?;
        let issued = moment(iat)?;
        policy.check_begun(TOKEN, issued, now)?;
        if let Some(nbf) = self.nbf {
            policy.check_begun(TOKEN, moment(nbf)?, now)?;
        }
        let lifetime = Duration::from_secs(exp.saturating_sub(iat));
        match policy.google_max_lifetime_seconds.map(Duration::from_secs) {
            Some(limit) if lifetime > limit => Err(Error::LifetimeTooLong { lifetime, limit }),
            _ => Ok((issued, expires)),
        }
    }
}

/// The time of a NumericDate of whole seconds
fn moment(seconds: u64) -> Result<SystemTime, Error> {
    // RFC 3339 ends with the year 9999, and the times of some platforms soon after.
    const END: u64 = 253_402_300_800;
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds < END)
        .ok_or(Error::malformed("a date of the token is beyond the year 9999"))
}

const INSTANCE: &str = "the instance";
const CREATED: &str = "instance_creation_timestamp";

/// Google documents both ("OpenID Connect", "Validating an ID token")
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
