use std::error::Error;
use std::fmt;
use std::pin::Pin;

use thiserror::Error;
use uuid::Uuid;

use crate::{Candidate, Candidates, ProvenInstance};

/// [`Candidates`] that are chosen while the program runs
///
/// `Arc<dyn DynCandidates>` is an implementation of [`Candidates`], and every implementation can
/// become one. Prefer a type parameter `C: Candidates` where one type is known when the program is
/// compiled: it costs no allocation, and keeps the type of the error. Use this trait where there
/// are several, for example one for each kind of database, or to keep a type parameter out of
/// your own types.
///
/// ```
/// use std::sync::Arc;
///
/// use agent_auth::{Candidate, Candidates, DynCandidates, ErasedError, ProvenInstance};
///
/// struct App {
///     store: Arc<dyn DynCandidates>,
/// }
///
/// impl App {
///     fn new(store: impl Candidates<Id = uuid::Uuid, Token = uuid::Uuid> + Send + 'static) -> Self {
///         Self { store: Arc::new(store) }
///     }
///
///     async fn find(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>, ErasedError> {
///         self.store.by_instance(instance).await
///     }
/// }
/// ```
pub trait DynCandidates<Id = Uuid, Token = Uuid>: Send + Sync {
    /// Does what [`Candidates::by_instance`] does
    ///
    /// # Errors
    ///
    /// Those of the implementation, without their type.
    fn dyn_by_instance<'a>(
        &'a self,
        instance: ProvenInstance<'a>,
    ) -> BoxFuture<'a, Result<Vec<Candidate<Id, Token>>, ErasedError>>;

    /// Does what [`Candidates::forget_pins`] does
    ///
    /// # Errors
    ///
    /// Those of the implementation, without their type.
    fn dyn_forget_pins(&self, at_most: u32) -> BoxFuture<'_, Result<u64, ErasedError>>;
}

impl<C: Candidates + Send> DynCandidates<C::Id, C::Token> for C {
    fn dyn_by_instance<'a>(
        &'a self,
        instance: ProvenInstance<'a>,
    ) -> BoxFuture<'a, Result<Vec<Candidate<C::Id, C::Token>>, ErasedError>> {
        Box::pin(async move { self.by_instance(instance).await.map_err(ErasedError::new) })
    }

    fn dyn_forget_pins(&self, at_most: u32) -> BoxFuture<'_, Result<u64, ErasedError>> {
        Box::pin(async move { self.forget_pins(at_most).await.map_err(ErasedError::new) })
    }
}

impl<Id, Token> Candidates for dyn DynCandidates<Id, Token>
where
    Id: Clone + fmt::Debug + Eq + Send + Sync + 'static,
    Token: Clone + Eq + Send + Sync + 'static,
{
    type Id = Id;
    type Token = Token;
    type Error = ErasedError;

    async fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> Result<Vec<Candidate<Id, Token>>, ErasedError> {
        self.dyn_by_instance(instance).await
    }

    async fn forget_pins(&self, at_most: u32) -> Result<u64, ErasedError> {
        self.dyn_forget_pins(at_most).await
    }
}

/// A boxed future
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The error of an implementation that is chosen while the program runs
///
/// It prints as the error inside, and has its source.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ErasedError(Box<dyn Error + Send + Sync>);

impl ErasedError {
    /// Hides the type of an error
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// Returns the error inside, which can be downcast
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}
