//! What the pages are made of: the folder, its tables, its images and its labels, and what a request makes of them.

use super::ViewError;
use super::folder::Folder;
use super::labels::{Item, Labels, Say};
use super::pages::{self, Around};
use super::pictures::{Pictures, SIDES};
use super::query::{By, Fields, Query, field};
use super::table::{Held, Table};
use crate::data::Dataset;
use crate::rounds;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tables that are held at a time: of a person who compares two rounds.
const HELD: usize = 2;
/// Signs of an answer to a form.
const SAID: usize = 600;

/// Everything that pages are made of.
#[derive(Debug)]
pub(super) struct Site {
    folder: Folder,
    pictures: Result<Pictures, String>,
    tables: Mutex<Vec<(usize, Arc<Table>)>>,
    labels: Mutex<Labels>,
    /// Another one in every server, so that a browser never shows pictures of an earlier one.
    version: String,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("rows", &self.len()).finish_non_exhaustive()
    }
}

/// What is sent back.
pub(super) enum Answer {
    /// A page.
    Page(String),
    /// A picture, with its media type, and whether a browser may keep it.
    Picture(&'static str, Vec<u8>, bool),
    /// Another page is to be asked for.
    GoTo(String),
}

impl Site {
    /// Over a folder; `pool` is the pool that was named.
    pub(super) fn open(
        folder: Folder,
        pool: Option<&std::path::Path>,
        onnxruntime: Option<PathBuf>,
        version: String,
    ) -> Result<Site, ViewError> {
        let pictures = folder.pool(pool)?.map(|pool| Pictures::new(pool, onnxruntime));
        let labels = Mutex::new(Labels::of(&folder));
        let site = Site { folder, pictures, tables: Mutex::default(), labels, version };
        // What cannot be read is said at the start.
        if let Some(newest) = site.folder.rounds().last() {
            site.table(*newest)?;
        }
        drop(site.labels()?);
        Ok(site)
    }

    /// Why there are no images, where there are none.
    pub(super) fn no_images(&self) -> Option<&str> {
        self.pictures.as_ref().err().map(String::as_str)
    }

    /// Why no labels are taken, where none are.
    pub(super) fn no_labels(&self) -> Result<Option<String>, ViewError> {
        Ok(self.labels()?.offer.as_ref().err().cloned())
    }

    /// Images of the newest table.
    pub(super) fn images(&self) -> Result<usize, ViewError> {
        self.folder.rounds().last().map_or(Ok(0), |newest| Ok(self.table(*newest)?.len()))
    }

    fn pool(&self) -> Option<&Dataset> {
        self.pictures.as_ref().ok().map(|pictures| &pictures.pool)
    }

    fn table(&self, round: usize) -> Result<Arc<Table>, ViewError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = tables.iter().position(|(of, _)| *of == round) {
            let found = tables.remove(at);
            let table = Arc::clone(&found.1);
            tables.push(found);
            return Ok(table);
        }
        // The lock is kept: of two who ask for a table one reads it.
        if tables.len() >= HELD {
            tables.remove(0);
        }
        let table = Arc::new(Table::read(self.folder.scored(round)?, self.pool())?);
        tables.push((round, Arc::clone(&table)));
        Ok(table)
    }

    /// The labels, seen anew.
    fn labels(&self) -> Result<MutexGuard<'_, Labels>, ViewError> {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        labels.look(&self.folder, self.pool(), |round| self.table(round))?;
        if !self.folder.is_run() && labels.offer.is_ok() && !labels.placed {
            labels.find_rows(&*self.table(0)?);
        }
        Ok(labels)
    }

    fn around(&self) -> Around<'_> {
        Around {
            run: self.folder.is_run(),
            folder: &self.folder.path,
            version: &self.version,
            no_images: self.no_images(),
        }
    }

    fn query(&self, fields: &Fields) -> Result<Query, ViewError> {
        let newest = self.folder.rounds().last().copied();
        let newest = newest.ok_or_else(|| ViewError::NoSuch { what: "scored round", number: "yet".to_owned() })?;
        let orders = |round| self.table(round).map_or_else(|_| vec![By::Influence], |table| table.orders());
        Ok(Query::of(fields, newest, orders))
    }

    /// `/`: the run, or the pool of a sweep.
    pub(super) fn home(&self) -> Result<Answer, ViewError> {
        if !self.folder.is_run() {
            return self.pool_page(&Fields::new());
        }
        let status = rounds::status(&self.folder.path)?;
        let picture = rounds::picture(&status.run);
        let labels = self.labels()?;
        Ok(Answer::Page(pages::run(&self.around(), &status, &picture, &self.folder.rounds(), labels.offer.is_ok())))
    }

    /// `/pool`: a page of images.
    pub(super) fn pool_page(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let query = self.query(fields)?;
        let table = self.table(query.round)?;
        let labels = self.labels()?;
        let rows = table.matching(&query, &labels.rows())?;
        let page = field(fields, "page").and_then(|text| text.parse().ok()).unwrap_or(1);
        let view = pages::PoolView {
            table: &table,
            query: &query,
            rows: &rows,
            rounds: &self.folder.rounds(),
            page,
            labels: &labels,
        };
        Ok(Answer::Page(pages::pool(&self.around(), &view)))
    }

    /// `/image`: one image.
    pub(super) fn image(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let query = self.query(fields)?;
        let table = self.table(query.round)?;
        let (row, held) = row_of(&table, fields)?;
        let Some(full) = table.row(row)? else { return Err(no_image(&row.to_string())) };
        let labels = self.labels()?;
        let rows = table.matching(&query, &labels.rows())?;
        let changed = self.pictures.as_ref().ok().zip(held.position).and_then(|(pictures, position)| {
            let image = pictures.pool.load(position as usize);
            match image {
                Ok(image) if crate::data::Content::of(&image) == full.content => None,
                Ok(_) => Some("This image is not the one that was scored: its pixels have changed since.".to_owned()),
                Err(error) => Some(crate::error_chain::in_one_line(&error)),
            }
        });
        let view = pages::ImageView {
            table: &table,
            query: &query,
            rows: &rows,
            held: &held,
            full: &full,
            labels: &labels,
            changed,
        };
        Ok(Answer::Page(pages::image(&self.around(), &view)))
    }

    /// `/label`: the list to label, one image at a time.
    pub(super) fn label(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let labels = self.labels()?;
        let at = field(fields, "at").and_then(|text| text.parse::<usize>().ok());
        let said = field(fields, "said").map(|said| said.chars().take(SAID).collect::<String>());
        let table = match &labels.offer {
            Ok(offer) => match offer.round {
                None => self.table(0).ok(),
                Some(round) => round.checked_sub(1).and_then(|before| self.table(before).ok()),
            },
            Err(_) => None,
        };
        Ok(Answer::Page(pages::label(&self.around(), &labels, table.as_deref(), at, said.as_deref())))
    }

    /// A label for an image, or one taken back.
    pub(super) fn say(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let mut labels = self.labels()?;
        let on_list = field(fields, "at").is_some();
        if field(fields, "do") == Some("undo") {
            let undone = labels.undo()?;
            let Some(id) = undone else { return Ok(Answer::GoTo(self.back(fields, &labels, None)?)) };
            let item = labels.offer.as_ref().ok().and_then(|offer| offer.items.iter().position(|item| item.id == id));
            return match item {
                Some(at) if on_list => Ok(Answer::GoTo(format!("/label?at={}", at + 1))),
                _ => Ok(Answer::GoTo(self.back(fields, &labels, Some(&id))?)),
            };
        }
        let say = match (field(fields, "do"), field(fields, "label")) {
            (Some("skip"), _) => Say::Skip,
            (_, Some(class)) => Say::Class(class),
            _ => return Err(ViewError::Label { reason: "no label was given".to_owned() }),
        };
        let item = self.item(fields, &labels)?;
        if Some(item.id.as_str()) != field(fields, "id") {
            // The page is of another list: what was seen is not what would be labelled.
            return Err(ViewError::Label { reason: "the list has changed since: open it again".to_owned() });
        }
        // Before the label: with one, the image may be none of the query any more, and nothing comes after it.
        let after = self.back(fields, &labels, None)?;
        labels.say(&item, say, self.pool())?;
        if !on_list {
            return Ok(Answer::GoTo(after));
        }
        let from = field(fields, "at").and_then(|at| at.parse::<usize>().ok()).unwrap_or(1);
        Ok(Answer::GoTo(format!("/label?at={}", labels.next(from - 1) + 1)))
    }

    /// The image that a form is about.
    fn item(&self, fields: &Fields, labels: &Labels) -> Result<Item, ViewError> {
        let offer = labels.offer.as_ref().map_err(|why| ViewError::Label { reason: why.clone() })?;
        if let Some(at) = field(fields, "at") {
            let item = at.parse::<usize>().ok().and_then(|at| offer.items.get(at.checked_sub(1)?));
            return item.cloned().ok_or_else(|| no_image(at));
        }
        if offer.round.is_some() {
            return Err(ViewError::Label { reason: "a run takes labels of the images on its list alone".to_owned() });
        }
        let (row, held) = row_of(&*self.table(0)?, fields)?;
        Ok(Item { id: held.id, position: held.position, row: Some(row), imported: None })
    }

    /// Where to go on from the page of an image: to the one after it in its order, or to the one with this id.
    fn back(&self, fields: &Fields, labels: &Labels, to: Option<&str>) -> Result<String, ViewError> {
        if field(fields, "at").is_some() {
            return Ok("/label".to_owned());
        }
        let query = self.query(fields)?;
        let table = self.table(query.round)?;
        let (row, _) = row_of(&table, fields)?;
        if let Some(id) = to {
            let wanted = [id.to_owned()].into_iter().collect();
            return Ok(query.image(table.rows_of(&wanted).get(id).copied().unwrap_or(row)));
        }
        let rows = table.matching(&query, &labels.rows())?;
        let after = rows.iter().skip_while(|other| **other != row).nth(1);
        Ok(after.map_or_else(|| query.image(row), |row| query.image(*row)))
    }

    /// Hands labels to the run that waits for them.
    pub(super) fn import(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let labels = self.labels()?;
        let is_set = |name: &str| field(fields, name).is_some();
        let said = match labels.import(is_set("replace"), is_set("partial")) {
            Ok(imported) => {
                let next = match imported.goes_on {
                    true => "the run can go on: give its `isal run` command again".to_owned(),
                    false => format!("{} images have no label yet", imported.now.missing),
                };
                format!("The run took {} labels, and {} changed; {next}.", imported.added, imported.changed)
            }
            Err(error) => crate::error_chain::in_one_line(&error),
        };
        // It has to go into an address.
        let said: String = said.chars().take(SAID).collect();
        let said: String = form_urlencoded::byte_serialize(said.as_bytes()).collect();
        Ok(Answer::GoTo(format!("/label?said={said}")))
    }

    /// `/picture`: an image of the pool.
    pub(super) fn picture(&self, fields: &Fields) -> Result<Answer, ViewError> {
        let at = field(fields, "at").unwrap_or_default();
        let number = |name: &str| field(fields, name).and_then(|text| text.parse::<u32>().ok());
        let lost = || no_image(at);
        let pictures = self.pictures.as_ref().map_err(|_| lost())?;
        let position = number("at").map(|at| at as usize).filter(|at| *at < pictures.pool.len()).ok_or_else(lost)?;
        let side = number("side").filter(|side| SIDES.contains(side)).unwrap_or(SIDES[0]);
        let drawn = match number("drawn") {
            None => None,
            Some(round) => pictures.drawn(&*self.table(round.saturating_sub(1) as usize)?, position, side)?,
        };
        let (kind, bytes) = drawn.or_else(|| pictures.small(position, side)).ok_or_else(lost)?;
        Ok(Answer::Picture(kind, bytes, field(fields, "v") == Some(&self.version)))
    }
}

fn no_image(number: &str) -> ViewError {
    ViewError::NoSuch { what: "image", number: number.chars().take(40).collect() }
}

/// The row that an address or a form names.
fn row_of(table: &Table, fields: &Fields) -> Result<(u32, Held), ViewError> {
    let text = field(fields, "row").unwrap_or_default();
    let row = text.parse::<u32>().ok();
    row.and_then(|row| Some((row, table.held(row)?))).ok_or_else(|| no_image(text))
}
