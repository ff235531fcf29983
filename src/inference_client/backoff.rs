//! How long to pause between attempts: twice as long each time, less a random part, so that clients that failed together do not
//! come back together.

use std::time::Duration;

/// The first pause, before jitter.
const FIRST: Duration = Duration::from_millis(200);
/// The longest, before jitter and unless the server asks for more.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest that a server may ask for.
const ASKED: Duration = Duration::from_secs(60);

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff(FIRST)
    }

    /// The next pause: between half of what it is at most and that, and not less than what the server asks for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let most = self.0;
        self.0 = (most * 2).min(LONGEST);
        let jittered = most.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        jittered.max(asked.unwrap_or_default().min(ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter() {
        let mut backoff = Backoff::new();
        let mut most = FIRST;
        for _ in 0..12 {
            let pause = backoff.next(None);
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
            most = (most * 2).min(LONGEST);
        }
        assert_eq!(most, LONGEST);
    }

    #[test]
    fn a_server_may_ask_for_a_longer_pause_within_bounds() {
        let asked = Backoff::new().next(Some(Duration::from_secs(7)));
        assert_eq!(asked, Duration::from_secs(7));
        assert_eq!(Backoff::new().next(Some(Duration::from_secs(1 << 30))), ASKED);
    }
}
