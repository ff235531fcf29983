//! How long work tells whoever waits for it, and learns that they have had enough.

/// Watches a long piece of work. The command line draws bars or prints lines; a library user may ignore it all.
pub trait Observer: Sync {
    /// A stage of `total` units (images, steps) begins.
    fn begin(&self, stage: &str, total: u64, unit: &'static str);
    /// `units` more of the stage are done.
    fn advance(&self, units: u64);
    /// A few words on how the stage goes, beside its progress; each replaces the last.
    fn note(&self, _words: &str) {}
    /// The stage is over.
    fn end(&self);
    /// Something worth reading that is no result: what was chosen, what was skipped.
    fn say(&self, line: &str);
    /// Whether to stop at the next point where nothing finished is lost.
    fn interrupted(&self) -> bool;
}

/// Watches nothing and never interrupts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn begin(&self, _stage: &str, _total: u64, _unit: &'static str) {}
    fn advance(&self, _units: u64) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// A stage that ends when this is dropped, whichever way the work is left.
pub struct Stage<'a>(&'a dyn Observer);

impl<'a> Stage<'a> {
    /// Begins a stage.
    pub fn begin(observer: &'a dyn Observer, stage: &str, total: u64, unit: &'static str) -> Stage<'a> {
        observer.begin(stage, total, unit);
        Stage(observer)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
