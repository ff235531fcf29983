//! The tables of a harvest, and what is read from them and written to them.

use super::{FILE, Form, Graph, HarvestError, Hash, Part, Row, corrupt, database};
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _,
    ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use std::path::{Path, PathBuf};

const SCHEMA: &str = "isal-harvest/1";
/// Memory in which the database keeps pages.
const CACHE_BYTES: usize = 16 << 20;
/// Bytes of a piece: with its key it fills a page.
const PIECE: usize = 3900;

/// What a row is stored as: part, influence, priority, graph, first seen, bytes, form, shape.
type Stored<'a> = (u8, f32, u64, u64, u64, u64, &'a str, Vec<u64>);
type Key<'a> = (&'a str, [u8; 32]);

const ROWS: TableDefinition<Key, Stored> = TableDefinition::new("rows");
const PIECES: TableDefinition<(&str, [u8; 32], u32), &[u8]> = TableDefinition::new("pieces");
const GRAPHS: TableDefinition<(&str, u64), &str> = TableDefinition::new("graphs");
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
const ABOUT_SCHEMA: &str = "schema";
const ABOUT_SEED: &str = "seed";
const ABOUT_CLEARS: &str = "clears";

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::MultiWriter);
    builder
}

fn stored(row: &Row) -> Stored<'_> {
    let part = match row.part {
        Part::Lowest => 0,
        Part::Sample => 1,
    };
    let shape = row.form.shape().iter().map(|size| *size as u64).collect();
    (part, row.influence, row.priority, row.graph, row.since_ms, row.bytes, row.form.name(), shape)
}

fn row((part, influence, priority, graph, since_ms, bytes, form, shape): Stored<'_>) -> Option<Row> {
    let part = *Part::ALL.get(usize::from(part))?;
    let shape = shape.into_iter().map(|size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()?;
    Some(Row { part, influence, priority, graph, since_ms, form: Form::read(form, shape), bytes })
}

/// A harvest to write to. Several processes may have it; transactions wait for each other.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    seed: u64,
}

impl Store {
    /// The harvest in `folder`, made where there is none. The folder, made too, is its owner's alone.
    ///
    /// # Errors
    /// [`HarvestError`].
    pub fn create(folder: &Path) -> Result<Store, HarvestError> {
        let mut making = std::fs::DirBuilder::new();
        making.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut making, 0o700);
        let io = |source| HarvestError::Io { doing: "create the folder", path: folder.to_path_buf(), source };
        making.create(folder).map_err(io)?;
        let path = folder.join(FILE);
        Store::of(builder().create(&path).map_err(database(&path))?, path)
    }

    /// The harvest in `folder`.
    ///
    /// # Errors
    /// [`HarvestError`].
    pub fn open(folder: &Path) -> Result<Store, HarvestError> {
        let path = there(folder)?;
        Store::of(builder().open(&path).map_err(database(&path))?, path)
    }

    /// A harvest that lies elsewhere than in a file.
    #[cfg(test)]
    pub(crate) fn with_backend(backend: impl redb::StorageBackend, path: &Path) -> Result<Store, HarvestError> {
        let made = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        Store::of(made.map_err(database(path))?, path.to_path_buf())
    }

    /// Makes the tables where they are missing.
    fn of(opened: Database, path: PathBuf) -> Result<Store, HarvestError> {
        let known = about(&opened.begin_read().map_err(database(&path))?, &path)?;
        if let Some(seed) = known {
            return Ok(Store { database: opened, path, seed });
        }
        let seed: u64 = rand::random();
        let transaction = opened.begin_write().map_err(database(&path))?;
        {
            let mut about = transaction.open_table(ABOUT).map_err(database(&path))?;
            for (key, value) in [(ABOUT_SCHEMA, SCHEMA), (ABOUT_SEED, &seed.to_string()), (ABOUT_CLEARS, "0")] {
                about.insert(key, value).map_err(database(&path))?;
            }
            transaction.open_table(ROWS).map_err(database(&path))?;
            transaction.open_table(PIECES).map_err(database(&path))?;
            transaction.open_table(GRAPHS).map_err(database(&path))?;
        }
        transaction.commit().map_err(database(&path))?;
        Ok(Store { database: opened, path, seed })
    }

    /// What the random numbers of requests are made from, so that clients cannot choose theirs.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is there now.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn view(&self) -> Result<View, HarvestError> {
        let transaction = self.database.begin_read().map_err(database(&self.path))?;
        Ok(View { transaction, path: self.path.clone(), _database: None })
    }

    /// Begins a change; nothing of it is there before [`Change::commit`].
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn change(&self) -> Result<Change<'_>, HarvestError> {
        let transaction = self.database.begin_write().map_err(database(&self.path))?;
        Ok(Change { transaction, path: &self.path })
    }
}

fn there(folder: &Path) -> Result<PathBuf, HarvestError> {
    let path = folder.join(FILE);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(HarvestError::Missing { folder: folder.to_path_buf() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(HarvestError::Missing { folder: folder.to_path_buf() })
        }
        Err(source) => Err(HarvestError::Io { doing: "read", path, source }),
    }
}

/// The seed of a database that is a harvest; nothing for an empty one.
fn about(read: &ReadTransaction, path: &Path) -> Result<Option<u64>, HarvestError> {
    let table = match read.open_table(ABOUT) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(e) => return Err(database(path)(e)),
    };
    let text = |key: &str| -> Result<String, HarvestError> {
        let value = table.get(key).map_err(database(path))?;
        Ok(value.map(|value| value.value().to_owned()).unwrap_or_default())
    };
    let found = text(ABOUT_SCHEMA)?;
    if found != SCHEMA {
        return Err(HarvestError::Schema { path: path.to_path_buf(), found, expected: SCHEMA });
    }
    let seed = text(ABOUT_SEED)?.parse();
    seed.map(Some).map_err(|_| corrupt(path, "a seed that is no number".to_owned()))
}

/// A harvest as it was at one moment.
#[derive(Debug)]
pub struct View {
    transaction: ReadTransaction,
    path: PathBuf,
    /// Kept open as long as the view, where nobody else keeps it.
    _database: Option<Opened>,
}

#[derive(Debug)]
enum Opened {
    /// Beside a server, or after one that ended well.
    Read(#[allow(dead_code, reason = "kept open")] Debugless<ReadOnlyDatabase>),
    /// After a server that was killed: what it was about to write is taken back first.
    Repaired(#[allow(dead_code, reason = "kept open")] Database),
}

/// A value without a form for messages.
struct Debugless<T>(#[allow(dead_code, reason = "kept open")] T);

impl<T> std::fmt::Debug for Debugless<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl View {
    /// The harvest in `folder` as it is now, whether a server writes to it or not.
    ///
    /// # Errors
    /// [`HarvestError`].
    pub fn open(folder: &Path) -> Result<View, HarvestError> {
        let path = there(folder)?;
        let (transaction, opened) = match builder().open_read_only(&path) {
            Ok(opened) => (opened.begin_read(), Opened::Read(Debugless(opened))),
            Err(DatabaseError::RepairAborted) => {
                let opened = builder().open(&path).map_err(database(&path))?;
                (opened.begin_read(), Opened::Repaired(opened))
            }
            Err(e) => return Err(database(&path)(e)),
        };
        let transaction = transaction.map_err(database(&path))?;
        if about(&transaction, &path)?.is_none() {
            return Err(HarvestError::Schema { path, found: "nothing".to_owned(), expected: SCHEMA });
        }
        Ok(View { transaction, path, _database: Some(opened) })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `visit` with every request that is kept, by model and then by hash.
    ///
    /// # Errors
    /// [`HarvestError::Database`], and what `visit` says.
    pub fn each<E: From<HarvestError>>(
        &self,
        mut visit: impl FnMut(&str, Hash, Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let table = self.transaction.open_table(ROWS).map_err(database(&self.path))?;
        for entry in table.iter().map_err(database(&self.path))? {
            let (key, value) = entry.map_err(database(&self.path))?;
            let (model, hash) = key.value();
            let row = row(value.value());
            let row = row.ok_or_else(|| corrupt(&self.path, format!("a row of `{model}` that is none")))?;
            visit(model, Hash(hash), row)?;
        }
        Ok(())
    }

    /// The bytes of a request; empty where it is not there.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn bytes(&self, model: &str, hash: Hash) -> Result<Vec<u8>, HarvestError> {
        let table = self.transaction.open_table(PIECES).map_err(database(&self.path))?;
        let range = table.range((model, hash.0, 0)..=(model, hash.0, u32::MAX)).map_err(database(&self.path))?;
        let mut bytes = Vec::new();
        for piece in range {
            bytes.extend_from_slice(piece.map_err(database(&self.path))?.1.value());
        }
        Ok(bytes)
    }

    /// The influence graphs of every model, by model and number.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn graphs(&self) -> Result<Vec<(String, u64, Graph)>, HarvestError> {
        let table = self.transaction.open_table(GRAPHS).map_err(database(&self.path))?;
        let mut graphs = Vec::new();
        for entry in table.iter().map_err(database(&self.path))? {
            let (key, value) = entry.map_err(database(&self.path))?;
            let (model, number) = key.value();
            let graph = serde_json::from_str(value.value());
            let graph = graph.map_err(|e| corrupt(&self.path, format!("graph {number} of `{model}`: {e}")))?;
            graphs.push((model.to_owned(), number, graph));
        }
        Ok(graphs)
    }

    /// How often somebody cleared the harvest or a part of it.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn clears(&self) -> Result<u64, HarvestError> {
        clears(&self.transaction.open_table(ABOUT).map_err(database(&self.path))?, &self.path)
    }
}

/// How often somebody cleared, by the table that says it.
fn clears(about: &impl ReadableTable<&'static str, &'static str>, path: &Path) -> Result<u64, HarvestError> {
    let value = about.get(ABOUT_CLEARS).map_err(database(path))?;
    Ok(value.and_then(|value| value.value().parse().ok()).unwrap_or(0))
}

/// A change on its way into a harvest.
pub struct Change<'s> {
    transaction: WriteTransaction,
    path: &'s Path,
}

impl Change<'_> {
    /// How often somebody cleared the harvest or a part of it.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn clears(&self) -> Result<u64, HarvestError> {
        clears(&self.transaction.open_table(ABOUT).map_err(database(self.path))?, self.path)
    }

    /// Adds a request with its bytes, or puts another row in the place of its own.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn put(&self, model: &str, hash: Hash, row: &Row, bytes: Option<&[u8]>) -> Result<(), HarvestError> {
        let mut rows = self.transaction.open_table(ROWS).map_err(database(self.path))?;
        rows.insert((model, hash.0), stored(row)).map_err(database(self.path))?;
        let Some(bytes) = bytes else { return Ok(()) };
        let mut pieces = self.transaction.open_table(PIECES).map_err(database(self.path))?;
        for (number, piece) in (0_u32..).zip(bytes.chunks(PIECE)) {
            pieces.insert((model, hash.0, number), piece).map_err(database(self.path))?;
        }
        Ok(())
    }

    /// Says of a request that is there why it is kept now.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn set_part(&self, model: &str, hash: Hash, part: Part) -> Result<(), HarvestError> {
        let mut rows = self.transaction.open_table(ROWS).map_err(database(self.path))?;
        let found = rows.get((model, hash.0)).map_err(database(self.path))?;
        let found = found.and_then(|value| row(value.value()));
        match found {
            Some(found) => {
                rows.insert((model, hash.0), stored(&Row { part, ..found })).map_err(database(self.path))?;
                Ok(())
            }
            None => Err(corrupt(self.path, format!("the request {hash} of `{model}` is gone"))),
        }
    }

    /// Takes a request out.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn remove(&self, model: &str, hash: Hash) -> Result<(), HarvestError> {
        let mut rows = self.transaction.open_table(ROWS).map_err(database(self.path))?;
        rows.remove((model, hash.0)).map_err(database(self.path))?;
        let mut pieces = self.transaction.open_table(PIECES).map_err(database(self.path))?;
        let all = (model, hash.0, 0)..=(model, hash.0, u32::MAX);
        pieces.retain_in(all, |_, _| false).map_err(database(self.path))
    }

    /// Says what an influence graph of a model is.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn graph(&self, model: &str, number: u64, graph: &Graph) -> Result<(), HarvestError> {
        let text = serde_json::to_string(graph).map_err(|e| corrupt(self.path, e.to_string()))?;
        let mut graphs = self.transaction.open_table(GRAPHS).map_err(database(self.path))?;
        graphs.insert((model, number), text.as_str()).map_err(database(self.path))?;
        Ok(())
    }

    /// Takes out everything, or everything of one model. Gives how many requests that were.
    ///
    /// # Errors
    /// [`HarvestError::Database`].
    pub fn clear(&self, model: Option<&str>) -> Result<u64, HarvestError> {
        let stays = |of: &str| model.is_some_and(|model| model != of);
        let mut removed = 0;
        let mut rows = self.transaction.open_table(ROWS).map_err(database(self.path))?;
        let keep = |(of, _): Key<'_>, _: Stored<'_>| {
            let stays = stays(of);
            removed += u64::from(!stays);
            stays
        };
        rows.retain(keep).map_err(database(self.path))?;
        let mut pieces = self.transaction.open_table(PIECES).map_err(database(self.path))?;
        pieces.retain(|(of, ..), _| stays(of)).map_err(database(self.path))?;
        let mut graphs = self.transaction.open_table(GRAPHS).map_err(database(self.path))?;
        graphs.retain(|(of, _), _| stays(of)).map_err(database(self.path))?;
        let clears = (self.clears()? + 1).to_string();
        let mut about = self.transaction.open_table(ABOUT).map_err(database(self.path))?;
        about.insert(ABOUT_CLEARS, clears.as_str()).map_err(database(self.path))?;
        Ok(removed)
    }

    /// Makes the change; once this returns it survives a kill and a lost power supply.
    ///
    /// # Errors
    /// [`HarvestError::Database`]; then nothing has changed.
    pub fn commit(self) -> Result<(), HarvestError> {
        self.transaction.commit().map_err(database(self.path))
    }
}
