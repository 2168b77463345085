//! What all ports have in common: they work through pointers, and behind `dyn`

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::{
    Act, ActFilter, ActJournal, ActLog, ActRow, Answer, AuditExplorer, AuditLog, Count, Entry,
    Filter, Found, Journal, Listed, Names, Page, Plot, Row, UserId, Window,
};

/// A boxed future
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer of a port that is chosen while the program runs
type Answered<'a, T> = BoxFuture<'a, Result<T, ErasedError>>;

/// The error of a port that is chosen while the program runs
///
/// It prints as the error inside, and has the same source. Whether a journal was unavailable is
/// still known.
#[derive(Debug)]
pub struct ErasedError {
    error: Box<dyn Error + Send + Sync>,
    is_unavailable: bool,
}

impl ErasedError {
    /// Hides the type of an error
    ///
    /// `is_unavailable` is whether the same call may succeed later.
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static, is_unavailable: bool) -> Self {
        Self { error: Box::new(error), is_unavailable }
    }

    /// Returns the error inside, which can be downcast
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// Returns whether the same call may succeed later; `false` for errors of logs, which do not
    /// say it
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        self.is_unavailable
    }
}

impl fmt::Display for ErasedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for ErasedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Defines the object-safe twin of a port, and implements the port for the twin and for pointers
macro_rules! port {
    (
        $(#[$doc:meta])*
        $twin:ident $(: $base:ident)? of $port:ident $([$error:ident $($is:ident)?])?;
        unavailable: $is_unavailable:expr;
        $(fn $dyn:ident = $name:ident(
            $(&$reference:ident: $of:ty),*; $($value:ident: $type:ty),*
        ) -> $answer:ty;)*
    ) => {
        $(#[$doc])*
        pub trait $twin: $($base +)? Send + Sync {
            $(
                #[doc = concat!("Does what [`", stringify!($port), "::", stringify!($name), "`] does")]
                ///
                /// # Errors
                ///
                /// Those of the implementation, without their type.
                fn $dyn<'a>(
                    &'a self,
                    $($reference: &'a $of,)*
                    $($value: $type,)*
                ) -> Answered<'a, $answer>;
            )*
        }

        impl<T: $port> $twin for T {
            $(fn $dyn<'a>(
                &'a self,
                $($reference: &'a $of,)*
                $($value: $type,)*
            ) -> Answered<'a, $answer> {
                Box::pin(async move {
                    let answer = T::$name(self, $($reference,)* $($value,)*).await;
                    answer.map_err(|error| {
                        let is_unavailable = ($is_unavailable)(&error);
                        ErasedError::new(error, is_unavailable)
                    })
                })
            })*
        }

        impl $port for dyn $twin {
            $(type $error = ErasedError;)?

            $(async fn $name(
                &self,
                $($reference: &$of,)*
                $($value: $type,)*
            ) -> Result<$answer, ErasedError> {
                self.$dyn($($reference,)* $($value,)*).await
            })*

            $($(fn $is(error: &ErasedError) -> bool {
                error.is_unavailable
            })?)?
        }

        port!(@pointers $port [$($error $($is)?)?]
            $($name($($reference: &$of,)* $($value: $type,)*) $answer;)*);
    };
    (@pointers $($port:tt)+) => {
        port!(@pointer [&T] $($port)+);
        port!(@pointer [Arc<T>] $($port)+);
        port!(@pointer [Box<T>] $($port)+);
    };
    (
        @pointer [$($pointer:tt)+] $port:ident [$($error:ident $($is:ident)?)?]
        $($name:ident($($argument:ident: $type:ty,)*) $answer:ty;)*
    ) => {
        impl<T: $port + ?Sized> $port for $($pointer)+ {
            $(type $error = T::$error;)?

            $(fn $name(
                &self,
                $($argument: $type,)*
            ) -> impl Future<Output = Result<$answer, T::Error>> + Send {
                T::$name(self, $($argument,)*)
            })*

            $($(fn $is(error: &T::Error) -> bool {
                T::$is(error)
            })?)?
        }
    };
}

port! {
    /// A [`Journal`] that is chosen while the program runs
    ///
    /// `Arc<dyn DynJournal>` is a journal, and every journal can become one. Prefer a type
    /// parameter `J: Journal` where one type is known when the program is compiled: it costs no
    /// allocation, and keeps the type of the error. The twins of the other ports work in the same
    /// way.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use app_audit::{DynJournal, Recorder, Settings};
    ///
    /// fn start(journal: Arc<dyn DynJournal>) -> Recorder {
    ///     Recorder::start(Arc::new(journal), Settings::default())
    /// }
    /// ```
    DynJournal of Journal [Error is_unavailable];
    unavailable: T::is_unavailable;
    fn dyn_note = note(&entries: [Entry]; window: Window) -> Vec<Answer>;
    fn dyn_count = count(&counts: [Count];) -> ();
    fn dyn_end_sessions = end_sessions(; window: Window, at_most: u32) -> u64;
    fn dyn_prepare = prepare(;) -> ();
    fn dyn_forget = forget(; keep: Duration, at_most: u32) -> u64;
}

port! {
    /// An [`ActJournal`] that is chosen while the program runs, as [`DynJournal`] is a [`Journal`]
    DynActJournal of ActJournal [Error is_unavailable];
    unavailable: T::is_unavailable;
    fn dyn_note_acts = note_acts(&acts: [Act];) -> ();
    fn dyn_count_acts = count_acts(&counts: [(Uuid, u64)];) -> ();
    fn dyn_forget_acts = forget_acts(; keep: Duration, at_most: u32) -> u64;
    fn dyn_records_acts = records_acts(;) -> bool;
}

port! {
    /// An [`AuditLog`] that is chosen while the program runs, as [`DynJournal`] is a [`Journal`]
    DynAuditLog of AuditLog [Error];
    unavailable: |_| false;
    fn dyn_list = list(&filter: Filter; page: Page) -> Vec<Row>;
}

port! {
    /// An [`AuditExplorer`] that is chosen while the program runs, as [`DynJournal`] is a
    /// [`Journal`]
    DynAuditExplorer: DynAuditLog of AuditExplorer;
    unavailable: |_| false;
    fn dyn_explore = explore(&filter: Filter; page: Page) -> Vec<Listed>;
    fn dyn_plot = plot(&filter: Filter;) -> Plot;
    fn dyn_look_up = look_up(&names: Names;) -> Found;
    fn dyn_usernames = usernames(&users: [UserId];) -> HashMap<UserId, String>;
}

impl AuditLog for dyn DynAuditExplorer {
    type Error = ErasedError;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, ErasedError> {
        self.dyn_list(filter, page).await
    }
}

port! {
    /// An [`ActLog`] that is chosen while the program runs, as [`DynJournal`] is a [`Journal`]
    DynActLog of ActLog [Error];
    unavailable: |_| false;
    fn dyn_list_acts = list_acts(&filter: ActFilter; page: Page) -> Vec<ActRow>;
}
