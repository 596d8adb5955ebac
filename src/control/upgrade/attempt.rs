//! Starts a successor, and waits until it serves. Whatever happens, it has either said that it serves or is ended.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::launch::Launch;
use super::wire::{self, Offer, Word};
use crate::control::files::Files;
use crate::control::inherited::Taken;
use crate::listen::socket::StdListener;

/// How long a successor that has said that it is ready may take until it accepts.
const SERVING_MAX: Duration = Duration::from_secs(10);
/// How long a successor that says nothing more may take to end, and how often that is looked at.
const ENDING_MAX: Duration = Duration::from_secs(1);
const ENDING_POLL: Duration = Duration::from_millis(10);

/// A successor that serves.
#[derive(Debug)]
pub(crate) struct Heir {
    /// Its process.
    pub(super) process: u32,
    /// The sockets that it accepts from.
    pub(super) taken: Taken,
}

/// Starts a successor. It has to be ready `within` this time.
///
/// # Errors
/// Why it does not serve.
pub(super) async fn attempt(
    launch: Launch,
    offer: Offer,
    sockets: Vec<StdListener>,
    files: Files,
    within: Duration,
) -> Result<Heir, String> {
    // Dropped from the last to the first: who saw the end of the channel would take this process for ended, and accept.
    let (mut channel, mut successor) = start(launch, &files).await?;
    let ready = timeout(within, until_ready(&mut channel, &offer, &sockets)).await;
    let taken = match ready {
        Err(_) => return Err(format!("the new process did not say within {within:?} that it can serve, and is ended")),
        Ok(Ok(Some(Word::Ready(taken)))) => taken,
        Ok(Ok(Some(Word::Refused(why)))) => return Err(format!("the new process cannot serve: {why}")),
        Ok(Ok(Some(_))) => return Err("the new process says what nobody asked for, and is ended".into()),
        Ok(Ok(None)) => return Err(successor.why_silent().await),
        Ok(Err(error)) if is_gone(&error) => return Err(successor.why_silent().await),
        Ok(Err(error)) => return Err(format!("the new process does not understand this one: {error}")),
    };
    match timeout(SERVING_MAX, until_serving(&mut channel)).await {
        Ok(Ok(Some(Word::Serving))) => Ok(Heir { process: successor.release(), taken }),
        said => {
            let why = successor.why_not_serving(said).await;
            Err(format!("the new process was ready, and then did not serve: {why}"))
        }
    }
}

async fn start(launch: Launch, files: &Files) -> Result<(BufReader<UnixStream>, Successor), String> {
    let program = launch.program().display().to_string();
    let failed = |error: io::Error| format!("cannot start {program}: {error}");
    let (own, theirs) = StdUnixStream::pair().map_err(failed)?;
    own.set_nonblocking(true).map_err(failed)?;
    // The program may be on a mount that hangs. Our copy of its end is closed with the command.
    let spawned = files.read(move || launch.command(theirs.into()).spawn().map(|child| Successor(Some(child)))).await;
    let successor = spawned.map_err(|why| failed(io::Error::other(why)))?.map_err(failed)?;
    let channel = BufReader::new(UnixStream::from_std(own).map_err(failed)?);
    Ok((channel, successor))
}

async fn until_ready(
    channel: &mut BufReader<UnixStream>,
    offer: &Offer,
    sockets: &[StdListener],
) -> io::Result<Option<Word>> {
    match wire::send(channel.get_mut(), offer, sockets).await {
        // It may have said why before it closed.
        Err(error) if !is_gone(&error) => return Err(error),
        _ => {}
    }
    wire::hear(channel).await
}

async fn until_serving(channel: &mut BufReader<UnixStream>) -> io::Result<Option<Word>> {
    wire::say(channel, &Word::Go).await?;
    wire::hear(channel).await
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A process that was started and does not serve yet. Dropping it ends the process.
struct Successor(Option<Child>);

impl Successor {
    /// Lets it live. Returns its number.
    fn release(mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }

    /// Why it says nothing, from the begin on.
    async fn why_silent(&mut self) -> String {
        let unknowing = || "the program that was started knows nothing of upgrades, and is ended".to_owned();
        self.why_ended().await.unwrap_or_else(unknowing)
    }

    /// Why it does not serve, though it was ready and may.
    async fn why_not_serving(&mut self, said: Result<io::Result<Option<Word>>, Elapsed>) -> String {
        match said {
            Err(_) => format!("it did not say so within {SERVING_MAX:?}, and is ended"),
            Ok(Ok(Some(Word::Refused(why)))) => why,
            Ok(Ok(Some(_))) => "it says what nobody asked for, and is ended".to_owned(),
            Ok(Err(error)) if !is_gone(&error) => format!("it is not understood, and is ended: {error}"),
            Ok(Ok(None) | Err(_)) => {
                let closed = || "it says nothing more, and is ended".to_owned();
                self.why_ended().await.unwrap_or_else(closed)
            }
        }
    }

    /// How it has ended; `None` if it has not.
    async fn why_ended(&mut self) -> Option<String> {
        let ended = timeout(ENDING_MAX, async {
            loop {
                match self.0.as_mut().map(Child::try_wait) {
                    Some(Ok(None)) => sleep(ENDING_POLL).await,
                    Some(Ok(Some(status))) => return Some(status),
                    Some(Err(_)) | None => return None,
                }
            }
        });
        let status = ended.await.ok().flatten()?;
        Some(format!("the new process ended ({}) before it served", words(status)))
    }
}

fn words(status: ExitStatus) -> String {
    status.to_string()
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            // It waits for a moment at most, but nobody knows how long that is.
            std::thread::Builder::new().name("unstick-files".into()).spawn(move || child.wait().ok()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_ready_and_does_not_serve_is_not_said_to_know_nothing() {
        let late = timeout(Duration::ZERO, std::future::pending::<io::Result<Option<Word>>>()).await;
        for (said, expected) in [
            (late, "it did not say so within 10s, and is ended"),
            (Ok(Ok(Some(Word::Refused("no more room".to_owned())))), "no more room"),
            (Ok(Ok(Some(Word::Go))), "it says what nobody asked for, and is ended"),
            (Ok(Ok(None)), "it says nothing more, and is ended"),
            (Ok(Err(io::ErrorKind::InvalidData.into())), "it is not understood, and is ended: invalid data"),
        ] {
            assert_eq!(Successor(None).why_not_serving(said).await, expected);
        }
    }
}
