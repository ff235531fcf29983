//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity`, which JSON does not have, become `null`.

use std::io::{self, Read};

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// A reader of JSON without those words.
pub(super) struct Lenient<R> {
    inner: R,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` was taken.
    taken: usize,
    /// Within a text, and behind a backslash there.
    text: Option<bool>,
    /// A word that began outside of a text, such as `tru`.
    word: Vec<u8>,
}

impl<R: Read> Lenient<R> {
    pub(super) fn new(inner: R) -> Self {
        Lenient { inner, input: vec![0; CHUNK], output: Vec::new(), taken: 0, text: None, word: Vec::new() }
    }

    fn put(&mut self, byte: u8) {
        match self.text {
            Some(true) => self.text = Some(false),
            Some(false) if byte == b'\\' => self.text = Some(true),
            Some(false) if byte == b'"' => self.text = None,
            Some(false) => {}
            None if self.word.is_empty() && matches!(byte, b'-' | b'N' | b'I') => return self.word.push(byte),
            // No word is longer than `-Infinity`.
            None if !self.word.is_empty() && byte.is_ascii_alphabetic() && self.word.len() < 16 => {
                return self.word.push(byte);
            }
            None => {
                self.end_word();
                if byte == b'"' {
                    self.text = Some(false);
                }
            }
        }
        self.output.push(byte);
    }

    fn end_word(&mut self) {
        match self.word.as_slice() {
            b"NaN" | b"-NaN" | b"Infinity" | b"-Infinity" => self.output.extend_from_slice(b"null"),
            other => self.output.extend_from_slice(other),
        }
        self.word.clear();
    }
}

impl<R: Read> Read for Lenient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.output.len() {
            self.output.clear();
            self.taken = 0;
            let mut input = std::mem::take(&mut self.input);
            let read = self.inner.read(&mut input);
            if let Ok(count) = &read {
                input.iter().take(*count).for_each(|byte| self.put(*byte));
            }
            self.input = input;
            if read? == 0 {
                self.end_word();
                if self.output.is_empty() {
                    return Ok(0);
                }
            }
        }
        let rest = self.output.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few bytes at a time, so that words are cut.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn words_that_json_lacks_become_null_and_texts_stay() {
        for (json, expected) in [
            ("[NaN, -1.5, Infinity,-Infinity,null,true]", "[null, -1.5, null,null,null,true]"),
            (r#"{"NaN": "a\"NaN\\", "x\\": NaN}"#, r#"{"NaN": "a\"NaN\\", "x\\": null}"#),
            ("-12e-5", "-12e-5"),
            ("NaN", "null"),
            ("Nanny", "Nanny"),
            ("", ""),
        ] {
            for step in [1, 2, 3, 1000] {
                let mut found = String::new();
                Lenient::new(Slow(json.as_bytes(), step)).read_to_string(&mut found).expect("read");
                assert_eq!(found, expected, "{json} by {step}");
            }
        }
    }
}
