use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::page::{Page, PageLink};
use super::{CHALLENGE, RETRY_AFTER_SECONDS, Response, json, words};

/// An error as its client and the log see it
///
/// A program gets a stable sentence and a hint, and a person a page. The log gets the class and the
/// cause, which may name hosts and settings. Neither contains tokens, documents or fetched content.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) status: StatusCode,
    /// A stable word for metrics, logs and the audit
    pub(crate) class: &'static str,
    /// What went wrong, in one sentence
    pub(crate) message: Cow<'a, str>,
    /// What the client can do, or what was expected
    pub(crate) detail: Cow<'a, str>,
    /// The title and the text of a page, if they depend on more than the class
    words: Option<(&'static str, &'static str)>,
    /// The text that only the log gets; `None` if the log gets the detail
    cause: Option<String>,
    /// Whether the same request may succeed when it is repeated
    pub(crate) retry: bool,
    headers: HeaderMap,
    invalid: &'a [Invalid],
}

impl<'a> Problem<'a> {
    pub(crate) fn new(
        status: StatusCode,
        class: &'static str,
        message: impl Into<Cow<'a, str>>,
        detail: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            status,
            class,
            message: message.into(),
            detail: detail.into(),
            words: None,
            cause: None,
            retry: false,
            headers: HeaderMap::new(),
            invalid: &[],
        }
    }

    /// A failure of the server, whose cause is in the log alone
    pub(crate) fn internal(class: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, class, message, SEE_LOG)
    }

    /// The same, with a text that only the log gets
    pub(crate) fn cause(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// The same, for a request that may succeed when it is repeated
    pub(crate) fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    /// The same, with a challenge to authenticate
    pub(crate) fn challenge(self) -> Self {
        self.header(WWW_AUTHENTICATE, CHALLENGE)
    }

    /// The same, with a header
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same, with the fields that are not valid
    pub(crate) fn invalid(self, invalid: &'a [Invalid]) -> Self {
        Self { invalid, ..self }
    }

    /// The same, with title and text of a page
    pub(crate) fn words(self, words: (&'static str, &'static str)) -> Self {
        Self { words: Some(words), ..self }
    }

    /// What the log says beyond the class
    pub(crate) fn log_detail(&self) -> &str {
        self.cause.as_deref().unwrap_or(&self.detail)
    }

    /// What the log says beyond the class, if it differs from what the client gets
    pub(crate) fn only_logged(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer to a program
    pub(crate) fn into_response(self) -> Response {
        let body = Body { message: &self.message, detail: &self.detail, validations: self.invalid };
        let response = json(self.status, &body);
        self.with_headers(response)
    }

    /// The answer to a person
    pub(crate) fn into_page(mut self, links: Vec<PageLink>) -> Response {
        let headers = std::mem::take(&mut self.headers);
        let (status, page) = (self.status, Page::of(self));
        with_headers(status, headers, Page { links, ..page }.into_response())
    }

    /// Title and text of a page
    pub(super) fn into_words(self) -> (Cow<'a, str>, Cow<'a, str>) {
        let of_status = || match self.status {
            _ if !self.is_internal() => None,
            StatusCode::SERVICE_UNAVAILABLE => Some(words::UNAVAILABLE),
            _ => Some(words::FAULT),
        };
        let words = self.words.or_else(|| words::of(self.class)).or_else(of_status);
        match words {
            Some((title, text)) => (title.into(), text.into()),
            None if self.class == "invalid" => {
                (words::UNUSABLE.into(), format!("{} {}", self.message, self.detail).into())
            }
            None => (self.message, self.detail),
        }
    }

    /// Whether only the log has the cause
    fn is_internal(&self) -> bool {
        self.detail == SEE_LOG
    }

    /// Another answer with the same headers
    pub(crate) fn with_headers(self, response: Response) -> Response {
        with_headers(self.status, self.headers, response)
    }

    /// When the request may be repeated, if that is known, in seconds
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }

    /// The content of the answer as JSON
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let body = Body { message: &self.message, detail: &self.detail, validations: self.invalid };
        serde_json::to_value(body).unwrap_or_default()
    }
}

fn with_headers(status: StatusCode, more: HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    headers.extend(more);
    response
}

/// A field of a request that is not valid, and the reason
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Invalid {
    pub(crate) field: &'static str,
    detail: &'static str,
}

impl Invalid {
    pub(crate) const fn required(field: &'static str) -> Self {
        Self { field, detail: "This field is required and must not be empty." }
    }
}

/// The JSON of every problem
#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    validations: &'a [Invalid],
}

pub(crate) const SEE_LOG: &str =
    "The cause is in the server's log, under this answer's X-Request-Id.";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(problem: Problem<'_>) -> (String, String) {
        let (title, text) = problem.into_words();
        (title.into_owned(), text.into_owned())
    }

    #[test]
    fn a_person_reads_other_words_than_a_program() {
        let internal = || Problem::internal("store_failed", "Internal server error.");
        let away = Problem { status: StatusCode::SERVICE_UNAVAILABLE, ..internal() };
        assert_eq!(words(internal()).0, "Something went wrong");
        assert_eq!(words(away).0, "Try Again");
        let status = StatusCode::BAD_REQUEST;
        let listed = || Problem::new(status, "bad_seal", "Message", "Detail");
        assert_eq!(words(listed()).0, "This link has expired");
        assert_eq!(words(listed().words(("Own title", "Own text"))).0, "Own title");
        let invalid = Problem::new(status, "invalid", "It is wrong.", "It is not a URL.");
        let unusable = ("This link does not work", "It is wrong. It is not a URL.");
        assert_eq!(words(invalid), (unusable.0.to_owned(), unusable.1.to_owned()));
        let other = Problem::new(status, "other", "Message", "Detail");
        assert_eq!(words(other), ("Message".to_owned(), "Detail".to_owned()));
    }

    #[test]
    fn a_page_has_the_headers_of_the_answer_to_a_program() {
        let problem = |status| {
            let problem = Problem::new(status, "overloaded", "Message", "Detail");
            problem.challenge().header(RETRY_AFTER, 7.into())
        };
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::UNAUTHORIZED] {
            let (page, json) =
                (problem(status).into_page(Vec::new()), problem(status).into_response());
            assert_eq!((page.status(), json.status()), (status, status));
            for name in [RETRY_AFTER, WWW_AUTHENTICATE] {
                assert_eq!(page.headers().get(&name), json.headers().get(&name));
                assert!(page.headers().contains_key(name));
            }
        }
    }
}
