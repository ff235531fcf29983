//! Labels that are given here: on disk before they are answered, in the form that `isal label import` takes.
//!
//! `view/labels.csv` (of a run `view/round-NN.csv`) has a `path`, a `label` and an `id`, in the order in which they were given. Images to
//! leave out have the label `skip` in the list of a run; of a sweep, whose labels are trained on as they are, they stand in
//! `view/skipped.csv`. The whole list is written anew for each label, which for some thousand labels takes milliseconds, and put in
//! place at once: a kill loses no label that was answered.

use super::table::{Table, positions};
use super::{ViewError, folder::Folder};
use crate::annotation_tools::name;
use crate::data::Dataset;
use crate::durable::{self, DurableError, FolderLock};
use crate::families::LabelKind;
use crate::rounds::{ImportOptions, Imported, Label, LabelList, RoundsError, import_labels, label_list};
use crate::task::SINGLE_LABEL;
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The folder for labels, in the folder that is looked at.
const FOLDER: &str = "view";
/// What stands for images to leave out where no run has another word.
const SKIP: &str = "skip";

/// An image on the list to label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: String,
    /// Its position in the pool.
    pub(super) position: Option<u32>,
    /// Its row in the table that it was selected by.
    pub(super) row: Option<u32>,
    /// The label that the run has of it already.
    pub(super) imported: Option<String>,
}

/// What is to be labelled.
#[derive(Debug)]
pub(super) struct Offer {
    /// The images, the most useful first.
    pub(super) items: Vec<Item>,
    /// What a label may be.
    pub(super) classes: Vec<String>,
    /// The label of images to leave out.
    pub(super) skip: String,
    /// The round of a run that the labels are for; `None` of a sweep, any of whose images may get one.
    pub(super) round: Option<usize>,
    /// The images of the round as files, for those that have none of their own.
    folder: Option<PathBuf>,
    /// Where the labels go.
    pub(super) file: PathBuf,
}

/// A label that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) label: String,
    row: Option<u32>,
    path: String,
}

/// Labels of one folder.
#[derive(Debug)]
pub(super) struct Labels {
    folder: PathBuf,
    /// Absent where nothing may be written.
    lock: Option<FolderLock>,
    /// What is labelled, or why nothing is.
    pub(super) offer: Result<Offer, String>,
    /// By id, in the order in which they were given.
    pub(super) said: IndexMap<String, Said>,
    /// Whether the rows of labels from disk have been looked for.
    pub(super) placed: bool,
    /// What was changed, the last at the end, with what stood there before.
    history: Vec<(String, Option<Said>)>,
}

/// A label for an image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Say<'a> {
    /// A class by its name.
    Class(&'a str),
    /// Leave it out.
    Skip,
}

impl Labels {
    /// No labels yet; [`Labels::look`] sees what is to be labelled.
    pub(super) fn of(folder: &Folder) -> Labels {
        let folder = folder.path.clone();
        Labels {
            folder,
            lock: None,
            offer: Err(String::new()),
            said: IndexMap::new(),
            placed: false,
            history: Vec::new(),
        }
    }

    /// Sees what is to be labelled now: a run may have gone on since. `table` gives the table of a round.
    pub(super) fn look(
        &mut self,
        folder: &Folder,
        pool: Option<&Dataset>,
        table: impl Fn(usize) -> Result<std::sync::Arc<Table>, ViewError>,
    ) -> Result<(), ViewError> {
        if folder.is_run() {
            return match label_list(&folder.path)? {
                None => {
                    let why =
                        "This run takes no labels now: they come from the pool, or those of the round are complete.";
                    self.take_offer(Err(why.to_owned()))
                }
                Some(list) => self.look_at_run(list, pool, table),
            };
        }
        match &self.offer {
            Ok(_) => Ok(()),
            // Once is enough: a sweep does not change.
            Err(why) if !why.is_empty() => Ok(()),
            Err(_) => {
                let table = table(0)?;
                let offer = self.of_sweep(&table);
                self.take_offer(offer)
            }
        }
    }

    fn look_at_run(
        &mut self,
        list: LabelList,
        pool: Option<&Dataset>,
        table: impl Fn(usize) -> Result<std::sync::Arc<Table>, ViewError>,
    ) -> Result<(), ViewError> {
        let LabelList { round, kind, classes, skip, labels, folder } = list;
        if kind != LabelKind::Class {
            let what = kind.in_words();
            let why = format!(
                "An image has {what} in this run, and one class is all that can be said here: give the labels with `isal label import`."
            );
            return self.take_offer(Err(why));
        }
        if let Ok(offer) = &mut self.offer
            && offer.round == Some(round)
            && offer.items.len() == labels.len()
        {
            // The same list; the run may have taken labels.
            for item in &mut offer.items {
                item.imported = labels.get(&item.id).cloned().flatten().map(|label| label.to_string());
            }
            return Ok(());
        }
        let ids: HashSet<&str> = labels.keys().map(String::as_str).collect();
        let places = pool.map(|pool| positions(pool, &ids)).unwrap_or_default();
        // The first list is drawn, and what a program selected by may be gone.
        let selected_by = round.checked_sub(1).and_then(|before| table(before).ok());
        let rows = selected_by.map(|table| table.rows_of(&labels.keys().cloned().collect())).unwrap_or_default();
        let item = |(id, imported): (String, Option<Label>)| {
            let imported = imported.map(|label| label.to_string());
            let (position, row) = (places.get(&id).copied(), rows.get(&id).copied());
            Item { id, position, row, imported }
        };
        let items = labels.into_iter().map(item).collect();
        let file = self.folder.join(FOLDER).join(format!("round-{round:02}.csv"));
        self.take_offer(Ok(Offer { items, classes, skip, round: Some(round), folder: Some(folder), file }))
    }

    fn of_sweep(&self, table: &Table) -> Result<Offer, String> {
        let task = table.scored.task();
        if task != SINGLE_LABEL {
            return Err(format!("Labels of the task `{task}` have no form here: one class an image is labelled."));
        }
        let classes = table.scored.classes.clone();
        if classes.is_empty() {
            return Err("The folder does not say what the classes are: score the pool again to label here.".to_owned());
        }
        let skip = if classes.iter().any(|class| class == SKIP) { "leave out".to_owned() } else { SKIP.to_owned() };
        let item = |row: &u32| {
            let held = table.held(*row)?;
            Some(Item { id: held.id, position: held.position, row: Some(*row), imported: None })
        };
        let items = table.selected.iter().filter_map(item).collect();
        let file = self.folder.join(FOLDER).join("labels.csv");
        let offer = Offer { items, classes, skip, round: None, folder: None, file };
        Ok(offer)
    }

    /// Takes what is on disk of this offer, and the right to write there.
    fn take_offer(&mut self, offer: Result<Offer, String>) -> Result<(), ViewError> {
        (self.said, self.placed, self.history) = (IndexMap::new(), false, Vec::new());
        self.offer = offer;
        let Ok(offer) = &self.offer else { return Ok(()) };
        if self.lock.is_none() {
            self.lock = match FolderLock::take(&self.folder.join(FOLDER)) {
                Ok(lock) => Some(lock),
                Err(error) => {
                    let why = match error {
                        DurableError::Locked { .. } => {
                            "Labels are given in another `isal view` of this folder.".to_owned()
                        }
                        error => format!("No labels can be given here: {error}."),
                    };
                    self.offer = Err(why);
                    return Ok(());
                }
            };
        }
        let mut said = read(&offer.file)?;
        if let Some(skipped) = offer.skipped_file() {
            said.extend(read(&skipped)?);
        }
        self.history = said.keys().map(|id| (id.clone(), None)).collect();
        self.said = said;
        Ok(())
    }

    /// Finds the rows of labels that were read from disk.
    pub(super) fn find_rows(&mut self, table: &Table) {
        let lost = self.said.iter().filter(|(_, said)| said.row.is_none()).map(|(id, _)| id.clone());
        let rows = table.rows_of(&lost.collect());
        for (id, said) in &mut self.said {
            said.row = said.row.or_else(|| rows.get(id).copied());
        }
        self.placed = true;
    }

    /// Rows of a sweep with a label.
    pub(super) fn rows(&self) -> HashSet<u32> {
        self.said.values().filter_map(|said| said.row).collect()
    }

    fn offer(&self) -> Result<&Offer, ViewError> {
        self.offer.as_ref().map_err(|why| ViewError::Label { reason: why.clone() })
    }

    /// Takes a label for an image; it is on disk when this returns.
    ///
    /// # Errors
    /// A label that is no class, an image that is not asked about; the file system's. Then nothing has changed.
    pub(super) fn say(&mut self, item: &Item, say: Say, pool: Option<&Dataset>) -> Result<(), ViewError> {
        let offer = self.offer()?;
        let label = match say {
            Say::Skip => offer.skip.clone(),
            Say::Class(class) if offer.classes.iter().any(|known| known == class) => class.to_owned(),
            Say::Class(class) => {
                let some: Vec<&str> = offer.classes.iter().take(12).map(String::as_str).collect();
                let reason = format!("`{class}` is no class: expected one of {}", some.join(", "));
                return Err(ViewError::Label { reason });
            }
        };
        let said = Said { label, row: item.row, path: offer.path(item, pool) };
        // The last one given is the last of the list.
        let before = self.said.shift_remove(&item.id);
        self.said.insert(item.id.clone(), said);
        self.keep().inspect_err(|_| {
            self.said.shift_remove(&item.id);
            self.said.extend(before.clone().map(|before| (item.id.clone(), before)));
        })?;
        self.history.push((item.id.clone(), before));
        Ok(())
    }

    /// Takes the last label back; gives the image that it was of.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn undo(&mut self) -> Result<Option<String>, ViewError> {
        self.offer()?;
        let Some((id, before)) = self.history.last().cloned() else { return Ok(None) };
        let undone = self.said.shift_remove(&id);
        self.said.extend(before.map(|before| (id.clone(), before)));
        self.keep().inspect_err(|_| {
            self.said.shift_remove(&id);
            self.said.extend(undone.map(|undone| (id.clone(), undone)));
        })?;
        self.history.pop();
        Ok(Some(id))
    }

    fn keep(&self) -> Result<(), ViewError> {
        let offer = self.offer()?;
        let skipped = |said: &Said| said.label == offer.skip;
        match offer.skipped_file() {
            None => durable::write_bytes(&offer.file, &list(&self.said, |_| true))?,
            Some(file) => {
                // In this order an image that is both for a moment is one to leave out.
                durable::write_bytes(&file, &list(&self.said, skipped))?;
                durable::write_bytes(&offer.file, &list(&self.said, |said| !skipped(said)))?;
            }
        }
        Ok(())
    }

    /// The label of an image: the one given here, else the one that the run has.
    pub(super) fn label<'a>(&'a self, item: &'a Item) -> Option<&'a str> {
        self.said.get(&item.id).map(|said| said.label.as_str()).or(item.imported.as_deref())
    }

    /// The place of the next image without a label after `from`, else of the first one without; else the one after `from`.
    pub(super) fn next(&self, from: usize) -> usize {
        let Ok(offer) = &self.offer else { return 0 };
        let open = |(_, item): &(usize, &Item)| self.label(item).is_none();
        let items = || offer.items.iter().enumerate();
        let after = items().skip(from.saturating_add(1)).find(open).or_else(|| items().find(open));
        after.map_or((from + 1).min(offer.items.len().saturating_sub(1)), |(place, _)| place)
    }

    /// Hands the labels of a round to its run.
    ///
    /// # Errors
    /// What `isal label import` would refuse; the folder is in use.
    pub(super) fn import(&self, replace: bool, accept_partial: bool) -> Result<Imported, ViewError> {
        let offer = self.offer()?;
        let Some(round) = offer.round else {
            return Err(ViewError::Label { reason: "these scores are of no run that takes labels".to_owned() });
        };
        let given = Some(offer.file.as_path()).filter(|_| !self.said.is_empty());
        if given.is_none() && !accept_partial {
            return Err(ViewError::Label { reason: "no label has been given here yet".to_owned() });
        }
        let options = ImportOptions { round: Some(round), replace, accept_partial, unmarked_is_empty: false };
        import_labels(&self.folder, given, &options).map_err(|error| match error {
            RoundsError::Refused(refused) => ViewError::Label { reason: refused.to_string() },
            error => error.into(),
        })
    }
}

impl Offer {
    /// Where images to leave out are listed, if not with the labels.
    fn skipped_file(&self) -> Option<PathBuf> {
        self.round.is_none().then(|| self.file.with_file_name("skipped.csv"))
    }

    /// The file of an image: its own, or that of the round's folder; without either, its id.
    fn path(&self, item: &Item, pool: Option<&Dataset>) -> String {
        let own = pool.zip(item.position).and_then(|(pool, position)| pool.path(position as usize));
        let of_round = || {
            let place = self.items.iter().position(|other| other.id == item.id)?;
            Some(self.folder.as_ref()?.join(format!("{}.png", name(place, &item.id))))
        };
        let path = own.or_else(of_round).map_or_else(|| PathBuf::from(&item.id), |path| absolute(&path));
        path.display().to_string()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A list that `isal label import` takes, and every command that takes labelled images.
fn list(said: &IndexMap<String, Said>, wanted: impl Fn(&Said) -> bool) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    // Writing into memory does not fail.
    let _ = table.write_record(["path", "label", "id"]);
    for (id, Said { label, path, .. }) in said.iter().filter(|(_, said)| wanted(said)) {
        let _ = table.write_record([path, label, id]);
    }
    table.into_inner().unwrap_or_default()
}

/// Reads such a list back; nothing where there is none.
fn read(path: &Path) -> Result<IndexMap<String, Said>, ViewError> {
    let refused = |reason: String| ViewError::Labels { path: path.to_path_buf(), reason };
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(IndexMap::new()),
        read => read.map_err(|error| refused(error.to_string()))?,
    };
    let mut said = IndexMap::new();
    for row in csv::Reader::from_reader(bytes.as_slice()).into_deserialize::<HashMap<String, String>>() {
        let mut row = row.map_err(|error| refused(error.to_string()))?;
        let mut take = |column: &str| row.remove(column).ok_or_else(|| refused(format!("a line lacks its `{column}`")));
        let (path, label, id) = (take("path")?, take("label")?, take("id")?);
        said.insert(id, Said { label, row: None, path });
    }
    Ok(said)
}
