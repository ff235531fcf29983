//! Removing models that a run no longer needs.

use super::RoundsError;
use super::config::Keep;
use super::state::Layout;
use std::path::Path;

/// What of a round only its model needs, in the folder of the round.
const WITH_MODEL: [&str; 6] = [
    "trained/model.onnx",
    "trained/model.onnx.data",
    "trained/checkpoint.safetensors",
    "trained/work",
    "scored/influence.onnx",
    "scored/s.safetensors",
];

/// Removes what is not kept of the rounds that have ended. The last of them stays while a round may begin with its weights.
pub(super) fn remove(layout: &Layout, keep: Keep, ended: usize, rounds: usize) -> Result<(), RoundsError> {
    let last = match keep {
        Keep::All => return Ok(()),
        Keep::None if ended == rounds => ended,
        Keep::Last | Keep::None => ended.saturating_sub(1),
    };
    for round in 0..last {
        for name in WITH_MODEL {
            let path = layout.round(round).join(name);
            remove_one(&path).map_err(|source| RoundsError::Write { path, source })?;
        }
    }
    Ok(())
}

fn remove_one(path: &Path) -> std::io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(keep: Keep, ended: usize) -> Vec<usize> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout(folder.path());
        for round in 0..3 {
            std::fs::create_dir_all(layout.trained(round).join("work")).expect("made");
            std::fs::write(layout.model(round), b"weights").expect("written");
            std::fs::write(layout.trained(round).join("metrics.json"), b"{}").expect("written");
        }
        remove(&layout, keep, ended, 3).expect("removed");
        remove(&layout, keep, ended, 3).expect("twice is as good");
        assert!((0..3).all(|round| layout.trained(round).join("metrics.json").exists()));
        (0..3).filter(|round| layout.model(*round).exists()).collect()
    }

    #[test]
    fn models_stay_as_long_as_they_are_wanted() {
        assert_eq!(models(Keep::All, 3), [0, 1, 2]);
        assert_eq!(models(Keep::Last, 2), [1, 2]);
        assert_eq!(models(Keep::Last, 3), [2]);
        assert_eq!(models(Keep::None, 2), [1, 2]);
        assert_eq!(models(Keep::None, 3), [0; 0]);
    }
}
