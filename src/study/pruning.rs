//! What a finished run no longer needs: models, score tables and the like, which are nearly all of its size.
//!
//! A run is finished once `curve.json` has all its rounds, and nothing of a round's folders is read after that but which images
//! were labelled. What small files say of a round is kept.

use crate::durable::DurableError;
use std::io::ErrorKind;
use std::path::Path;

/// Files of a round's folders that stay.
const KEPT: [&str; 3] = ["metrics.json", "selection.json", "run.json"];

/// Removes what is large from the rounds of the finished run in `folder`.
pub(super) fn prune(folder: &Path, rounds: usize) -> Result<(), DurableError> {
    for round in 0..rounds {
        for stage in ["trained", "scored"] {
            clear(&folder.join(format!("round-{round:02}")).join(stage))?;
        }
    }
    // What strategies that choose jointly keep of images from round to round.
    clear(&folder.join("embeddings"))
}

fn clear(stage: &Path) -> Result<(), DurableError> {
    let failed = |source| DurableError::Io { doing: "remove files of", path: stage.to_path_buf(), source };
    let entries = match std::fs::read_dir(stage) {
        Ok(entries) => entries,
        // The last round selects nothing.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        let removed =
            if kind.is_dir() { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        match removed {
            // Another process of the study removes the same.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn small_files_stay_and_everything_else_of_a_stage_goes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join("round-00").join(name);
        fs::create_dir_all(path("scored/parts")).expect("made");
        fs::create_dir_all(path("trained")).expect("made");
        for name in
            ["labeled.json", "trained/model.onnx", "trained/metrics.json", "scored/selection.json", "scored/parts/0"]
        {
            fs::write(path(name), b"x").expect("written");
        }
        for _ in 0..2 {
            prune(folder.path(), 2).expect("pruned");
            let there = |name: &str| path(name).exists();
            assert!(["labeled.json", "trained/metrics.json", "scored/selection.json"].into_iter().all(there));
            assert!(!["trained/model.onnx", "scored/parts"].into_iter().any(there));
        }
    }
}
