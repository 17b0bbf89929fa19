//! What can happen next.

use crate::choices::{Choices, Point};
use crate::sleep::Timer;
use crate::{Lane, Pace, TaskId};
use farrow_fabric::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Something that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Actor {
    /// The next piece of the first chain of a link.
    Execute(usize),
    /// The first answer of a link.
    Answer(usize),
    /// The client of a link gets round to posting what it has for it.
    Depart(usize),
    /// A timer.
    Fire(Rc<Timer>),
    /// A task that was woken.
    Poll(TaskId),
}

/// Everything that can happen now, or will at a known time.
pub(crate) enum Agenda {
    /// Any order: the actors and, for each lane, its speed.
    Any { ready: Vec<(Nanos, Actor)>, speeds: Option<Box<Speeds>> },
    /// As the choices say, who see the lanes, in order.
    Chosen { ready: Vec<(Lane, Actor)>, enabled: Vec<Lane> },
    /// In order of time, and of being added where times are equal: that is the second part of the key. Tasks are due as
    /// soon as they are woken, so theirs is a plain queue: the others are found without passing by tasks that may not run.
    Timed { due: BTreeMap<(Nanos, u64), Actor>, tasks: VecDeque<((Nanos, u64), TaskId)>, count: u64 },
}

/// What was taken from the agenda.
pub(crate) enum Picked {
    /// What happens next; under [`Pace::Chosen`] with its lane.
    Next { due: Nanos, actor: Actor, lane: Option<Lane> },
    /// Nothing can happen.
    Nothing,
    /// The choices want no more of this run.
    GivenUp,
}

/// How fast each lane is. Lanes share few speeds: what matters is that they differ.
pub(crate) struct Speeds {
    of: [u64; LANES],
    left: u64,
}

const LANES: usize = 32;
/// Picks between two changes of a speed.
const STEADY: u64 = 96;

impl Agenda {
    pub(crate) fn new(pace: &Pace) -> Agenda {
        match pace {
            Pace::Even => Agenda::Any { ready: Vec::new(), speeds: None },
            Pace::Skewed => {
                Agenda::Any { ready: Vec::new(), speeds: Some(Box::new(Speeds { of: [0; LANES], left: 0 })) }
            }
            Pace::Chosen => Agenda::Chosen { ready: Vec::new(), enabled: Vec::new() },
            Pace::Timed(_) => Agenda::Timed { due: BTreeMap::new(), tasks: VecDeque::new(), count: 0 },
        }
    }

    /// `lane` is asked for only where it matters.
    pub(crate) fn add(&mut self, at: Nanos, actor: Actor, lane: impl FnOnce(&Actor) -> Lane) {
        match self {
            Agenda::Chosen { ready, .. } => {
                let lane = lane(&actor);
                let index = ready.partition_point(|(other, _)| *other <= lane);
                ready.insert(index, (lane, actor));
            }
            Agenda::Any { ready, .. } => ready.push((at, actor)),
            Agenda::Timed { due, tasks, count } => {
                *count += 1;
                let key = (at, *count);
                match actor {
                    Actor::Poll(task) => {
                        assert!(
                            tasks.back().is_none_or(|(last, _)| *last < key),
                            "time does not run backwards"
                        );
                        tasks.push_back((key, task));
                    }
                    other => assert!(due.insert(key, other).is_none(), "keys are unique"),
                }
            }
        }
    }

    /// Takes what happens next. Its time is when it is due, which may be in the past.
    pub(crate) fn pick(&mut self, choices: &mut dyn Choices, allow: impl Fn(&Actor) -> bool) -> Picked {
        match self {
            Agenda::Chosen { ready, enabled } => {
                enabled.clear();
                enabled.extend(ready.iter().filter(|(_, actor)| allow(actor)).map(|(lane, _)| *lane));
                if enabled.is_empty() {
                    return Picked::Nothing;
                }
                let Some(chosen) = choices.step(enabled) else { return Picked::GivenUp };
                let lane = enabled[chosen];
                let index = ready.iter().position(|(other, _)| *other == lane).expect("it is enabled");
                let (lane, actor) = ready.remove(index);
                Picked::Next { due: Nanos(0), actor, lane: Some(lane) }
            }
            Agenda::Timed { due, tasks, .. } => {
                // Whatever is no task may always happen.
                let first = due.first_key_value().map(|(key, _)| *key);
                let task = tasks.iter().position(|(_, task)| allow(&Actor::Poll(*task)));
                let next = match (first, task.map(|at| (at, tasks[at].0))) {
                    (None, None) => None,
                    (Some(first), task) if task.is_none_or(|(_, key)| first < key) => {
                        due.pop_first().map(|((at, _), actor)| (at, actor))
                    }
                    (_, Some((at, _))) => tasks.remove(at).map(|((at, _), task)| (at, Actor::Poll(task))),
                    (Some(_), None) => unreachable!("the first that is due is before no task"),
                };
                match next {
                    Some((due, actor)) => Picked::Next { due, actor, lane: None },
                    None => Picked::Nothing,
                }
            }
            Agenda::Any { ready, speeds } => {
                let allowed = |r: &(Nanos, Actor)| allow(&r.1);
                if let Some(speeds) = speeds {
                    speeds.drift(choices);
                }
                let speed = |r: &(Nanos, Actor)| speeds.as_ref().map_or(1, |s| s.of(&r.1));
                let total: u64 = ready.iter().filter(|r| allowed(r)).map(speed).sum();
                if total == 0 {
                    return Picked::Nothing;
                }
                let mut left = if total == 1 { 0 } else { choices.below(total, Point::Next) };
                let index = ready.iter().position(|r| {
                    if !allowed(r) {
                        return false;
                    }
                    let here = left < speed(r);
                    left = left.saturating_sub(speed(r));
                    here
                });
                let (due, actor) = ready.remove(index.expect("the draw is below the sum"));
                Picked::Next { due, actor, lane: None }
            }
        }
    }
}

impl Speeds {
    fn of(&self, actor: &Actor) -> u64 {
        let lane = match actor {
            Actor::Execute(link) => link * 3,
            Actor::Answer(link) | Actor::Depart(link) => link * 3 + 1,
            Actor::Poll(task) => task.0 * 3 + 2,
            Actor::Fire(_) => return 1,
        };
        1 << (2 * self.of[lane % LANES])
    }

    fn drift(&mut self, choices: &mut dyn Choices) {
        if self.left == 0 {
            self.left = 1 + choices.below(STEADY, Point::Next);
            for _ in 0..LANES / 4 {
                let lane = choices.below(LANES as u64, Point::Next) as usize;
                self.of[lane] = choices.below(4, Point::Next);
            }
        }
        self.left -= 1;
    }
}
