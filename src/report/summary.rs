//! What a run says of itself in words, in the order in which a person needs it.

use serde::ser::{Serialize, Serializer};

/// Sentences: what to do first, how it was found out last. As JSON they are one list, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The main thing in a few words, as a heading without a full stop.
    pub headline: String,
    /// What was found, and what the numbers mean.
    pub findings: Vec<String>,
    /// What to do next.
    pub next: String,
    /// What makes the findings less sure than they look, and what helps.
    pub warnings: Vec<String>,
    /// How the numbers were found, for those who check them.
    pub details: Vec<String>,
}

impl Summary {
    /// All but the details, one line each.
    pub fn main_lines(&self) -> impl Iterator<Item = String> {
        let next = (!self.next.is_empty()).then(|| format!("Next: {}", self.next));
        let warnings = self.warnings.iter().map(|warning| format!("Warning: {warning}"));
        self.findings.iter().cloned().chain(next).chain(warnings)
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headline = std::iter::once(format!("{}.", self.headline));
        serializer.collect_seq(headline.chain(self.main_lines()).chain(self.details.iter().cloned()))
    }
}

/// A count with a comma between thousands.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number to four significant digits, with an exponent only where it would otherwise be long.
pub fn figure(value: f64) -> String {
    const DIGITS: i32 = 4;
    let exponent = value.abs().log10().floor();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(-4.0..6.0).contains(&exponent) {
        return format!("{value:.3e}");
    }
    let decimals = usize::try_from(DIGITS - 1 - exponent as i32).unwrap_or(0);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let counts = [0, 999, 1_000, 21_843, 1_234_567].map(grouped);
        assert_eq!(counts, ["0", "999", "1,000", "21,843", "1,234,567"]);
        let numbers =
            [0.0, -20.331, -5.8534, -0.039_22, 0.000_123_456, 123_456.7, -1.5e-7, 2.5e9, f64::NAN].map(figure);
        assert_eq!(
            numbers,
            ["0", "-20.33", "-5.853", "-0.03922", "0.0001235", "123457", "-1.500e-7", "2.500e9", "NaN"]
        );
    }

    #[test]
    fn a_list_has_the_main_thing_first_and_the_details_last() {
        let summary = Summary {
            headline: "Label these".into(),
            findings: vec!["Found.".into()],
            next: "look.".into(),
            warnings: vec!["careful.".into()],
            details: vec!["s = 1.".into()],
        };
        let list = serde_json::to_value(&summary).expect("a list");
        assert_eq!(list, serde_json::json!(["Label these.", "Found.", "Next: look.", "Warning: careful.", "s = 1."]));
    }
}
