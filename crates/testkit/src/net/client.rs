use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

/// In bytes; larger than any answer of authd
const LARGEST_ANSWER: usize = 1024 * 1024;

/// An HTTP/1.1 client without TLS that keeps connections open between requests
#[derive(Clone, Debug)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
}

/// A complete answer of any status
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status
    pub status: StatusCode,
    /// The headers
    pub headers: HeaderMap,
    /// The whole body
    pub body: Bytes,
}

impl Client {
    /// A client without open connections
    #[must_use]
    pub fn new() -> Self {
        Self { http: HyperClient::builder(TokioExecutor::new()).build_http() }
    }

    /// Sends a GET request to `url`
    ///
    /// # Errors
    ///
    /// Fails if no complete answer arrives. The status is not checked.
    pub async fn get(&self, url: &str) -> Result<Answer, ClientError> {
        self.send(Method::GET, url, &[], Bytes::new()).await
    }

    /// Sends a POST request with a JSON body to `url`
    ///
    /// # Errors
    ///
    /// Fails if no complete answer arrives. The status is not checked.
    pub async fn post_json(
        &self,
        url: &str,
        json: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let json_type = (CONTENT_TYPE, "application/json");
        self.send(Method::POST, url, &[json_type], json.into()).await
    }

    /// Sends a request
    ///
    /// # Errors
    ///
    /// Fails if no complete answer arrives. The status is not checked.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(body))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        Ok(Answer { status, headers, body: body.map_err(ClientError::Body)?.to_bytes() })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a request did not get a complete answer
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The body of the answer broke off or is too large
    #[error("the answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server did not answer
    #[error("no answer")]
    NoAnswer(#[from] hyper_util::client::legacy::Error),
    /// The request is not valid
    #[error("the request cannot be sent")]
    Request(#[from] hyper::http::Error),
}
