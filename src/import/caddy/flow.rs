//! Follows a request through the directives of a site. Caddy asks one after the other, and each that fits does its
//! part; a route of unstick has everything at once. So each way that a request can go is a route, in the order in which
//! they are to be tried: first those of what fits a matcher, then those of what does not. By that a route needs no
//! condition that must not hold.

use std::rc::Rc;

use super::Importer;
use super::clients::who;
use super::conditions::{Joined, Test};
use super::edits::Edits;
use super::steps::Step;
use crate::imported::{Keys, LeftOut, Place, Unreadable};

/// The most ways through one site, and the most that are begun within each other.
const WAYS_MAX: usize = 2_000;
const DEPTH_MAX: usize = 100;
/// So many ways may be begun by headers and the like; afterwards those are left out.
const SPLITS_MAX: usize = 200;

const WITH_CONDITION: &str = "write a route with that condition, see docs/import.md";

/// A route that is being made.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) test: Test,
    pub(super) keys: Keys,
    pub(super) left: Vec<LeftOut>,
    pub(super) place: Place,
    pub(super) origin: String,
    /// Whether it lets nobody in.
    pub(super) refuses: bool,
}

/// What was done to a request on its way.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) test: Test,
    /// What goes other ways.
    pub(super) taken: Vec<Test>,
    pub(super) edits: Edits,
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Vec<String>,
    /// Whether something keeps everybody out, because it has no translation.
    pub(super) is_closed: bool,
    pub(super) body_max: Option<String>,
    pub(super) is_logged: Option<bool>,
    /// The prefix that was taken off the path, and what was put there.
    pub(super) stripped: Option<String>,
    pub(super) put: Option<String>,
    /// Whether the path is another one, so that it can be tested no more.
    pub(super) is_rewritten: bool,
    pub(super) left: Vec<LeftOut>,
}

/// The directives after a block.
pub(super) enum Rest<'a, 't> {
    None,
    Then(&'a [Rc<Step<'t>>], &'a Rest<'a, 't>),
}

/// What becomes of a request at a step.
pub(super) enum Turn {
    Applies,
    Passes,
}

/// Whether a request goes on after a directive.
pub(super) enum Next {
    On,
    End(Box<Draft>),
}

/// A walk through the directives of one site.
pub(super) struct Flow<'i> {
    pub(super) importer: &'i mut Importer,
    /// The line with the addresses of the site.
    pub(super) site: LeftOut,
    pub(super) drafts: Vec<Draft>,
    pub(super) ways: usize,
    pub(super) depth: usize,
}

impl Flow<'_> {
    /// Makes the routes of a site.
    ///
    /// # Errors
    /// There are too many ways through it.
    pub(super) fn run<'t>(&mut self, state: State, steps: &[Rc<Step<'t>>]) -> Result<(), Unreadable> {
        self.walk(state, steps, &Rest::None)
    }

    pub(super) fn walk<'t>(
        &mut self,
        state: State,
        steps: &[Rc<Step<'t>>],
        rest: &Rest<'_, 't>,
    ) -> Result<(), Unreadable> {
        self.ways += 1;
        self.depth += 1;
        if self.ways > WAYS_MAX || self.depth > DEPTH_MAX {
            let message = format!("more than {WAYS_MAX} ways through this site, or {DEPTH_MAX} conditions at once");
            let Place { file, line } = &self.site.place;
            return Err(Unreadable { file: file.to_string(), at: Some((*line, 1)), message });
        }
        let walked = self.ways_of(state, steps, rest);
        self.depth -= 1;
        walked
    }

    fn ways_of<'t>(&mut self, mut state: State, steps: &[Rc<Step<'t>>], rest: &Rest<'_, 't>) -> Result<(), Unreadable> {
        let (mut steps, mut rest) = (steps, rest);
        loop {
            let Some((step, after)) = steps.split_first() else {
                match rest {
                    Rest::None => {
                        let draft = self.unanswered(state);
                        self.drafts.push(draft);
                        return Ok(());
                    }
                    Rest::Then(next, outer) => (steps, rest) = (next, outer),
                }
                continue;
            };
            steps = after;
            let decisions = self.decisions(&mut state, step);
            let mut turn = Turn::Passes;
            for (test, decided) in decisions {
                let Some(test) = self.joined(&mut state, step, &test, &decided) else { continue };
                if state.test.is_within(&test) {
                    turn = decided;
                    break;
                }
                let branch = State { test: test.clone(), ..state.clone() };
                self.turn(branch, step, after, rest, decided)?;
                state.taken.push(test);
            }
            if matches!(turn, Turn::Applies) {
                if self.passes_on(&mut state, step) {
                    continue;
                }
                return self.turn(state, step, after, rest, turn);
            }
        }
    }

    /// Does what a directive without a block says, if requests go on after it.
    fn passes_on(&mut self, state: &mut State, step: &Step<'_>) -> bool {
        let is_alone = step.name == "rewrite" || step.is_joined;
        let is_simple = step.within.is_none() && !step.ends() && !is_alone && who(step).is_empty();
        is_simple && matches!(self.leaf(state, step), Next::On)
    }

    /// The tests of a step in the order in which they decide, and what they decide.
    fn decisions(&mut self, state: &mut State, step: &Step<'_>) -> Vec<(Test, Turn)> {
        let Some(matcher) = &step.matcher else { return vec![(Test::default(), Turn::Applies)] };
        let is_minor = !step.ends() && !step.guards() && step.within.is_none();
        let unknown = match &matcher.unknown {
            Some(why) => Some(why.clone()),
            None if matcher.is_of_peer && !self.importer.trusted.is_empty() => {
                Some("behind trusted_proxies this is the address of a proxy; unstick knows the client".to_owned())
            }
            None if matcher.who.len() > 1 => Some("addresses are tested once".to_owned()),
            None if is_minor && self.ways > SPLITS_MAX && matcher.any != [Test::default()] => {
                Some("there are too many combinations of conditions".to_owned())
            }
            None => None,
        };
        if let Some(why) = unknown {
            let is_guard = step.may_keep_out();
            let end = if is_guard { "; what it protects answers 403" } else { "" };
            self.note(state, step, format!("{why}{end}"), WITH_CONDITION);
            // What may be meant is closed; the rest of the matcher says what that is.
            if is_guard {
                self.close(state, matcher.any.clone());
            }
            return Vec::new();
        }
        let mut all: Vec<(Test, Turn)> = Vec::new();
        for (any, but) in matcher.any.iter().flat_map(|any| matcher.but.iter().map(move |but| (any, but))) {
            match any.and(but) {
                Joined::Never => {}
                Joined::Test(test) => all.push((test, Turn::Passes)),
                Joined::Unknown(why) => {
                    self.note(state, step, why, WITH_CONDITION);
                    state.is_closed |= !step.refuses();
                }
            }
        }
        all.extend(matcher.any.iter().map(|any| (any.clone(), Turn::Applies)));
        all
    }

    /// What meets a test of a step, too. Nothing if no request does, or if it cannot be said.
    fn joined(&mut self, state: &mut State, step: &Step<'_>, test: &Test, decided: &Turn) -> Option<Test> {
        match join(state, test) {
            Joined::Never => None,
            Joined::Test(test) => Some(test),
            Joined::Unknown(why) => {
                let closes = match decided {
                    Turn::Applies => step.may_keep_out(),
                    Turn::Passes => !step.refuses() && (step.ends() || step.guards()),
                };
                let end = if closes { "; what it protects answers 403" } else { "" };
                self.note(state, step, format!("{why}{end}"), WITH_CONDITION);
                state.is_closed |= closes;
                None
            }
        }
    }

    /// Closes what meets one of some tests. It is where a request goes from now on.
    fn close(&mut self, state: &mut State, tests: Vec<Test>) {
        for test in tests {
            match join(state, &test) {
                Joined::Never => {}
                Joined::Test(test) if !state.test.is_within(&test) => {
                    let mut branch = State { test: test.clone(), is_closed: true, ..state.clone() };
                    branch.taken.clear();
                    let draft = self.closed(branch);
                    self.drafts.push(draft);
                    state.taken.push(test);
                }
                Joined::Test(_) | Joined::Unknown(_) => state.is_closed = true,
            }
        }
    }

    /// Goes on with what fits a step, or does not.
    pub(super) fn turn<'t>(
        &mut self,
        mut state: State,
        step: &Rc<Step<'t>>,
        after: &[Rc<Step<'t>>],
        rest: &Rest<'_, 't>,
        turn: Turn,
    ) -> Result<(), Unreadable> {
        if matches!(turn, Turn::Passes) {
            return self.walk(state, after, rest);
        }
        if let [who] = who(step) {
            return self.addresses(state, step, after, rest, who);
        }
        let after = &self.rest_of(step, after);
        if let Some(within) = &step.within {
            if let Some(prefix) = &step.strip {
                self.strip(&mut state, step, prefix);
            }
            return self.walk(state, within, &Rest::Then(after, rest));
        }
        match self.leaf(&mut state, step) {
            Next::On => self.walk(state, after, rest),
            Next::End(draft) => {
                self.drafts.push(*draft);
                Ok(())
            }
        }
    }

    /// The steps after one that was run.
    fn rest_of<'t>(&self, step: &Step<'t>, after: &[Rc<Step<'t>>]) -> Vec<Rc<Step<'t>>> {
        let mut rest: Vec<Rc<Step<'t>>> = Vec::new();
        let mut is_joined = step.is_joined;
        for other in after {
            // The first `handle` that fits is the only one, and the first `rewrite`.
            let is_excluded = matches!(step.name, "handle" | "rewrite") && other.name == step.name;
            if is_joined {
                rest.push(Rc::new(other.joined()));
                is_joined = other.is_joined;
            } else if !is_excluded {
                rest.push(other.clone());
            }
        }
        rest
    }

    pub(super) fn left(&self, step: &Step<'_>, why: impl Into<String>, what_to_do: impl Into<String>) -> LeftOut {
        super::left(step.line, why, what_to_do)
    }

    pub(super) fn note(&self, state: &mut State, step: &Step<'_>, why: impl Into<String>, what_to_do: &str) {
        state.left.push(self.left(step, why, what_to_do));
    }
}

/// What meets the test of a way and another one, which sees the path as it is by now.
fn join(state: &State, test: &Test) -> Joined {
    let mut test = test.clone();
    if let Some(path) = test.path.take() {
        let path = match &state.stripped {
            _ if state.is_rewritten => None,
            Some(stripped) => path.below(&stripped.to_ascii_lowercase()),
            None => Some(path),
        };
        if path.is_none() {
            return Joined::Unknown("the path was changed before it is tested");
        }
        test.path = path;
    }
    match state.test.and(&test) {
        Joined::Test(both) if state.taken.iter().any(|taken| both.is_within(taken)) => Joined::Never,
        joined => joined,
    }
}
