//! Pixels of an archive, on disk: memory does not grow with the archive.
//!
//! A file that is not packed is read where it lies. What comes out of a packed one goes to a file without a name in the
//! folder for temporary files, which is gone with the process however that ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// Why unpacked pixels could not be put aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its pixels cannot be unpacked into `{}`: {message}; TMPDIR names another folder", folder.display())]
pub struct SpoolError {
    /// The folder for temporary files.
    folder: PathBuf,
    /// What the file system says.
    message: String,
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        SpoolError { folder: std::env::temp_dir(), message: error.to_string() }
    }
}

/// Bytes on disk, read by position from any thread.
#[derive(Debug)]
pub(crate) struct Pixels {
    file: File,
    start: u64,
    len: u64,
}

impl Pixels {
    /// `len` bytes from `start` on of a file that stays as it is.
    pub(crate) fn in_file(file: File, start: u64, len: u64) -> Pixels {
        Pixels { file, start, len }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// `len` of these bytes from `start` on; fewer where there are not as many.
    pub(crate) fn part(self, start: u64, len: u64) -> Pixels {
        let start = start.min(self.len);
        Pixels { start: self.start + start, len: len.min(self.len - start), ..self }
    }

    /// Fills `into` with the bytes from `at` on.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if at.checked_add(into.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(into, self.start + at)
    }

    /// The first `most` bytes, fewer where there are no more.
    pub(crate) fn beginning(&self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(most.min(self.len)).map_err(io::Error::other)?];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// The byte at `first`, and one every `stride` bytes after it.
    pub(crate) fn every(&self, first: usize, stride: usize) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        let mut records = vec![0; stride * (CHUNK / stride).max(1)];
        let mut at = 0;
        while at < self.len {
            let chunk = records.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            let chunk = &mut records[..chunk];
            self.read(at, chunk)?;
            found.extend(chunk.iter().skip(first).step_by(stride));
            at += chunk.len() as u64;
        }
        Ok(found)
    }
}

/// Pixels on their way to disk.
#[derive(Debug)]
pub(crate) struct Spool {
    file: io::BufWriter<File>,
    len: u64,
}

impl Spool {
    /// An empty one.
    pub(crate) fn new() -> Result<Spool, SpoolError> {
        Ok(Spool { file: io::BufWriter::with_capacity(CHUNK, tempfile::tempfile()?), len: 0 })
    }

    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// What was added.
    pub(crate) fn finish(self) -> Result<Pixels, SpoolError> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Pixels::in_file(file, 0, self.len))
    }

    /// All that `reader` gives; `refused` is what an error of it is called.
    pub(crate) fn all<E: From<SpoolError>>(
        mut reader: impl Read,
        refused: impl Fn(io::Error) -> E,
    ) -> Result<Pixels, E> {
        let mut spool = Spool::new()?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(spool.finish()?),
                Ok(read) => spool.add(&chunk[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Pixels {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        Spool::all(&bytes[..], SpoolError::from).unwrap()
    }

    #[test]
    fn bytes_come_back_by_position_and_never_from_beyond_the_end() {
        let pixels = numbers(3 * CHUNK + 5);
        let mut three = [0; 3];
        for at in [0, CHUNK - 1, 3 * CHUNK + 2] {
            pixels.read(at as u64, &mut three).unwrap();
            assert_eq!(three, [at, at + 1, at + 2].map(|i| (i % 251) as u8));
        }
        for at in [pixels.len() - 2, pixels.len(), u64::MAX] {
            assert_eq!(pixels.read(at, &mut three).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{at}");
        }
        let part = pixels.part(10, 4);
        part.read(1, &mut three).unwrap();
        assert_eq!((three, part.len()), ([11, 12, 13], 4));
        assert!(part.read(2, &mut three).is_err(), "the file goes on, the part does not");
        assert_eq!(part.part(3, 99).beginning(99).unwrap(), [13]);
    }

    #[test]
    fn one_byte_a_record_is_picked_over_every_border() {
        let expected = |first, stride, len| (first..len).step_by(stride).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
        for (first, stride, len) in [(0, 3073, 2 * CHUNK), (1, 3074, CHUNK + 17), (2, 3, 8), (0, CHUNK + 1, 2 * CHUNK)]
        {
            assert_eq!(numbers(len).every(first, stride).unwrap(), expected(first, stride, len), "{stride}");
        }
    }
}
