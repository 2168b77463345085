//! The ports for references, `Arc`s and boxes of implementations

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::{
    Act, ActFilter, ActJournal, ActLog, ActRow, Answer, AuditExplorer, AuditLog, Count, Entry,
    Filter, Found, Journal, Listed, Names, Page, Plot, Row, UserId, Window,
};

/// Implements a port for pointers, by methods that pass their arguments on
macro_rules! through_pointers {
    (
        $port:ident $([$error:ident])?;
        $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*
        $(is $is:ident;)?
    ) => {
        through_pointers!(@for [&T] $port [$($error)?] [$($is)?]
            $($name($($argument: $type),*) $answer;)*);
        through_pointers!(@for [Arc<T>] $port [$($error)?] [$($is)?]
            $($name($($argument: $type),*) $answer;)*);
        through_pointers!(@for [Box<T>] $port [$($error)?] [$($is)?]
            $($name($($argument: $type),*) $answer;)*);
    };
    (
        @for [$($pointer:tt)+] $port:ident [$($error:ident)?] [$($is:ident)?]
        $($name:ident($($argument:ident: $type:ty),*) $answer:ty;)*
    ) => {
        impl<T: $port + ?Sized> $port for $($pointer)+ {
            $(type $error = T::$error;)?

            $(fn $name(
                &self,
                $($argument: $type),*
            ) -> impl Future<Output = Result<$answer, T::Error>> + Send {
                T::$name(self, $($argument),*)
            })*

            $(fn $is(error: &T::Error) -> bool {
                T::$is(error)
            })?
        }
    };
}

through_pointers! {
    Journal [Error];
    fn note(entries: &[Entry], window: Window) -> Vec<Answer>;
    fn count(counts: &[Count]) -> ();
    fn end_sessions(window: Window, at_most: u32) -> u64;
    fn forget(keep: Duration, at_most: u32) -> u64;
    is is_unavailable;
}

through_pointers! {
    ActJournal [Error];
    fn note_acts(acts: &[Act]) -> ();
    fn count_acts(counts: &[(Uuid, u64)]) -> ();
    fn forget_acts(keep: Duration, at_most: u32) -> u64;
    fn records_acts() -> bool;
    is is_away;
}

through_pointers! {
    AuditLog [Error];
    fn list(filter: &Filter, page: Page) -> Vec<Row>;
}

through_pointers! {
    AuditExplorer;
    fn explore(filter: &Filter, page: Page) -> Vec<Listed>;
    fn plot(filter: &Filter) -> Plot;
    fn look_up(names: &Names) -> Found;
    fn usernames(users: &[UserId]) -> HashMap<UserId, String>;
}

through_pointers! {
    ActLog [Error];
    fn list_acts(filter: &ActFilter, page: Page) -> Vec<ActRow>;
}
