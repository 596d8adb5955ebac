//! Reads the files of an import. Each is bounded, and so is their number: an include may name anything.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::imported::Unreadable;
use super::value::MARKS;

/// The most bytes of one file.
const BYTES_MAX: u64 = 16 << 20;
/// The most files of one import.
pub(super) const FILES_MAX: usize = 2_000;

/// The text of a regular file.
pub(super) fn read(path: &Path) -> Result<String, Unreadable> {
    let refuse = |message: String| Unreadable { file: path.display().to_string(), at: None, message };
    // To open a FIFO would wait for its writer.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(refuse("this is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| refuse(format!("cannot read the file: {error}")))?;
    let mut bytes = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| refuse(format!("cannot read the file: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(refuse("the file has more than 16 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| refuse(format!("the file is not UTF-8 (byte {})", error.utf8_error().valid_up_to())))?;
    // The marks of references are our own.
    let text = if text.contains(MARKS) { text.replace(MARKS, "\u{fffd}") } else { text };
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}
