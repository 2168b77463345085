//! A small HTTP client, for the commands that speak to a running authd

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

/// No answer of authd comes near this
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Speaks HTTP/1.1, keeping connections open between requests
#[derive(Clone, Debug)]
pub struct Client(HyperClient<HttpConnector, Full<Bytes>>);

/// Status and body
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status
    pub status: StatusCode,
    /// The whole body
    pub body: Bytes,
}

impl Client {
    /// A client without open connections
    #[must_use]
    pub fn new() -> Self {
        Self(HyperClient::builder(TokioExecutor::new()).build_http())
    }

    /// Gets `url`
    ///
    /// # Errors
    ///
    /// If no complete answer arrives. An answer of any status is an [`Answer`].
    pub async fn get(&self, url: &str) -> Result<Answer, ClientError> {
        self.send(Request::builder().method(Method::GET).uri(url).body(Full::default())).await
    }

    /// Posts a JSON text to `url`
    ///
    /// # Errors
    ///
    /// If no complete answer arrives. An answer of any status is an [`Answer`].
    pub async fn post_json(
        &self,
        url: &str,
        json: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let request = Request::builder().method(Method::POST).uri(url);
        let request = request.header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::new(json.into()))).await
    }

    async fn send(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, ClientError> {
        let response = self.0.request(request?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        Ok(Answer { status, body: body.map_err(ClientError::Body)?.to_bytes() })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Why there is no answer
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The answer's body broke off or is too large
    #[error("the answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answered
    #[error("no answer")]
    NoAnswer(#[from] hyper_util::client::legacy::Error),
    /// The URL is none
    #[error("not a request that can be sent")]
    Request(#[from] hyper::http::Error),
}
