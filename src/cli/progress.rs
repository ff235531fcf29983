//! Progress for people: a bar on a terminal, a line every few seconds elsewhere, nothing under `--quiet`.

use crate::observe::Observer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A line no more often than this where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A stage shorter than this shows nothing.
const WORTH_SHOWING: Duration = Duration::from_secs(2);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Draws stages and knows whether Ctrl-C was pressed.
#[derive(Debug)]
pub struct Progress {
    silent: bool,
    terminal: bool,
    stage: Mutex<Option<Stage>>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    unit: &'static str,
    total: u64,
    done: u64,
    note: String,
    began: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress on stderr, or none at all. Ctrl-C asks for an orderly stop; a second one ends the process.
    pub fn new(silent: bool) -> Progress {
        // Fails only where a handler is already set, which then does the same.
        let _ = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Progress { silent, terminal, stage: Mutex::new(None) }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn begin(&self, name: &str, total: u64, unit: &'static str) {
        if self.silent {
            return;
        }
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template =
                format!("{{msg:22}} {{bar:28}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{prefix}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar.set_message(name.to_owned());
            bar
        });
        let now = Instant::now();
        let stage =
            Stage { name: name.to_owned(), unit, total, done: 0, note: String::new(), began: now, last_line: now, bar };
        *self.stage() = Some(stage);
    }

    fn advance(&self, units: u64) {
        let mut guard = self.stage();
        let Some(stage) = guard.as_mut() else { return };
        stage.done += units;
        match &stage.bar {
            Some(bar) => bar.inc(units),
            None if stage.last_line.elapsed() >= LINE_EVERY => {
                stage.last_line = Instant::now();
                eprintln!("{}", line(stage));
            }
            None => {}
        }
    }

    fn note(&self, words: &str) {
        let mut guard = self.stage();
        let Some(stage) = guard.as_mut() else { return };
        words.clone_into(&mut stage.note);
        if let Some(bar) = &stage.bar {
            bar.set_prefix(stage.note.clone());
        }
    }

    fn end(&self) {
        let Some(stage) = self.stage().take() else { return };
        if let Some(bar) = &stage.bar {
            bar.finish_and_clear();
        }
        let took = stage.began.elapsed();
        if took >= WORTH_SHOWING && stage.done > 0 {
            let rate = stage.done as f64 / took.as_secs_f64();
            eprintln!("{}: {} {} in {:.1} s ({rate:.1}/s)", stage.name, stage.done, stage.unit, took.as_secs_f64());
        }
    }

    fn say(&self, text: &str) {
        if self.silent {
            return;
        }
        match self.stage().as_ref().and_then(|s| s.bar.as_ref()) {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

/// `scoring the pool: 1200/5000 images, 448.2/s, 8 s left; 3 % waiting for decoding, ...`
fn line(stage: &Stage) -> String {
    let seconds = stage.began.elapsed().as_secs_f64();
    let rate = stage.done as f64 / seconds.max(1e-9);
    let left = stage.total.saturating_sub(stage.done) as f64 / rate.max(1e-9);
    let note = if stage.note.is_empty() { String::new() } else { format!("; {}", stage.note) };
    format!("{}: {}/{} {}, {rate:.1}/s, {left:.0} s left{note}", stage.name, stage.done, stage.total, stage.unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_count_rate_and_time_left() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).expect("a machine up for ten seconds");
        let (name, note) = ("scoring".into(), String::new());
        let mut stage = Stage { name, unit: "images", total: 300, done: 100, note, began, last_line: began, bar: None };
        assert_eq!(line(&stage), "scoring: 100/300 images, 10.0/s, 20 s left");
        stage.note = "9 % waiting for decoding".into();
        assert_eq!(line(&stage), "scoring: 100/300 images, 10.0/s, 20 s left; 9 % waiting for decoding");
    }
}
