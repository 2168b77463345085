use std::fmt;

use super::vocabulary::vocabulary;

vocabulary! {
    /// What a subject asks to do to an object
    ///
    /// [`ResourceType::actions`] lists the actions that make sense for a type. Other actions
    /// may be asked for as well; only wildcards grant or deny them.
    ///
    /// [`ResourceType::actions`]: super::ResourceType::actions
    Action {
        ApplicationConnect "application_connect",
        Assign "assign",
        Create "create",
        CreateAgent "create_agent",
        Delete "delete",
        DeleteAgent "delete_agent",
        Read "read",
        ReadPersonal "read_personal",
        Share "share",
        Ssh "ssh",
        Start "start",
        Stop "stop",
        Unassign "unassign",
        Update "update",
        UpdateAgent "update_agent",
        UpdatePersonal "update_personal",
        Use "use",
        ViewInsights "view_insights",
    }
}

impl Action {
    pub(super) const fn bit(&self) -> u32 {
        1 << self.slot()
    }
}

/// A set of listed actions, or the set of all actions
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ActionSet(u32);

impl ActionSet {
    /// The empty set
    pub const NONE: Self = Self(0);
    /// The set of all actions, including unlisted ones: the meaning of `*`
    pub const ALL: Self = Self(u32::MAX);

    /// The set of these actions, without unlisted ones
    #[must_use]
    pub const fn of(actions: &[Action]) -> Self {
        let mut bits = 0;
        let mut rest = actions;
        while let [action, tail @ ..] = rest {
            if !matches!(action, Action::Other(_)) {
                bits |= action.bit();
            }
            rest = tail;
        }
        Self(bits)
    }

    /// Whether `action` is in the set; an unlisted one is only in [`ALL`](Self::ALL)
    #[must_use]
    pub const fn contains(self, action: &Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// The actions that are in either set
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The actions of this set that are not in the other
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The listed actions in the set, in alphabetical order
    pub fn iter(self) -> impl Iterator<Item = &'static Action> {
        Action::LISTED.iter().filter(move |action| self.contains(action))
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("{*}");
        }
        f.debug_set().entries(self.iter().map(Action::as_str)).finish()
    }
}

const _: () = assert!(Action::UNLISTED_SLOT < 32, "a set of actions has 32 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_actions_stay_in_alphabetical_order() {
        assert!(Action::LISTED.is_sorted_by_key(Action::as_str));
        for (slot, action) in Action::LISTED.iter().enumerate() {
            assert_eq!(action.slot(), slot);
            assert_eq!(Action::from(action.as_str()), *action);
        }
    }

    #[test]
    fn an_unlisted_action_is_only_in_the_set_of_all() {
        let unlisted = Action::from("never-match-action");
        assert!(ActionSet::ALL.contains(&unlisted));
        assert!(!ActionSet::of(Action::LISTED).contains(&unlisted));
        assert!(!ActionSet::of(std::slice::from_ref(&unlisted)).contains(&unlisted));
        assert_ne!(unlisted, Action::from("another"));
    }

    #[test]
    fn sets_have_a_union_and_a_difference() {
        let (one, two) = (ActionSet::of(&[Action::Read]), ActionSet::of(&[Action::Ssh]));
        let both = ActionSet::of(&[Action::Ssh, Action::Read, Action::Read]);
        assert_eq!(one.union(two), both);
        assert_eq!(both.union(one), both);
        assert_eq!(both.without(one), two);
        assert_eq!(one.without(two), one);
        assert_eq!(both.iter().collect::<Vec<_>>(), [&Action::Read, &Action::Ssh]);
        assert_eq!(format!("{both:?} {:?}", ActionSet::ALL), r#"{"read", "ssh"} {*}"#);
    }
}
