//! A program that runs until it ends, or until whoever started it does.
//!
//! On Unix it leads a process group of its own, with a watcher in it that reads from a pipe whose other end this process holds: when
//! this process is gone, however that came, the pipe closes and the watcher kills the group. So no trainer outlives its run, nor
//! do the workers that it started.

use crate::observe::Observer;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Time between asking a program to end and killing it.
const GRACE: Duration = Duration::from_secs(10);

/// What is run of a program: the watcher in the background, and the program in place of the shell.
#[cfg(unix)]
const WATCHED: &str = r#"exec 3<&0
(trap '' HUP INT TERM; cat <&3; kill -KILL 0) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-"#;

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Itself(ExitStatus),
    /// The observer asked to stop, and it was ended.
    Stopped,
}

/// Runs a program with these environment variables and its output in the file `log`.
pub(super) fn run(
    words: &[String],
    environment: &[(&str, String)],
    log: &Path,
    observer: &dyn Observer,
) -> std::io::Result<Ended> {
    let output = File::create(log)?;
    let mut command = command(words);
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    let mut group = Group(command.spawn()?);
    loop {
        if let Some(status) = group.0.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        if observer.interrupted() {
            group.ask_to_end();
            let asked = Instant::now();
            while asked.elapsed() < GRACE && group.0.try_wait()?.is_none() {
                std::thread::sleep(LOOK_EVERY);
            }
            return Ok(Ended::Stopped);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(unix)]
fn command(words: &[String]) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHED, "isal"]).args(words).process_group(0);
    command
}

#[cfg(not(unix))]
fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1));
    command
}

/// A program with all that it started, which ends with this value.
struct Group(Child);

impl Group {
    #[cfg(unix)]
    fn ask_to_end(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        // Fails where all of it has ended already.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
    }

    #[cfg(not(unix))]
    fn ask_to_end(&mut self) {
        let _ = self.0.kill();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            // The watcher is in the group until now, so its number is no other's.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::observe::Unobserved;

    fn ended(script: &str, log: &Path) -> ExitStatus {
        let words = ["sh", "-c", script].map(str::to_owned);
        match run(&words, &[("GREETING", "hello".to_owned())], log, &Unobserved).expect("it runs") {
            Ended::Itself(status) => status,
            Ended::Stopped => panic!("nobody asked to stop"),
        }
    }

    #[test]
    fn a_program_has_its_environment_its_log_and_its_exit_code() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log.txt");
        let status = ended("echo $GREETING; echo to stderr >&2; cat; exit 3", &log);
        assert_eq!(status.code(), Some(3));
        assert_eq!(std::fs::read_to_string(&log).expect("a log"), "hello\nto stderr\n");
    }

    #[test]
    fn what_a_program_leaves_running_ends_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log.txt");
        assert!(ended("sleep 600 & echo $!", &log).success());
        let worker = std::fs::read_to_string(&log).expect("a log").trim().to_owned();
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{worker}/stat"));
            state.map_or(true, |stat| stat.contains(") Z"))
        };
        let began = Instant::now();
        while !gone() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(LOOK_EVERY);
        }
        assert!(gone(), "process {worker} still runs");
    }
}
