//! What `torch.save` writes (since PyTorch 1.6), TorchScript's archives, and libtorch's (`.ot` of a `VarStore`), read as data.
//!
//! All three are a zip archive with `data.pkl`, a pickle, and a member for each storage. The pickle is never run
//! ([`crate::pickle`]): of the calls that it records, `torch._utils._rebuild_tensor_v2` and `_rebuild_parameter` are
//! known as tensors, `collections.OrderedDict` as a dictionary, `torch.Size` as a tuple, and classes of `__torch__` as
//! TorchScript's modules. Another object in a state dict is refused by its name; what lies beside the state dict in a
//! checkpoint (an optimizer, arguments) is not looked at.

use super::archive::Archive;
use super::stored::{Stored, bytes_of};
use crate::pickle::{Id, Pickle, PickleError, Value};
use safetensors::Dtype;
use std::collections::HashMap;

/// Why a file of PyTorch is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The form from before PyTorch 1.6, which is a row of pickles.
    #[error(
        "it is in the form from before PyTorch 1.6, which is not read; in PyTorch, write it anew: \
         `torch.save(torch.load(path, map_location=\"cpu\"), new_path)`"
    )]
    Legacy,
    /// No archive, or a broken one.
    #[error("it is no zip archive as PyTorch writes it: {reason}")]
    Zip {
        /// What is wrong.
        reason: &'static str,
    },
    /// A member that PyTorch did not write.
    #[error(
        "`{member}` is compressed or encrypted, and PyTorch writes members as they are; write the file anew by `torch.save`"
    )]
    Compressed {
        /// Its name.
        member: String,
    },
    /// A member whose bytes are not those that were written.
    #[error(
        "`{member}` does not have the checksum that the archive says: the file is damaged (or written without checksums)"
    )]
    Damaged {
        /// Its name.
        member: String,
    },
    /// A member that others speak of.
    #[error("it has no member `{member}`")]
    Missing {
        /// Its name.
        member: String,
    },
    /// Numbers in the other byte order.
    #[error("it was written on a big-endian machine; write it anew on a little-endian one")]
    BigEndian,
    /// The pickle in it.
    #[error("`data.pkl`: {0}")]
    Pickle(#[from] PickleError),
    /// An object where weights are expected.
    #[error(
        "`{place}` is an object of `{global}`, which is not read: nothing in a file is run; save tensors by name, \
         `torch.save(model.state_dict(), path)`"
    )]
    Object {
        /// Its name in the file.
        place: String,
        /// Module and name of its class, or of the function that makes it.
        global: String,
    },
    /// More than any model has.
    #[error("at `{place}`: more than {limit} {what}, which no model has")]
    TooLarge {
        /// Where in the file, shortened.
        place: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is read.
        limit: usize,
    },
    /// No tensors by name.
    #[error(
        "it holds no tensors by name, neither at its top nor under {}; found {}",
        quoted(&NESTED), if found.is_empty() { "nothing".to_owned() } else { quoted(found) }
    )]
    NoStateDict {
        /// The names at its top, the first few.
        found: Vec<String>,
    },
    /// A tensor that is not what it says.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

fn quoted(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A name as a message can show it.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Where checkpoints keep a state dict: those of trainers, and of pycls.
const NESTED: [&str; 4] = ["state_dict", "model_state", "model", "model_state_dict"];

/// Modules within modules of TorchScript, and calls within calls; a pickle may hold itself.
const DEPTH: usize = 64;
/// Tensors and modules of a file, bytes of a name, axes of a tensor: more than any model has. A pickle can name one long text, or
/// one module, any number of times.
const ENTRIES: usize = 1 << 16;
const NAME: usize = 1024;
const AXES: usize = 64;

/// Whether a file is PyTorch's older form: the pickle of a certain number comes first.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    file.starts_with(&[0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19])
}

/// The tensors of a state dict by their names in the file, in its order.
pub(super) fn tensors(file: &[u8]) -> Result<Vec<(String, Stored<'_>)>, TorchError> {
    let archive = Archive::read(file)?;
    let byte_order = archive.member("byteorder")?;
    if byte_order.is_some_and(|order| order != b"little") {
        return Err(TorchError::BigEndian);
    }
    let bytes = archive.member("data.pkl")?.ok_or_else(|| TorchError::Missing { member: "data.pkl".to_owned() })?;
    let pickle = Pickle::read(bytes)?;
    Reader { pickle, archive, storages: HashMap::new(), seen: 0 }.read()
}

struct Reader<'a> {
    pickle: Pickle<'a>,
    archive: Archive<'a>,
    /// Storages that were looked up, by key.
    storages: HashMap<String, &'a [u8]>,
    /// Entries that were looked at.
    seen: usize,
}

/// What a value is here.
enum Kind {
    Tensor(Id),
    /// A dictionary, whose entries are those of the value.
    Entries(Id),
    Module(Id),
    Object(String),
    Plain,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<Vec<(String, Stored<'a>)>, TorchError> {
        let root = self.pickle.root();
        let mut found = Vec::new();
        match self.kind(root, 0) {
            Kind::Module(state) => self.module(state, "", 0, &mut found)?,
            Kind::Entries(entries) => {
                for (name, value) in self.state_dict(entries)? {
                    self.count(name)?;
                    match self.kind(value, 0) {
                        Kind::Tensor(arguments) => found.push((name.to_owned(), self.tensor(name, arguments)?)),
                        Kind::Object(global) => return Err(TorchError::Object { place: name.to_owned(), global }),
                        // Numbers and texts beside the tensors; a weight that is missing is missed.
                        _ => {}
                    }
                }
            }
            Kind::Object(global) => return Err(TorchError::Object { place: "the file".to_owned(), global }),
            Kind::Tensor(_) | Kind::Plain => return Err(TorchError::NoStateDict { found: Vec::new() }),
        }
        Ok(found)
    }

    /// The entries with texts as keys of the first dictionary that has a tensor: the one at the top, or one in it.
    fn state_dict(&self, entries: Id) -> Result<Vec<(&'a str, Id)>, TorchError> {
        let named = |entries: Id| -> Vec<(&'a str, Id)> {
            let entries = self.entries(entries).iter();
            entries.filter_map(|(key, value)| Some((self.pickle.text(*key)?, *value))).collect()
        };
        let has_tensor =
            |entries: &[(&str, Id)]| entries.iter().any(|(_, v)| matches!(self.kind(*v, 0), Kind::Tensor(_)));
        let top = named(entries);
        if has_tensor(&top) {
            return Ok(top);
        }
        for key in NESTED {
            let Some((_, value)) = top.iter().rev().find(|(name, _)| *name == key) else { continue };
            match self.kind(*value, 0) {
                Kind::Entries(entries) => {
                    let nested = named(entries);
                    if has_tensor(&nested) {
                        return Ok(nested);
                    }
                }
                Kind::Object(global) => return Err(TorchError::Object { place: key.to_owned(), global }),
                _ => {}
            }
        }
        Err(TorchError::NoStateDict { found: top.into_iter().take(8).map(|(name, _)| shortened(name)).collect() })
    }

    /// The tensors of a module of TorchScript, and of those in it, by their path.
    fn module(
        &mut self,
        state: Id,
        path: &str,
        depth: usize,
        found: &mut Vec<(String, Stored<'a>)>,
    ) -> Result<(), TorchError> {
        if depth > DEPTH {
            return Err(TorchError::TooLarge { place: shortened(path), what: "modules in each other", limit: DEPTH });
        }
        for at in 0..self.entries(state).len() {
            let Some((key, value)) = self.entries(state).get(at).copied() else { break };
            let Some(key) = self.pickle.text(key) else { continue };
            self.count(key)?;
            // A `VarStore` writes a bar for each dot of a name.
            let name = format!("{path}{}", key.replace('|', "."));
            self.count(&name)?;
            match self.kind(value, 0) {
                Kind::Tensor(arguments) => {
                    let tensor = self.tensor(&name, arguments)?;
                    found.push((name, tensor));
                }
                Kind::Module(inner) => self.module(inner, &format!("{name}."), depth + 1, found)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts an entry of this name.
    fn count(&mut self, name: &str) -> Result<(), TorchError> {
        self.seen += 1;
        let too_large = |what, limit| Err(TorchError::TooLarge { place: shortened(name), what, limit });
        if name.len() > NAME {
            return too_large("bytes in a name", NAME);
        }
        if self.seen > 2 * ENTRIES { too_large("tensors and modules", ENTRIES) } else { Ok(()) }
    }

    /// The entries of a dictionary, or of an object that is made like one.
    fn entries(&self, value: Id) -> &[(Id, Id)] {
        match self.pickle.value(value) {
            Value::Dict(entries) | Value::Call { items: entries, .. } => entries,
            _ => &[],
        }
    }

    fn kind(&self, value: Id, depth: usize) -> Kind {
        let (callable, arguments, state) = match self.pickle.value(value) {
            Value::Call { callable, arguments, state, .. } => (*callable, *arguments, *state),
            Value::Dict(_) => return Kind::Entries(value),
            Value::Global(..) => {
                let (module, name) = self.pickle.global(value).unwrap_or_default();
                return Kind::Object(format!("{module}.{name}"));
            }
            _ => return Kind::Plain,
        };
        match self.pickle.global(callable) {
            Some(("torch._utils", "_rebuild_tensor_v2")) => Kind::Tensor(arguments),
            Some(("torch._utils", "_rebuild_parameter")) => match self.pickle.tuple(arguments) {
                Some([tensor, ..]) if depth < DEPTH => self.kind(*tensor, depth + 1),
                _ => Kind::Plain,
            },
            Some(("collections", "OrderedDict")) => Kind::Entries(value),
            Some(("torch", "Size")) => Kind::Plain,
            Some((module, _)) if module == "__torch__" || module.starts_with("__torch__.") => match state {
                Some(state) => Kind::Module(state),
                None => Kind::Plain,
            },
            Some((module, name)) => Kind::Object(format!("{module}.{name}")),
            None => Kind::Object("something that has no name".to_owned()),
        }
    }

    /// The tensor that `_rebuild_tensor_v2` would make: storage, offset, size, stride, and what is of no account here.
    fn tensor(&mut self, name: &str, arguments: Id) -> Result<Stored<'a>, TorchError> {
        let wrong = |reason: &str| TorchError::Tensor { name: name.to_owned(), reason: reason.to_owned() };
        let Some([storage, offset, dims, strides, ..]) = self.pickle.tuple(arguments) else {
            return Err(wrong("expected a storage, an offset, a size and strides"));
        };
        let (storage, offset) = (*storage, self.pickle.size(*offset));
        let (dims, strides) = (self.sizes(*dims), self.sizes(*strides));
        let (Some(offset), Some(dims), Some(strides)) = (offset, dims, strides) else {
            return Err(wrong("offset, size and strides are no whole numbers, or of more than 64 axes"));
        };
        let (dtype, bytes) = self.storage(name, storage)?;
        let stored = Stored::strided(dtype, dims.clone(), strides, offset, bytes);
        stored.ok_or_else(|| {
            let there = bytes.len() / bytes_of(dtype).unwrap_or(1);
            wrong(&format!(
                "dims {dims:?} from element {offset} do not lie in its storage of {there} elements, each once"
            ))
        })
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let sizes = match self.pickle.value(id) {
            Value::Call { callable, arguments, .. } if self.pickle.global(*callable) == Some(("torch", "Size")) => {
                *self.pickle.tuple(*arguments)?.first()?
            }
            _ => id,
        };
        if self.pickle.tuple(sizes)?.len() > AXES { None } else { self.pickle.sizes(sizes) }
    }

    /// Element type and bytes of `('storage', class, key, device, elements)`.
    fn storage(&mut self, name: &str, id: Id) -> Result<(Dtype, &'a [u8]), TorchError> {
        let wrong = |reason: String| TorchError::Tensor { name: name.to_owned(), reason };
        let place = match self.pickle.value(id) {
            Value::Persistent(place) => *place,
            _ => return Err(wrong("its storage is none of the file's".to_owned())),
        };
        let Some([tag, class, key, _, elements]) = self.pickle.tuple(place) else {
            return Err(wrong("its storage is described otherwise than PyTorch does".to_owned()));
        };
        let (class, elements) = (self.pickle.global(*class), self.pickle.size(*elements));
        let (Some("storage"), Some(key), Some(elements)) = (self.pickle.text(*tag), self.pickle.text(*key), elements)
        else {
            return Err(wrong("its storage is described otherwise than PyTorch does".to_owned()));
        };
        let dtype = match class {
            Some(("torch", class)) => dtype(class),
            _ => None,
        };
        let dtype = dtype.ok_or_else(|| {
            let (module, name) = class.unwrap_or_default();
            wrong(format!("elements of a `{module}.{name}` are not read"))
        })?;
        let member = format!("data/{key}");
        let bytes = match self.storages.get(key) {
            Some(bytes) => *bytes,
            None => self.archive.member(&member)?.ok_or_else(|| TorchError::Missing { member: member.clone() })?,
        };
        self.storages.insert(key.to_owned(), bytes);
        let expected = bytes_of(dtype).and_then(|size| size.checked_mul(elements));
        if expected != Some(bytes.len()) {
            return Err(wrong(format!(
                "`{member}` holds {} bytes, expected {elements} elements of {dtype:?}",
                bytes.len()
            )));
        }
        Ok((dtype, bytes))
    }
}

/// Element type of a class of storages.
fn dtype(class: &str) -> Option<Dtype> {
    Some(match class {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}
