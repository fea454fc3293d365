//! Bytes to UTF-8, whatever the file was saved as.
//!
//! Text files come as UTF-8, as UTF-16 with a byte-order mark ("Unicode" of spreadsheet programs), or in a legacy
//! eight-bit encoding. A person who sends such a file expects it to be read, so bytes that are not UTF-8 are taken as
//! Windows-1252, the one that browsers assume, and are counted, so that the result can say so. Only what is no text
//! at all (it holds NUL bytes) is refused.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

/// Windows-1252 for 0x80..=0x9F; the bytes above are Latin-1. Source: the WHATWG encoding index; its five unassigned
/// bytes become the replacement character here.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}', '\u{fffd}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

const CHUNK_BYTES: usize = 64 * 1024;

/// What the decoder found out so far, readable while a parser owns the reader.
#[derive(Clone, Default)]
pub(crate) struct Findings {
    utf16: Rc<Cell<bool>>,
    foreign_bytes: Rc<Cell<u64>>,
}

impl Findings {
    /// One sentence for the results, or nothing for plain UTF-8.
    pub(crate) fn note(&self) -> Option<String> {
        if self.utf16.get() {
            return Some("The file is in UTF-16 and was converted to UTF-8.".to_owned());
        }
        match self.foreign_bytes.get() {
            0 => None,
            bytes => Some(format!("{bytes} bytes are not valid UTF-8 and were read as Windows-1252.")),
        }
    }
}

/// Reads valid UTF-8 from any text file; see the module's head.
pub(crate) struct Utf8Reader<R> {
    inner: R,
    form: Option<Form>,
    /// Bytes read but not yet decodable: a character cut by the end of a chunk.
    carry: Vec<u8>,
    decoded: Vec<u8>,
    position: usize,
    ended: bool,
    findings: Findings,
}

#[derive(Clone, Copy)]
enum Form {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

impl<R: Read> Utf8Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            form: None,
            carry: Vec::new(),
            decoded: Vec::new(),
            position: 0,
            ended: false,
            findings: Findings::default(),
        }
    }

    /// A view of what the decoder finds.
    pub(crate) fn findings(&self) -> Findings {
        self.findings.clone()
    }

    fn refill(&mut self) -> io::Result<()> {
        self.decoded.clear();
        self.position = 0;
        while self.decoded.is_empty() && !self.ended {
            let mut bytes = std::mem::take(&mut self.carry);
            let read = (&mut self.inner).take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
            self.ended = read < CHUNK_BYTES;
            let skip = match self.form {
                Some(_) => 0,
                None => self.recognise(&bytes),
            };
            match self.form {
                Some(Form::Utf16(unit)) => self.decode_utf16(&bytes[skip..], unit),
                _ => self.decode_utf8(&bytes[skip..])?,
            }
        }
        Ok(())
    }

    /// Looks for a byte-order mark and returns its length.
    fn recognise(&mut self, bytes: &[u8]) -> usize {
        let (form, skip) = match bytes {
            [0xef, 0xbb, 0xbf, ..] => (Form::Utf8, 3),
            [0xff, 0xfe, ..] => (Form::Utf16(u16::from_le_bytes), 2),
            [0xfe, 0xff, ..] => (Form::Utf16(u16::from_be_bytes), 2),
            _ => (Form::Utf8, 0),
        };
        self.findings.utf16.set(matches!(form, Form::Utf16(_)));
        self.form = Some(form);
        skip
    }

    fn decode_utf8(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "holds NUL bytes, so it is not a text file: convert it to text first",
            ));
        }
        loop {
            let error = match std::str::from_utf8(bytes) {
                Ok(valid) => {
                    self.decoded.extend_from_slice(valid.as_bytes());
                    return Ok(());
                }
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            self.decoded.extend_from_slice(valid);
            let foreign = match error.error_len() {
                Some(length) => length,
                None if self.ended => rest.len(),
                None => {
                    self.carry = rest.to_vec();
                    return Ok(());
                }
            };
            for &byte in &rest[..foreign] {
                let character = match byte {
                    0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
                    _ => char::from(byte),
                };
                self.push(character);
            }
            self.findings.foreign_bytes.set(self.findings.foreign_bytes.get() + foreign as u64);
            bytes = &rest[foreign..];
        }
    }

    fn decode_utf16(&mut self, bytes: &[u8], unit: fn([u8; 2]) -> u16) {
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        let mut used = units.len() * 2;
        // A high surrogate at the very end waits for its other half.
        if !self.ended && units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
            used -= 2;
        }
        for character in char::decode_utf16(units) {
            self.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.ended {
            self.carry = bytes[used..].to_vec();
        }
    }

    fn push(&mut self, character: char) {
        self.decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.decoded.len() {
            self.refill()?;
        }
        let ready = &self.decoded[self.position..];
        let length = ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ready[..length]);
        self.position += length;
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str, note: Option<&str>) {
        let mut reader = Utf8Reader::new(bytes);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text == expect, "{} characters differ", text.chars().count());
        assert_eq!(reader.findings().note().as_deref(), note);
    }

    #[test]
    fn utf8_passes_and_loses_its_mark() {
        check("Größe €5 😀".as_bytes(), "Größe €5 😀", None);
        check("\u{feff}a".as_bytes(), "a", None);
        check(b"", "", None);
    }

    #[test]
    fn legacy_bytes_are_read_as_windows_1252() {
        check(
            b"caf\xe9 \x80 5 \x93ok\x94",
            "café € 5 “ok”",
            Some("4 bytes are not valid UTF-8 and were read as Windows-1252."),
        );
        check(b"caf\xe9", "café", Some("1 bytes are not valid UTF-8 and were read as Windows-1252."));
    }

    #[test]
    fn utf16_is_converted_in_both_orders() {
        let note = Some("The file is in UTF-16 and was converted to UTF-8.");
        let units = || "\u{feff}a;Größe😀\n".encode_utf16();
        check(&units().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), "a;Größe😀\n", note);
        check(&units().flat_map(u16::to_be_bytes).collect::<Vec<_>>(), "a;Größe😀\n", note);
    }

    #[test]
    fn characters_cut_by_a_chunk_stay_whole() {
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(shift), "😀é".repeat(CHUNK_BYTES / 3));
            check(text.as_bytes(), &text, None);
            let mut units = vec![0xff, 0xfe];
            units.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            check(&units, &text, Some("The file is in UTF-16 and was converted to UTF-8."));
        }
    }

    #[test]
    fn binary_is_refused() {
        let error = Utf8Reader::new(&b"\x7fELF\0\0"[..]).read_to_string(&mut String::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("not a text file"), "{error}");
    }
}
