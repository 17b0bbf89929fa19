//! What one run does: drawn from its seed.

use farrow_fabric_sim::{Choices, Grain, Options, Pace, Point, Seed, World};
use serde::{Deserialize, Serialize};

/// Everything about a run but its schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Replicas of each slot.
    pub copies: usize,
    /// Nodes that are no members at first: what is lost can be restored onto them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spares: usize,
    /// What lies in the table at first.
    pub table: Table,
    /// Which of the keys are there at first.
    pub present: Vec<Name>,
    /// What each client does, one after the other.
    pub clients: Vec<Vec<Step>>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
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

/// When something goes wrong, counted since the clients began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// After so many events.
    Events(u64),
    /// When so many CASes have found what they expected: in the middle of a change.
    Swaps(u64),
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A client stops for good.
    Stop {
        /// Which of the clients.
        client: usize,
        /// When.
        after: When,
    },
    /// A client stands still.
    Pause {
        /// Which of the clients.
        client: usize,
        /// From which event.
        from: u64,
        /// To which event.
        to: u64,
    },
    /// The link between a client and a node is lost; verbs may land late.
    LoseLink {
        /// Which of the clients.
        client: usize,
        /// Which of the nodes, in the home's order.
        node: usize,
        /// When.
        after: When,
    },
    /// A node is lost with its memory, and the home changes its view.
    LoseNode {
        /// Which of the nodes, in the home's order.
        node: usize,
        /// When.
        after: When,
    },
    /// The agent that changes the view, if one is at it, stops, and another begins anew.
    StopAgent {
        /// When.
        after: When,
    },
    /// The home changes its view although no node is lost: all links are fenced.
    Fence {
        /// When.
        after: When,
    },
    /// A client stops for good; every node evicts it, and what it leaves behind is put in order.
    Recover {
        /// Which of the clients.
        client: usize,
        /// When.
        after: When,
    },
    /// A client that works is taken for lost: it is evicted, as one that stopped, and goes on until it finds that out.
    Evict {
        /// Which of the clients.
        client: usize,
        /// When.
        after: When,
    },
    /// A copy of the home is made on the spare, which becomes a member.
    Restore {
        /// When.
        after: When,
    },
    /// Bytes at the primary rot, of every entry that is there at first; nobody writes.
    Rot,
}

impl Fault {
    /// The client that it is about.
    pub fn client(mut self) -> Option<usize> {
        self.client_mut().copied()
    }

    pub(crate) fn client_mut(&mut self) -> Option<&mut usize> {
        match self {
            Fault::Stop { client, .. }
            | Fault::Recover { client, .. }
            | Fault::Evict { client, .. }
            | Fault::Pause { client, .. }
            | Fault::LoseLink { client, .. } => Some(client),
            Fault::LoseNode { .. }
            | Fault::StopAgent { .. }
            | Fault::Fence { .. }
            | Fault::Restore { .. }
            | Fault::Rot => None,
        }
    }

    /// The node that it is about.
    pub fn node(self) -> Option<usize> {
        match self {
            Fault::LoseLink { node, .. } | Fault::LoseNode { node, .. } => Some(node),
            _ => None,
        }
    }
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
        if self.spares > 1 {
            return Err(format!("{} spares: there can be one", self.spares));
        }
        // One client puts what is there at first, two look at what is left.
        if !(1..=5).contains(&self.clients.len()) {
            return Err(format!("{} clients: there can be 1 to 5", self.clients.len()));
        }
        if self.clients.iter().any(|steps| steps.len() > 16) {
            return Err("more than 16 steps of one client".to_owned());
        }
        let mut lost = Vec::new();
        for fault in &self.faults {
            if let Some(client) = fault.client().filter(|client| *client >= self.clients.len()) {
                return Err(format!("a fault of client {client}: there are {}, from 0", self.clients.len()));
            }
            let nodes = self.copies + self.spares;
            if let Some(node) = fault.node().filter(|node| *node >= nodes) {
                return Err(format!("a fault of node {node}: there are {nodes}, from 0"));
            }
            if matches!(fault, Fault::Restore { .. }) && self.spares == 0 {
                return Err("a restore without a spare".to_owned());
            }
            if let Fault::LoseNode { node, .. } = fault
                && *node < self.copies
                && !lost.contains(node)
            {
                lost.push(*node);
            }
        }
        if lost.len() >= self.copies {
            return Err(format!("all {} nodes are lost: nothing survives that", self.copies));
        }
        match self.table {
            Table::Full { never_used, emptied } if never_used + emptied > 14 => {
                Err("more than 14 slots left in a full table".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Draws one. `survives`: the protocol survives clients that stop, and nodes and links that are lost.
    pub fn draw(world: &World, max_copies: u64, survives: bool) -> Scenario {
        let pick = |count: u64| world.draw(count);
        let copies = 1 + pick(max_copies) as usize;
        if copies > 1 && pick(80) == 0 {
            let get = Step { verb: Verb::Get, key: Name::Base, cached: false };
            let (present, clients) = (vec![Name::Base], vec![vec![get; 2]; 2]);
            return Scenario {
                copies,
                spares: 0,
                table: Table::New,
                present,
                clients,
                faults: vec![Fault::Rot],
            };
        }
        if survives && copies > 1 && pick(3) == 0 {
            return Self::draw_crash(world, copies);
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
            let faults = vec![Fault::Pause { client: 0, from, to: from + 400 + pick(800) }];
            return Scenario { copies, spares: 0, table, present: vec![Name::Base], clients, faults };
        }
        let faults = draw_faults(world, copies, count, survives);
        Scenario { copies, spares: 0, table, present, clients, faults }
    }

    /// A few operations on one or two keys, and several losses right among them: what they leave half done on which replica
    /// is what recovery has to get right, and the shorter the run, the more often it is the rare case.
    fn draw_crash(world: &World, copies: usize) -> Scenario {
        let pick = |count: u64| world.draw(count);
        let other = NAMES[pick(NAMES.len() as u64) as usize];
        let table = match pick(3) {
            0 => Table::New,
            _ => Table::Full { never_used: pick(2), emptied: 1 + pick(2) },
        };
        let count = 2 + pick(2) as usize;
        let step = || Step {
            verb: VERBS[pick(8) as usize],
            key: if pick(4) == 0 { other } else { Name::Base },
            cached: pick(2) == 0,
        };
        let clients: Vec<Vec<Step>> =
            (0..count).map(|_| (0..1 + pick(2)).map(|_| step()).collect()).collect();
        let present = if pick(2) == 0 { vec![Name::Base] } else { Vec::new() };
        let when = || if pick(3) == 0 { When::Events(1 + pick(160)) } else { When::Swaps(1 + pick(8)) };
        let any = |count: usize| pick(count as u64) as usize;
        let mut faults = Vec::new();
        for _ in 0..pick(3) {
            // The link to the primary above all: what it decides stays unknown then.
            let node = if pick(2) == 0 { 0 } else { any(copies) };
            faults.push(Fault::LoseLink { client: any(count), node, after: when() });
        }
        if pick(2) == 0 {
            faults.push(Fault::Stop { client: any(count), after: when() });
        }
        for node in 0..copies - 1 {
            if pick(3) > 0 {
                faults.push(Fault::LoseNode { node, after: when() });
            }
        }
        if pick(4) == 0 {
            faults.push(Fault::StopAgent { after: when() });
        }
        Scenario { copies, spares: 0, table, present, clients, faults }
    }

    /// Few operations while the home is restored onto a spare, clients are lost and recovered, and nodes, links and agents are
    /// lost among it all.
    pub fn draw_restored(world: &World) -> Scenario {
        let pick = |count: u64| world.draw(count);
        let copies = 1 + pick(3) as usize;
        let other = NAMES[pick(NAMES.len() as u64) as usize];
        let table = match pick(4) {
            0 => Table::New,
            1 => Table::Recycled,
            _ => Table::Full { never_used: pick(2), emptied: 1 + pick(2) },
        };
        let count = 2 + pick(2) as usize;
        let step = || Step {
            verb: VERBS[pick(8) as usize],
            key: if pick(3) == 0 { other } else { Name::Base },
            cached: pick(2) == 0,
        };
        let clients: Vec<Vec<Step>> =
            (0..count).map(|_| (0..1 + pick(4)).map(|_| step()).collect()).collect();
        let present = if pick(2) == 0 { vec![Name::Base, other] } else { vec![Name::Base] };
        let when = || match pick(3) {
            0 => When::Events(1 + pick(200)),
            1 => When::Events(1 + pick(3000)),
            _ => When::Swaps(1 + pick(10)),
        };
        let any = |count: usize| pick(count as u64) as usize;
        let mut faults = Vec::new();
        if pick(8) > 0 {
            faults.push(Fault::Restore { after: when() });
        }
        for client in 0..count {
            match pick(6) {
                0 | 1 => faults.push(Fault::Recover { client, after: when() }),
                2 => faults.push(Fault::Evict { client, after: when() }),
                _ => {}
            }
        }
        if pick(8) == 0 {
            faults.push(Fault::Stop { client: any(count), after: when() });
        }
        for node in 0..copies - 1 {
            if pick(4) == 0 {
                faults.push(Fault::LoseNode { node, after: when() });
            }
        }
        if pick(8) == 0 {
            faults.push(Fault::LoseNode { node: copies, after: when() });
        }
        for _ in 0..[0, 0, 1, 2][pick(4) as usize] {
            faults.push(Fault::StopAgent { after: when() });
        }
        if pick(4) == 0 {
            faults.push(Fault::LoseLink { client: any(count), node: any(copies + 1), after: when() });
        }
        if pick(8) == 0 {
            faults.push(Fault::Fence { after: when() });
        }
        if pick(5) == 0 {
            let from = pick(300);
            faults.push(Fault::Pause { client: any(count), from, to: from + 1 + pick(3000) });
        }
        Scenario { copies, spares: 1, table, present, clients, faults }
    }
}

/// At most as many losses as the home survives.
fn draw_faults(world: &World, copies: usize, clients: usize, survives: bool) -> Vec<Fault> {
    let pick = |count: u64| world.draw(count);
    let any = |count: usize| pick(count as u64) as usize;
    let when = || match pick(5) {
        0 => When::Events(1 + pick(200)),
        1 => When::Events(1 + pick(1000)),
        _ => When::Swaps(1 + pick(24)),
    };
    let mut faults = Vec::new();
    if pick(5) == 0 {
        let from = pick(300);
        faults.push(Fault::Pause { client: any(clients), from, to: from + 1 + pick(600) });
    }
    if !survives || pick(4) == 0 {
        return faults;
    }
    if pick(3) == 0 {
        faults.push(Fault::Stop { client: any(clients), after: when() });
    }
    let mut nodes: Vec<usize> = (0..copies).collect();
    while nodes.len() > 1 && pick(2) == 0 {
        // Primaries above all.
        let node = if pick(2) == 0 { 0 } else { any(nodes.len()) };
        faults.push(Fault::LoseNode { node: nodes.remove(node), after: when() });
        if pick(4) == 0 {
            faults.push(Fault::StopAgent { after: when() });
        }
    }
    for _ in 0..[0, 0, 0, 1, 2][pick(5) as usize] {
        faults.push(Fault::LoseLink { client: any(clients), node: any(copies), after: when() });
    }
    if pick(8) == 0 {
        faults.push(Fault::Fence { after: when() });
    }
    faults
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
