use crate::reply::Style;

/// What the explorer adds to the style of all pages
///
/// In a separate file, since the policy contains the digest of its exact bytes.
pub(crate) const STYLE: Style = Style {
    text: include_str!("explorer.css"),
    digest: "sha256-Al++aHdMi6IiM+UnlRlBuzyTuuJ8dAg5ngTARro4sHw=",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_text() {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.text.as_bytes());
        let hash = openssl::base64::encode_block(digest.as_ref());
        assert_eq!(STYLE.digest, format!("sha256-{hash}"));
    }
}
