//! A run that is killed goes on by the same call and ends with the bytes of an unbroken one.
//!
//! Kills at writes come from `ISAL_TEST_KILL_AT_WRITE` (`src/durable.rs`); those at random moments from outside.

use super::place::Place;
use std::time::Duration;

/// Whether to test at every write of a fresh run, and at a hundred moments: some minutes.
fn all() -> bool {
    std::env::var_os("ISAL_TEST_ALL").is_some()
}

/// A folder with an unbroken run, and all that another run must have too.
fn whole() -> (Place, Vec<(String, Vec<u8>)>) {
    let place = Place::new();
    place.run("whole", &[]).assert().success();
    let whole = place.made("whole");
    assert_eq!(whole.len(), 3 + 3 + 2 + 1);
    (place, whole)
}

fn assert_same(place: &Place, out: &str, whole: &[(String, Vec<u8>)], kills: &str) {
    let broken = place.made(out);
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&broken), names(whole), "after {kills}");
    for ((name, broken), (_, whole)) in broken.iter().zip(whole) {
        assert!(broken == whole, "{name} differs after {kills}");
    }
}

#[test]
fn a_kill_at_any_write_loses_nothing() {
    let (place, whole) = whole();
    // Each run is killed one moment later than the one before it, so that every one gets further.
    let kills = place.run_with_kills("broken");
    assert!(kills >= 8, "{kills} kills");
    assert_same(&place, "broken", &whole, &format!("kills at {kills} moments"));
    if !all() {
        return;
    }
    for at in 1.. {
        let out = format!("at-{at}");
        let output = place.run(&out, &[]).env("ISAL_TEST_KILL_AT_WRITE", at.to_string()).output().expect("it runs");
        if output.status.success() {
            assert!(at > 60, "only {at} moments");
            break;
        }
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        place.run(&out, &[]).assert().success();
        assert_same(&place, &out, &whole, &format!("a kill at moment {at}"));
        std::fs::remove_dir_all(place.path(&out)).expect("removed");
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let (place, whole) = whole();
    // Moments that no clock of the program knows, the same in every run of the test.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut wait = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_millis(40 + state % 1000)
    };
    let (wanted, mut kills, mut runs) = (if all() { 100 } else { 10 }, 0, 0);
    while kills < wanted {
        let out = format!("broken-{runs}");
        loop {
            let mut child = place.start(&out);
            let wait = if kills < wanted { wait() } else { Duration::from_secs(600) };
            let began = std::time::Instant::now();
            let ended = loop {
                match child.try_wait().expect("a state") {
                    Some(status) => break Some(status),
                    None if began.elapsed() >= wait => break None,
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            };
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            child.kill().expect("killed");
            child.wait().expect("gone");
            kills += 1;
        }
        assert_same(&place, &out, &whole, &format!("{kills} kills"));
        runs += 1;
    }
}
