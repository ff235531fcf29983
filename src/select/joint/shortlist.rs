//! How a pool is cut to candidates, and which images a choice is to serve.

/// The candidates that a rule chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Shortlist {
    /// How many; where it is not said, 2,000 (50,000 for rules that go by distances alone), or twice the budget where that is
    /// more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Which.
    pub by: By,
}

/// What puts an image on a shortlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Chance: those alone are looked at, so that a large pool costs no more than a small one.
    #[default]
    Random,
    /// The smallest margins of the whole pool.
    Margin,
    /// The lowest influences of the whole pool, which are solved for and computed first.
    Influence,
}

impl Shortlist {
    /// How many candidates a budget is chosen from; `least` where neither that nor the options ask for more.
    pub fn count(&self, budget: usize, least: usize) -> usize {
        self.images.unwrap_or_else(|| least.max(budget.saturating_mul(2))).max(budget)
    }
}

/// The images that a choice is to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The reference set, or the images that were given as a target in its place: what the model will meet. They need no
    /// labels.
    Reference,
    /// The pool itself, by a random part of it.
    Pool,
    /// That part of the pool and the images of [`Target::Reference`] together, each image alike.
    #[serde(rename = "pool+reference")]
    PoolAndReference,
}

/// What `bait` serves: the pool, at least. Towards the reference set alone it is `influence-batch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolTarget {
    /// The pool itself, by a random part of it: as published.
    #[default]
    Pool,
    /// That part of the pool with the reference images added, or those given as a target in their place. The Fisher matrix is
    /// the mean over all of them, each image alike.
    #[serde(rename = "pool+reference")]
    PoolAndReference,
}

impl From<PoolTarget> for Target {
    fn from(target: PoolTarget) -> Target {
        match target {
            PoolTarget::Pool => Target::Pool,
            PoolTarget::PoolAndReference => Target::PoolAndReference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortlist_holds_the_budget_at_least() {
        assert_eq!(Shortlist::default().count(40, 2000), 2000);
        assert_eq!(Shortlist::default().count(10_000, 2000), 20_000);
        assert_eq!(Shortlist { images: Some(100), by: By::Margin }.count(300, 2000), 300);
    }
}
