//! What a file may take from outside of its text.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// The environment, and other files.
pub trait Outside {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The contents of a file that holds a secret.
    ///
    /// # Errors
    /// The error of the system; a file that is too large, or takes too long.
    fn secret(&self, file: &Path) -> io::Result<Vec<u8>>;
}
