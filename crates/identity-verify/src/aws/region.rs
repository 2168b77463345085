/// Whether `name` has the form of an AWS region: `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`
///
/// Two or more words of lower-case letters, and a number of one or two digits. It is not checked
/// that the region exists, so that a region of tomorrow has the form too.
///
/// ```
/// use identity_verify::aws::is_region_name;
///
/// assert!(is_region_name("us-gov-west-1"));
/// assert!(!is_region_name("us-east-1a") && !is_region_name("Oregon"));
/// ```
#[must_use]
pub fn is_region_name(name: &str) -> bool {
    let words: Vec<_> = name.split('-').collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    match words.as_slice() {
        [words @ .., number] if words.len() >= 2 => {
            words.iter().all(is_word)
                && matches!(number.len(), 1..=2)
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}
