//! The steps of a journey one by one, repetitions counted: what a placement places.

use crate::journey::{Act, Journey, Step};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(pub Vec<Planned>);

/// One thing that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The step, by its place in the journey.
    pub step: usize,
    /// Which repetition it is, counted from 0.
    pub nth: u32,
}

impl Plan {
    /// All steps of a journey, as often as they are done.
    pub fn of(journey: &Journey) -> Self {
        let repeated = |(step, of): (usize, &Step)| (0..of.repeat.max(1)).map(move |nth| Planned { step, nth });
        Self(journey.steps.iter().enumerate().flat_map(repeated).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For each one the place of that which opened what it talks on: both are on one replica.
    pub fn bound(&self, journey: &Journey) -> Vec<Option<usize>> {
        let opener = |planned: &Planned| match journey.steps[planned.step].act {
            Act::Talk(opener, _) => self.0.iter().rposition(|other| other.step == opener),
            Act::Request(_) | Act::WebSocket(..) | Act::EventStream(..) => None,
        };
        self.0.iter().map(opener).collect()
    }

    /// What one is called: the name of its step, with its number if it is repeated.
    pub fn name(&self, at: usize, journey: &Journey) -> String {
        let planned = self.0[at];
        let step = &journey.steps[planned.step];
        if step.repeat > 1 { format!("{} {}", step.name, planned.nth + 1) } else { step.name.clone() }
    }

    /// What one does, as in `GET /cart`.
    pub fn action(&self, at: usize, journey: &Journey) -> String {
        match &journey.steps[self.0[at].step].act {
            Act::Request(request) => format!("{} {}", request.method, request.target),
            Act::WebSocket(request, _) => format!("WebSocket {}", request.target),
            Act::EventStream(request, _) => format!("event stream {}", request.target),
            Act::Talk(opener, _) => format!("on {}", journey.steps[*opener].name),
        }
    }
}
