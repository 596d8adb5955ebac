//! The terminal while something live is on it: another screen, keys at once, no cursor. All of that is undone at the
//! end, however that comes.

use std::io::{self, Read as _, Write as _};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the beginning; then, line by line, what was there before is removed.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// How long a key is waited for, in tenths of a second.
const KEY_WAIT: u8 = 1;
/// The size of a terminal that does not know its own.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The codes of Ctrl-C and Ctrl-D, which are keys here.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

/// The terminal.
#[derive(Debug)]
pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input is none.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = KEY_WAIT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self { before };
        write(ENTER)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        size.ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(USUAL_SIZE)
    }

    /// Shows these lines.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let ends = format!("{REST_OF_LINE}\r\n");
        write(&format!("{HOME}{}{REST_OF_LINE}{REST_OF_SCREEN}", lines.join(&ends)))
    }

    /// Waits a moment for keys, and says whether one of them is to end it.
    pub(super) fn is_to_end(&self) -> io::Result<bool> {
        let mut keys = [0; 64];
        let read = io::stdin().lock().read(&mut keys)?;
        Ok(keys.iter().take(read).any(|key| matches!(key, b'q' | b'Q' | &CTRL_C | &CTRL_D)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE).ok();
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).ok();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
