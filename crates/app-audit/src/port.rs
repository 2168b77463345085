use std::error::Error;

use uuid::Uuid;

use crate::{Event, Window};

/// Keeps sessions, and writes down when one begins
///
/// Over all replicas that share a journal, of any number of visits with one key exactly
/// one begins the session, even at the same instant. An implementation over SQL uses a
/// single statement and the database's clock, so that the session and its record are
/// there together or not at all.
pub trait Journal: Sync {
    /// Why the event could not be noted
    type Error: Error + Send + Sync + 'static;

    /// Notes the event, and its [`record`](Event::record) if a session begins
    ///
    /// [`Session::visit`](crate::Session::visit) is the rule.
    fn note(
        &self,
        event: &Event,
        window: Window,
    ) -> impl Future<Output = Result<Noted, Self::Error>> + Send;
}

/// What became of an event
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It began the session of that id, and its record is written
    Began(Uuid),
    /// It belongs to a session that had begun before
    Continued,
}
