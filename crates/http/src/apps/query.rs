//! Raw queries, in which parameters of apps stay exactly as they were written

use app_authz::credential::Withheld;

/// The decoded parameters of a query: the first [`MAX_PARAMETERS`], and the next few that may sign
/// a visitor in
///
/// The seal of a session follows the parameters of the app, however many they are.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let mut all: Vec<_> = pairs.by_ref().take(MAX_PARAMETERS).collect();
    all.extend(
        pairs.filter(|(name, value)| Withheld::parameter(name, value)).take(MAX_CREDENTIALS),
    );
    all.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The query without the parameters that sign its visitor in, which an app must not see
pub(crate) fn for_app(query: &str) -> String {
    Withheld::query(query).into_owned()
}

/// Whether the query holds a value that may sign its visitor in, not only an empty parameter
pub(crate) fn holds_token(query: &str) -> bool {
    Withheld::holds_token(query)
}

/// More parameters than apps use
const MAX_PARAMETERS: usize = 256;

/// More parameters that sign a visitor in than one request has
const MAX_CREDENTIALS: usize = 8;

#[cfg(test)]
mod tests {
    use app_authz::token::API_KEY_PARAMETER;

    use super::*;

    #[test]
    fn an_app_sees_its_own_parameters_as_they_were_written() {
        for (query, open) in [
            ("", ""),
            ("a=%2F&b+c=d&&e", "a=%2F&b+c=d&&e"),
            ("coder_session_token=x&a=1", "a=1"),
            ("a=1&coder%5Fsession_token=x", "a=1"),
            ("coder_signed_app_token_23db1dde=x", ""),
            ("coder_application_connect_api_key_35e783=x&z", "z"),
            ("access_token=theirs", "access_token=theirs"),
            ("a&coder_session_token=", "a"),
            ("access_token=0123456789-0123456789012345678901&a", "a"),
        ] {
            assert_eq!(for_app(query), open, "{query}");
            let is_named_alone = query.ends_with("_token=");
            assert_eq!(holds_token(query), open != query && !is_named_alone, "{query}");
        }
        assert_eq!(parameters("a=b%20c+d&e"), [pair("a", "b c d"), pair("e", "")]);
        let many = format!("{}{API_KEY_PARAMETER}=x&b", "a=1&".repeat(1000));
        let read = parameters(&many);
        assert_eq!(read.last(), Some(&pair(API_KEY_PARAMETER, "x")));
        assert_eq!(read.len(), MAX_PARAMETERS + 1);
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }
}
