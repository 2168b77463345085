use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Action, ActionSet, ResourceType};
use crate::Error;

/// Grants or denies an action on a type of objects, each of which may be any
///
/// The text form is `TYPE:ACTION` with `*` for any, and a leading `!` for a denial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    pub(super) negated: bool,
    pub(super) kind: Pattern<ResourceType>,
    pub(super) action: Pattern<Action>,
}

impl Permission {
    /// A permission that grants the actions and types that match
    #[must_use]
    pub fn grant(
        kind: impl Into<Pattern<ResourceType>>,
        action: impl Into<Pattern<Action>>,
    ) -> Self {
        Self { negated: false, kind: kind.into(), action: action.into() }
    }

    /// A permission that denies the actions and types that match
    #[must_use]
    pub fn deny(
        kind: impl Into<Pattern<ResourceType>>,
        action: impl Into<Pattern<Action>>,
    ) -> Self {
        Self { negated: true, ..Self::grant(kind, action) }
    }

    /// Whether the permission is about the action and the type of the query
    pub(super) fn matches(&self, query: &Query<'_>) -> bool {
        self.kind.matches(query.kind) && self.action.matches(query.action)
    }
}

impl FromStr for Permission {
    type Err = Error;

    /// Parses `TYPE:ACTION` or `!TYPE:ACTION`; types and actions may be unlisted
    fn from_str(text: &str) -> Result<Self, Error> {
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        match rest.split_once(':') {
            Some((kind, action)) if !kind.is_empty() && !action.is_empty() => {
                Ok(Self { negated, kind: Pattern::read(kind), action: Pattern::read(action) })
            }
            _ => Err(Error::InvalidPermission(text.to_owned())),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negated { "!" } else { "" };
        write!(f, "{sign}{}:{}", self.kind, self.action)
    }
}

/// One name, or any name
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern<T> {
    /// Any name, written `*`
    Any,
    /// This name
    Only(T),
}

impl<T: PartialEq> Pattern<T> {
    pub(super) fn read<'a>(text: &'a str) -> Self
    where
        T: From<&'a str>,
    {
        if text == "*" { Self::Any } else { Self::Only(T::from(text)) }
    }

    pub(super) fn matches(&self, name: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == name,
        }
    }
}

impl<T: PartialEq + Clone> Pattern<T> {
    /// The pattern of the names that both patterns match, if there are any
    pub(super) fn narrowed(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, narrow) | (narrow, Self::Any) => Some(narrow.clone()),
            (Self::Only(this), Self::Only(that)) => (this == that).then(|| self.clone()),
        }
    }
}

impl<T> From<T> for Pattern<T> {
    fn from(name: T) -> Self {
        Self::Only(name)
    }
}

impl<T: fmt::Display> fmt::Display for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Only(name) => name.fmt(f),
        }
    }
}

/// What a list of permissions says about a query
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Vote {
    Deny,
    Abstain,
    Grant,
}

/// An action on a type, and its place in the masks
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    pub(super) action: &'a Action,
    pub(super) kind: &'a ResourceType,
    slot: usize,
    bit: u32,
    listed: bool,
}

impl<'a> Query<'a> {
    pub(super) const fn new(action: &'a Action, kind: &'a ResourceType) -> Self {
        let listed = !matches!(action, Action::Other(_)) && !matches!(kind, ResourceType::Other(_));
        Self { action, kind, slot: kind.slot(), bit: action.bit(), listed }
    }
}

/// A list of permissions, prepared for decisions; clones share it
///
/// The order does not matter: a denial overrides all grants in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(Option<Arc<Inner>>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    list: Vec<Permission>,
    masks: Masks,
}

impl Permissions {
    /// The empty list
    pub const NONE: Self = Self(None);

    /// The permissions in the order in which they were given
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.0.iter().flat_map(|inner| &inner.list)
    }

    pub(super) fn masks(&self) -> Option<&Masks> {
        self.0.as_deref().map(|inner| &inner.masks)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let list: Vec<Permission> = permissions.into_iter().collect();
        if list.is_empty() {
            return Self::NONE;
        }
        let mut masks = Masks::EMPTY;
        list.iter().for_each(|permission| masks.add(permission));
        Self(Some(Arc::new(Inner { list, masks })))
    }
}

/// The permissions of several lists, combined for one vote
#[derive(Clone, Debug, Default)]
pub(super) enum Pool {
    #[default]
    Empty,
    /// A single list, which is the usual case and is not copied
    One(Permissions),
    Many(Arc<Masks>),
}

impl Pool {
    pub(super) fn add(&mut self, permissions: &Permissions) {
        let Some(more) = permissions.masks() else { return };
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(permissions.clone()),
            Self::One(first) => {
                let mut masks = first.masks().cloned().unwrap_or(Masks::EMPTY);
                masks.merge(more);
                Self::Many(Arc::new(masks))
            }
            Self::Many(mut masks) => {
                Arc::make_mut(&mut masks).merge(more);
                Self::Many(masks)
            }
        };
    }

    pub(super) fn vote(&self, query: &Query<'_>) -> Vote {
        match self {
            Self::Empty => Vote::Abstain,
            Self::One(permissions) => {
                permissions.masks().map_or(Vote::Abstain, |masks| masks.vote(query))
            }
            Self::Many(masks) => masks.vote(query),
        }
    }
}

const SLOTS: usize = ResourceType::UNLISTED_SLOT + 1;

/// The granted and the denied actions as bits, in a row for each type
///
/// All unlisted types share the last row, and all unlisted actions share a bit that no listed
/// action has. Only wildcards set these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    grants: [u32; SLOTS],
    denials: [u32; SLOTS],
    /// Permissions that name an unlisted type or action
    unlisted: Vec<Permission>,
}

impl Masks {
    const EMPTY: Self = Self { grants: [0; SLOTS], denials: [0; SLOTS], unlisted: Vec::new() };

    fn add(&mut self, permission: &Permission) {
        let bits = match &permission.action {
            Pattern::Only(Action::Other(_)) => return self.unlisted.push(permission.clone()),
            Pattern::Only(action) => action.bit(),
            Pattern::Any => ActionSet::ALL.bits(),
        };
        let table = if permission.negated { &mut self.denials } else { &mut self.grants };
        match &permission.kind {
            Pattern::Only(ResourceType::Other(_)) => self.unlisted.push(permission.clone()),
            Pattern::Only(kind) => table[kind.slot()] |= bits,
            Pattern::Any => table.iter_mut().for_each(|row| *row |= bits),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.grants.iter_mut().zip(&other.grants).for_each(|(row, more)| *row |= more);
        self.denials.iter_mut().zip(&other.denials).for_each(|(row, more)| *row |= more);
        self.unlisted.extend_from_slice(&other.unlisted);
    }

    fn vote(&self, query: &Query<'_>) -> Vote {
        let mut granted = self.grants[query.slot] & query.bit != 0;
        let mut denied = self.denials[query.slot] & query.bit != 0;
        if !query.listed {
            for permission in self.unlisted.iter().filter(|p| p.matches(query)) {
                if permission.negated { denied = true } else { granted = true }
            }
        }
        match (denied, granted) {
            (true, _) => Vote::Deny,
            (false, true) => Vote::Grant,
            (false, false) => Vote::Abstain,
        }
    }
}
