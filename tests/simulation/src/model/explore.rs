//! Breadth first through every state within the bounds, each once.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Broken, Choice, World};

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explored {
    /// States, each counted once.
    pub states: u64,
    /// Ways from one to another.
    pub steps: u64,
    /// The most choices that a state is away from the first.
    pub depth: u32,
    /// Whether everything within the bounds was seen.
    pub whole: bool,
    /// What was broken, and the choices that lead there.
    pub broken: Option<(Broken, Vec<Choice>)>,
}

/// How a state was first reached: from which one, and by what.
type Reached = BTreeMap<u128, Option<(u128, Choice)>>;

/// Goes on until everything is seen, something is broken, or there are so many states.
pub fn explore(first: World, states_max: u64, mut tell: impl FnMut(&Explored)) -> Explored {
    let mut explored = Explored {
        states: 1,
        ..Explored::default()
    };
    let digest = first.digest();
    let mut reached = Reached::from([(digest, None)]);
    let mut waiting = VecDeque::from([(0_u32, digest, first)]);
    while let Some((depth, digest, world)) = waiting.pop_front() {
        explored.depth = explored.depth.max(depth);
        for choice in world.choices() {
            explored.steps += 1;
            let mut next = world.clone();
            let chosen = catch_unwind(AssertUnwindSafe(|| next.choose(choice)));
            let broken = match chosen {
                Ok(Ok(())) => None,
                Ok(Err(broken)) => Some(broken),
                Err(panic) => Some(Broken(said(panic.as_ref()))),
            };
            if let Some(broken) = broken {
                let mut path = path(&reached, digest);
                path.push(choice);
                explored.broken = Some((broken, path));
                return explored;
            }
            let found = next.digest();
            if reached.contains_key(&found) {
                continue;
            }
            reached.insert(found, Some((digest, choice)));
            explored.states += 1;
            waiting.push_back((depth + 1, found, next));
            tell(&explored);
            if explored.states >= states_max {
                return explored;
            }
        }
    }
    explored.whole = true;
    explored
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

fn path(reached: &Reached, digest: u128) -> Vec<Choice> {
    let mut path = Vec::new();
    let mut at = digest;
    while let Some(&Some((before, choice))) = reached.get(&at) {
        path.push(choice);
        at = before;
    }
    path.reverse();
    path
}
