use std::fmt;

/// A name that this version does not list
///
/// Only parsing a text builds one, so it is never a listed name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Unlisted(Box<str>);

impl Unlisted {
    pub(super) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as it was parsed
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Declares an enum of listed names with a variant for unlisted ones
///
/// Each listed name has a slot, which is its position in the list, so that sets of names are
/// bit masks and tables are arrays. All unlisted names share the slot after the last.
macro_rules! vocabulary {
    (
        $(#[$doc:meta])*
        $name:ident { $($variant:ident $text:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// A name of another version, or one that a deployment made up
            ///
            /// Compared as text; besides that, only wildcards match it.
            Other($crate::rbac::vocabulary::Unlisted),
        }

        impl $name {
            /// All listed names
            pub const LISTED: &[Self] = &[$(Self::$variant,)*];

            pub(super) const UNLISTED_SLOT: usize = Self::LISTED.len();

            /// The name in the database and in requests
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(name) => name.as_str(),
                }
            }

            pub(super) const fn slot(&self) -> usize {
                enum Slot { $($variant,)* }
                match self {
                    $(Self::$variant => Slot::$variant as usize,)*
                    Self::Other(_) => Self::UNLISTED_SLOT,
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)*
                    other => Self::Other($crate::rbac::vocabulary::Unlisted::new(other)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use vocabulary;
