//! The models that are served now, and how they change while requests come in.
//!
//! A request holds the version that it asked for, so a version that is replaced or unloaded ends once its last request is
//! answered. A model whose files became something that does not load keeps its old versions, and says what is wrong.

use super::harvest::Harvest;
use super::limits::Limits;
use super::model::{LoadError, Running, Version};
use super::name::{is_model_name, version_number};
use super::refusal::Refusal;
use super::repository::{RepositoryError, Source, Stamp};
use super::stats::Stats;
use crate::runtime::Library;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedError {
    /// Its files.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The model itself.
    #[error("version {version}: {source}")]
    Load {
        /// Which version.
        version: u64,
        /// Why.
        source: Box<LoadError>,
    },
}

/// The models that are served.
#[derive(Debug)]
pub struct Registry {
    library: Library,
    source: Source,
    running: Running,
    harvest: Option<Harvest>,
    models: RwLock<BTreeMap<String, Served>>,
    stats: Mutex<HashMap<(String, u64), Arc<Stats>>>,
    /// One change at a time, and what the last look at the files saw.
    changing: Mutex<BTreeMap<String, Stamp>>,
}

/// A model as it stands.
#[derive(Debug, Clone, Default)]
struct Served {
    versions: BTreeMap<u64, Arc<Version>>,
    /// Why its files as they are now are not served.
    problem: Option<String>,
    /// What its files were when they were last loaded, or failed to.
    stamp: Stamp,
    /// Whether somebody asked for it to be unloaded.
    unloaded: bool,
}

/// A model's versions, and the fields of its configuration that were passed over.
type Loaded = (BTreeMap<u64, Arc<Version>>, Vec<String>);

/// A line of the repository's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The model.
    pub name: String,
    /// Its version; empty where none is served.
    pub version: String,
    /// Whether it answers.
    pub ready: bool,
    /// What is wrong, where something is.
    pub reason: String,
}

/// What a look at the files changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A model was loaded, or loaded anew.
    Loaded {
        /// Its name.
        name: String,
        /// Its versions.
        versions: Vec<u64>,
        /// Fields of its configuration that were passed over.
        passed_over: Vec<String>,
    },
    /// A model's files do not load; older versions go on where there are any.
    Failed {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
        /// Whether older versions go on.
        kept: bool,
    },
    /// A model is gone.
    Removed {
        /// Its name.
        name: String,
    },
    /// The repository itself cannot be read; what is served goes on.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl Registry {
    /// A registry without a model; [`Registry::look`] loads them.
    pub fn new(library: Library, source: Source, running: Running, harvest: Option<Harvest>) -> Registry {
        Registry {
            library,
            source,
            running,
            harvest,
            models: RwLock::default(),
            stats: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// The bounds that models are run under.
    pub fn limits(&self) -> &Limits {
        &self.running.limits
    }

    fn changing(&self) -> MutexGuard<'_, BTreeMap<String, Stamp>> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, name: &str) -> Option<Served> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn write(&self, name: &str, served: Option<Served>) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let old = match served {
            Some(served) => models.insert(name.to_owned(), served),
            None => models.remove(name),
        };
        drop(models);
        // Sessions end here, outside the lock.
        drop(old);
    }

    /// The version of a model that a request asks for; the newest where it asks for none.
    ///
    /// # Errors
    /// [`Refusal::UnknownModel`], [`Refusal::UnknownVersion`] and [`Refusal::NotReady`].
    pub fn version(&self, name: &str, version: &str) -> Result<Arc<Version>, Refusal> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let served = models.get(name).filter(|served| !served.unloaded);
        let served = served.ok_or_else(|| Refusal::UnknownModel { name: name.chars().take(256).collect() })?;
        let found = match version {
            "" => served.versions.last_key_value().map(|(_, version)| version),
            text => version_number(text).and_then(|number| served.versions.get(&number)),
        };
        if let Some(found) = found {
            return Ok(Arc::clone(found));
        }
        if let Some(reason) = served.problem.clone().filter(|_| served.versions.is_empty()) {
            return Err(Refusal::NotReady { name: name.to_owned(), reason });
        }
        let known = served.versions.keys().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let version = version.chars().take(32).collect();
        Err(Refusal::UnknownVersion { name: name.to_owned(), version, known })
    }

    /// The numbers of a model's versions.
    pub fn versions_of(&self, name: &str) -> Vec<u64> {
        self.read(name).map(|served| served.versions.into_keys().collect()).unwrap_or_default()
    }

    /// Every version that answers, by model and number.
    pub fn all(&self) -> Vec<Arc<Version>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.values().flat_map(|served| served.versions.values().cloned()).collect()
    }

    /// Whether every model that is to be served answers.
    pub fn is_ready(&self) -> bool {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.values().all(|served| served.unloaded || !served.versions.is_empty())
    }

    /// All models that are known, those that do not load included.
    pub fn index(&self) -> Vec<Listed> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let mut listed = Vec::new();
        for (name, served) in &*models {
            let reason = match (&served.problem, served.unloaded) {
                (Some(problem), _) => problem.clone(),
                (None, true) => "unloaded".to_owned(),
                (None, false) => String::new(),
            };
            if served.versions.is_empty() {
                listed.push(Listed { name: name.clone(), version: String::new(), ready: false, reason });
                continue;
            }
            for number in served.versions.keys() {
                let (version, reason) = (number.to_string(), reason.clone());
                listed.push(Listed { name: name.clone(), version, ready: true, reason });
            }
        }
        listed
    }

    /// Looks at the files, and loads what is new or changed. A model that changed is loaded once two looks saw the same
    /// files, so that none is read while it is being copied; `at_once` does not wait for the second.
    pub fn look(&self, at_once: bool) -> Vec<Change> {
        let mut seen = self.changing();
        let names = match self.source.names() {
            Ok(names) => names,
            Err(error) => return vec![Change::Unreadable { reason: error.to_string() }],
        };
        let known: Vec<String> = self.models.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let mut changes = Vec::new();
        for name in known.into_iter().filter(|name| !names.contains(name)) {
            self.write(&name, None);
            seen.remove(&name);
            changes.push(Change::Removed { name });
        }
        for name in names {
            let stamp = self.source.stamp(&name);
            let settled = seen.insert(name.clone(), stamp.clone()).is_some_and(|before| before == stamp);
            let served = self.read(&name);
            let changed = served.as_ref().is_none_or(|served| served.stamp != stamp && !served.unloaded);
            if changed && (settled || at_once) {
                changes.push(self.load_now(&name, stamp));
            }
        }
        changes
    }

    /// Loads a model, or loads it anew, because somebody asked for it.
    ///
    /// # Errors
    /// [`Refusal::UnknownModel`], or [`Refusal::NotReady`] with why it does not load; older versions then go on.
    pub fn load(&self, name: &str) -> Result<Change, Refusal> {
        let mut seen = self.changing();
        let unknown = || Refusal::UnknownModel { name: name.chars().take(256).collect() };
        let there = is_model_name(name) && self.source.names().is_ok_and(|names| names.iter().any(|n| n == name));
        if !there {
            return Err(unknown());
        }
        let stamp = self.source.stamp(name);
        seen.insert(name.to_owned(), stamp.clone());
        match self.load_now(name, stamp) {
            Change::Failed { name, reason, .. } => Err(Refusal::NotReady { name, reason }),
            change => Ok(change),
        }
    }

    /// Takes a model out, because somebody asked for it. Requests that it has taken are answered.
    ///
    /// # Errors
    /// [`Refusal::UnknownModel`].
    pub fn unload(&self, name: &str) -> Result<Change, Refusal> {
        let _seen = self.changing();
        let Some(served) = self.read(name).filter(|served| !served.unloaded) else {
            return Err(Refusal::UnknownModel { name: name.chars().take(256).collect() });
        };
        let stamp = served.stamp.clone();
        drop(served);
        self.write(name, Some(Served { unloaded: true, stamp, ..Served::default() }));
        Ok(Change::Removed { name: name.to_owned() })
    }

    fn load_now(&self, name: &str, stamp: Stamp) -> Change {
        match self.versions(name) {
            Ok((versions, passed_over)) => {
                let numbers = versions.keys().copied().collect();
                self.write(name, Some(Served { versions, problem: None, stamp, unloaded: false }));
                Change::Loaded { name: name.to_owned(), versions: numbers, passed_over }
            }
            Err(error) => {
                let old = self.read(name).unwrap_or_default();
                let (reason, kept) = (error.to_string(), !old.versions.is_empty());
                let served = Served { problem: Some(reason.clone()), stamp, unloaded: false, ..old };
                self.write(name, Some(served));
                Change::Failed { name: name.to_owned(), reason, kept }
            }
        }
    }

    fn versions(&self, name: &str) -> Result<Loaded, ServedError> {
        let found = self.source.read(name)?;
        let mut versions = BTreeMap::new();
        for (number, path) in &found.versions {
            let stats = self.stats_of(name, *number);
            let harvest = self.harvest.as_ref();
            let version = Version::load(&self.library, (name, *number, path), &found, &self.running, (stats, harvest));
            let version = version.map_err(|source| ServedError::Load { version: *number, source: Box::new(source) })?;
            versions.insert(*number, Arc::new(version));
        }
        Ok((versions, found.passed_over))
    }

    fn stats_of(&self, name: &str, number: u64) -> Arc<Stats> {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stats.entry((name.to_owned(), number)).or_insert_with(|| Arc::new(Stats::new(name, number))))
    }
}
