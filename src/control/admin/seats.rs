//! The places for listeners to events: so many through each kind of door, so that nobody takes those of the others.

use std::cell::RefCell;
use std::mem::discriminant;
use std::rc::Rc;

use super::door::Door;

/// The most listeners at one time through each kind of door: the Unix socket, loopback, and from elsewhere.
const SEATS: usize = 8;
/// The most of them from one network.
const SEATS_PER_NETWORK: usize = 4;

/// Those that are taken.
#[derive(Debug, Default)]
pub(super) struct Seats(Rc<RefCell<Vec<Door>>>);

/// One of them. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Seat {
    door: Door,
    taken: Rc<RefCell<Vec<Door>>>,
}

impl Seats {
    /// A place for one who came through this door.
    ///
    /// # Errors
    /// A sentence that says that there is none.
    pub(super) fn take(&self, door: Door) -> Result<Seat, String> {
        let mut taken = self.0.borrow_mut();
        let through = taken.iter().filter(|other| discriminant(*other) == discriminant(&door)).count();
        let near = taken.iter().filter(|other| other.network() == door.network()).count();
        let full = |listeners: &str| Err(format!("{listeners}, as many as may: close a page of the dashboard"));
        if through >= SEATS {
            return full(&format!("{SEATS} listen already"));
        }
        if door.network().is_some() && near >= SEATS_PER_NETWORK {
            return full(&format!("{SEATS_PER_NETWORK} listen already from your network"));
        }
        taken.push(door);
        Ok(Seat { door, taken: Rc::clone(&self.0) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.borrow_mut();
        if let Some(at) = taken.iter().position(|other| *other == self.door) {
            taken.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(seats: &Seats, peer: &str, wanted: usize) -> Vec<Seat> {
        let door = if peer == "unix" { Door::Unix } else { Door::of(peer.parse().unwrap()) };
        (0..wanted).map_while(|_| seats.take(door).ok()).collect()
    }

    #[test]
    fn nobody_takes_the_places_of_another_door_or_all_of_its_own() {
        let seats = Seats::default();
        let (near, far) = (taken(&seats, "127.0.0.1:1", 9), taken(&seats, "10.0.0.9:1", 9));
        assert_eq!((near.len(), far.len()), (SEATS_PER_NETWORK, SEATS_PER_NETWORK));
        let others = taken(&seats, "10.0.0.8:1", 9);
        assert_eq!(others.len(), SEATS - SEATS_PER_NETWORK);
        assert!(taken(&seats, "[2001:db8::1]:1", 1).is_empty(), "that door has no more");
        drop(far);
        let (one, two) = (taken(&seats, "[2001:db8::1]:1", 3), taken(&seats, "[2001:db8::2]:1", 3));
        assert_eq!((one.len(), two.len()), (3, 1), "a /64 is one network");
        assert_eq!(taken(&seats, "unix", 9).len(), SEATS);
        assert_eq!(taken(&seats, "unix", 9).len(), SEATS, "they are free again");
    }
}
