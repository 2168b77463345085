use std::fmt;
use std::str::FromStr;

use app_authz::address::HttpUrl;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Who runs the deployment, as every page shows it
///
/// Without a name, pages show the host of the access URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Branding {
    /// The name of the deployment
    pub name: Option<DeploymentName>,
    /// The logo that is shown beside the name
    pub logo: Option<Logo>,
    /// Where visitors ask for help
    pub contact: Option<Contact>,
}

/// A name of 1 to 60 characters on one line
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentName(String);

impl DeploymentName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeploymentName {
    type Err = BrandingError;

    fn from_str(text: &str) -> Result<Self, BrandingError> {
        let text = text.trim();
        let length = text.chars().count();
        match (1..=60).contains(&length) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(BrandingError::Name),
        }
    }
}

/// A picture that browsers may load: one address, or the picture itself
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    /// The value of `src`
    source: String,
    /// The source that the content security policy allows
    allowed: String,
}

impl Logo {
    /// A picture at this address, which every visitor's browser has to reach
    ///
    /// # Errors
    ///
    /// [`BrandingError::LogoUrl`] for a text that is not an `http` or `https` URL, and for an
    /// address that a content security policy cannot name: one with a comma or a semicolon.
    pub fn at(url: &str) -> Result<Self, BrandingError> {
        let url: HttpUrl = url.trim().parse().map_err(|_| BrandingError::LogoUrl)?;
        let (source, allowed) = (url.to_string(), format!("{}{}", url.origin(), url.path()));
        let is_source = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'\'');
        match allowed.bytes().all(is_source) && source.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self { source, allowed }),
            false => Err(BrandingError::LogoUrl),
        }
    }

    /// The content of a PNG, JPEG, WebP or SVG file, which becomes a part of each page
    ///
    /// The content decides on the type. A browser runs no script of an SVG picture.
    ///
    /// # Errors
    ///
    /// [`BrandingError::LogoSize`] for more than 32 KiB, and [`BrandingError::LogoType`].
    pub fn from_bytes(content: &[u8]) -> Result<Self, BrandingError> {
        if content.len() > MAX_LOGO {
            return Err(BrandingError::LogoSize);
        }
        let text = content.trim_ascii_start();
        let kind = match content {
            [0x89, b'P', b'N', b'G', ..] => "png",
            [0xff, 0xd8, 0xff, ..] => "jpeg",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
            _ if text.starts_with(b"<svg") || text.starts_with(b"<?xml") => "svg+xml",
            _ => return Err(BrandingError::LogoType),
        };
        let source = format!("data:image/{kind};base64,{}", STANDARD.encode(content));
        Ok(Self { source, allowed: "data:".to_owned() })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn allowed(&self) -> &str {
        &self.allowed
    }
}

/// Without the content
impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logo").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

/// Where visitors ask for help: `mailto:` and one address, or an `http` or `https` URL
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    href: String,
    text: String,
}

impl Contact {
    /// The value of `href`; a mail begins with `subject`, which must contain only characters that
    /// a URL may
    pub(super) fn href(&self, subject: Option<&str>) -> String {
        match subject.filter(|_| self.href.starts_with("mailto:")) {
            Some(subject) => format!("{}?subject={subject}", self.href),
            None => self.href.clone(),
        }
    }

    /// The address without the part that only programs need
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Contact {
    type Err = BrandingError;

    fn from_str(text: &str) -> Result<Self, BrandingError> {
        let text = text.trim();
        if let Some(address) = text.strip_prefix("mailto:") {
            let is_good = |part: &str| {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
                !part.is_empty() && part.bytes().all(good)
            };
            let parts =
                address.split_once('@').filter(|(user, host)| is_good(user) && is_good(host));
            parts.ok_or(BrandingError::Contact)?;
            return Ok(Self { href: text.to_owned(), text: address.to_owned() });
        }
        let url: HttpUrl = text.parse().map_err(|_| BrandingError::Contact)?;
        let shown = format!("{}{}", url.authority(), url.path().trim_end_matches('/'));
        Ok(Self { href: url.to_string(), text: shown })
    }
}

/// A part of the branding is not usable
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrandingError {
    /// The name is empty, too long, or on several lines
    #[error("must be 1 to 60 characters on one line")]
    Name,
    /// The address of the logo is not usable
    #[error("is not an `http` or `https` URL without commas and semicolons")]
    LogoUrl,
    /// The file of the logo cannot be read
    #[error("is neither a URL nor a file that can be read")]
    LogoFile,
    /// The file of the logo is too large
    #[error("is a file of more than 32 KiB")]
    LogoSize,
    /// The file of the logo is not a picture
    #[error("is not a PNG, JPEG, WebP or SVG file")]
    LogoType,
    /// The contact is not usable
    #[error(
        "is neither a mail address such as `mailto:help@example.com` nor an `http` or `https` URL"
    )]
    Contact,
}

/// Every page contains the picture
const MAX_LOGO: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_mail_addresses_and_urls() {
        for (text, href, shown) in [
            ("mailto:help@example.com", "mailto:help@example.com", "help@example.com"),
            (" https://help.example.com/a/ ", "https://help.example.com/a/", "help.example.com/a"),
        ] {
            let contact: Contact = text.parse().unwrap();
            assert_eq!((&*contact.href(None), contact.text()), (href, shown));
        }
        let mail: Contact = "mailto:a+b@c.example".parse().unwrap();
        assert_eq!(mail.href(Some("Reference%201")), "mailto:a+b@c.example?subject=Reference%201");
        for text in
            ["", "help", "mailto:", "mailto:a", "mailto:a@", "mailto:a@b?bcc=c@d", "javascript:x()"]
        {
            assert_eq!(text.parse::<Contact>(), Err(BrandingError::Contact), "{text}");
        }
    }

    #[test]
    fn the_policy_allows_exactly_the_logo() {
        for (url, allowed) in [
            ("https://cdn.example.com/a/logo.svg", "https://cdn.example.com/a/logo.svg"),
            ("https://cdn.example.com:8443/logo?v=1", "https://cdn.example.com:8443/logo"),
        ] {
            let logo = Logo::at(url).unwrap();
            assert_eq!((logo.source(), logo.allowed()), (url, allowed));
        }
        for url in
            ["", "logo.svg", "ftp://a/b", "https://a.example/x;script-src", "data:image/png,"]
        {
            assert_eq!(Logo::at(url), Err(BrandingError::LogoUrl), "{url}");
        }
    }

    #[test]
    fn the_type_of_a_logo_is_that_of_its_content() {
        for (content, kind) in [
            (&b"\x89PNG\r\n"[..], "png"),
            (b"\xff\xd8\xff\xe0", "jpeg"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
            (b"\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "svg+xml"),
        ] {
            let logo = Logo::from_bytes(content).unwrap();
            let start = format!("data:image/{kind};base64,");
            assert!(logo.source().starts_with(&start) && logo.allowed() == "data:", "{logo:?}");
        }
        assert_eq!(Logo::from_bytes(b"<html>"), Err(BrandingError::LogoType));
        assert_eq!(Logo::from_bytes(&[0; MAX_LOGO + 1]), Err(BrandingError::LogoSize));
    }

    #[test]
    fn a_name_is_on_one_line() {
        assert_eq!(" Acme Labs ".parse::<DeploymentName>().unwrap().as_str(), "Acme Labs");
        for text in ["", "  ", "a\nb", &"x".repeat(61)] {
            assert_eq!(text.parse::<DeploymentName>(), Err(BrandingError::Name));
        }
    }
}
