//! The parameters of queries

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

/// More parameters than apps use
const MAX_PARAMETERS: usize = 256;

/// More parameters that sign a visitor in than one request has
const MAX_CREDENTIALS: usize = 8;

#[cfg(test)]
mod tests {
    use app_authz::token::API_KEY_PARAMETER;

    use super::*;

    #[test]
    fn a_parameter_that_signs_a_visitor_in_is_found_behind_many_others() {
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
