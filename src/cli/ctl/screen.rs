//! The terminal while something live is on it: another screen, keys at once, no cursor. All of that is undone at the
//! end, however that comes.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::thread;

use rustix::process::Signal;
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

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

/// The codes of Ctrl-C, Ctrl-D, Ctrl-Z and Ctrl-\\, which are keys here.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_Z: u8 = 26;
const CTRL_BACKSLASH: u8 = 28;

/// What would end or stop the process, and leave the terminal as it is now.
const SIGNALS: [Signal; 5] = [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::TSTP];

/// The terminal.
#[derive(Debug)]
pub(super) struct Screen {
    before: Termios,
    /// Set when a signal has come.
    is_told: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input is none.
    pub(super) fn enter() -> io::Result<Self> {
        let is_told = notice_signals()?;
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = KEY_WAIT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self { before, is_told };
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

    /// Waits a moment for keys, and says whether one of them is to end it, or a signal.
    pub(super) fn is_to_end(&self) -> io::Result<bool> {
        let mut keys = [0; 64];
        let read = match io::stdin().lock().read(&mut keys) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            read => read?,
        };
        let ends = |key: &u8| matches!(*key, b'q' | b'Q' | CTRL_C | CTRL_D | CTRL_Z | CTRL_BACKSLASH);
        Ok(self.is_told.load(Relaxed) || keys.iter().take(read).any(ends))
    }
}

/// From now on signals do not end the process by themselves.
fn notice_signals() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let listen = |kind: Signal| signal(SignalKind::from_raw(kind.as_raw()));
    let mut signals = SIGNALS.into_iter().map(listen).collect::<io::Result<Vec<_>>>()?;
    drop(inside);
    let is_told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&is_told);
    let wait = move || {
        runtime.block_on(poll_fn(|cx| {
            let is_there = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if is_there { Poll::Ready(()) } else { Poll::Pending }
        }));
        tell.store(true, Relaxed);
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(is_told)
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
