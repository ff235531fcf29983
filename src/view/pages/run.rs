//! A run: how far it got, what each round was worth, and the curve.

use super::{Around, notice};
use crate::report::{escape, grouped};
use crate::rounds::{Round, State, Status};
use std::fmt::Write as _;

/// The page; `picture` is the curve as SVG, `scored` the rounds that have scores, and `labels` whether labels can be given.
pub(in crate::view) fn run(around: &Around, status: &Status, picture: &str, scored: &[usize], labels: bool) -> String {
    let run = &status.run;
    let mut body = String::new();
    let state = match status.state {
        State::Done => "All rounds have ended.",
        State::Running => "A process carries it on now.",
        State::Waiting => "It waits for labels.",
        State::Stopped => "Nobody carries it on now: the `isal run` command that began it does.",
    };
    let _ = write!(
        body,
        "<p class=\"lead\">{} of {} rounds have ended; {} images have a label. {}</p>",
        run.ended.len(),
        run.rounds,
        grouped(status.cost.labeled),
        crate::report::prose(state)
    );
    if labels {
        body += "<p class=\"box\" role=\"status\"><a href=\"/label\">Label the images of its list</a></p>";
    }
    if run.ended.is_empty() {
        body += &notice("", "There is no curve before the first round has ended.");
        return around.page(&format!("A run by {}", run.strategy), "/", &body);
    }
    let _ = write!(body, "<div class=\"plot\">{picture}</div>");
    let share = run.ended.iter().find_map(Round::share).map_or("accuracy", |(name, _)| name);
    let _ = write!(
        body,
        "<table><tr><th class=\"n\">round</th><th class=\"n\">labels</th><th class=\"n\">test {share}</th>\
         <th class=\"n\">test loss</th><th>its scores</th></tr>"
    );
    for ended in &run.ended {
        let Round { round, labeled, test_loss, .. } = ended;
        let accuracy =
            ended.share().map_or_else(|| "&ndash;".to_owned(), |(_, share)| format!("{:.2} %", 100.0 * share));
        let loss = test_loss.map_or_else(|| "&ndash;".to_owned(), |loss| format!("{loss:.4}"));
        let link = match scored.contains(round) {
            true => format!("<a href=\"/pool?round={0}\">the pool after round {0}</a>", round + 1),
            false => String::new(),
        };
        let _ = write!(
            body,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{labeled}</td><td class=\"n\">{accuracy}</td><td class=\"n\">{loss}</td>\
             <td>{link}</td></tr>",
            round + 1
        );
    }
    let _ = write!(
        body,
        "</table><p class=\"note\">Selected by <code>{}</code>, seed {}.</p>",
        escape(&run.strategy),
        run.seed
    );
    around.page(&format!("A run by {}", run.strategy), "/", &body)
}
