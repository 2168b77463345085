use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A port of an agent as a request names it: `8080`, or `8080s` for TLS
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    number: u16,
    tls: bool,
}

impl Port {
    /// The port that a text names; `None` for a slug
    ///
    /// The same as parsing the text, without an error that repeats it.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let digits = text.strip_suffix(['s', 'S']).unwrap_or(text);
        let number = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().ok()?,
            false => return None,
        };
        Some(Self { number, tls: digits.len() < text.len() })
    }

    /// The port number
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }

    /// Whether the port is reserved, so that no app can be reached on it
    ///
    /// [`decide`](crate::decide) permits no visitor to open one.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.number < MIN_PORT
    }

    /// The address at which the agent serves the port
    #[must_use]
    pub fn url(self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.number)
    }
}

impl FromStr for Port {
    type Err = Error;

    /// Parses digits with at most one `s` after them, in either case; any other text is a slug
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::of(text).ok_or_else(|| Error::InvalidPort(text.to_owned()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, if self.tls { "s" } else { "" })
    }
}

/// The first port that the control plane does not reserve
const MIN_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    // scenario 133
    #[test]
    fn digits_are_a_port_and_other_texts_are_slugs() {
        for (text, url) in [
            ("8080", "http://127.0.0.1:8080"),
            ("8080s", "https://127.0.0.1:8080"),
            ("08080", "http://127.0.0.1:8080"),
            ("0", "http://127.0.0.1:0"),
            ("65535s", "https://127.0.0.1:65535"),
            ("8443S", "https://127.0.0.1:8443"),
        ] {
            assert_eq!(text.parse::<Port>().unwrap().url(), url);
        }
        for slug in
            ["", "s", "ss", "+80", "-80", "65536", "9090ss", " 80", "8_0", "٣", "app-ends-in-s"]
        {
            assert!(slug.parse::<Port>().is_err(), "{slug}");
        }
        for (text, reserved) in [("0", true), ("8", true), ("9", false)] {
            assert_eq!(text.parse::<Port>().unwrap().is_reserved(), reserved);
        }
    }
}
