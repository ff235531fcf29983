//! Data sets with a role, so that test data cannot become reference data.
//!
//! The influence of a pool image is its effect on the loss over the *reference* set. Were that set the test set, the
//! selection would be fitted to the very images it is judged by. So the role is part of the type: whatever solves for
//! `s` asks for a [`Split<Reference>`], and there are two ways to one: held out of the labelled images
//! ([`Split::hold_out`], [`Split::folds`]), or given and then compared, image by image, with the labelled and the test
//! images ([`Split::given`]). No function turns a `Split<Test>` into anything else, and the images of one, given again as
//! reference, are found by that comparison.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::content::equal_images;
use super::seeded::Seeded;
use super::{DataError, Dataset};

mod sealed {
    pub trait Sealed {}
}

/// What a split is for.
pub trait Role: sealed::Sealed {
    /// Its name in messages.
    const NAME: &'static str;
}

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $role {}
        impl sealed::Sealed for $role {}
        impl Role for $role {
            const NAME: &'static str = $name;
        }
    )*};
}

roles! {
    /// Images the model is trained on.
    Labelled = "labelled";
    /// Labelled images whose loss the selection is to lower; never trained on.
    Reference = "reference";
    /// Images that may be labelled next.
    Pool = "pool";
    /// Labelled images that only measure.
    Test = "test";
    /// Images that a selection is to serve, labelled or not.
    Served = "target";
}

/// A data set in a role.
pub struct Split<R: Role> {
    dataset: Dataset,
    role: PhantomData<R>,
}

impl<R: Role> Clone for Split<R> {
    fn clone(&self) -> Self {
        Self::assume(self.dataset.clone())
    }
}

impl<R: Role> std::fmt::Debug for Split<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(R::NAME).field("dataset", &self.dataset).finish()
    }
}

/// What becomes of a given image that equals one in another split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverlap {
    /// An error that names the images.
    #[default]
    Refuse,
    /// It is left out of the reference set. Published data sets do repeat some images.
    Drop,
}

/// How many labelled images are held out as reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HoldOut {
    /// This share of them, between 0 and 1.
    Fraction(f64),
    /// So many.
    Count(usize),
}

/// Why data could not be divided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// An image of which nothing is said where labels, or other annotations, are needed.
    #[error("{unlabelled} of {total} {role} images have no label, the first is `{id}`")]
    Unlabelled {
        /// The role of the split.
        role: &'static str,
        /// Images without a label.
        unlabelled: usize,
        /// All images.
        total: usize,
        /// Id of the first.
        id: String,
    },
    /// A role that needs images got none.
    #[error("there are no {role} images")]
    Empty {
        /// The role of the split.
        role: &'static str,
    },
    /// Splits that share images.
    #[error("{} images are both {first} and {second}: {}", pairs.len(), show_pairs(pairs))]
    Overlap {
        /// Role of the first id of a pair.
        first: &'static str,
        /// Role of the second.
        second: &'static str,
        /// Ids of equal images.
        pairs: Vec<(String, String)>,
    },
    /// Classes that the other split does not have.
    #[error("the {first} images have the classes {expected:?}, the {second} images {found:?}: give both one list")]
    Classes {
        /// The first role.
        first: &'static str,
        /// The second role.
        second: &'static str,
        /// Classes of the first.
        expected: Vec<String>,
        /// Classes of the second.
        found: Vec<String>,
    },
    /// A share or number that leaves one side empty.
    #[error("holding out {wanted:?} of {labelled} labelled images leaves {kept} to train on and {held} as reference")]
    HoldOut {
        /// What was asked for.
        wanted: HoldOut,
        /// Labelled images.
        labelled: usize,
        /// Images that would stay labelled.
        kept: usize,
        /// Images that would be held out.
        held: usize,
    },
    /// Fewer than two folds, or more than images.
    #[error("{labelled} labelled images cannot make {folds} folds")]
    Folds {
        /// Folds asked for.
        folds: usize,
        /// Labelled images.
        labelled: usize,
    },
    /// The data themselves.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// The first few pairs of ids.
fn show_pairs(pairs: &[(String, String)]) -> String {
    let mut shown: Vec<String> = pairs.iter().take(5).map(|(a, b)| format!("`{a}` is `{b}`")).collect();
    if pairs.len() > shown.len() {
        shown.push("...".to_string());
    }
    shown.join(", ")
}

impl<R: Role> Split<R> {
    fn assume(dataset: Dataset) -> Self {
        Split { dataset, role: PhantomData }
    }

    /// The images, without the role: for batches and scores.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// An error where this split and `other` show an equal image. Decodes both.
    pub fn check_disjoint<S: Role>(&self, other: &Split<S>) -> Result<(), SplitError> {
        let pairs: Vec<_> = equal_images(&self.dataset, &other.dataset)
            .into_iter()
            .map(|(a, b)| (self.dataset.id(a), other.dataset.id(b)))
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        Err(SplitError::Overlap { first: R::NAME, second: S::NAME, pairs })
    }
}

fn labelled_only<R: Role>(dataset: Dataset) -> Result<Split<R>, SplitError> {
    if dataset.is_empty() {
        return Err(SplitError::Empty { role: R::NAME });
    }
    let missing = |index: &usize| dataset.label(*index).is_none() && dataset.fields(*index).is_none();
    let unlabelled = (0..dataset.len()).filter(missing).count();
    if let Some(first) = (0..dataset.len()).find(missing) {
        let (total, id) = (dataset.len(), dataset.id(first));
        return Err(SplitError::Unlabelled { role: R::NAME, unlabelled, total, id });
    }
    Ok(Split::assume(dataset))
}

/// Images whose labels are not asked for.
fn labelled_or_not<R: Role>(dataset: Dataset) -> Result<Split<R>, SplitError> {
    if dataset.is_empty() { Err(SplitError::Empty { role: R::NAME }) } else { Ok(Split::assume(dataset)) }
}

impl Split<Pool> {
    /// Images to choose from. Labels, if there are any, stay for simulations; scoring does not ask for them.
    pub fn new(dataset: Dataset) -> Result<Self, SplitError> {
        labelled_or_not(dataset)
    }
}

impl Split<Served> {
    /// Images that a selection is to serve; their labels are not asked for.
    pub fn new(dataset: Dataset) -> Result<Self, SplitError> {
        labelled_or_not(dataset)
    }
}

impl Split<Test> {
    /// Images to measure on; all must be labelled.
    pub fn new(dataset: Dataset) -> Result<Self, SplitError> {
        labelled_only(dataset)
    }
}

impl Split<Labelled> {
    /// Images to train on; all must be labelled.
    pub fn new(dataset: Dataset) -> Result<Self, SplitError> {
        labelled_only(dataset)
    }

    /// Takes a reference set out of the labelled images, every class by its share.
    ///
    /// Of a class with `n` of the `N` images, `n m / N` are held out, rounded up or down so that the total is the `m`
    /// asked for (the classes with the largest remainders are rounded up, the lower class first among equals). A class
    /// never loses its last image. Which images go is a matter of the seed alone.
    pub fn hold_out(&self, wanted: HoldOut, seed: u64) -> Result<(Self, Split<Reference>), SplitError> {
        let total = self.len();
        let held = match wanted {
            HoldOut::Count(count) => count,
            HoldOut::Fraction(share) if share.is_finite() && share > 0.0 => (share * total as f64).round() as usize,
            HoldOut::Fraction(_) => 0,
        };
        let refused = |kept| SplitError::HoldOut { wanted, labelled: total, kept, held };
        if held == 0 || held >= total {
            return Err(refused(total.saturating_sub(held)));
        }
        let classes = self.shuffled_classes("hold out", seed);
        let quotas = quotas(&classes.iter().map(Vec::len).collect::<Vec<_>>(), held);
        let (mut reference, mut kept) = (Vec::new(), Vec::new());
        for (class, quota) in classes.iter().zip(quotas) {
            let quota = quota.min(class.len() - 1);
            reference.extend(class.iter().take(quota).copied());
            kept.extend(class.iter().skip(quota).copied());
        }
        if reference.is_empty() {
            return Err(refused(kept.len()));
        }
        // The order of the data set, so that what follows does not depend on how the classes were walked.
        reference.sort_unstable();
        kept.sort_unstable();
        Ok((Split::assume(self.dataset.subset(&kept)?), Split::assume(self.dataset.subset(&reference)?)))
    }

    /// Divides the labelled images into `folds` parts of like classes: each pair trains on all parts but one and has that
    /// one as reference, so that every label serves both ways (cross-fitting).
    pub fn folds(&self, folds: usize, seed: u64) -> Result<Vec<(Self, Split<Reference>)>, SplitError> {
        if folds < 2 || folds > self.len() {
            return Err(SplitError::Folds { folds, labelled: self.len() });
        }
        // Dealt out class after class like cards, so that neither fold sizes nor class counts differ by more than one.
        let dealt: Vec<usize> = self.shuffled_classes("folds", seed).into_iter().flatten().collect();
        (0..folds)
            .map(|fold| {
                let mut reference: Vec<usize> = dealt.iter().copied().skip(fold).step_by(folds).collect();
                reference.sort_unstable();
                let kept: Vec<usize> = (0..self.len()).filter(|i| reference.binary_search(i).is_err()).collect();
                Ok((Split::assume(self.dataset.subset(&kept)?), Split::assume(self.dataset.subset(&reference)?)))
            })
            .collect()
    }

    /// Positions by class, each class in random order.
    fn shuffled_classes(&self, purpose: &str, seed: u64) -> Vec<Vec<usize>> {
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, label) in self.dataset.labels().into_iter().enumerate() {
            classes.entry(label.unwrap_or(0)).or_default().push(index);
        }
        classes
            .into_iter()
            .map(|(label, mut positions)| {
                Seeded::new(purpose, &[seed, u64::from(label)]).shuffle(&mut positions);
                positions
            })
            .collect()
    }
}

impl Split<Reference> {
    /// A reference set that the user gives. It must share no image with the images that are labelled, or may become so, or it
    /// would not be held out, nor with the test images; all three are decoded and compared. Its labels are counted in the
    /// classes of `labelled`, matched by name.
    pub fn given<R: Role>(
        dataset: Dataset,
        labelled: &Split<R>,
        test: Option<&Split<Test>>,
        on_overlap: OnOverlap,
    ) -> Result<Self, SplitError> {
        let (expected, found) = (labelled.dataset.classes(), dataset.classes().to_vec());
        let aligned = if expected.is_empty() { Ok(dataset) } else { dataset.with_classes(expected) };
        let dataset = aligned.map_err(|_| {
            let (first, second, expected) = (R::NAME, Reference::NAME, expected.to_vec());
            SplitError::Classes { first, second, expected, found }
        })?;
        let mut reference = labelled_only::<Reference>(dataset)?;
        match on_overlap {
            OnOverlap::Refuse => {
                labelled.check_disjoint(&reference)?;
                test.map_or(Ok(()), |test| test.check_disjoint(&reference))?;
            }
            OnOverlap::Drop => {
                reference = reference.without(&labelled.dataset)?;
                if let Some(test) = test {
                    reference = reference.without(&test.dataset)?;
                }
                if reference.is_empty() {
                    return Err(SplitError::Empty { role: Reference::NAME });
                }
            }
        }
        Ok(reference)
    }

    fn without(&self, other: &Dataset) -> Result<Self, SplitError> {
        let mut keep = vec![true; self.len()];
        for (_, index) in equal_images(other, &self.dataset) {
            if let Some(keep) = keep.get_mut(index) {
                *keep = false;
            }
        }
        let kept: Vec<usize> = keep.iter().enumerate().filter_map(|(index, keep)| keep.then_some(index)).collect();
        Ok(Split::assume(self.dataset.subset(&kept)?))
    }
}

/// Divides `total` in proportion to `sizes`, each part rounded up or down: largest remainders first, then lower index.
pub(super) fn quotas(sizes: &[usize], total: usize) -> Vec<usize> {
    let all: u128 = sizes.iter().map(|&size| size as u128).sum::<u128>().max(1);
    let share = |size: usize| size as u128 * total as u128;
    let mut quotas: Vec<usize> = sizes.iter().map(|&size| (share(size) / all) as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sizes.get(i).map_or(0, |&size| share(size) % all)));
    let missing = total.saturating_sub(quotas.iter().sum());
    for i in order.into_iter().take(missing) {
        if let Some(quota) = quotas.get_mut(i) {
            *quota += 1;
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn quotas_add_up_and_are_rounded_one_way_or_the_other() {
        assert_eq!(quotas(&[50, 30, 20], 10), [5, 3, 2]);
        assert_eq!(quotas(&[5, 5, 5, 5], 10), [3, 3, 2, 2]);
        assert_eq!(quotas(&[1, 2, 7], 5), [1, 1, 3]);
        assert_eq!(quotas(&[1, 1, 8], 3), [0, 0, 3]);
        assert_eq!(quotas(&[], 0), [0; 0]);
    }

    proptest::proptest! {
        #[test]
        fn quotas_are_exact_to_rounding(sizes in proptest::collection::vec(0_usize..500, 1..20), share in 0.0_f64..1.0) {
            let all: usize = sizes.iter().sum();
            let total = (all as f64 * share) as usize;
            let quotas = quotas(&sizes, total);
            proptest::prop_assert_eq!(quotas.iter().sum::<usize>(), total);
            for (quota, size) in quotas.iter().zip(&sizes) {
                let exact = *size as f64 * total as f64 / all.max(1) as f64;
                proptest::prop_assert!((*quota as f64 - exact).abs() < 1.0);
            }
        }
    }
}
