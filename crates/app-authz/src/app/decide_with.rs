use crate::app::{AccessMethod, Basis, Denial, Permit, Target};
use crate::id::UserId;
use crate::rbac::Action;

/// Asks `decider` whether `visitor` may open `target`, **instead of** the rules of this crate
///
/// For hosts that decide by rules of their own, such as policies in Cedar: the permit can be
/// signed and audited like one of [`decide`](crate::decide). `visitor` is `None` if they are not
/// signed in, and that is asked too. Await the answer of an engine that works asynchronously
/// first, and pass it on.
///
/// No built-in rule is asked: neither roles, scopes and access lists, nor the sharing level, nor
/// [`Rules`](crate::Rules). This still holds:
///
/// - The target was resolved: the workspace exists, it is not stopped, and has that agent and app.
/// - [`Target::sharing`] is a fact for the decider. [`resolve`](crate::resolve) has capped a port's
///   at the widest level that the template allows, if its rules say so, and a terminal's is the
///   owner's. [`Target::people`] is another: it is empty where the template forbids to share.
/// - A reserved port is refused, whatever the decider answers.
///
/// The decider has to do what the rules would have done:
///
/// - An app that is reached by path runs on the dashboard's host, where it can act as its visitor.
///   By default the rules open it for the workspace's owner only ([`Question::is_on_shared_host`]).
/// - A terminal is more than an app ([`Question::action`]).
/// - Built-in roles do not open a workspace that is [dormant](crate::app::Workspace::dormant).
/// - A credential may be limited to a scope, which the question does not name.
///
/// # Errors
///
/// A [`Denial`] with the reason [`OwnDecider`](crate::app::Reason::OwnDecider) if the decider
/// answers `false`, and with [`ReservedPort`](crate::app::Reason::ReservedPort) for such a port.
pub fn decide_with<'a>(
    target: &'a Target<'a>,
    visitor: Option<UserId>,
    decider: impl FnOnce(&Question<'a>) -> bool,
) -> Result<Permit<'a>, Denial> {
    if !decider(&Question { target, visitor }) {
        return Err(Denial::of_own_decider());
    }
    Permit::of(target, visitor, Basis::OwnDecider).unless_reserved()
}

/// What [`decide_with`] asks: may this visitor open this target?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    target: &'a Target<'a>,
    visitor: Option<UserId>,
}

impl<'a> Question<'a> {
    /// The visitor; `None` if they are not signed in
    #[must_use]
    pub const fn visitor(&self) -> Option<UserId> {
        self.visitor
    }

    /// What the visitor asks to open
    #[must_use]
    pub const fn target(&self) -> &'a Target<'a> {
        self.target
    }

    /// Whether the visitor owns the workspace
    #[must_use]
    pub fn is_of_owner(&self) -> bool {
        self.visitor == Some(self.target.workspace().owner)
    }

    /// Whether the app shares a host, and with it cookies and storage, with the dashboard and with
    /// other apps
    #[must_use]
    pub fn is_on_shared_host(&self) -> bool {
        self.target.request().method() == AccessMethod::Path
    }

    /// The action on the workspace: to open an app or a port, or to use a terminal
    #[must_use]
    pub fn action(&self) -> Action {
        self.target.request().method().action()
    }
}
