//! What a step of the design changes of its candidates, for several of them side by side.
//!
//! The matrices of a candidate are a few rows; of [`LANES`] candidates the same entry lies side by side, so that one
//! instruction works on several. `K` and `T` are symmetric and kept by their lower triangle.

/// Candidates side by side.
pub(super) const LANES: usize = 8;

/// One entry of the matrices of several candidates.
pub(super) type Lane = [f64; LANES];

const ZERO: Lane = [0.0; LANES];

/// Entries of the lower triangle of `C` by `C`.
pub(super) fn triangle(classes: usize) -> usize {
    classes * (classes + 1) / 2
}

/// Room for the matrices of a group of candidates.
pub(super) struct Room {
    /// `V' Y` and `V' X`, `[C, C]` by rows.
    y: Vec<Lane>,
    x: Vec<Lane>,
    roots: Vec<Lane>,
    /// A lower triangle.
    factor: Vec<Lane>,
}

impl Room {
    pub(super) fn new(classes: usize) -> Room {
        let square = vec![ZERO; classes * classes];
        Room { y: square.clone(), x: square, roots: vec![ZERO; classes], factor: vec![ZERO; triangle(classes)] }
    }
}

/// A group of candidates.
pub(super) struct Group<'a> {
    /// Beliefs, `[C]`.
    pub(super) p: &'a [Lane],
    pub(super) k: &'a mut [Lane],
    pub(super) t: &'a mut [Lane],
    /// What joining gains, or leaving costs; infinite of those that did.
    pub(super) gains: &'a mut Lane,
}

impl Group<'_> {
    /// `K -= sign E_y E_y'` and `T -= E_y E_x' + E_x E_y'`, `E_y = V' Y` and `E_x = V' X`, and the gains after it.
    /// `by_feature` holds `h' Y` and then `h' X` of each pair of a class and a column, a row a pair, of which the candidates'
    /// numbers begin at `start`.
    pub(super) fn follow(&mut self, by_feature: &[f64], columns: usize, start: usize, sign: f64, room: &mut Room) {
        for (place, entry) in room.y.iter_mut().chain(&mut room.x).enumerate() {
            let row = place * columns + start;
            if let Some(numbers) = by_feature.get(row..row + LANES) {
                entry.copy_from_slice(numbers);
            }
        }
        step(self.p, (&mut *self.k, &mut *self.t), room, sign);
        self.gain(sign, room);
    }

    /// The gains as `K` and `T` are.
    pub(super) fn gain(&mut self, sign: f64, room: &mut Room) {
        let found = gains(self.p.len(), self.k, self.t, &mut room.factor, sign);
        for (gain, found) in self.gains.iter_mut().zip(found) {
            if !gain.is_infinite() {
                *gain = found;
            }
        }
    }
}

/// `M' E` in the place of `E`: row j becomes `sqrt(p_j) (E_j - p' E)`.
#[inline(always)]
fn from_the_left(e: &mut [Lane], p: &[Lane], roots: &[Lane]) {
    let classes = p.len();
    for column in 0..classes {
        let mut mean = ZERO;
        for (row, p) in e[column..].iter().step_by(classes).zip(p) {
            for lane in 0..LANES {
                mean[lane] += p[lane] * row[lane];
            }
        }
        for (row, root) in e[column..].iter_mut().step_by(classes).zip(roots) {
            for lane in 0..LANES {
                row[lane] = root[lane] * (row[lane] - mean[lane]);
            }
        }
    }
}

#[multiversion::multiversion(targets = "simd")]
fn step(p: &[Lane], matrices: (&mut [Lane], &mut [Lane]), room: &mut Room, sign: f64) {
    let (k, t) = matrices;
    let classes = p.len();
    for (root, p) in room.roots.iter_mut().zip(p) {
        for lane in 0..LANES {
            root[lane] = p[lane].sqrt();
        }
    }
    from_the_left(&mut room.y, p, &room.roots);
    from_the_left(&mut room.x, p, &room.roots);
    let mut place = 0;
    for i in 0..classes {
        let (y_i, x_i) = (&room.y[i * classes..(i + 1) * classes], &room.x[i * classes..(i + 1) * classes]);
        for j in 0..=i {
            let (y_j, x_j) = (&room.y[j * classes..(j + 1) * classes], &room.x[j * classes..(j + 1) * classes]);
            let (mut of_k, mut of_t) = (ZERO, ZERO);
            for (((y_i, x_i), y_j), x_j) in y_i.iter().zip(x_i).zip(y_j).zip(x_j) {
                for lane in 0..LANES {
                    of_k[lane] += y_i[lane] * y_j[lane];
                    of_t[lane] += y_i[lane] * x_j[lane] + x_i[lane] * y_j[lane];
                }
            }
            let (k, t) = (&mut k[place], &mut t[place]);
            for lane in 0..LANES {
                k[lane] -= sign * of_k[lane];
                t[lane] -= of_t[lane];
            }
            place += 1;
        }
    }
}

/// `tr[(I +- K)^-1 T]`; NaN where `I +- K` is not positive definite. `factor` is overwritten.
#[multiversion::multiversion(targets = "simd")]
fn gains(classes: usize, k: &[Lane], t: &[Lane], factor: &mut [Lane], sign: f64) -> Lane {
    let at = |i: usize, j: usize| i * (i + 1) / 2 + j;
    // The Cholesky factor L of I +- K, with one over its diagonal in the place of that.
    for i in 0..classes {
        for j in 0..=i {
            let own = if i == j { 1.0 } else { 0.0 };
            let mut entry = k[at(i, j)];
            entry.iter_mut().for_each(|entry| *entry = own + sign * *entry);
            for column in 0..j {
                let (a, b) = (factor[at(i, column)], factor[at(j, column)]);
                for lane in 0..LANES {
                    entry[lane] -= a[lane] * b[lane];
                }
            }
            if i == j {
                for pivot in &mut entry {
                    *pivot = if *pivot > 0.0 { 1.0 / pivot.sqrt() } else { f64::NAN };
                }
            } else {
                let pivot = factor[at(j, j)];
                for lane in 0..LANES {
                    entry[lane] *= pivot[lane];
                }
            }
            factor[at(i, j)] = entry;
        }
    }
    // L^-1 in the place of L, column by column: of its row i, minus the row of L times what is above, over the diagonal.
    for j in 0..classes {
        for i in j + 1..classes {
            let mut entry = ZERO;
            for inner in j..i {
                let (a, b) = (factor[at(i, inner)], factor[at(inner, j)]);
                for lane in 0..LANES {
                    entry[lane] -= a[lane] * b[lane];
                }
            }
            let pivot = factor[at(i, i)];
            for lane in 0..LANES {
                entry[lane] *= pivot[lane];
            }
            factor[at(i, j)] = entry;
        }
    }
    // tr(L^-1 T L^-T): the sum over rows l of L^-1 of l T l'.
    let mut trace = ZERO;
    for i in 0..classes {
        for a in 0..=i {
            let mut inner = ZERO;
            for b in 0..a {
                let (l, t) = (factor[at(i, b)], t[at(a, b)]);
                for lane in 0..LANES {
                    inner[lane] += l[lane] * t[lane];
                }
            }
            let (l, t) = (factor[at(i, a)], t[at(a, a)]);
            for lane in 0..LANES {
                // What is off the diagonal counts twice.
                trace[lane] += l[lane] * (2.0 * inner[lane] + l[lane] * t[lane]);
            }
        }
    }
    trace
}
