//! Decisions under way, which identical requests share
//!
//! When a page's app token ends, its next requests arrive at the same moment, each without a good
//! token. One decision answers them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app_authz::AppRequest;
use app_authz::credential::{SessionToken, Source};
use app_authz::token::SignedToken;
use tokio::sync::watch;

/// The decisions under way
#[derive(Clone, Default)]
pub(super) struct Decisions(Arc<Mutex<Waiting>>);

type Waiting = HashMap<Arc<Question>, watch::Receiver<Option<SignedToken>>>;

/// All that a decision depends on, and that its audit event tells apart: the request, the possible
/// session tokens, the visitor's address and user agent
pub(super) type Question = (AppRequest, Vec<(Source, SessionToken)>, Option<IpAddr>, Vec<u8>);

/// What a request has to do for its decision
pub(super) enum Turn {
    /// It has to decide
    First(First),
    /// Another request decides
    Other(Other),
}

impl Decisions {
    /// Registers the question, unless another request is deciding it
    pub(super) fn ask(&self, question: Question) -> Turn {
        let mut waiting = self.lock();
        if let Some(token) = waiting.get(&question) {
            return Turn::Other(Other(token.clone()));
        }
        let (answer, token) = watch::channel(None);
        let question = Arc::new(question);
        waiting.insert(Arc::clone(&question), token);
        Turn::First(First { decisions: self.clone(), question, answer })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request that decides; another may decide once it is dropped
pub(super) struct First {
    decisions: Decisions,
    question: Arc<Question>,
    answer: watch::Sender<Option<SignedToken>>,
}

impl First {
    /// Passes the token on to the other requests
    pub(super) fn answer(self, token: &SignedToken) {
        self.answer.send_replace(Some(token.clone()));
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.decisions.lock().remove(&self.question);
    }
}

/// A request that waits for the decision of another
pub(super) struct Other(watch::Receiver<Option<SignedToken>>);

impl Other {
    /// The token; `None` if the decision did not lead to one, and the request has to ask itself
    ///
    /// Refusals are not shared: each depends on the address to return to, and on the client.
    pub(super) async fn token(mut self) -> Option<SignedToken> {
        let token = self.0.wait_for(Option::is_some).await.ok()?;
        token.clone()
    }
}
