use http::StatusCode;

use super::Response;
use super::page::{Escaped, FORM_POLICY, document};

/// The page with a form for a session token
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignInPage<'a> {
    /// Why the visitor has to sign in, or why it failed
    pub(crate) message: Option<&'a str>,
    /// The path to return to
    pub(crate) back: &'a str,
}

impl SignInPage<'_> {
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let message = self.message.map_or(String::new(), |message| {
            format!("<p role=\"status\">{}</p>\n", Escaped(message))
        });
        // Without an action, the browser keeps the fragment of the address that it returns to.
        let content = format!(
            "<h1>Sign in</h1>\n{message}<form method=\"post\">\n\
             <label for=\"token\">Session token</label>\n\
             <input id=\"token\" name=\"token\" type=\"password\" required autofocus \
             autocomplete=\"current-password\" spellcheck=\"false\" maxlength=\"64\">\n\
             <input type=\"hidden\" name=\"redirect\" value=\"{}\">\n\
             <button>Sign in</button>\n</form>\n\
             <p class=\"status\">An administrator makes tokens with \
             <code>authd token create</code>.</p>\n",
            Escaped(self.back)
        );
        document(status, FORM_POLICY, "Sign in", &content)
    }
}

/// The page that greets a signed-in visitor who is not on the way to an app
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedInPage<'a> {
    pub(crate) username: &'a str,
}

impl SignedInPage<'_> {
    pub(crate) fn into_response(self) -> Response {
        let content = format!(
            "<h1>Signed in</h1>\n<p>You are <strong>{}</strong>. Apps that you may use open \
             now.</p>\n<form method=\"post\" action=\"/logout\">\n<button>Sign out</button>\n\
             </form>\n",
            Escaped(self.username)
        );
        document(StatusCode::OK, FORM_POLICY, "Signed in", &content)
    }
}
