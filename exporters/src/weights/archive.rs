//! The zip archives that PyTorch writes: members that lie in the file as they are, uncompressed.
//!
//! Nothing is copied or inflated, so what an archive takes is what the file takes; every offset and length in it is checked
//! against the file. What is read must not be compressed: PyTorch writes storages and pickles as they are (and compresses the
//! code of TorchScript, which is not read).

use super::torch::TorchError;
use std::collections::HashMap;

/// An archive and the folder that all its members are in.
pub(super) struct Archive<'a> {
    members: HashMap<&'a str, Member<'a>>,
    folder: &'a str,
}

struct Member<'a> {
    /// None where they are compressed or encrypted.
    bytes: Option<&'a [u8]>,
    checksum: u32,
}

/// What a field holds where its value is in the 64-bit fields.
const ELSEWHERE: u64 = 0xffff_ffff;

impl<'a> Archive<'a> {
    /// The archive that a file is.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, TorchError> {
        let (directory, mut count) = directory(file)?;
        let mut members = HashMap::new();
        let mut at = 0;
        while count > 0 {
            let (name, member, length) = entry(file, directory.get(at..).unwrap_or_default())?;
            if members.insert(name, member).is_some() {
                return Err(TorchError::Zip { reason: "a member is there twice" });
            }
            at += length;
            count -= 1;
        }
        let roots: Vec<&str> = members.keys().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
        let [folder] = roots[..] else {
            return Err(TorchError::Zip { reason: "expected one `data.pkl`, in a folder, as `torch.save` writes it" });
        };
        Ok(Archive { members, folder })
    }

    /// The bytes of the member of this name, if there is one, held against their checksum.
    pub(super) fn member(&self, name: &str) -> Result<Option<&'a [u8]>, TorchError> {
        let Some(member) = self.members.get(format!("{}/{name}", self.folder).as_str()) else { return Ok(None) };
        let bytes = member.bytes.ok_or_else(|| TorchError::Compressed { member: name.to_owned() })?;
        if crc32fast::hash(bytes) != member.checksum {
            return Err(TorchError::Damaged { member: name.to_owned() });
        }
        Ok(Some(bytes))
    }
}

/// The central directory and the number of its entries.
fn directory(file: &[u8]) -> Result<(&[u8], u64), TorchError> {
    let wrong = |reason| TorchError::Zip { reason };
    // The end record is 22 bytes, and a comment of at most 65,535 may follow it.
    let least = file.len().saturating_sub(22 + 65_535);
    let tail = file.get(least..).unwrap_or_default();
    let end = tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or(wrong("it has no end: the file is cut short"))?;
    let end = least + end;
    let broken = || wrong("its end record is broken");
    let comment = number(file, end + 20, 2).ok_or_else(broken)?;
    if slice(file, end as u64 + 22, comment).is_none() {
        return Err(broken());
    }
    let mut count = number(file, end + 10, 2).ok_or_else(broken)?;
    let mut length = number(file, end + 12, 4).ok_or_else(broken)?;
    let mut offset = number(file, end + 16, 4).ok_or_else(broken)?;
    // The 64-bit end record, where a locator right before the end says that there is one.
    if let Some(locator) = end.checked_sub(20).filter(|at| file[*at..].starts_with(b"PK\x06\x07")) {
        let at = number(file, locator + 8, 8).and_then(|at| usize::try_from(at).ok()).ok_or_else(broken)?;
        if !file.get(at..).is_some_and(|record| record.starts_with(b"PK\x06\x06")) {
            return Err(broken());
        }
        let field = |skip: usize| number(file, at.checked_add(skip)?, 8);
        (count, length, offset) = match (field(32), field(40), field(48)) {
            (Some(count), Some(length), Some(offset)) => (count, length, offset),
            _ => return Err(broken()),
        };
    }
    let directory = slice(file, offset, length).ok_or_else(|| wrong("its directory lies outside the file"))?;
    // An entry takes 46 bytes at least, so the count is bounded by the file.
    if count > directory.len() as u64 / 46 {
        return Err(wrong("its directory is shorter than its number of entries"));
    }
    Ok((directory, count))
}

/// The first entry of what is left of the directory: its name, its member, and the length of the entry.
fn entry<'a>(file: &'a [u8], rest: &'a [u8]) -> Result<(&'a str, Member<'a>, usize), TorchError> {
    let wrong = |reason| TorchError::Zip { reason };
    let broken = || wrong("an entry of its directory is broken");
    if !rest.starts_with(b"PK\x01\x02") {
        return Err(broken());
    }
    let field = |at: usize, bytes: usize| number(rest, at, bytes).ok_or_else(broken);
    let (flags, method, checksum) = (field(8, 2)?, field(10, 2)?, field(16, 4)? as u32);
    let (mut packed, mut length, mut offset) = (field(20, 4)?, field(24, 4)?, field(42, 4)?);
    let (name, extra, comment) = (field(28, 2)? as usize, field(30, 2)? as usize, field(32, 2)? as usize);
    let text = rest.get(46..46 + name).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(broken)?;
    let mut extras = rest.get(46 + name..46 + name + extra).ok_or_else(broken)?;
    while let (Some(kind), Some(size)) = (number(extras, 0, 2), number(extras, 2, 2)) {
        let mut fields = extras.get(4..4 + size as usize).ok_or_else(broken)?;
        if kind == 1 {
            for value in [&mut length, &mut packed, &mut offset].into_iter().filter(|value| **value == ELSEWHERE) {
                *value = number(fields, 0, 8).ok_or_else(broken)?;
                fields = fields.get(8..).unwrap_or_default();
            }
        }
        extras = extras.get(4 + size as usize..).unwrap_or_default();
    }
    let local = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    if !local.starts_with(b"PK\x03\x04") {
        return Err(wrong("a member is not where its directory says"));
    }
    let header = match (number(local, 26, 2), number(local, 28, 2)) {
        (Some(name), Some(extra)) => 30 + name + extra,
        _ => return Err(broken()),
    };
    let bytes = slice(local, header, packed).ok_or_else(|| wrong("a member ends behind the file"))?;
    let as_they_are = method == 0 && flags & 1 == 0 && packed == length;
    Ok((text, Member { bytes: as_they_are.then_some(bytes), checksum }, 46 + name + extra + comment))
}

fn slice(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// A little-endian number of so many bytes, at most eight.
fn number(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
