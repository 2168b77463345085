use std::fmt;

use crate::error::Cause;

/// Sends one request to the provider: the port of this crate to the network
///
/// An implementation has to
///
/// - bound the time and the size of an answer: [`Request::limit`] says how many bytes;
/// - verify the certificate of an `https` URL;
/// - follow no redirect: the endpoints of a provider are named by its discovery document.
pub trait Fetch: Send + Sync {
    /// Returns the body of an answer with status 200
    ///
    /// Also of one with status 400 or 401, if [`Request::takes_refusals`] says so.
    ///
    /// # Errors
    ///
    /// Fails for any other answer, and without an answer. The error must not contain the headers
    /// or the body of the request, which have secrets.
    fn fetch(&self, request: Request) -> impl Future<Output = Result<Vec<u8>, Cause>> + Send;
}

/// A request to send
///
/// `Debug` does not print the headers and the body, which have secrets.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The absolute URL
    pub url: String,
    /// Names and values
    pub headers: Vec<(&'static str, String)>,
    /// The body of a `POST` with a form; `None` for a `GET`
    pub form: Option<String>,
    /// The most bytes that the body of an answer may have
    pub limit: usize,
    /// Whether an answer with status 400 or 401 is returned like one with status 200: its body says
    /// what is refused (RFC 6749, section 5.2)
    pub takes_refusals: bool,
}

impl Request {
    pub(crate) fn get(url: &str) -> Self {
        let headers = vec![("accept", "application/json".to_owned())];
        Self { url: url.to_owned(), headers, form: None, limit: LIMIT, takes_refusals: false }
    }

    pub(crate) fn post(url: &str, form: String) -> Self {
        let kind = "application/x-www-form-urlencoded".to_owned();
        let get = Self::get(url);
        let headers = [get.headers, vec![("content-type", kind)]].concat();
        Self { headers, form: Some(form), ..get }
    }

    pub(crate) fn authorization(mut self, value: String) -> Self {
        self.headers.push(("authorization", value));
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("url", &self.url).finish_non_exhaustive()
    }
}

/// More than discovery documents, key sets and tokens of large providers have
pub(crate) const LIMIT: usize = 256 << 10;
