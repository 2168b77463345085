use std::fmt::Write;

use http::StatusCode;

use super::Response;
use super::view::{Escaped, View};

/// The page with a form for a session token, a button that leads to an OpenID provider, or both
#[derive(Clone, Debug)]
pub(crate) struct SignInPage<'a> {
    /// Why the visitor has to sign in
    pub(crate) message: Option<&'a str>,
    /// Why signing in failed
    pub(crate) error: Option<&'a str>,
    /// The app that the visitor wants to open, and its host
    pub(crate) waiting: Option<(&'a str, &'a str)>,
    /// The path to return to
    pub(crate) back: &'a str,
    /// The text of the button that leads to an OpenID provider, and its address
    pub(crate) provider: Option<(&'a str, String)>,
    /// Whether there is a form for a session token
    pub(crate) takes_tokens: bool,
}

impl SignInPage<'_> {
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let title = if self.error.is_some() { "Error: Sign in" } else { "Sign in" };
        let view = View::new(title.to_owned(), self.content());
        let view = if self.error.is_some() { view.with_reference() } else { view };
        view.into_response(status)
    }

    fn content(&self) -> String {
        let mut html = "<h1>Sign in</h1>\n".to_owned();
        if let Some((app, host)) = self.waiting {
            let _ = writeln!(
                html,
                "<p>to open <strong>{}</strong> at <strong>{}</strong></p>",
                Escaped(app),
                Escaped(host)
            );
        }
        if let Some(message) = self.message {
            let _ = writeln!(html, "<p role=\"status\">{}</p>", Escaped(message));
        }
        let mut described = "about-token";
        let mut invalid = "";
        if let Some(error) = self.error {
            let error = Escaped(error);
            let _ = writeln!(html, "<p class=\"error\" id=\"error\" role=\"alert\">{error}</p>");
            (described, invalid) = ("error about-token", " aria-invalid=\"true\"");
        }
        let mut focus = " autofocus";
        if let Some((text, url)) = &self.provider {
            let (text, url) = (Escaped(text), Escaped(url));
            let _ = writeln!(html, "<p class=\"actions\"><a href=\"{url}\">{text}</a></p>");
            focus = "";
        }
        if !self.takes_tokens {
            return html;
        }
        // Without an action, the browser keeps the fragment of the address that it returns to.
        let _ = write!(
            html,
            "<form method=\"post\">\n<label for=\"token\">Session token</label>\n\
             <input id=\"token\" name=\"token\" type=\"password\" required{focus} \
             autocomplete=\"current-password\" autocapitalize=\"none\" spellcheck=\"false\" \
             maxlength=\"64\" aria-describedby=\"{described}\"{invalid}>\n\
             <p class=\"hint\" id=\"about-token\">A session token is a text that signs you in, like \
             a password. Ask an administrator of this site for one: \
             <code>authd token create</code> prints it.</p>\n\
             <input type=\"hidden\" name=\"redirect\" value=\"{}\">\n\
             <button>Sign in</button>\n</form>\n",
            Escaped(self.back)
        );
        html
    }
}
