use std::borrow::Cow;

use app_authz::app::{AgentStatus, ResolveError};
use app_authz::credential::{SessionDenial, UserStatus};
use http::StatusCode;
use identity_verify::Cloud;

use super::{access, rejection, sign_in};
use crate::reply::Problem;

/// What a client gets for a decision or an error of one of the libraries
///
/// The libraries know no HTTP. A server that has routes of its own beside theirs answers as the routes
/// of this crate do, whose agents, proxies and dashboards know these statuses and sentences. The
/// answer has no more of the cause than a client may learn: log the error itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status of the answer
    pub status: StatusCode,
    /// A stable word, for metrics, logs and the audit
    pub class: &'static str,
    /// What went wrong, in one sentence: `message` of a JSON answer
    pub message: Cow<'static, str>,
    /// What the client can do, or what was expected: `detail` of a JSON answer
    pub detail: Cow<'static, str>,
    /// Whether the same request may succeed when it is repeated
    pub retry: bool,
}

impl Answer {
    /// For a proof that a verifier of that cloud rejects
    ///
    /// 401, but 400 for claims that cannot be read, and 503 if the proof could not be verified for
    /// want of keys or of the memory of earlier proofs: the machine is not at fault and should retry.
    /// The class is the same for all, and the detail is the stable word of the error.
    #[must_use]
    pub fn of_proof(error: &identity_verify::Error, cloud: Cloud) -> Self {
        sign_in::invalid_identity(error.reason(), cloud).into()
    }

    /// For the decision that an instance does not get an agent's token
    ///
    /// `agent_name` is the name that the instance has asked for. The messages are those of the
    /// control plane, which its agents show to their users.
    #[must_use]
    pub fn of_sign_in(
        denial: &agent_auth::Denial,
        instance_id: &str,
        agent_name: Option<&str>,
    ) -> Self {
        sign_in::denied(denial, instance_id, agent_name).into()
    }

    /// For the decision that a visitor may not open an app
    ///
    /// A signed-in visitor learns only that nothing was found, as the reason would reveal that the app
    /// exists. Show the [warnings](app_authz::Denial::warnings) too. A visitor who is not signed in is
    /// to be redirected ([`Envelope::sign_in`](app_authz::address::Envelope::sign_in)) when navigating;
    /// this is the answer to a program.
    #[must_use]
    pub fn of_access(denial: &app_authz::Denial) -> Self {
        rejection::denied(denial.reason()).into()
    }

    /// For a request that does not lead to an app, with an address that a visitor wrote
    #[must_use]
    pub fn of_address(error: ResolveError) -> Self {
        rejection::not_openable(error).into()
    }

    /// For a request that needs a session and has none, or one that is not good
    #[must_use]
    pub fn of_session(denial: Option<SessionDenial>) -> Self {
        access::signed_out(denial).into()
    }

    /// For a visitor whose session is good, and whose account is not active
    ///
    /// [`identify`](app_authz::credential::identify) returns such a visitor as `Blocked`.
    #[must_use]
    pub fn of_inactive_user(status: UserStatus) -> Self {
        rejection::inactive(status).into()
    }

    /// For a permitted visit to an agent that is not connected; `None` if it is
    ///
    /// Look at the status only after the decision: it is revealed to visitors who may open the app.
    #[must_use]
    pub fn of_agent(status: AgentStatus) -> Option<Self> {
        match status {
            AgentStatus::Connected => None,
            other => Some(rejection::agent_not_connected(other).into()),
        }
    }
}

impl From<Problem<'_>> for Answer {
    fn from(problem: Problem<'_>) -> Self {
        let Problem { status, class, retry, .. } = problem;
        // A page may offer to load it again after the visitor has done something about it.
        let retry = status == StatusCode::SERVICE_UNAVAILABLE || retry && status.is_server_error();
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Self { status, class, retry, message: own(problem.message), detail: own(problem.detail) }
    }
}

#[cfg(test)]
mod tests {
    use agent_auth::Denial;
    use app_authz::app::Reason;
    use identity_verify::Error;

    use super::*;

    fn short(answer: &Answer) -> (u16, &'static str) {
        (answer.status.as_u16(), answer.class)
    }

    #[test]
    fn every_rejected_proof_has_a_status() {
        for reason in identity_verify::Reason::ALL {
            for (cloud, message) in [
                (Cloud::Aws, "Invalid AWS identity."),
                (Cloud::Azure, "Invalid Azure identity."),
                (Cloud::Google, "Invalid GCP identity."),
            ] {
                let answer = Answer::from(sign_in::invalid_identity(*reason, cloud));
                let status = match reason {
                    identity_verify::Reason::MalformedClaims => 400,
                    identity_verify::Reason::KeysUnavailable
                    | identity_verify::Reason::PinsUnavailable => 503,
                    _ => 401,
                };
                assert_eq!(short(&answer), (status, "invalid_identity"), "{reason}");
                assert_eq!(answer.detail, reason.as_str());
                assert_eq!(answer.message == message, status == 401, "{reason}: {answer:?}");
                assert_eq!(answer.retry, status == 503, "{reason}");
            }
        }
        let answer = Answer::of_proof(&Error::KeysUnavailable { source: None }, Cloud::Google);
        assert_eq!(short(&answer), (503, "invalid_identity"));
    }

    #[test]
    fn every_denied_sign_in_has_a_status_and_the_control_planes_sentence() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        for (denial, status, class, message) in [
            (Denial::NotFound, 404, "not_found", r#"Instance with id "i-1" not found."#),
            (
                Denial::NoAgentOfThatName,
                404,
                "no_agent_of_that_name",
                r#"No agent found with instance ID "i-1" and name "main"."#,
            ),
            (
                Denial::Stale,
                400,
                "stale",
                r#"Resource found for id "i-1", but isn't registered on the latest history."#,
            ),
            (
                Denial::Ambiguous { names },
                409,
                "ambiguous",
                "Multiple agents found with instance ID \"i-1\". Set CODER_AGENT_NAME to one of: a, b",
            ),
            (
                Denial::SharedByWorkspaces,
                409,
                "shared_by_workspaces",
                r#"Instance with id "i-1" is claimed by more than one workspace."#,
            ),
            (
                Denial::Replayed,
                401,
                "replayed",
                r#"Instance with id "i-1" has presented a newer proof."#,
            ),
            (Denial::TooMany, 409, "too_many", r#"Too many agents found with instance ID "i-1"."#),
        ] {
            let answer = Answer::of_sign_in(&denial, "i-1", Some(" main "));
            assert_eq!(short(&answer), (status, class), "{denial}");
            assert_eq!(answer.message, message);
            assert!(!answer.detail.is_empty() && !answer.retry);
        }
    }

    #[test]
    fn every_denied_visit_has_a_status_and_does_not_say_why() {
        for (reason, status) in [
            (Reason::NotSignedIn, 401),
            (Reason::PathAppOfAnother, 404),
            (Reason::NotShared, 404),
            (Reason::OwnAppsRefused, 404),
            (Reason::NotMember, 404),
            (Reason::NoScope, 404),
            (Reason::ReservedPort, 400),
        ] {
            let answer = Answer::from(rejection::denied(reason));
            assert_eq!(short(&answer), (status, reason.as_str()));
            assert!(!answer.retry, "{reason}");
            assert_eq!(answer.message == "Application Not Found", status == 404, "{reason}");
        }
    }

    #[test]
    fn every_address_that_leads_nowhere_has_a_status() {
        for (error, status, class) in [
            (ResolveError::NoWorkspace, 404, "no_workspace"),
            (ResolveError::NotOwner, 404, "not_owner"),
            (ResolveError::Stopped, 400, "workspace_stopped"),
            (ResolveError::NoAgent, 404, "no_agent"),
            (ResolveError::PortByPath, 400, "port_by_path"),
            (ResolveError::AgentNeeded, 400, "agent_needed"),
            (ResolveError::NoApp, 404, "no_app"),
            (ResolveError::NoUrl, 502, "no_app_url"),
            (ResolveError::InvalidUrl, 502, "invalid_app_url"),
        ] {
            let answer = Answer::of_address(error);
            assert_eq!(short(&answer), (status, class));
            let is_found = answer.message != "Application Not Found";
            assert_eq!(is_found, !error.is_not_found(), "{error}");
        }
    }

    #[test]
    fn every_session_that_is_not_good_has_a_status() {
        let signed_out = "signed_out";
        for (denial, status, class) in [
            (None, 401, signed_out),
            (Some(SessionDenial::UnknownKey), 401, signed_out),
            (Some(SessionDenial::WrongSecret), 401, signed_out),
            (Some(SessionDenial::Expired), 401, signed_out),
            (Some(SessionDenial::WrongAudience), 403, signed_out),
            (Some(SessionDenial::NoLink), 401, signed_out),
            (Some(SessionDenial::LinkExpired), 401, signed_out),
            (Some(SessionDenial::Inactive(UserStatus::Suspended)), 401, signed_out),
            (Some(SessionDenial::SeveralUsers), 401, "several_users"),
        ] {
            let answer = Answer::of_session(denial);
            assert_eq!(short(&answer), (status, class), "{denial:?}");
            assert!(!answer.retry, "{denial:?}");
        }
        // The same answer for an id that does not exist and for a wrong secret
        let [unknown, wrong] = [SessionDenial::UnknownKey, SessionDenial::WrongSecret];
        assert_eq!(Answer::of_session(Some(unknown)), Answer::of_session(Some(wrong)));
        for (status, class) in
            [(UserStatus::Dormant, "user_dormant"), (UserStatus::Suspended, "user_suspended")]
        {
            let answer = Answer::of_inactive_user(status);
            assert_eq!(short(&answer), (401, class));
            assert!(answer.message.contains(status.as_str()), "{}", answer.message);
        }
    }

    #[test]
    fn an_agent_that_is_not_connected_has_a_status() {
        assert_eq!(Answer::of_agent(AgentStatus::Connected), None);
        for status in [AgentStatus::Connecting, AgentStatus::Disconnected, AgentStatus::Timeout] {
            let answer = Answer::of_agent(status).unwrap();
            assert_eq!(short(&answer), (502, "agent_not_connected"));
            assert!(answer.retry && answer.detail.contains(&status.to_string()));
        }
    }
}
