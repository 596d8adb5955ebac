//! The places for connections to the admin port, and who makes room for whom.
//!
//! There are places apart for connections without a request so far, for those that have asked for `/healthz` or
//! `/readyz` only, and for all others. So however many hold connections on which they ask for much and read nothing, a
//! probe has its place; and since the thread reads from a new connection before it accepts the next one, a probe that
//! has sent its request gets its response. Within a kind the network with the most connections makes room.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::door::Door;
use super::turns::give_way;

/// The most connections of each kind at one time. Those that listen to events are few, and have no place here.
const PLACES: usize = 64;
/// The most connections of each kind from one network.
const PLACES_PER_NETWORK: usize = 32;

/// What a connection has asked for so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Probes,
    More,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// `None` at the Unix socket.
    network: Option<IpAddr>,
    asked: Cell<Kind>,
    /// When it was accepted, or its last request came.
    heard_at: Cell<Instant>,
    /// Whether it listens to events.
    pub(super) listens: Cell<bool>,
}

impl Peer {
    /// One that has come through `door` just now.
    pub(super) fn at(door: Door) -> Rc<Self> {
        let (asked, heard_at) = (Cell::new(Kind::Nothing), Cell::new(Instant::now()));
        Rc::new(Self { network: door.network(), asked, heard_at, listens: Cell::new(false) })
    }
}

/// The connections of one socket. Those of another one are none of their concern.
#[derive(Debug, Default)]
pub(super) struct Places(RefCell<Vec<Place>>);

#[derive(Debug)]
struct Place {
    peer: Rc<Peer>,
    task: AbortHandle,
}

impl Places {
    /// Gives a place to a connection. It may cost another one its place.
    pub(super) fn add(&self, peer: Rc<Peer>, task: &JoinHandle<()>) {
        self.make_room(&peer, Kind::Nothing);
        self.0.borrow_mut().push(Place { peer, task: task.abort_handle() });
    }

    /// Notes that a request has come from `peer`. Its place may be another one now.
    pub(super) fn heard(&self, peer: &Rc<Peer>, is_probe: bool) {
        peer.heard_at.set(Instant::now());
        let asked = match (peer.asked.get(), is_probe) {
            (Kind::More, _) | (_, false) => Kind::More,
            (_, true) => Kind::Probes,
        };
        if asked != peer.asked.get() {
            self.make_room(peer, asked);
            peer.asked.set(asked);
        }
    }

    fn make_room(&self, newcomer: &Rc<Peer>, asked: Kind) {
        let mut places = self.0.borrow_mut();
        places.retain(|place| !place.task.is_finished());
        let peers: Vec<&Peer> = places.iter().map(|place| &*place.peer).collect();
        if let Some(at) = most_dispensable(&peers, newcomer, asked) {
            places.swap_remove(at).task.abort();
            // Whoever loses a place comes back at once, and with others.
            give_way();
        }
    }
}

/// Which of the peers makes room for `newcomer` among those that have `asked` for the same; `None` if there is room.
fn most_dispensable(peers: &[&Peer], newcomer: &Peer, asked: Kind) -> Option<usize> {
    let rivals = || {
        let all = peers.iter().enumerate().filter(|(_, peer)| !std::ptr::eq(**peer, newcomer));
        all.filter(move |(_, peer)| peer.asked.get() == asked && !peer.listens.get())
    };
    let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
    rivals().for_each(|(_, peer)| *counts.entry(peer.network).or_default() += 1);
    let is_greedy = counts.get(&newcomer.network).is_some_and(|count| *count >= PLACES_PER_NETWORK);
    if !is_greedy && counts.values().sum::<usize>() < PLACES {
        return None;
    }
    let most = counts.values().copied().max().unwrap_or_default();
    let is_meant = |peer: &Peer| match is_greedy {
        true => peer.network == newcomer.network,
        false => counts.get(&peer.network) == Some(&most),
    };
    rivals().filter(|(_, peer)| is_meant(peer)).min_by_key(|(_, peer)| peer.heard_at.get()).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A peer that was heard this many seconds after the first one.
    fn peer(address: &str, asked: Kind, second: u64) -> Rc<Peer> {
        let peer = Peer::at(Door::of(address.parse().unwrap()));
        peer.asked.set(asked);
        peer.heard_at.set(peer.heard_at.get() + Duration::from_secs(second));
        peer
    }

    fn makes_room(peers: &[Rc<Peer>], newcomer: &str, asked: Kind) -> Option<usize> {
        let peers: Vec<&Peer> = peers.iter().map(|peer| &**peer).collect();
        most_dispensable(&peers, &peer(newcomer, Kind::Nothing, 1000), asked)
    }

    fn of_networks(count: usize, asked: Kind) -> Vec<Rc<Peer>> {
        (0..count).map(|nth| peer(&format!("10.0.{nth}.1:1"), asked, nth as u64)).collect()
    }

    #[test]
    fn each_kind_has_places_of_its_own() {
        let mut peers = of_networks(PLACES, Kind::More);
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::Nothing), None);
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::Probes), None);
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::More), Some(0), "the most silent one");
        peers[0].listens.set(true);
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::More), None, "who listens has no place here");
        peers.push(peer("10.2.0.1:1", Kind::More, 0));
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::More), Some(PLACES));
    }

    #[test]
    fn the_network_with_the_most_connections_makes_room() {
        let mut peers = of_networks(PLACES - 2, Kind::Nothing);
        peers.push(peer("[2001:db8::1]:1", Kind::Nothing, 900));
        peers.push(peer("[2001:db8::2]:1", Kind::Nothing, 800));
        assert_eq!(makes_room(&peers, "10.1.0.1:1", Kind::Nothing), Some(PLACES - 1));
    }

    #[test]
    fn one_network_has_half_of_the_places() {
        let mut peers: Vec<_> = (0..PLACES_PER_NETWORK)
            .map(|nth| peer(&format!("10.0.0.1:{nth}"), Kind::Probes, 10 + nth as u64))
            .collect();
        peers.push(peer("10.0.0.2:1", Kind::Probes, 0));
        assert_eq!(makes_room(&peers, "10.0.0.1:9", Kind::Probes), Some(0), "one of its own");
        assert_eq!(makes_room(&peers, "10.0.0.3:9", Kind::Probes), None);
    }

    #[tokio::test]
    async fn a_connection_that_asks_for_more_leaves_the_places_of_probes() {
        let places = Places::default();
        let local = tokio::task::LocalSet::new();
        let add = |peer: &Rc<Peer>| {
            let task = local.spawn_local(std::future::pending());
            places.add(Rc::clone(peer), &task);
            task
        };
        let probe = peer("10.9.0.1:1", Kind::Nothing, 0);
        let kept = add(&probe);
        places.heard(&probe, true);
        for nth in 0..2 * PLACES {
            let other = peer(&format!("10.0.{nth}.1:1"), Kind::Nothing, 0);
            add(&other);
            places.heard(&other, true);
            places.heard(&other, false);
        }
        local.run_until(tokio::task::yield_now()).await;
        assert!(!kept.is_finished());
        assert_eq!(places.0.borrow().len(), 1 + PLACES);
    }
}
