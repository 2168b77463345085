use std::fmt;

use serde::Deserialize;

macro_rules! releases {
    ($($variant:ident = $name:literal,)*) => {
        /// A release of the control plane whose tables are known, in chronological order
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[allow(missing_docs)] // named like the releases
        pub enum Release {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Release {
            /// All releases, oldest first
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The release's name, as in the facts
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

releases! {
    V2_20 = "v2.20",
    V2_22 = "v2.22",
    V2_24 = "v2.24",
    V2_25 = "v2.25",
    V2_26 = "v2.26",
    V2_27 = "v2.27",
    V2_28 = "v2.28",
    V2_29 = "v2.29",
    V2_30 = "v2.30",
    V2_31 = "v2.31",
    V2_32 = "v2.32",
    V2_33 = "v2.33",
    V2_34 = "v2.34",
    V2_35 = "v2.35",
    July2026 = "main-2026-07",
}

impl Release {
    /// The first release whose agents can sign in with authd
    pub const OLDEST: Self = Self::V2_20;
    /// The first release whose apps can be opened with authd
    pub const FIRST_WITH_APPS: Self = Self::V2_24;
    /// The newest known state: the main branch of July 2026
    pub const NEWEST: Self = Self::July2026;

    /// This release and all later ones
    #[must_use]
    pub fn and_later(self) -> &'static [Self] {
        &Self::ALL[self.position()..]
    }

    /// The number of earlier releases
    pub(crate) fn position(self) -> usize {
        Self::ALL.partition_point(|other| *other < self)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
