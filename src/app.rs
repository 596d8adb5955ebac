//! Starts an instance from a config and hands out the means to reload, stop and await it.
//!
//! [`start`] returns as soon as clients can connect. Everything that is not a request happens on one control thread
//! (`control`); a stuck name server or a slow scrape therefore never delays a request.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{self, LocalOptions};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::address::Address;
use crate::control::Control;
pub use crate::control::outcome::{Ended, Options, StartError};
pub use crate::control::reload::Source;
use crate::control::signals::Order;

/// Orders that wait for the control thread at most.
const ORDERS_MAX: usize = 64;

/// An instance that serves.
#[derive(Debug)]
pub struct Running {
    /// Name and real address of every listener at the start.
    pub listeners: Vec<(String, Address)>,
    /// Real address of the admin port.
    pub admin: Option<SocketAddr>,
    orders: mpsc::Sender<Order>,
    control: JoinHandle<Ended>,
}

/// Starts serving; returns when every listener is bound and the pools have had their first verdicts.
///
/// # Errors
/// What is in the way, and of which address or file.
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
                    Ok((control, admin)) => {
                        started.send(Ok((control.addresses(), admin))).ok();
                        control.run(receiver).await
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

/// Whether the files that a config names, certificates and keys, are there and serve.
///
/// # Errors
/// Each that does not, and why.
pub fn check_files(config: &Config) -> Result<(), Vec<String>> {
    crate::control::reload::check_files(config)
}

impl Running {
    /// Reads the config file again, as SIGHUP does.
    pub fn reload(&self) {
        self.orders.blocking_send(Order::Reload).ok();
    }

    /// Drains, as SIGTERM does; a second call ends at once.
    pub fn stop(&self) {
        self.orders.blocking_send(Order::Stop).ok();
    }

    /// Waits until the instance has ended.
    pub fn wait(self) -> Ended {
        self.control.join().unwrap_or(Ended::Cut)
    }
}
