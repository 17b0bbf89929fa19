//! What one run does: drawn from its seed.

use farrow_fabric_sim::{Choices, Grain, Options, Pace, Point, Seed, World};
use serde::{Deserialize, Serialize};

/// Everything about a run but its schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Replicas of each slot.
    pub copies: usize,
    /// What lies in the table at first.
    pub table: Table,
    /// Which of the keys are there at first.
    pub present: Vec<Name>,
    /// What each client does, one after the other.
    pub clients: Vec<Vec<Step>>,
    /// What goes wrong.
    pub fault: Fault,
}

/// What the slots of the keys' buckets hold before the keys are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Nothing was ever there.
    New,
    /// Every slot was used and emptied.
    Recycled,
    /// Full of other keys, some of which look like ours, except for so many slots.
    Full {
        /// Slots near the keys that were never used.
        never_used: u64,
        /// Slots near the keys that were used and emptied.
        emptied: u64,
    },
}

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The one that most operations are about.
    Base,
    /// The same buckets in the same order, the same fingerprint.
    Twin,
    /// The same buckets in the other order, the same fingerprint.
    Mirror,
    /// The same buckets, another fingerprint.
    Sibling,
    /// The same fingerprint and overflow buckets, the other main buckets.
    Neighbour,
}

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub verb: Verb,
    /// Of which key.
    pub key: Name,
    /// Use what the client remembers of the key.
    pub cached: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Reads the value.
    Get,
    /// Looks whether it is there.
    Exists,
    /// Puts a value.
    Put,
    /// Puts a value where there is none.
    PutIfAbsent,
    /// Puts a value over another.
    PutIfPresent,
    /// Puts a value over the one that this client saw last.
    PutIfVersion,
    /// Removes the key.
    Delete,
    /// Removes the key with the value that this client saw last.
    DeleteIfVersion,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    None,
    /// A client stops for good after so many events.
    Stop {
        /// Which of the clients.
        client: usize,
        /// Events.
        after: u64,
    },
    /// A client stands still from one event to another.
    Pause {
        /// Which of the clients.
        client: usize,
        /// Events.
        from: u64,
        /// Events.
        to: u64,
    },
    /// Bytes at the primary rot, of every entry that is there at first; nobody writes.
    Rot,
}

const NAMES: [Name; 5] = [Name::Base, Name::Twin, Name::Mirror, Name::Sibling, Name::Neighbour];

/// How the world of a seed behaves.
pub fn options(seed: u64, record: bool) -> Options {
    let mut choices = Seed::new(!seed);
    let grain = [Grain::Whole, Grain::Pieces, Grain::Pieces, Grain::Words];
    let pace = [Pace::Even, Pace::Skewed];
    Options {
        grain: grain[choices.below(grain.len() as u64, Point::Scenario) as usize],
        pace: pace[choices.below(pace.len() as u64, Point::Scenario) as usize],
        record,
    }
}

impl Scenario {
    /// Whether it can be run: one from a file may say anything.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=8).contains(&self.copies) {
            return Err(format!("{} copies: there can be 1 to 8", self.copies));
        }
        // One client puts what is there at first, two look at what is left.
        if !(1..=5).contains(&self.clients.len()) {
            return Err(format!("{} clients: there can be 1 to 5", self.clients.len()));
        }
        if self.clients.iter().any(|steps| steps.len() > 16) {
            return Err("more than 16 steps of one client".to_owned());
        }
        match self.fault {
            Fault::Stop { client, .. } | Fault::Pause { client, .. } if client >= self.clients.len() => {
                Err(format!("a fault of client {client}: there are {}, from 0", self.clients.len()))
            }
            _ => match self.table {
                Table::Full { never_used, emptied } if never_used + emptied > 14 => {
                    Err("more than 14 slots left in a full table".to_owned())
                }
                _ => Ok(()),
            },
        }
    }

    /// Draws one. `may_stop`: the protocol survives clients that stop.
    pub fn draw(world: &World, max_copies: u64, may_stop: bool) -> Scenario {
        let pick = |count: u64| world.draw(count);
        let copies = 1 + pick(max_copies) as usize;
        let fault = pick(10);
        if fault == 0 && copies > 1 && pick(8) == 0 {
            let get = Step { verb: Verb::Get, key: Name::Base, cached: false };
            let (present, clients) = (vec![Name::Base], vec![vec![get; 2]; 2]);
            return Scenario { copies, table: Table::New, present, clients, fault: Fault::Rot };
        }
        let table = match pick(4) {
            0 => Table::New,
            1 => Table::Recycled,
            _ => Table::Full { never_used: pick(3), emptied: 1 + pick(3) },
        };
        let mut names = vec![Name::Base];
        let others = [0, 0, 1, 1, 1, 2][pick(6) as usize];
        for _ in 0..others {
            let name = NAMES[pick(NAMES.len() as u64) as usize];
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let present = names.iter().copied().filter(|_| pick(2) == 0).collect();
        let count = 2 + pick(3) as usize;
        let most = [8, 6, 4][count - 2];
        // Swarm: each run leaves some kinds of operations out, so that others meet more often.
        let weights: Vec<u64> = (0..8).map(|_| [0, 1, 1, 3][pick(4) as usize]).collect();
        let total: u64 = weights.iter().sum();
        let cached = pick(4);
        let step = || {
            let verb = if total == 0 { 2 } else { weighted(&weights, pick(total)) };
            let key = names[pick(names.len() as u64) as usize];
            Step { verb: VERBS[verb], key, cached: pick(4) < cached }
        };
        let clients: Vec<Vec<Step>> =
            (0..count).map(|_| (0..1 + pick(most)).map(|_| step()).collect()).collect();
        let client = pick(count as u64) as usize;
        // Churn: keys follow each other in one slot while somebody sleeps over an old sight of it.
        if pick(8) == 0 {
            let [a, b] = [Name::Base, names.get(1).copied().unwrap_or(Name::Sibling)];
            let one = |verb, key| Step { verb, key, cached: false };
            let churn = [one(Verb::Delete, a), one(Verb::Put, b), one(Verb::Put, b), one(Verb::Delete, b)];
            let sleeper = [Verb::Put, Verb::Put, Verb::Delete, Verb::PutIfPresent].map(|v| one(v, a));
            let others: Vec<_> = (0..1 + pick(2)).map(|_| churn[..3 + pick(2) as usize].to_vec()).collect();
            let clients = std::iter::once(sleeper[pick(3) as usize..][..1].to_vec()).chain(others).collect();
            let table = Table::Full { never_used: 0, emptied: 1 + pick(2) };
            let from = 60 + pick(80);
            let fault = Fault::Pause { client: 0, from, to: from + 400 + pick(800) };
            return Scenario { copies, table, present: vec![Name::Base], clients, fault };
        }
        let fault = match fault {
            1..=4 if may_stop => Fault::Stop { client, after: 1 + pick([40, 200, 1000][pick(3) as usize]) },
            5 | 6 => {
                let from = pick(300);
                Fault::Pause { client, from, to: from + 1 + pick(600) }
            }
            _ => Fault::None,
        };
        Scenario { copies, table, present, clients, fault }
    }
}

const VERBS: [Verb; 8] = [
    Verb::Get,
    Verb::Exists,
    Verb::Put,
    Verb::PutIfAbsent,
    Verb::PutIfPresent,
    Verb::PutIfVersion,
    Verb::Delete,
    Verb::DeleteIfVersion,
];

fn weighted(weights: &[u64], mut left: u64) -> usize {
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    unreachable!("the draw is below the sum of the weights")
}
