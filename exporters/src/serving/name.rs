//! Names of served models: a folder in a repository and a part of a URL at once.

use super::ServingError;

const EXPECTED: &str = "letters, digits, `.`, `_` and `-`, beginning with a letter or a digit";

/// Refuses a name that could lead out of a repository, or that a URL would have to escape.
///
/// # Errors
/// [`ServingError::Name`].
pub fn check_name(name: &str) -> Result<(), ServingError> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if begins && plain && name.len() <= 255 {
        return Ok(());
    }
    Err(ServingError::Name { name: name.to_owned(), expected: EXPECTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_or_need_escaping_are_refused() {
        for name in ["digits", "resnet50.v2", "A_b-3"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "a:b", "ä", "-x", "../up", "a%2e"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
