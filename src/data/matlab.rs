//! MATLAB files of level 5 (`-v5`, `-v6`, `-v7`): their numeric arrays.
//!
//! A header of 128 bytes, then elements: a tag (type and length), data, padding to eight bytes. An array is an element
//! of elements (flags, dims, name, values); since version 7 it lies in a zlib stream of its own. Values may be stored
//! in a smaller type than the array's class. Read as a stream: bytes go to disk, other values are held once, everything else
//! is passed over. Format: MathWorks, "MAT-File Format", level 5.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::pixels::{Pixels, Spool, SpoolError};

/// What is wrong with a MATLAB file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatlabError {
    /// Not a level 5 file.
    #[error("the header has version {version:02x?} and byte order {order:02x?}, expected level 5")]
    Header {
        /// Two bytes.
        version: [u8; 2],
        /// Two bytes, `IM` or `MI`.
        order: [u8; 2],
    },
    /// A file of version 7.3, which is HDF5.
    #[error("it is of version 7.3 (HDF5), which is not read: save it with `-v7`")]
    Hdf5,
    /// The data ends early.
    #[error("it is cut short in {place}")]
    Truncated {
        /// Where.
        place: &'static str,
    },
    /// The zlib stream of an array is damaged.
    #[error("unpacking {place} failed: {message}")]
    Packing {
        /// Where.
        place: &'static str,
        /// What zlib says.
        message: String,
    },
    /// An element of another type than its place asks for.
    #[error("{place} has the type {found}, expected {expected}")]
    Type {
        /// Which element.
        place: &'static str,
        /// Its type number.
        found: u32,
        /// The type number expected there.
        expected: u32,
    },
    /// An element longer than the limit.
    #[error("{place} has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Which element.
        place: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// No room for its values.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// An array of a numeric class.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) values: Values,
}

/// Its values, column-major, as they are stored.
#[derive(Debug)]
pub(crate) enum Values {
    /// On disk: images are bytes.
    Bytes(Pixels),
    /// Every other type of number, widened.
    Numbers(Vec<f64>),
}

const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Dims and names are short; a longer one is no array's.
const MAX_DIMS: u64 = 32 * 4;
const MAX_NAME: u64 = 256;

/// The numeric arrays of a file whose values stay within `limit` bytes each. Other classes (cells, structures, text)
/// are passed over.
pub(crate) fn read(mut file: impl Read, limit: u64) -> Result<Vec<Array>, MatlabError> {
    let mut header = [0; 128];
    fill(&mut file, &mut header, "the header")?;
    let [.., v0, v1, o0, o1] = header;
    let little = match [o0, o1] {
        _ if header.starts_with(b"MATLAB 7.3") => return Err(MatlabError::Hdf5),
        [b'I', b'M'] if [v0, v1] == [0, 1] => true,
        [b'M', b'I'] if [v0, v1] == [1, 0] => false,
        order => return Err(MatlabError::Header { version: [v0, v1], order }),
    };
    let mut arrays = Vec::new();
    while let Some(tag) = (Elements { inner: &mut file, little }).tag_or_end()? {
        let mut element = (&mut file).take(tag.bytes);
        match tag.kind {
            COMPRESSED => {
                let mut unpacked = Elements { inner: &mut ZlibDecoder::new(&mut element), little };
                let tag = unpacked.tag("a packed array")?;
                if tag.kind == MATRIX {
                    arrays.extend(unpacked.matrix(limit)?);
                }
            }
            MATRIX => arrays.extend(Elements { inner: &mut element, little }.matrix(limit)?),
            _ => {}
        }
        std::io::copy(&mut element, &mut std::io::sink()).map_err(failed("an element"))?;
        // Elements of a file are padded, packed ones are not.
        if tag.kind != COMPRESSED {
            let padding = tag.bytes.next_multiple_of(8) - tag.bytes;
            std::io::copy(&mut (&mut file).take(padding), &mut std::io::sink()).map_err(failed("an element"))?;
        }
    }
    Ok(arrays)
}

fn failed(place: &'static str) -> impl Fn(std::io::Error) -> MatlabError {
    move |error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => MatlabError::Truncated { place },
        _ => MatlabError::Packing { place, message: error.to_string() },
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8], place: &'static str) -> Result<(), MatlabError> {
    reader.read_exact(buffer).map_err(failed(place))
}

struct Tag {
    kind: u32,
    bytes: u64,
    /// Up to four bytes of data inside a short tag.
    inside: Option<[u8; 4]>,
}

struct Elements<'a, R> {
    inner: &'a mut R,
    little: bool,
}

impl<R: Read> Elements<'_, R> {
    fn long(&self, four: [u8; 4]) -> u32 {
        if self.little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    }

    /// The tag of the next element; `None` at the end of the file.
    fn tag_or_end(&mut self) -> Result<Option<Tag>, MatlabError> {
        let mut first = [0; 1];
        if self.inner.read(&mut first).map_err(failed("a tag"))? == 0 {
            return Ok(None);
        }
        let [a] = first;
        self.tag_after(Some(a), "a tag").map(Some)
    }

    fn tag(&mut self, place: &'static str) -> Result<Tag, MatlabError> {
        self.tag_after(None, place)
    }

    fn tag_after(&mut self, first: Option<u8>, place: &'static str) -> Result<Tag, MatlabError> {
        let mut head = [0; 4];
        match (first, &mut head) {
            (Some(byte), [a, rest @ ..]) => {
                *a = byte;
                fill(self.inner, rest, place)?;
            }
            (None, head) => fill(self.inner, head, place)?,
        }
        let mut tail = [0; 4];
        fill(self.inner, &mut tail, place)?;
        let kind = self.long(head);
        // A short tag has the length in the upper half and the data in place of the length.
        if kind >> 16 != 0 {
            let bytes = u64::from(kind >> 16);
            if bytes > 4 {
                return Err(MatlabError::TooLarge { place, bytes, limit: 4 });
            }
            return Ok(Tag { kind: kind & 0xFFFF, bytes, inside: Some(tail) });
        }
        Ok(Tag { kind, bytes: u64::from(self.long(tail)), inside: None })
    }

    /// The data of one element inside an array, with its padding.
    fn element(&mut self, place: &'static str, limit: u64) -> Result<(u32, Vec<u8>), MatlabError> {
        let tag = self.bounded_tag(place, limit)?;
        Ok((tag.kind, self.data(&tag, place)?))
    }

    fn bounded_tag(&mut self, place: &'static str, limit: u64) -> Result<Tag, MatlabError> {
        match self.tag(place)? {
            tag if tag.bytes > limit => Err(MatlabError::TooLarge { place, bytes: tag.bytes, limit }),
            tag => Ok(tag),
        }
    }

    /// What follows a tag, or stands in it.
    fn data(&mut self, tag: &Tag, place: &'static str) -> Result<Vec<u8>, MatlabError> {
        if let Some(inside) = tag.inside {
            return Ok(inside.into_iter().take(tag.bytes as usize).collect());
        }
        let mut data = Vec::new();
        self.inner.take(tag.bytes).read_to_end(&mut data).map_err(failed(place))?;
        self.end(tag, data.len() as u64, place)?;
        Ok(data)
    }

    /// Passes over the padding of an element of which `found` bytes were there.
    fn end(&mut self, tag: &Tag, found: u64, place: &'static str) -> Result<(), MatlabError> {
        if found != tag.bytes {
            return Err(MatlabError::Truncated { place });
        }
        // The padding of the last element may be missing.
        let mut padding = self.inner.take(tag.bytes.next_multiple_of(8) - tag.bytes);
        std::io::copy(&mut padding, &mut std::io::sink()).map_err(failed(place))?;
        Ok(())
    }

    /// The values of an array.
    fn values(&mut self, limit: u64) -> Result<Values, MatlabError> {
        let place = "the values of an array";
        let tag = self.bounded_tag(place, limit)?;
        if tag.kind == UINT8 && tag.inside.is_none() {
            let pixels = Spool::all(self.inner.take(tag.bytes), failed(place))?;
            self.end(&tag, pixels.len(), place)?;
            return Ok(Values::Bytes(pixels));
        }
        let data = self.data(&tag, place)?;
        Ok(match tag.kind {
            UINT8 => Values::Bytes(Spool::all(&data[..], failed(place))?),
            kind => Values::Numbers(self.numbers(kind, &data)?),
        })
    }

    fn expected(&mut self, place: &'static str, expected: u32, limit: u64) -> Result<Vec<u8>, MatlabError> {
        let (found, data) = self.element(place, limit)?;
        if found != expected {
            return Err(MatlabError::Type { place, found, expected });
        }
        Ok(data)
    }

    /// An array after its tag; `None` where it is not numeric.
    fn matrix(&mut self, limit: u64) -> Result<Option<Array>, MatlabError> {
        let flags = self.expected("the flags of an array", UINT32, 8)?;
        let class = flags.first_chunk::<4>().map_or(0, |four| self.long(*four) & 0xFF);
        // Double, single and the integers of 8 to 64 bits.
        if !(6..=15).contains(&class) {
            return Ok(None);
        }
        let dims = self.expected("the dims of an array", INT32, MAX_DIMS)?;
        let dims = dims.as_chunks::<4>().0.iter().map(|four| u64::from(self.long(*four))).collect();
        let name = self.expected("the name of an array", INT8, MAX_NAME)?;
        let values = self.values(limit)?;
        Ok(Some(Array { name: String::from_utf8_lossy(&name).into_owned(), dims, values }))
    }

    fn numbers(&self, kind: u32, data: &[u8]) -> Result<Vec<f64>, MatlabError> {
        macro_rules! widened {
            ($type:ty) => {{
                let chunks = data.as_chunks::<{ size_of::<$type>() }>().0.iter();
                let one = |bytes: &_| {
                    if self.little { <$type>::from_le_bytes(*bytes) } else { <$type>::from_be_bytes(*bytes) }
                };
                chunks.map(|bytes| one(bytes) as f64).collect()
            }};
        }
        Ok(match kind {
            INT8 => widened!(i8),
            3 => widened!(i16),
            4 => widened!(u16),
            INT32 => widened!(i32),
            UINT32 => widened!(u32),
            7 => widened!(f32),
            9 => widened!(f64),
            12 => widened!(i64),
            13 => widened!(u64),
            found => return Err(MatlabError::Type { place: "the values of an array", found, expected: 9 }),
        })
    }
}
