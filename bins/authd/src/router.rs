use hyper::Method;

use crate::error::Failure;

/// What a request asks for, by method and path
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    AwsInstanceIdentity,
    AzureInstanceIdentity,
    GoogleInstanceIdentity,
    Healthz,
    Metrics,
    Readyz,
}

impl Route {
    /// Finds the route of an exact path
    ///
    /// Nothing is decoded, folded or trimmed: a path that needs normalising is not
    /// one of ours.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Failure> {
        let (route, allowed) = match path {
            "/api/v2/workspaceagents/aws-instance-identity" => (Self::AwsInstanceIdentity, "POST"),
            "/api/v2/workspaceagents/azure-instance-identity" => {
                (Self::AzureInstanceIdentity, "POST")
            }
            "/api/v2/workspaceagents/google-instance-identity" => {
                (Self::GoogleInstanceIdentity, "POST")
            }
            "/healthz" => (Self::Healthz, "GET, HEAD"),
            "/metrics" => (Self::Metrics, "GET, HEAD"),
            "/readyz" => (Self::Readyz, "GET, HEAD"),
            _ => return Err(Failure::RouteNotFound),
        };
        if allowed.split(", ").any(|allowed| allowed == method.as_str()) {
            Ok(route)
        } else {
            Err(Failure::MethodNotAllowed { allowed })
        }
    }

    /// The label under which metrics and logs know the route
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AwsInstanceIdentity => "aws-instance-identity",
            Self::AzureInstanceIdentity => "azure-instance-identity",
            Self::GoogleInstanceIdentity => "google-instance-identity",
            Self::Healthz => "healthz",
            Self::Metrics => "metrics",
            Self::Readyz => "readyz",
        }
    }

    /// Whether the route is answered even when authd has all the work it can take
    ///
    /// Whoever watches authd must be able to tell "busy" from "dead".
    pub(crate) const fn is_operational(self) -> bool {
        matches!(self, Self::Healthz | Self::Metrics | Self::Readyz)
    }
}
