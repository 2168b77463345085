use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Offer};
use super::item::Acts;
use super::{Drained, Receipt, RecordError, Settings, Stats};
use crate::source::Source;
use crate::{Act, ActJournal, ActKind};

/// Writes acts to a journal in the background, as a [`Recorder`](crate::Recorder) writes visits
///
/// It keeps the same promises with a queue of its own, so that visits and acts do not take each
/// other's room. The [window](Settings::window) decides for how long a repeated act is only
/// counted here; the hours that acts share a row for are fixed.
///
/// - Of refusals, [`Settings::limited_per_minute`] new rows of each address are recorded in a
///   minute, a /64 network of IPv6 counting as one; of sign-ins and sign-outs of users, as many of
///   each user. The rest is counted.
/// - A sign-in of an agent that was allowed is not limited, as each agent has one row for each
///   instance, network and hour. Each agent is a source of its own, so that machines which start
///   together behind one address do not take each other's share of the queue.
#[derive(Debug)]
pub struct ActRecorder(Core<Act>);

impl ActRecorder {
    /// Starts writing to `journal`, on the current tokio runtime
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with timers.
    #[must_use]
    pub fn start<J: ActJournal + 'static>(journal: Arc<J>, settings: Settings) -> Self {
        Self(Core::start(Acts(journal), settings))
    }

    /// Captures an act without waiting
    ///
    /// # Errors
    ///
    /// As [`Recorder::record`](crate::Recorder::record).
    pub fn record(&self, act: Act) -> Result<Receipt, RecordError> {
        self.0.record(act.key(), || {
            let (source, limited_by) = match (&act.reason, act.kind, act.agent) {
                (None, ActKind::AgentSignIn, Some(agent)) => (Source::agent(agent), None),
                (Some(_), _, _) => {
                    let network = Source::new(None, act.ip);
                    (network, Some(network))
                }
                (None, _, _) => {
                    let source = Source::new(act.user, act.ip);
                    (source, Some(source))
                }
            };
            Offer { item: act, source, limited_by }
        })
    }

    /// Returns what the recorder has done so far
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Stops accepting acts, writes what is queued, and returns after at most `timeout`
    ///
    /// As [`Recorder::drain`](crate::Recorder::drain).
    pub async fn drain(&self, timeout: Duration) -> Drained {
        self.0.drain(timeout).await
    }
}
