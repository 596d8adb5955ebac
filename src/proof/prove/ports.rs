//! Ports for servers that take none of the system's choice.

use std::net::{Ipv4Addr, TcpListener};

/// How often a server is started if another process has taken a port of it meanwhile.
const TRIES: u32 = 3;
/// What servers say then.
const TAKEN: &str = "ddress already in use";

/// Starts something on ports that are free. They were so at the same time, so they differ.
pub(super) async fn on_free_ports<T, const N: usize>(
    start: impl AsyncFn([u16; N]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut tries = 1;
    loop {
        match start(free()?).await {
            Err(error) if tries < TRIES && format!("{error:#}").contains(TAKEN) => tries += 1,
            result => return result,
        }
    }
}

fn free<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut listeners = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_finds_its_port_taken_is_started_again() {
        let tries = Cell::new(0);
        let start = async |fails: u32, error: &'static str| {
            tries.set(0);
            let start = async |[one, other]: [u16; 2]| {
                assert_ne!(one, other);
                tries.set(tries.get() + 1);
                anyhow::ensure!(tries.get() > fails, error);
                Ok(())
            };
            on_free_ports(start).await.map_err(|error| error.to_string())
        };
        assert_eq!((start(2, "bind: Address already in use").await, tries.get()), (Ok(()), 3));
        assert!(start(3, "bind: address already in use").await.is_err() && tries.get() == 3);
        assert!(start(1, "no room").await.is_err() && tries.get() == 1);
    }
}
