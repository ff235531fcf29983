//! Speed figures that mean something on a noisy machine: contenders take turns, and what is reported is the median over
//! the rounds and the ratio within each round.

use std::time::{Duration, Instant};

/// One thing that is timed.
pub struct Contender<'a, E> {
    /// Name in the table.
    pub name: String,
    /// Does one unit of work, and gives the number of images it took.
    pub run: Box<dyn FnMut() -> Result<usize, E> + 'a>,
}

/// What a contender reached.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Images a second, median over the rounds.
    pub images_per_s: f64,
    /// The slowest and the fastest round; absent where only a median was measured.
    pub range: Option<(f64, f64)>,
    /// Time an image over that of the first contender, median over the rounds.
    pub cost: f64,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds in which every contender has a turn.
    pub rounds: usize,
    /// Length of a turn; at least one unit of work is done.
    pub turn: Duration,
}

/// Lets the contenders take turns. The first is what the others are compared with. A turn begins with a unit that is not
/// measured, so that nobody pays for the caches that another has filled.
///
/// # Errors
/// The first error of a contender.
pub fn compare<E>(contenders: &mut [Contender<'_, E>], plan: Plan) -> Result<Vec<Figure>, E> {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..plan.rounds.max(1) {
        // Every second round runs backwards, so that no contender always follows the same one.
        let mut turns: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            (contenders[turn].run)()?;
            let began = Instant::now();
            let mut images = 0;
            while images == 0 || began.elapsed() < plan.turn {
                images += (contenders[turn].run)()?;
            }
            rates[turn].push(images as f64 / began.elapsed().as_secs_f64());
        }
    }
    let figure = |place: usize, contender: &Contender<'_, E>| {
        let own = &rates[place];
        let costs = rates[0].iter().zip(own).map(|(first, own)| first / own).collect();
        Figure {
            name: contender.name.clone(),
            images_per_s: median(own.clone()),
            range: Some((own.iter().copied().fold(f64::INFINITY, f64::min), own.iter().copied().fold(0.0, f64::max))),
            cost: median(costs),
        }
    };
    Ok(contenders.iter().enumerate().map(|(place, contender)| figure(place, contender)).collect())
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn every_contender_has_every_turn_and_the_first_costs_one() {
        let counts = std::cell::RefCell::new([0usize; 2]);
        let contender = |place: usize| Contender::<std::convert::Infallible> {
            name: place.to_string(),
            run: Box::new({
                let counts = &counts;
                move || {
                    counts.borrow_mut()[place] += 1;
                    Ok(8)
                }
            }),
        };
        let plan = Plan { rounds: 3, turn: Duration::ZERO };
        let Ok(figures) = compare(&mut [contender(0), contender(1)], plan);
        assert_eq!(*counts.borrow(), [6, 6], "three turns, each of a warm-up and one unit");
        assert!((figures[0].cost - 1.0).abs() < 1e-12);
        let (low, high) = figures[1].range.expect("a range");
        assert!(low <= figures[1].images_per_s && figures[1].images_per_s <= high);
    }
}
