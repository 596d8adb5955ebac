//! From a seed to a scenario.

use super::dice::Dice;
use super::scenario::*;

/// The scenario of `seed`.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed, 1);
    let dice = &mut dice;
    let speaks = dice.pick(&[Speaks::H1, Speaks::H1, Speaks::H2]);
    let pool = PoolPlan {
        replicas: dice.between(1, 3) as usize,
        speaks,
        max_requests: dice.pick(&[0, 0, 0, 1, 2]),
        idle_close: dice.pick(&[0, 0, 0, 600, 2500]),
        streams: dice.pick(&[1, 2, 100, 100]) as u32,
    };
    let net = Net {
        delay: dice.pick(&[0, 1, 3, 20]),
        torn: dice.happens(400),
        room: dice.pick(&[700, 4_000, 20_000, 200_000]),
        not_now: dice.pick(&[0, 0, 20, 200]),
        spends_budget: dice.pick(&[0, 0, 30, 300]),
        event_interval: dice.pick(&[1, 61, 1024]),
    };
    let mut clients: Vec<ClientPlan> = (0..dice.between(1, 4)).map(|_| client(dice, speaks)).collect();
    if dice.happens(60) {
        clients.push(fickle(dice));
    }
    let is_calm = dice.happens(400);
    let faults = if is_calm { Vec::new() } else { (0..dice.below(3)).map(|_| replica_fault(dice)).collect() };
    let acts = acts(dice, pool.replicas);
    // Dice of their own, so that the rest of a seed's scenario stays what it was.
    interims(&mut Dice::new(seed, 2), &mut clients);
    Scenario { seed, net, pool, clients, faults, acts }
}

fn client(dice: &mut Dice, pool: Speaks) -> ClientPlan {
    let speaks = dice.pick(&[Speaks::H1, Speaks::H1, Speaks::H2]);
    let reads = match dice.below(10) {
        0..7 => Reads::AtOnce,
        7 | 8 => Reads::Slowly { bytes: dice.pick(&[1, 300, 5_000]) as usize, pause: dice.pick(&[1, 20, 300]) },
        _ => Reads::Until { bytes: dice.pick(&[0, 50, 5_000, 40_000]) as usize },
    };
    let ends = match dice.below(10) {
        0..5 => Ends::Closes,
        5..8 => Ends::Stays,
        8 => Ends::HalfCloses,
        _ => Ends::Resets { after: dice.below(400) },
    };
    let call = dice.below(40) as u32;
    let kind = dice.pick(&[FaultKind::Reset, FaultKind::TimedOut]);
    let fault = dice.happens(60).then_some(Fault { call, kind });
    let mut requests: Vec<RequestPlan> = (0..dice.between(1, 5)).map(|_| request(dice)).collect();
    if (speaks, pool) == (Speaks::H1, Speaks::H1) && dice.happens(250) {
        requests.extend([upgrade(dice)]);
    }
    ClientPlan {
        at: dice.pick(&[0, 0, 5, 300, 2_000]),
        speaks,
        depth: dice.pick(&[1, 1, 1, 3]),
        reads,
        ends,
        window: dice.pick(&[1, 100, 16_000, 65_535, 65_535, 1_000_000]) as u32,
        fault,
        requests,
    }
}

/// The last request of a client: what follows is another protocol.
fn upgrade(dice: &mut Dice) -> RequestPlan {
    let bytes = |dice: &mut Dice| match dice.below(4) {
        0 => 0,
        1 => dice.below(200) as usize,
        _ => dice.below(30_000) as usize,
    };
    let (up, down) = (bytes(dice), bytes(dice));
    let pauses = [0, 0, 3, 700];
    let (up_pause, down_pause) = (dice.pick(&pauses), dice.pick(&pauses));
    let part = up.max(down) / dice.between(1, 5) as usize + 1;
    let tunnel = Some(TunnelPlan { up, down, up_pause, down_pause, part });
    let plain = request(dice);
    RequestPlan {
        method: Method::Get,
        body: 0,
        chunked: false,
        hesitates: 0,
        expects: false,
        trailers: false,
        tunnel,
        ..plain
    }
}

/// A client that asks for much at once and takes most of it back.
fn fickle(dice: &mut Dice) -> ClientPlan {
    let cancels = dice.pick(&[0, 0, 3, 30]);
    let part = dice.pick(&[10, 16_000]) as usize;
    let mut requests: Vec<RequestPlan> = (0..dice.between(8, 30)).map(|_| request(dice)).collect();
    for plan in &mut requests {
        let reply = Reply { body: 10_000, part, fate: Fate::Whole, closes: false, ..plan.replies[0] };
        (plan.method, plan.body, plan.pause, plan.hesitates, plan.expects) = (Method::Get, 0, 0, 0, false);
        (plan.cancels, plan.replies, plan.chunked) = (Some(cancels), vec![reply], false);
    }
    if let Some(last) = requests.last_mut() {
        last.cancels = None;
    }
    let (depth, window) = (requests.len(), 1_000_000);
    let (reads, ends, fault) = (Reads::AtOnce, Ends::Closes, None);
    ClientPlan { at: dice.below(10), speaks: Speaks::H2, depth, reads, ends, window, fault, requests }
}

fn request(dice: &mut Dice) -> RequestPlan {
    let method = dice.pick(&[Method::Get, Method::Get, Method::Get, Method::Put, Method::Post, Method::Post]);
    let method = if method == Method::Get && dice.happens(200) { Method::Head } else { method };
    let body = match method {
        Method::Get | Method::Head => 0,
        _ => size(dice),
    };
    let first = reply(dice);
    let replies = match first.fate {
        Fate::Whole => vec![first],
        _ if dice.happens(500) => vec![first],
        _ => vec![first, Reply { fate: Fate::Whole, ..reply(dice) }],
    };
    RequestPlan {
        method,
        keyed: dice.happens(150),
        body,
        chunked: body > 0 && dice.happens(400),
        pause: dice.pick(&[0, 0, 0, 3, 200, 1_100, 2_600]),
        hesitates: if body > 1 { dice.pick(&[0, 0, 0, 5, 500, 60_000]) } else { 0 },
        cancels: dice.happens(80).then(|| dice.below(100)),
        expects: body > 0 && dice.happens(200),
        trailers: dice.happens(300),
        tunnel: None,
        replies,
    }
}

fn size(dice: &mut Dice) -> usize {
    match dice.below(10) {
        0..2 => 0,
        2..6 => dice.below(200) as usize,
        6..9 => dice.below(20_000) as usize,
        _ => dice.below(200_000) as usize,
    }
}

/// A reply comes in so many parts at most, or its run takes long.
const PARTS_MAX: usize = 300;

fn reply(dice: &mut Dice) -> Reply {
    let body = size(dice);
    let at = dice.below(body as u64 + 1) as usize;
    let fate = match dice.below(20) {
        0 => Fate::Cut { at },
        1 => Fate::Stalls { at },
        2 => Fate::Closed,
        3 => Fate::Silent,
        _ => Fate::Whole,
    };
    Reply {
        status: dice.pick(&[200, 200, 201, 404, 500, 503]) as u16,
        body,
        framing: dice.pick(&[Framing::Length, Framing::Length, Framing::Chunked, Framing::Close]),
        part: (dice.pick(&[10, 1_000, 16_000]) as usize).max(body / PARTS_MAX),
        delay: dice.pick(&[0, 0, 0, 2, 50, 1_200]),
        early: dice.happens(150),
        closes: dice.happens(80),
        trailers: dice.happens(500),
        hints: 0,
        tells: false,
        fate,
    }
}

/// What replicas say before they reply: 100 to those who wait for it, and some of them early hints.
fn interims(dice: &mut Dice, clients: &mut [ClientPlan]) {
    let numbers: &[u64] = if dice.happens(400) { &[0, 0, 1, 1, 3] } else { &[0] };
    let requests = clients.iter_mut().flat_map(|client| &mut client.requests);
    for reply in requests.flat_map(|request| &mut request.replies) {
        (reply.hints, reply.tells) = (dice.pick(numbers) as u8, dice.happens(700));
    }
}

fn replica_fault(dice: &mut Dice) -> ReplicaFault {
    let kind = dice.pick(&[FaultKind::Reset, FaultKind::TimedOut, FaultKind::Refused, FaultKind::Lost]);
    ReplicaFault { connection: dice.below(5) as usize, fault: Fault { call: dice.below(30) as u32, kind } }
}

fn acts(dice: &mut Dice, replicas: usize) -> Vec<(Ms, Act)> {
    let mut acts = Vec::new();
    for _ in 0..dice.below(4) {
        let replica = dice.below(replicas as u64) as usize;
        let at = dice.pick(&[1, 10, 40, 250, 1_500, 3_000]) + dice.below(60);
        let act = match dice.below(8) {
            0..3 => Act::EditListener,
            3 => Act::Remove { replica },
            4 => Act::Add { replica },
            5 => Act::Rename { without: replica },
            6 => Act::Kill { replica },
            _ => Act::Revive { replica },
        };
        acts.push((at, act));
    }
    if dice.happens(350) {
        let act = if dice.happens(250) { Act::Interrupt } else { Act::Terminate };
        acts.push((dice.pick(&[0, 10, 60, 300, 2_000, 5_000]) + dice.below(100), act));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}
