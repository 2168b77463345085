//! What a page says about a problem, in the words of a visitor
//!
//! Programs get the message and the detail of a [`Problem`](super::Problem), which are stable and
//! partly those of the control plane. A page says the same to a person. A class that is not listed
//! here has a message and a detail that a person understands.

/// The title and the text of a page about problems of this class
pub(super) fn of(class: &str) -> Option<(&'static str, &'static str)> {
    Some(match class {
        "bad_seal" => ("This link has expired", "Open the app again."),
        "foreign_origin" => (
            "This request came from another site",
            "For your safety it was not carried out. Open the page yourself, and try again.",
        ),
        "foreign_page" => (
            "This request came from another site",
            "Only pages of this app, and of other apps of its owner, may send it.",
        ),
        "forbidden" => ("You may not do this", "Ask an administrator for the permission."),
        "malformed_host" => (
            "This address leads to no app",
            "Its first part has to be of the form app--workspace--user, or of the form \
             port--agent--workspace--user for a port.",
        ),
        "method_not_allowed" => (
            "This page cannot be opened like this",
            "Go to the start page, and begin again from there.",
        ),
        "no_proxy" => ("This address is for programs", "It has no page for browsers."),
        "not_found" | "route_not_found" => {
            ("Page not found", "This address has no page, or you may not open it.")
        }
        "not_signed_in" => (
            "You are signed out",
            "The app did not receive what you sent. Sign in, and send it again.",
        ),
        "overloaded" => ("The server is busy", "Try again in a moment."),
        "deadline_exceeded" => ("The server took too long", "Try again in a moment."),
        "path_apps_disabled" => (
            "This kind of address is turned off",
            "The administrator of this site has turned off apps that open below a path.",
        ),
        "reserved_port" => {
            ("This port cannot be opened", "Ports below 9 are reserved. Choose another port.")
        }
        "seal_on_dashboard" => ("This link does not work", "Open the app again."),
        "signed_out" => ("You are signed out", "Sign in, and open the page again."),
        "unrecorded" => (
            "Try Again",
            "Each visit has to be recorded here, and that does not work at the moment.",
        ),
        _ => return None,
    })
}

/// For what the server cannot do at the moment
pub(super) const UNAVAILABLE: (&str, &str) =
    ("Try Again", "The server cannot answer at the moment.");

/// For a fault of the server, whose cause only the log has
pub(super) const FAULT: (&str, &str) = (
    "Something went wrong",
    "This is a fault of the server, and not yours. If it happens again, report it with the \
     reference below.",
);

/// For a request that is not usable as it is
pub(super) const UNUSABLE: &str = "This link does not work";
