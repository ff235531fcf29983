//! What came of a study: a comparison for each data set and budget, and one page for all.

use super::carry;
use super::{Planned, StudyError};
use crate::compare::{self, Arm, Axis, Comparison, Found, Verdict};
use crate::durable;
use crate::report::{escape, opening, sentences};
use std::path::Path;

/// Name and version of the form of `study.json`.
const SCHEMA: &str = "isal-study/1";

/// A data set with a budget.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Setting {
    /// In words.
    pub name: String,
    /// Runs that there are to be.
    pub runs: usize,
    /// Runs that have ended.
    pub ended: usize,
    /// What they say; nothing before one has ended.
    pub comparison: Option<Comparison>,
}

/// What came of a study.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StudyReport {
    /// Version of this object.
    pub schema: &'static str,
    /// Data sets and budgets, in the order of the study.
    pub settings: Vec<Setting>,
}

impl StudyReport {
    /// Compares what has ended.
    ///
    /// # Errors
    /// Runs whose files cannot be read, or that differ in what they must share.
    pub fn of(plan: &[Planned]) -> Result<StudyReport, StudyError> {
        let mut names: Vec<String> = Vec::new();
        for planned in plan {
            let name = planned.setting();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let settings = names.into_iter().map(|name| {
            let runs: Vec<&Planned> = plan.iter().filter(|planned| planned.setting() == name).collect();
            setting(name, &runs)
        });
        Ok(StudyReport { schema: SCHEMA, settings: settings.collect::<Result<_, StudyError>>()? })
    }

    /// As text: each comparison under its name.
    pub fn text(&self) -> String {
        let one = |setting: &Setting| {
            let what = setting.comparison.as_ref().map_or_else(|| "Nothing has ended.\n".to_owned(), compare::text);
            format!("{}: {} of {} runs have ended\n{what}", setting.name, setting.ended, setting.runs)
        };
        self.settings.iter().map(one).collect::<Vec<String>>().join("\n")
    }

    /// The page.
    pub fn html(&self) -> String {
        let names: Vec<&str> = self.settings.iter().map(|setting| setting.name.as_str()).collect();
        let mut page = opening(&format!("Study of {}", names.join("; ")));
        page += &self.overview();
        for setting in &self.settings {
            page += &format!("<h2>{}</h2>", escape(&setting.name));
            match &setting.comparison {
                Some(comparison) => {
                    page += &sentences(&comparison.summary);
                    page += &compare::section(comparison, "h3");
                }
                None => page += "<p>No run has ended.</p>",
            }
        }
        if let Some(comparison) = self.settings.iter().find_map(|setting| setting.comparison.as_ref()) {
            page += "<h2>How these numbers were found</h2>";
            page += &compare::details(comparison);
        }
        page + "</html>\n"
    }

    /// Arms against settings: the gain over random, and what it says.
    fn overview(&self) -> String {
        let comparisons = || self.settings.iter().filter_map(|setting| setting.comparison.as_ref());
        let mut names: Vec<&String> = Vec::new();
        for arm in comparisons().flat_map(|comparison| &comparison.arms) {
            if !names.contains(&&arm.name) {
                names.push(&arm.name);
            }
        }
        let head: String = self
            .settings
            .iter()
            .map(|setting| format!("<th>{}<br>{} of {} runs", escape(&setting.name), setting.ended, setting.runs))
            .collect();
        let cell = |setting: &Setting, name: &String| {
            let arm = setting.comparison.as_ref().and_then(|found| found.arms.iter().find(|arm| arm.name == *name));
            let Some((comparison, arm)) = setting.comparison.as_ref().zip(arm) else { return "-".to_owned() };
            standing(comparison, arm)
        };
        let row = |name: &&String| {
            let cells: String = self.settings.iter().map(|setting| format!("<td>{}", cell(setting, name))).collect();
            format!("<tr><td>{}{cells}</tr>", escape(name))
        };
        let rows: String = names.iter().map(row).collect();
        let note = "Gain over random on average over the rounds from the second on; more is better.";
        format!("<table><tr><th>arm{head}</tr>{rows}</table><p class=\"note\">{note}</p>")
    }
}

/// How an arm stands to `random`, in a cell.
fn standing(comparison: &Comparison, arm: &Arm) -> String {
    match &arm.against_random {
        Some(against) => {
            let gain = comparison.metric.gain_in_words(&against.gain);
            match against.verdict {
                Verdict::Better => format!("<b>{gain}</b><br>{}", against.verdict.words()),
                verdict => format!("{gain}<br>{}", verdict.words()),
            }
        }
        None => comparison.metric.estimate(&arm.area),
    }
}

fn setting(name: String, runs: &[&Planned]) -> Result<Setting, StudyError> {
    let mut found = Vec::new();
    for planned in runs {
        if let Some(recorded) = carry::found(planned)? {
            found.push(Found { folder: planned.folder.clone(), recorded, arm: Some(planned.arm.clone()) });
        }
    }
    let ended = found.iter().filter(|found| found.recorded.is_finished()).count();
    let comparison = if ended == 0 { None } else { Some(Comparison::of(found, Axis::Labels)?) };
    Ok(Setting { name, runs: runs.len(), ended, comparison })
}

/// Writes `study.json` and `study.html` into `out`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(report: &StudyReport, out: &Path) -> Result<(), StudyError> {
    durable::make_folder(out)?;
    // A report has no key that is no text; a number that JSON lacks becomes null.
    let json = serde_json::to_vec_pretty(report).unwrap_or_default();
    durable::write_bytes(&out.join("study.json"), &json)?;
    Ok(durable::write_bytes(&out.join("study.html"), report.html().as_bytes())?)
}
