//! What can be done to a fleet. What it makes of replicas, proxies and the file is written down when the proxies say
//! so.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::{Entry, Fleet, Parts, Replica};
use crate::prove::arm::Filling;
use crate::prove::ask;
use crate::prove::replica::CONTROL;
use crate::prove::sabotage::Sabotage;
use crate::prove::tomb::Tomb;
use crate::trial::fault::{Act, World};
use crate::trial::history::State;
use crate::trial::judge::FOUND_OUT;
use crate::trial::recorder::Recorder;

/// How long a replica that was asked to end may take.
const END: Duration = Duration::from_secs(5);
/// How long a store stays away when it is restarted.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a replica that is out waits for requests that should not come, until it ends.
const LINGER: Duration = Duration::from_millis(300);
/// How long replicas take their time before they are taken out.
const LINGERS_BEFORE: Duration = Duration::from_millis(100);
/// A replica is killed when it has requests of one user in so many, or after the time of its plan.
const HELD_ONE_IN: u32 = 3;
/// How many bytes of a write a replica has read when it is killed while it reads, and how long it waits for one.
const READ: Range<usize> = 5..400;
const READ_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two looks at how many it has.
const POLL: Duration = Duration::from_millis(10);
/// When the address of a dead replica is listened at: shortly before nothing must come any more.
const BURIED_AFTER: Duration = FOUND_OUT.saturating_sub(Duration::from_millis(100));

impl World for Fleet {
    async fn carry_out(&self, act: Act, recorder: &Recorder) -> anyhow::Result<()> {
        let mut parts = self.parts.lock().await;
        let parts = &mut *parts;
        match act {
            Act::Kill(replica) => self.kill(parts, replica, recorder).await,
            Act::Add(count) => {
                self.add(parts, count).await?;
                self.edit(parts, recorder)?;
                self.wait_healthy(parts).await?;
                recorder.mark("", State::InForce, 0);
                self.publish(parts);
                Ok(())
            }
            Act::Drain(replica) => self.drain(parts, replica, recorder).await,
            Act::Remove(count) => {
                let last = parts.replicas.len();
                self.take_out(parts, last - count..last, recorder).await
            }
            Act::Retire(replica) => self.take_out(parts, replica..replica + 1, recorder).await,
            Act::Replace(replica) => self.replace(parts, replica, recorder).await,
            Act::Edit(number) => {
                parts.toml.balance = if number % 2 == 0 { "p2c" } else { self.plan.balance };
                self.edit(parts, recorder)
            }
            Act::KillProxy(proxy) => {
                let name = format!("proxy {proxy}");
                recorder.mark(&name, State::Ending, 0);
                parts.proxies[proxy].kill().await;
                parts.proxies.remove(proxy);
                recorder.mark(&name, State::Killed, 0);
                Ok(())
            }
            Act::RestartStore => {
                let server = self.plan.backing.server.as_ref().context("there is no store to restart")?;
                server.restart(STORE_PAUSE).await
            }
            Act::Fill => {
                let front = parts.proxies.first().context("there is no proxy")?.address;
                self.plan.arm.fill(Filling { front, backing: &self.plan.backing, recorder }).await
            }
            Act::FailOver => {
                let server = self.plan.backing.server.as_ref().context("there is no store that could fail over")?;
                server.fail_over(recorder).await
            }
            Act::Sicken(replica) => parts.replicas[replica].order("sick", State::Sick, recorder).await,
            Act::Heal(replica) => parts.replicas[replica].order("well", State::Well, recorder).await,
            Act::KillReading(replica) => self.kill_reading(parts, replica, recorder).await,
            Act::Mute(replica) => parts.replicas[replica].order("mute", State::Mute, recorder).await,
            Act::Err(replica) => parts.replicas[replica].order("err", State::Erring, recorder).await,
            Act::CutOff(replica) => parts.replicas[replica].order("cut", State::CutOff, recorder).await,
            Act::SlowOnce(replica) => {
                ask::get(parts.replicas[replica].entry.address, &format!("{CONTROL}slow")).await?;
                Ok(())
            }
            Act::Rekey(step) => self.rekey(parts, step, recorder).await,
            Act::Stop(replica) => parts.replicas[replica].signal(Signal::STOP, State::Stopped, recorder),
            Act::Continue(replica) => parts.replicas[replica].signal(Signal::CONT, State::Continued, recorder),
        }
    }
}

impl Fleet {
    fn edit(&self, parts: &mut Parts, recorder: &Recorder) -> anyhow::Result<()> {
        recorder.mark("", State::Edited, 0);
        self.write(parts)
    }

    /// Kills a replica that has requests: it holds them back until there are enough.
    async fn kill(&self, parts: &mut Parts, number: usize, recorder: &Recorder) -> anyhow::Result<()> {
        let held = self.hold(parts, number, recorder).await?;
        let replica = &mut parts.replicas[number];
        let Entry { name, address, .. } = replica.entry.clone();
        replica.process.child.kill().await?;
        recorder.mark(&name, State::Killed, held);
        parts.relays.killed();
        if let Some(balance) = self.plan.balance_after_kill {
            parts.toml.balance = balance;
            parts.toml.is_miscounted = self.plan.planted.is(Sabotage::MiscountsAfterKill);
            self.edit(parts, recorder)?;
        }
        if self.plan.buries_dead {
            parts.tombs.push(Tomb::at(address, &name, BURIED_AFTER, self.visitors.clone()));
        }
        Ok(())
    }

    /// Kills a replica that has requests, at the moment when it has read some bytes of another write. What is left of
    /// that in the kernel makes the end of the connection a reset.
    async fn kill_reading(&self, parts: &mut Parts, number: usize, recorder: &Recorder) -> anyhow::Result<()> {
        let held = self.hold(parts, number, recorder).await?;
        let replica = &mut parts.replicas[number];
        let bytes = Rng::with_seed(self.plan.seed ^ number as u64).usize(READ);
        ask::get(replica.entry.address, &format!("{CONTROL}die-{bytes}")).await?;
        // If no write comes in time it is killed without one.
        if timeout(READ_WITHIN, replica.process.child.wait()).await.is_err() {
            replica.process.child.kill().await?;
        }
        recorder.mark(&replica.entry.name, State::Killed, held);
        Ok(())
    }

    /// Makes a replica hold requests back until there are enough. How many it has.
    async fn hold(&self, parts: &Parts, number: usize, recorder: &Recorder) -> anyhow::Result<u32> {
        let Entry { name, address, .. } = &parts.replicas[number].entry;
        recorder.mark(name, State::Ending, 0);
        ask::get(*address, &format!("{CONTROL}hold")).await?;
        let (enough, deadline) = (self.plan.users.div_ceil(HELD_ONE_IN), Instant::now() + self.plan.held_within);
        let mut held = 0;
        while held < enough && Instant::now() < deadline {
            sleep(POLL).await;
            held = held_by(*address, "held").await?;
        }
        Ok(held)
    }

    async fn drain(&self, parts: &mut Parts, number: usize, recorder: &Recorder) -> anyhow::Result<()> {
        let Entry { name, address, .. } = parts.replicas[number].entry.clone();
        parts
            .toml
            .entries
            .iter_mut()
            .filter(|entry| entry.address == address)
            .for_each(|entry| entry.is_draining = true);
        self.edit(parts, recorder)?;
        let drains = |endpoint: &serde_json::Value| {
            endpoint["address"] == address.to_string().as_str() && endpoint["wanted"] == "drain"
        };
        let is_ignored = self.plan.planted.is(Sabotage::DrainIgnored);
        for proxy in parts.proxies.iter().filter(|_| !is_ignored) {
            proxy.wait_for("the replica drains", |endpoints| endpoints.iter().any(drains)).await?;
        }
        recorder.mark("", State::InForce, 0);
        recorder.mark(&name, State::Draining, 0);
        self.publish(parts);
        Ok(())
    }

    /// Takes replicas out in one edit, and ends them when the proxies have no request on them any more.
    async fn take_out(&self, parts: &mut Parts, numbers: Range<usize>, recorder: &Recorder) -> anyhow::Result<()> {
        let leaving: Vec<Entry> = parts.replicas[numbers.clone()].iter().map(|replica| replica.entry.clone()).collect();
        parts.toml.entries.retain(|entry| !leaving.iter().any(|gone| gone.address == entry.address));
        parts.toml.removed.extend(leaving.iter().cloned());
        // They have requests when they leave, unless they drained before.
        for entry in &leaving {
            recorder.mark(&entry.name, State::Lingering, 0);
            ask::get(entry.address, &format!("{CONTROL}linger")).await?;
        }
        sleep(LINGERS_BEFORE).await;
        self.edit(parts, recorder)?;
        let gone = |endpoint: &serde_json::Value| {
            leaving.iter().any(|entry| endpoint["address"] == entry.address.to_string().as_str())
        };
        let is_kept = self.plan.planted.is(Sabotage::RemovedKept);
        for proxy in parts.proxies.iter().filter(|_| !is_kept) {
            proxy.wait_for("the replicas are out", |endpoints| !endpoints.iter().any(gone)).await?;
        }
        recorder.mark("", State::InForce, 0);
        let is_cut = self.plan.planted.is(Sabotage::CutAtRemoval);
        for entry in &leaving {
            let held = held_by(entry.address, if is_cut { "held" } else { "go" }).await?;
            recorder.mark(&entry.name, State::Out, held);
        }
        for proxy in parts.proxies.iter().filter(|_| !is_kept && !is_cut) {
            proxy.wait_drained().await?;
        }
        sleep(if is_cut { Duration::ZERO } else { LINGER }).await;
        for replica in &mut parts.replicas[numbers] {
            replica.end().await?;
            let Entry { name, address, .. } = &replica.entry;
            parts.tombs.push(Tomb::at(*address, name, Duration::ZERO, self.visitors.clone()));
        }
        Ok(())
    }

    async fn replace(&self, parts: &mut Parts, old: usize, recorder: &Recorder) -> anyhow::Result<()> {
        let new = self.launch(parts.replicas.len()).await?;
        parts.toml.entries.push(new.entry.clone());
        parts.replicas.push(new);
        self.drain(parts, old, recorder).await?;
        self.wait_healthy(parts).await?;
        self.take_out(parts, old..old + 1, recorder).await
    }
}

/// Gives an order. How many requests the replica holds.
pub(super) async fn held_by(address: SocketAddr, order: &str) -> anyhow::Result<u32> {
    let count = ask::get(address, &format!("{CONTROL}{order}")).await?;
    Ok(std::str::from_utf8(&count)?.trim().parse()?)
}

impl Replica {
    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(self.process.pid.cast_signed()).context("no process has this id")
    }

    /// Ends it in order.
    async fn end(&mut self) -> anyhow::Result<()> {
        // This fails only if the process has ended already.
        kill_process(self.pid()?, Signal::TERM).ok();
        timeout(END, self.process.child.wait()).await.context("a replica did not end")??;
        Ok(())
    }

    /// Tells it what to be. Where it must get nothing ends before it can know that it is well, and begins when it knows
    /// that it is not: a request between the two proves nothing.
    async fn order(&self, order: &str, state: State, recorder: &Recorder) -> anyhow::Result<()> {
        if state == State::Well {
            recorder.mark(&self.entry.name, state, 0);
        }
        ask::get(self.entry.address, &format!("{CONTROL}{order}")).await?;
        if state != State::Well {
            recorder.mark(&self.entry.name, state, 0);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal, state: State, recorder: &Recorder) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal)?;
        recorder.mark(&self.entry.name, state, 0);
        Ok(())
    }
}
