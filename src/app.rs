//! Starts an instance from a config, and returns the means to reload it, stop it and wait for it.
//!
//! [`start`] returns as soon as clients can connect. Everything that is not a request happens on one control thread
//! (`control`), so a stuck name server or a slow scrape never delays a request.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{self, LocalOptions};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::address::Address;
pub use crate::control::activation::Activation;
use crate::control::capacity;
pub use crate::control::explain::{Answer, Question, request};
pub use crate::control::inherited::Inherited;
pub use crate::control::outcome::{Ended, Options, StartError};
pub use crate::control::reload::Source;
pub use crate::control::signals::Signals;
use crate::control::signals::{Order, Stop};
pub use crate::control::supervisor::Supervisor;
pub use crate::control::upgrade::{Launch, Predecessor, Refusal, started_ticks};
use crate::control::{Begun, Control};
pub use crate::proxy::explain::{Explained, Outcome};
use crate::resources::Resources;

/// How many orders may wait for the control thread. A caller waits when the queue is full.
const ORDERS_MAX: usize = 64;

/// A running instance.
#[derive(Debug)]
pub struct Running {
    /// The name and the real address of every listener that was bound at the start.
    pub listeners: Vec<(String, Address)>,
    /// The real address of the admin port, if there is one.
    pub admin: Option<SocketAddr>,
    orders: mpsc::Sender<Order>,
    control: JoinHandle<Ended>,
}

/// Starts an instance. It returns when every listener is bound and every endpoint has been probed once. After a signal
/// to stop meanwhile it returns an instance that has ended already.
///
/// # Errors
/// What could not be done, and for which address or file.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let (started, start) = std_mpsc::sync_channel(1);
    let own_orders = orders.clone();
    let control = std::thread::Builder::new()
        .name("unstick-control".into())
        .spawn(move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => {
                    started.send(Err(StartError(format!("no runtime for the control thread: {error}")))).ok();
                    return Ended::Cut;
                }
            };
            runtime.block_on(async {
                match Control::start(config, options, own_orders).await {
                    Ok(Begun::Serving(control)) => {
                        started.send(Ok((control.addresses(), control.admin_address()))).ok();
                        control.run(receiver).await
                    }
                    Ok(Begun::Stopped) => {
                        started.send(Ok((Vec::new(), None))).ok();
                        Ended::Drained
                    }
                    Err(error) => {
                        started.send(Err(error)).ok();
                        Ended::Cut
                    }
                }
            })
        })
        .map_err(|error| StartError(format!("no control thread: {error}")))?;
    let result = start.recv().unwrap_or_else(|_| Err(StartError("the control thread died at the start".into())));
    result.map(|(listeners, admin)| Running { listeners, admin, orders, control })
}

/// Checks that the files named by a config, certificates and keys, exist and can be used.
///
/// # Errors
/// Each file that cannot be used, and why.
pub fn check_files(config: &Config) -> Result<(), Vec<String>> {
    crate::control::reload::check_files(config)
}

/// What a start would choose on this machine, and why, in one line; and each number of the config for which there is no
/// room here. It raises the limit of file descriptors, as a start does.
pub fn capacity(config: &Config) -> (String, Vec<String>) {
    let resources = Resources::look();
    (capacity::line(config.workers, config, &resources), capacity::warnings(config, &resources))
}

/// Finds out what would become of a request, without sending it.
///
/// # Errors
/// Why that cannot be said.
pub fn answer(config: &Config, question: Question) -> Result<Answer, String> {
    crate::control::explain::answer(config, question)
}

impl Running {
    /// Reads the config file again, as SIGHUP does.
    ///
    /// # Panics
    /// When it is called within an async runtime, as it may block.
    pub fn reload(&self) {
        self.orders.blocking_send(Order::Reload).ok();
    }

    /// Stops, as SIGTERM does. A second call ends the instance at once.
    ///
    /// # Panics
    /// When it is called within an async runtime, as it may block.
    pub fn stop(&self) {
        self.orders.blocking_send(Order::Stop(Stop::Announced)).ok();
    }

    /// Stops as SIGINT does: without `timeouts.shutdown_delay`, and connections without a request are closed at once.
    ///
    /// # Panics
    /// When it is called within an async runtime, as it may block.
    pub fn interrupt(&self) {
        self.orders.blocking_send(Order::Stop(Stop::Prompt)).ok();
    }

    /// Blocks until the instance has ended.
    pub fn wait(self) -> Ended {
        self.control.join().unwrap_or(Ended::Cut)
    }
}
