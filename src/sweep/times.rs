//! Where the time of a sweep goes.

/// Decoding, scoring and writing overlap: of decoding and writing, what counts is how long the scorer waited for them.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct SweepTimes {
    /// Waiting for decoded images, in seconds.
    pub decode_wait_s: f64,
    /// Scoring, in seconds.
    pub score_s: f64,
    /// Waiting for finished parts to be written, in seconds.
    pub write_wait_s: f64,
    /// Writing finished parts while the next are scored, in seconds.
    pub write_s: f64,
    /// All of it, in seconds.
    pub total_s: f64,
    /// Images scored in that time (those of an earlier, interrupted run are not among them).
    pub images: usize,
}

impl SweepTimes {
    /// The times of two sweeps, one after the other.
    #[must_use]
    pub fn and(self, next: SweepTimes) -> SweepTimes {
        SweepTimes {
            decode_wait_s: self.decode_wait_s + next.decode_wait_s,
            score_s: self.score_s + next.score_s,
            write_wait_s: self.write_wait_s + next.write_wait_s,
            write_s: self.write_s + next.write_s,
            total_s: self.total_s + next.total_s,
            images: self.images + next.images,
        }
    }

    /// `412.3 images/s; 1 % waiting for decoding, 98 % scoring, 1 % waiting for writing`
    pub fn sentence(&self) -> String {
        format!("{:.1} images/s; {}", self.images as f64 / self.total_s.max(1e-9), self.shares(self.total_s))
    }

    /// Where the time went until now, `total_s` seconds after the beginning.
    pub fn shares(&self, total_s: f64) -> String {
        let share = |part: f64| 100.0 * part / total_s.max(1e-9);
        format!(
            "{:.0} % waiting for decoding, {:.0} % scoring, {:.0} % waiting for writing",
            share(self.decode_wait_s),
            share(self.score_s),
            share(self.write_wait_s)
        )
    }
}
