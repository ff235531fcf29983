//! Names of models and numbers of versions: what may stand in a request, and become part of a path.

/// Whether a model may be called this: `[A-Za-z0-9._-]+`, at most 255 bytes, and no name that means a folder (`.`, `..`).
pub fn is_model_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=255).contains(&name.len()) && !name.bytes().all(|byte| byte == b'.')
}

/// The number of a version as folders and requests have it: digits, above 0, no leading 0.
pub fn version_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_repository_are_no_names() {
        for name in ["resnet18", "a", "a.b-c_D9", "..a", &"n".repeat(255)] {
            assert!(is_model_name(name), "{name}");
        }
        for name in ["", ".", "..", "...", "a/b", "../a", "a\\b", "a b", "ä", "a\0", "a%2f", &"n".repeat(256)] {
            assert!(!is_model_name(name), "{name}");
        }
    }

    #[test]
    fn versions_are_whole_numbers_above_zero() {
        assert_eq!(version_number("1"), Some(1));
        assert_eq!(version_number("20"), Some(20));
        for text in ["", "0", "01", "+1", "-1", "1.0", "x", "99999999999999999999"] {
            assert_eq!(version_number(text), None, "{text}");
        }
    }
}
