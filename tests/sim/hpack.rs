//! Header compression of HTTP/2 (RFC 7541): a decoder, and an encoder that compresses nothing.

use std::collections::VecDeque;
use std::sync::OnceLock;

/// Code lengths of the characters from space to `~`, `A` is 5 bits. The codes follow from the lengths, because the code
/// of RFC 7541 appendix B is canonical. Other characters, and those with more than 15 bits, are not used here.
const LENGTHS: &str = "BFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJI";
const BITS_MAX: u32 = 15;

/// The static table of RFC 7541 appendix A.
const STATIC: &str = ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|\
:status 200|:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|\
accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|\
cache-control|content-disposition|content-encoding|content-language|content-length|content-location|content-range|\
content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|\
if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|\
refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate";

/// A header field.
pub(crate) type Field = (String, String);

/// See the module.
#[derive(Debug)]
pub(crate) struct Decoder {
    tables: &'static Tables,
    dynamic: VecDeque<Field>,
    size_max: usize,
}

/// What all decoders share.
#[derive(Debug)]
struct Tables {
    fixed: Vec<Field>,
    /// The character of each code, which has a one put before it, or [`NONE`].
    characters: Vec<u8>,
}

/// No character.
const NONE: u8 = 0xff;

impl Tables {
    fn new() -> Self {
        let entry = |text: &str| {
            let (name, value) = text.split_once(' ').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        let mut characters = vec![NONE; 2 << BITS_MAX];
        for (code, bits, character) in codes() {
            characters[(1 << bits | code) as usize] = character;
        }
        Self { fixed: STATIC.split('|').map(entry).collect(), characters }
    }
}

impl Decoder {
    pub(crate) fn new() -> Self {
        static TABLES: OnceLock<Tables> = OnceLock::new();
        Self { tables: TABLES.get_or_init(Tables::new), dynamic: VecDeque::new(), size_max: 4096 }
    }

    /// The fields of a block; `None` if it is malformed.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Option<Vec<Field>> {
        let (mut rest, mut fields) = (block, Vec::new());
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.size_max = integer(&mut rest, 5)?;
                self.evict();
            } else {
                let is_kept = first & 0x40 != 0;
                let index = integer(&mut rest, if is_kept { 6 } else { 4 })?;
                let name = if index > 0 { self.entry(index)?.0 } else { self.text(&mut rest)? };
                let field = (name, self.text(&mut rest)?);
                if is_kept {
                    self.dynamic.push_front(field.clone());
                    self.evict();
                }
                fields.push(field);
            }
        }
        Some(fields)
    }

    fn entry(&self, index: usize) -> Option<Field> {
        let at = index.checked_sub(1)?;
        let fixed = &self.tables.fixed;
        fixed.get(at).or_else(|| self.dynamic.get(at - fixed.len())).cloned()
    }

    fn evict(&mut self) {
        let size = |field: &Field| field.0.len() + field.1.len() + 32;
        while self.dynamic.iter().map(size).sum::<usize>() > self.size_max {
            self.dynamic.pop_back();
        }
    }

    fn text(&self, rest: &mut &[u8]) -> Option<String> {
        let is_coded = rest.first()? & 0x80 != 0;
        let len = integer(rest, 7)?;
        let bytes = rest.get(..len)?;
        *rest = &rest[len..];
        let bytes = if is_coded { self.decoded(bytes)? } else { bytes.to_vec() };
        String::from_utf8(bytes).ok()
    }

    fn decoded(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut text, mut code) = (Vec::new(), 1_usize);
        for byte in bytes {
            // A plain loop, since without optimisation iterators are slow.
            let mut bit = 8;
            while bit > 0 {
                bit -= 1;
                code = code << 1 | usize::from(byte >> bit & 1);
                let character = *self.tables.characters.get(code)?;
                if character != NONE {
                    text.push(character);
                    code = 1;
                }
            }
        }
        // What is left is padding: fewer than eight ones.
        (code < 1 << 8 && (code + 1).is_power_of_two()).then_some(text)
    }
}

fn codes() -> Vec<(u32, u32, u8)> {
    let mut known: Vec<(u32, u8)> = (b' '..).zip(LENGTHS.bytes()).map(|(c, l)| (u32::from(l - b'A') + 5, c)).collect();
    known.push((13, 0));
    known.retain(|(bits, _)| *bits <= BITS_MAX);
    known.sort_unstable();
    let (mut code, mut before) = (0, 5);
    let assign = |(bits, character): (u32, u8)| {
        code <<= bits - before;
        before = bits;
        code += 1;
        (code - 1, bits, character)
    };
    known.into_iter().map(assign).collect()
}

fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*rest.first()?) & most;
    *rest = &rest[1..];
    if value < most {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = usize::from(*rest.first()?);
        *rest = &rest[1..];
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Fields as literals that are not kept.
pub(crate) fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "short texts only");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_decoded() {
        // RFC 7541, C.6.1 and C.6.2, with a table of 256 bytes.
        let first = "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff\
            6e919d29ad171863c78f0b97c8e9ae82ae43d3";
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let mut decoder = Decoder { size_max: 256, ..Decoder::new() };
        let fields = decoder.decode(&bytes(first)).unwrap();
        let expected = [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        assert!(fields.iter().zip(expected).all(|(field, (name, value))| field.0 == name && field.1 == value));
        let fields = decoder.decode(&bytes("4883640effc1c0bf")).unwrap();
        assert_eq!((fields[0].1.as_str(), fields[3].1.as_str()), ("307", "https://www.example.com"));
    }
}
