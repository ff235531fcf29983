//! Sizes as integer polynomials over symbols: `N`, `64*N`, `N*H + 1`.
//!
//! A symbol stands for a size, so it is never negative. What has no polynomial (a quotient that does not
//! come out even) becomes a symbol of its own, `floor((N + 1)/2)`. Anything else, overflow included, is
//! unknown, and unknown sizes are never equal to each other.

use crate::Dim;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most terms an expression may have, and most bytes a symbol: past that it is unknown, so that a graph
/// cannot make them grow without bound.
const MAX_TERMS: usize = 16;
const MAX_SYMBOL_BYTES: usize = 120;
/// Marks symbols for sizes that nobody named; they are unknown to the outside.
const ANONYMOUS: char = '?';

/// A product of symbols, sorted.
type Monomial = Vec<Arc<str>>;

/// An integer that is known, symbolic or unknown.
#[derive(Debug, Clone)]
pub enum Expr {
    /// A number.
    Known(i64),
    /// Coefficient by product of symbols; never a constant alone, no coefficient is zero.
    #[doc(hidden)]
    Symbolic(Arc<BTreeMap<Monomial, i64>>),
    /// Nothing is known.
    Unknown,
}

impl From<usize> for Expr {
    fn from(n: usize) -> Self {
        i64::try_from(n).map_or(Expr::Unknown, Expr::Known)
    }
}

impl From<i64> for Expr {
    fn from(n: i64) -> Self {
        Expr::Known(n)
    }
}

impl Expr {
    /// The symbol of this name.
    pub fn symbol(name: &str) -> Expr {
        if name.len() > MAX_SYMBOL_BYTES || name.is_empty() {
            return Expr::Unknown;
        }
        Expr::Symbolic(Arc::new(BTreeMap::from([(vec![Arc::from(name)], 1)])))
    }

    /// A symbol for axis `axis` of `value`, whose size nobody named.
    pub(crate) fn anonymous(value: &str, axis: usize) -> Expr {
        Expr::symbol(&format!("{ANONYMOUS}{value}.{axis}"))
    }

    /// The number, when it is one.
    pub fn known(&self) -> Option<i64> {
        match self {
            Expr::Known(n) => Some(*n),
            _ => None,
        }
    }

    /// Whether both are certainly equal.
    pub fn same(&self, other: &Expr) -> bool {
        match (self, other) {
            (Expr::Known(a), Expr::Known(b)) => a == b,
            (Expr::Symbolic(a), Expr::Symbolic(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }

    /// A number it is certainly not below, given that no symbol is negative.
    pub fn at_least(&self) -> Option<i64> {
        match self {
            Expr::Known(n) => Some(*n),
            Expr::Symbolic(terms) => {
                let constant = terms.get(&Vec::new() as &Monomial).copied().unwrap_or(0);
                terms.iter().all(|(m, c)| m.is_empty() || *c > 0).then_some(constant)
            }
            Expr::Unknown => None,
        }
    }

    fn terms(&self) -> Option<BTreeMap<Monomial, i64>> {
        match self {
            Expr::Known(0) => Some(BTreeMap::new()),
            Expr::Known(n) => Some(BTreeMap::from([(Vec::new(), *n)])),
            Expr::Symbolic(terms) => Some((**terms).clone()),
            Expr::Unknown => None,
        }
    }

    fn from_terms(mut terms: BTreeMap<Monomial, i64>) -> Expr {
        terms.retain(|_, c| *c != 0);
        if terms.len() > MAX_TERMS || terms.keys().any(|m| m.len() > MAX_TERMS) {
            return Expr::Unknown;
        }
        match terms.len() {
            0 => Expr::Known(0),
            1 if terms.contains_key(&Vec::new() as &Monomial) => Expr::Known(terms.into_values().next().unwrap_or(0)),
            _ => Expr::Symbolic(Arc::new(terms)),
        }
    }

    /// Sum.
    pub fn plus(&self, other: &Expr) -> Expr {
        if let (Expr::Known(a), Expr::Known(b)) = (self, other) {
            return a.checked_add(*b).map_or(Expr::Unknown, Expr::Known);
        }
        let (Some(mut terms), Some(more)) = (self.terms(), other.terms()) else { return Expr::Unknown };
        for (monomial, c) in more {
            let sum = terms.entry(monomial).or_insert(0);
            let Some(total) = sum.checked_add(c) else { return Expr::Unknown };
            *sum = total;
        }
        Expr::from_terms(terms)
    }

    /// Product.
    pub fn times(&self, other: &Expr) -> Expr {
        match (self, other) {
            (Expr::Known(a), Expr::Known(b)) => return a.checked_mul(*b).map_or(Expr::Unknown, Expr::Known),
            (Expr::Known(1), e) | (e, Expr::Known(1)) => return e.clone(),
            (Expr::Known(0), _) | (_, Expr::Known(0)) => return Expr::Known(0),
            _ => {}
        }
        let (Some(left), Some(right)) = (self.terms(), other.terms()) else { return Expr::Unknown };
        let mut terms: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (a, x) in &left {
            for (b, y) in &right {
                let mut monomial: Monomial = a.iter().chain(b).cloned().collect();
                monomial.sort();
                let sum = terms.entry(monomial).or_insert(0);
                let Some(total) = x.checked_mul(*y).and_then(|p| sum.checked_add(p)) else { return Expr::Unknown };
                *sum = total;
            }
        }
        Expr::from_terms(terms)
    }

    /// The negative.
    pub fn negated(&self) -> Expr {
        self.times(&Expr::Known(-1))
    }

    /// Difference.
    pub fn minus(&self, other: &Expr) -> Expr {
        self.plus(&other.negated())
    }

    /// The quotient when it comes out even for every value of the symbols.
    pub fn exactly_over(&self, divisor: &Expr) -> Option<Expr> {
        if self.same(divisor) {
            return Some(Expr::Known(1));
        }
        let (terms, by) = (self.terms()?, divisor.terms()?);
        let (by, c) = match by.len() {
            1 => by.into_iter().next()?,
            _ => return None,
        };
        let mut quotient = BTreeMap::new();
        for (mut monomial, a) in terms {
            if a.checked_rem(c)? != 0 {
                return None;
            }
            for symbol in &by {
                let at = monomial.iter().position(|s| s == symbol)?;
                monomial.remove(at);
            }
            quotient.insert(monomial, a.checked_div(c)?);
        }
        Some(Expr::from_terms(quotient))
    }

    /// The quotient rounded down; unknown for a divisor that is not known to be positive.
    pub fn floor_over(&self, divisor: &Expr) -> Expr {
        if let (Expr::Known(a), Expr::Known(b)) = (self, divisor) {
            return match b {
                b if *b > 0 => a.checked_div_euclid(*b).map_or(Expr::Unknown, Expr::Known),
                _ => Expr::Unknown,
            };
        }
        if let Some(exact) = self.exactly_over(divisor) {
            return exact;
        }
        let (Some(by), Some(terms)) = (divisor.known().filter(|b| *b > 0), self.terms()) else {
            return Expr::Unknown;
        };
        // floor((by*q + r)/by) = q + floor(r/by) for integer q.
        let (mut even, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (monomial, c) in terms {
            even.insert(monomial.clone(), c.div_euclid(by));
            rest.insert(monomial, c.rem_euclid(by));
        }
        let (even, rest) = (Expr::from_terms(even), Expr::from_terms(rest));
        match rest {
            Expr::Known(r) => even.plus(&Expr::Known(r.div_euclid(by))),
            Expr::Unknown => Expr::Unknown,
            symbolic => even.plus(&Expr::symbol(&format!("floor(({symbolic})/{by})"))),
        }
    }

    /// The quotient rounded up, under the same condition.
    pub fn ceil_over(&self, divisor: &Expr) -> Expr {
        self.plus(divisor).plus(&Expr::Known(-1)).floor_over(divisor)
    }

    /// The size it is for a dimension of this name.
    pub fn from_dim(dim: &Dim, value: &str, axis: usize) -> Expr {
        match dim {
            Dim::Known(n) => Expr::from(*n),
            Dim::Symbol(s) => Expr::parse(s),
            Dim::Unknown => Expr::anonymous(value, axis),
        }
    }

    /// As a dimension.
    pub fn to_dim(&self) -> Dim {
        match self {
            Expr::Known(n) => usize::try_from(*n).map_or(Dim::Unknown, Dim::Known),
            Expr::Symbolic(terms) if terms.keys().flatten().any(|s| s.contains(ANONYMOUS)) => Dim::Unknown,
            Expr::Symbolic(_) => Dim::Symbol(self.to_string()),
            Expr::Unknown => Dim::Unknown,
        }
    }

    /// Reads a sum of products as [`Expr`] writes it. Anything else is one symbol, as it stands.
    pub fn parse(text: &str) -> Expr {
        if !text.contains(['+', '-', '*']) {
            return text.parse().map_or_else(|_| Expr::symbol(text), Expr::Known);
        }
        parse_sum(text).unwrap_or_else(|| Expr::symbol(text))
    }

    /// With `value` in place of the symbol `name`.
    pub fn with(&self, name: &str, value: i64) -> Expr {
        let Expr::Symbolic(terms) = self else { return self.clone() };
        let mut sum = Expr::Known(0);
        for (monomial, c) in terms.iter() {
            let mut product = Expr::Known(*c);
            for symbol in monomial {
                let factor = if **symbol == *name { Expr::Known(value) } else { Expr::symbol(symbol) };
                product = product.times(&factor);
            }
            sum = sum.plus(&product);
        }
        sum
    }
}

fn parse_sum(text: &str) -> Option<Expr> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut sum = Expr::Known(0);
    let mut rest = text.as_str();
    let mut sign = 1;
    loop {
        if let Some(tail) = rest.strip_prefix('-') {
            sign = -sign;
            rest = tail;
        }
        let end = split_at(rest, &['+', '-']);
        let (product, tail) = rest.split_at(end);
        sum = sum.plus(&parse_product(product)?.times(&Expr::Known(sign)));
        let Some(operator) = tail.chars().next() else { break };
        sign = if operator == '-' { -1 } else { 1 };
        rest = tail.get(1..)?;
    }
    Some(sum)
}

fn parse_product(text: &str) -> Option<Expr> {
    let mut product = Expr::Known(1);
    let mut rest = text;
    loop {
        let end = split_at(rest, &['*']);
        let (factor, tail) = rest.split_at(end);
        let expr = if factor.starts_with(|c: char| c.is_ascii_digit()) {
            Expr::Known(factor.parse().ok()?)
        } else {
            let name = factor.split('(').next()?;
            let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
            // A call, as `floor(...)`, is a symbol as a whole; spaces within are put back as written here.
            let call = factor.len() > name.len();
            if !plain || (call && !factor.ends_with(')')) {
                return None;
            }
            Expr::symbol(&if call { spaced(factor) } else { factor.to_owned() })
        };
        product = product.times(&expr);
        if tail.is_empty() {
            return Some(product);
        }
        rest = tail.get(1..)?;
    }
}

/// `a+b` as `a + b`.
fn spaced(text: &str) -> String {
    text.replace('+', " + ").replace('-', " - ")
}

/// Where the first of `stops` stands outside of brackets, or the end.
fn split_at(text: &str, stops: &[char]) -> usize {
    let mut depth = 0i32;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if depth == 0 && stops.contains(&c) => return i,
            _ => {}
        }
    }
    text.len()
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Known(n) => write!(f, "{n}"),
            Expr::Unknown => f.write_str("?"),
            Expr::Symbolic(terms) => {
                // The constant sorts first and is written last.
                let constant = terms.iter().filter(|(m, _)| m.is_empty());
                let ordered = terms.iter().filter(|(m, _)| !m.is_empty()).chain(constant);
                for (i, (monomial, c)) in ordered.enumerate() {
                    match (i, *c < 0) {
                        (0, true) => f.write_str("-")?,
                        (0, false) => {}
                        (_, true) => f.write_str(" - ")?,
                        (_, false) => f.write_str(" + ")?,
                    }
                    let size = c.unsigned_abs();
                    if monomial.is_empty() || size != 1 {
                        write!(f, "{size}{}", if monomial.is_empty() { "" } else { "*" })?;
                    }
                    f.write_str(&monomial.join("*"))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn k(n: i64) -> Expr {
        Expr::Known(n)
    }

    fn n() -> Expr {
        Expr::symbol("N")
    }

    #[test]
    fn expressions_are_written_in_one_form_and_read_back() {
        let e = n().times(&k(64)).plus(&Expr::symbol("H").times(&n())).minus(&k(3));
        assert_eq!(e.to_string(), "H*N + 64*N - 3");
        for text in ["N", "64*N", "H*N + 64*N - 3", "floor((N + 1)/2)", "2*floor((N + 1)/2) + 1", "-N + 4", "12"] {
            assert_eq!(Expr::parse(text).to_string(), text);
        }
        assert_eq!(Expr::parse("N*64").to_string(), "64*N");
        assert_eq!(Expr::parse("batch size").to_string(), "batch size");
        assert_eq!(Expr::parse("N//2").to_string(), "N//2");
    }

    #[test]
    fn quotients_come_out_even_or_become_symbols() {
        let e = n().times(&k(12));
        assert_eq!(e.floor_over(&k(4)).to_string(), "3*N");
        assert_eq!(e.floor_over(&n()).to_string(), "12");
        assert_eq!(e.plus(&k(5)).floor_over(&k(4)).to_string(), "3*N + 1");
        assert_eq!(n().plus(&k(5)).floor_over(&k(2)).to_string(), "floor((N + 1)/2) + 2");
        assert_eq!(n().ceil_over(&k(2)).to_string(), "floor((N + 1)/2)");
        assert_eq!(Expr::Known(-7).floor_over(&k(2)).known(), Some(-4));
        assert!(n().exactly_over(&k(2)).is_none());
    }

    #[test]
    fn unknown_sizes_are_equal_to_nothing_and_overflow_is_unknown() {
        assert!(!Expr::Unknown.same(&Expr::Unknown));
        assert!(n().same(&n()) && !n().same(&Expr::symbol("M")));
        assert!(matches!(Expr::Known(i64::MAX).plus(&k(1)), Expr::Unknown));
        assert!(matches!(n().times(&k(i64::MAX)).times(&k(2)), Expr::Unknown));
        let mut e = n();
        for i in 0..40 {
            e = e.times(&e.plus(&Expr::symbol(&format!("s{i}"))));
        }
        assert!(matches!(e, Expr::Unknown), "growth is bounded");
    }

    #[test]
    fn lower_bounds_rest_on_symbols_being_sizes() {
        assert_eq!(n().times(&k(2)).plus(&k(3)).at_least(), Some(3));
        assert_eq!(n().minus(&k(3)).at_least(), Some(-3));
        assert_eq!(Expr::Known(4).minus(&n()).at_least(), None);
    }

    #[test]
    fn a_symbol_is_replaced_by_a_number() {
        assert_eq!(Expr::parse("64*N + 3").with("N", 2).known(), Some(131));
        assert_eq!(Expr::parse("N*H").with("N", 2).to_string(), "2*H");
    }
}
