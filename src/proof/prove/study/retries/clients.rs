//! Clients that order, one order after the other, and what they do when there is no response.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::Request;

use super::PAUSE;
use super::part::{ATTEMPT, drawn};
use crate::prove::ledger::KEY;
use crate::prove::study::caller::Caller;

/// How often one order is sent at most.
const TRIES_MAX: u32 = 6;

/// What a client does when there is no response, or one that says that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// It repeats the order, always with the same key.
    RepeatsWithKey,
    /// It repeats the order. No key says that it is the same.
    Repeats,
    /// It takes the order for failed.
    GivesUp,
}

/// One order, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) number: u64,
    /// How often it was sent.
    pub(super) tries: u32,
    pub(super) is_acknowledged: bool,
    /// Why the last attempt failed that did.
    pub(super) trouble: String,
}

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) done: Vec<Order>,
    /// Whether no further order begins.
    pub(super) is_over: bool,
    begun: u64,
}

/// Orders, until the time is over.
pub(super) async fn play(front: SocketAddr, habit: Habit, orders: Rc<RefCell<Orders>>) {
    let mut caller = Caller::to(front);
    loop {
        tokio::time::sleep(drawn(PAUSE)).await;
        let number = {
            let mut orders = orders.borrow_mut();
            if orders.is_over {
                return;
            }
            orders.begun += 1;
            orders.begun
        };
        let order = order(&mut caller, number, habit).await;
        orders.borrow_mut().done.push(order);
    }
}

async fn order(caller: &mut Caller, number: u64, habit: Habit) -> Order {
    let mut order = Order { number, tries: 0, is_acknowledged: false, trouble: String::new() };
    while order.tries < TRIES_MAX {
        let request = request(number, order.tries, habit);
        order.tries += 1;
        match caller.send(request).await {
            Ok(response) if response.status() == 204 => {
                order.is_acknowledged = true;
                return order;
            }
            Ok(response) => {
                order.trouble = format!("{} {}", response.status(), String::from_utf8_lossy(response.body()).trim());
            }
            Err(error) => order.trouble = format!("{error:#}"),
        }
        if habit == Habit::GivesUp {
            return order;
        }
        tokio::time::sleep(drawn(PAUSE)).await;
    }
    order
}

fn request(number: u64, before: u32, habit: Habit) -> Request<Bytes> {
    let mut request = Request::post("/order").header(ATTEMPT, format!("{number}-{before}"));
    if habit == Habit::RepeatsWithKey {
        request = request.header(KEY, format!("order-{number}"));
    }
    request.body(Bytes::from(number.to_string())).expect("it is made of valid parts")
}
