//! Score rows, wherever they are.

use super::columns::{CONTENT, Data, ID, INFLUENCE};
use super::table_file::CHUNK;
use super::{BeliefColumn, ScoreError, ScoreRow, Stored};
use crate::data::Content;

/// The rows of a score table, in pool order: all at hand, or in files that every pass reads anew.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// In memory, with what their beliefs are.
    Memory(&'a [BeliefColumn], &'a [ScoreRow]),
    /// In files.
    Files(&'a Stored),
}

impl<'a> Rows<'a> {
    /// What the beliefs of the rows are.
    pub fn columns(self) -> &'a [BeliefColumn] {
        match self {
            Rows::Memory(columns, _) => columns,
            Rows::Files(stored) => stored.columns(),
        }
    }

    /// The place of a belief among those of a row.
    pub fn belief(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.name == name)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Rows::Memory(_, rows) => rows.len(),
            Rows::Files(stored) => stored.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with every row, in order, until it refuses one.
    ///
    /// # Errors
    /// What `visit` says; [`ScoreError`] from the files.
    pub fn each<E: From<ScoreError>>(self, mut visit: impl FnMut(&ScoreRow) -> Result<(), E>) -> Result<(), E> {
        match self {
            Rows::Memory(_, rows) => rows.iter().try_for_each(visit),
            Rows::Files(stored) => stored.chunks().try_for_each(|chunk| chunk?.iter().try_for_each(&mut visit)),
        }
    }

    /// Whether any row passes the test; those after it are not looked at.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn any(self, mut test: impl FnMut(&ScoreRow) -> bool) -> Result<bool, ScoreError> {
        match self {
            Rows::Memory(_, rows) => Ok(rows.iter().any(test)),
            Rows::Files(stored) => {
                for chunk in stored.chunks() {
                    if chunk?.iter().any(&mut test) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Calls `visit` with the influence of every row that has one.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn influences(self, mut visit: impl FnMut(f64)) -> Result<(), ScoreError> {
        match self {
            Rows::Memory(_, rows) => rows.iter().filter_map(|row| row.influence).for_each(visit),
            Rows::Files(stored) => {
                let Some((mut column, mut values)) = stored.column(INFLUENCE) else { return Ok(()) };
                while column.read(CHUNK, &mut values)? > 0 {
                    if let Data::Double(influences) = &values.data {
                        influences.iter().copied().for_each(&mut visit);
                    }
                    values.clear();
                }
            }
        }
        Ok(())
    }

    /// Calls `visit` with the id of every row.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn ids(self, mut visit: impl FnMut(&str)) -> Result<(), ScoreError> {
        match self {
            Rows::Memory(_, rows) => rows.iter().for_each(|row| visit(&row.id)),
            Rows::Files(stored) => {
                let Some((mut column, mut values)) = stored.column(ID) else { return Ok(()) };
                while column.read(CHUNK, &mut values)? > 0 {
                    if let Data::Text(ids) = &values.data {
                        ids.iter().for_each(|id| visit(id.as_utf8().unwrap_or_default()));
                    }
                    values.clear();
                }
            }
        }
        Ok(())
    }

    /// Calls `visit` with what the image of every row shows.
    ///
    /// # Errors
    /// [`ScoreError`] from the files.
    pub fn contents(self, mut visit: impl FnMut(Content)) -> Result<(), ScoreError> {
        match self {
            Rows::Memory(_, rows) => rows.iter().for_each(|row| visit(row.content)),
            Rows::Files(stored) => {
                let Some((mut column, mut values)) = stored.column(CONTENT) else { return Ok(()) };
                while column.read(CHUNK, &mut values)? > 0 {
                    if let Data::U64(contents) = &values.data {
                        contents.iter().for_each(|bits| visit(Content::from_bits(bits.cast_unsigned())));
                    }
                    values.clear();
                }
            }
        }
        Ok(())
    }
}
