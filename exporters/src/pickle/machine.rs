//! The stack machine that a pickle is a program for.

use super::{Id, PickleError, Value};
use std::collections::HashMap;
use std::ops::Range;

/// Values a pickle may build and remember: CIFAR's have up to 300,000 a file.
const MAX_VALUES: usize = 4_000_000;

/// The values that the program at the beginning of `bytes` builds, and the one that it ends with.
pub(super) fn run(bytes: &[u8]) -> Result<(Vec<Value>, Id), PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        opcode: 0,
        values: vec![],
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        built: 0,
    };
    let root = machine.run()?;
    Ok((machine.values, root))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    opcode: u8,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Values that were ever put on the stack or remembered.
    built: usize,
}

impl Machine<'_> {
    fn take(&mut self, n: usize) -> Result<Range<usize>, PickleError> {
        let range = self.at..self.at.saturating_add(n);
        if range.end > self.bytes.len() {
            return Err(PickleError::Truncated { offset: self.bytes.len() });
        }
        self.at = range.end;
        Ok(range)
    }

    /// A little-endian number of `n` bytes, at most eight.
    fn number(&mut self, n: usize) -> Result<u64, PickleError> {
        let range = self.take(n)?;
        let bytes = self.bytes.get(range).unwrap_or_default();
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Bytes after their own length of `n` bytes.
    fn counted(&mut self, n: usize) -> Result<Range<usize>, PickleError> {
        let len = self.number(n)?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<Range<usize>, PickleError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'\n');
        let range = self.take(len.ok_or(PickleError::Truncated { offset: self.bytes.len() })?)?;
        self.at += 1;
        Ok(range)
    }

    fn operands(&self) -> PickleError {
        PickleError::Operands { opcode: self.opcode, offset: self.at.saturating_sub(1) }
    }

    fn count(&mut self) -> Result<(), PickleError> {
        self.built += 1;
        if self.built > MAX_VALUES { Err(PickleError::TooManyValues { limit: MAX_VALUES }) } else { Ok(()) }
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        self.count()?;
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        // A mark is a floor: what lies under it belongs to the instruction that ends it.
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(self.operands());
        }
        self.stack.pop().ok_or_else(|| self.operands())
    }

    fn popped<const N: usize>(&mut self) -> Result<[Id; N], PickleError> {
        let mut items = [0; N];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        Ok(items)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.operands())?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&self) -> Result<Id, PickleError> {
        self.stack.last().copied().ok_or_else(|| self.operands())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let (error, top) = (self.operands(), self.top()?);
        match self.values.get_mut(top) {
            Some(Value::List(list)) => list.extend(items),
            // Items of an object of some class of lists, which nobody looks at.
            Some(Value::Call { .. }) => {}
            _ => return Err(error),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), PickleError> {
        let (error, top) = (self.operands(), self.top()?);
        match self.values.get_mut(top) {
            Some(Value::Dict(entries) | Value::Call { items: entries, .. }) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).filter_map(|pair| match *pair {
                    [key, value] => Some((key, value)),
                    _ => None,
                }));
            }
            _ => return Err(error),
        }
        Ok(())
    }

    fn remember(&mut self, number: u64) -> Result<(), PickleError> {
        self.count()?;
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u64) -> Result<(), PickleError> {
        self.count()?;
        let id = self.memo.get(&number).copied().ok_or_else(|| self.operands())?;
        self.stack.push(id);
        Ok(())
    }

    /// Runs to the STOP instruction and gives the value on the stack.
    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            self.opcode = self.number(1)? as u8;
            match self.opcode {
                b'.' => return self.pop(),
                // PROTO and FRAME say nothing that matters here.
                0x80 => self.at = self.take(1)?.end,
                0x95 => self.at = self.take(8)?.end,
                b'(' => {
                    self.count()?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'1' => drop(self.since_mark()?), // POP_MARK
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'K' => {
                    let value = self.number(1)?;
                    self.push(Value::Int(value as i64))?;
                }
                b'M' => {
                    let value = self.number(2)?;
                    self.push(Value::Int(value as i64))?;
                }
                b'J' => {
                    let value = self.number(4)? as u32;
                    self.push(Value::Int(i64::from(value as i32)))?;
                }
                0x8a => {
                    // LONG1: two's complement of its own length.
                    let range = self.counted(1)?;
                    let bytes = self.bytes.get(range).unwrap_or_default();
                    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                    let filled =
                        bytes.iter().rev().fold(if negative { -1_i64 } else { 0 }, |v, b| v << 8 | i64::from(*b));
                    let value = if bytes.len() <= 8 { Value::Int(filled) } else { Value::Other };
                    self.push(value)?;
                }
                0x8b => {
                    // LONG4: more digits than any size has.
                    self.counted(4)?;
                    self.push(Value::Other)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Persistent(id))?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Other)?;
                }
                b'U' | b'C' => {
                    let range = self.counted(1)?;
                    self.push(Value::Bytes(range))?;
                }
                b'T' | b'B' => {
                    let range = self.counted(4)?;
                    self.push(Value::Bytes(range))?;
                }
                0x8e | 0x96 => {
                    let range = self.counted(8)?;
                    self.push(Value::Bytes(range))?;
                }
                0x8c => {
                    let range = self.counted(1)?;
                    self.push(Value::Text(range))?;
                }
                b'X' => {
                    let range = self.counted(4)?;
                    self.push(Value::Text(range))?;
                }
                0x8d => {
                    let range = self.counted(8)?;
                    self.push(Value::Text(range))?;
                }
                b']' => self.push(Value::List(vec![]))?,
                b'}' => self.push(Value::Dict(vec![]))?,
                b')' => self.push(Value::Tuple(vec![]))?,
                b'l' => {
                    let items = self.since_mark()?;
                    self.push(Value::List(items))?;
                }
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                0x85 => {
                    let items = self.popped::<1>()?;
                    self.push(Value::Tuple(items.to_vec()))?;
                }
                0x86 => {
                    let items = self.popped::<2>()?;
                    self.push(Value::Tuple(items.to_vec()))?;
                }
                0x87 => {
                    let items = self.popped::<3>()?;
                    self.push(Value::Tuple(items.to_vec()))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let items = self.popped::<2>()?;
                    self.set_items(&items)?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set_items(&items)?;
                }
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Value::Dict(vec![]))?;
                    self.set_items(&items)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(module, name))?;
                }
                0x93 => {
                    let [module, name] = self.popped::<2>()?;
                    match (self.values.get(module), self.values.get(name)) {
                        (Some(Value::Text(module)), Some(Value::Text(name))) => {
                            let global = Value::Global(module.clone(), name.clone());
                            self.push(global)?;
                        }
                        _ => return Err(self.operands()),
                    }
                }
                b'R' | 0x81 => {
                    // REDUCE and NEWOBJ: the call is written down, not made.
                    let [callable, arguments] = self.popped::<2>()?;
                    self.push(Value::Call { callable, arguments, state: None, items: Vec::new() })?;
                }
                b'b' => {
                    let [object, new] = self.popped::<2>()?;
                    let error = self.operands();
                    match self.values.get_mut(object) {
                        Some(Value::Call { state, .. }) => *state = Some(new),
                        _ => return Err(error),
                    }
                    self.stack.push(object);
                }
                b'q' => {
                    let number = self.number(1)?;
                    self.remember(number)?;
                }
                b'r' => {
                    let number = self.number(4)?;
                    self.remember(number)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let number = self.number(1)?;
                    self.recall(number)?;
                }
                b'j' => {
                    let number = self.number(4)?;
                    self.recall(number)?;
                }
                opcode => return Err(PickleError::Opcode { opcode, offset: self.at - 1 }),
            }
        }
    }
}
