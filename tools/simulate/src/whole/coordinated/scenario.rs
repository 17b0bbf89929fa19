//! What a run of a coordinated cluster is: sizes, clients with their steps, and faults.

use super::net::Party;
use farrow_control::map::{CommitKind, Sizes};
use farrow_coordinator::Settings;
use farrow_fabric_sim::World;
use farrow_layout::Policy;
use std::time::Duration;

/// A lease, in nanoseconds.
pub(super) const LEASE: u64 = 100_000_000;

/// What a client does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads it.
    Get,
    /// Asks for it.
    Exists,
    /// Puts it.
    Put,
    /// Puts it if it is not there.
    PutIfAbsent,
    /// Puts it if it is what was read last; reads it if nothing was.
    PutIfVersion,
    /// Removes it.
    Delete,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Step {
    /// After a pause of so many nanoseconds.
    pub after_ns: u64,
    /// What.
    pub verb: Verb,
    /// Which key.
    pub key: usize,
    /// Bytes of a value.
    pub len: usize,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its calls.
    pub steps: Vec<Step>,
    /// For each call.
    pub deadline: Duration,
    /// Entries of its cache.
    pub cache_entries: usize,
    /// Writes below the floor.
    pub is_undemanding: bool,
}

/// What goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A machine's node is gone with its memory.
    Kill(usize),
    /// Another life begins on the machine.
    Restart(usize),
    /// A machine's processes stand still; its memory can be reached.
    Pause(usize),
    /// They go on.
    Resume(usize),
    /// Nothing gets from one to the other.
    Cut(Party, Party),
    /// It does again.
    Heal(Party, Party),
    /// The coordinator stops where it is.
    CrashCoordinator,
    /// It starts with what is stored.
    StartCoordinator,
    /// The coordinator stands still.
    PauseCoordinator,
    /// It goes on.
    ResumeCoordinator,
    /// The machine whose agent did something last is killed.
    KillAgent,
    /// Machines that do not run start.
    RestartAll,
    /// The machine whose agent did something last stands still.
    PauseAgent,
    /// Machines that stand still go on.
    ResumeAll,
    /// Nothing gets to the machine whose agent did something last from the coordinator.
    CutAgent,
    /// Everything gets everywhere again.
    HealAll,
    /// A client process stops.
    StopClient(usize),
    /// A client process stands still.
    PauseClient(usize),
    /// It goes on.
    ResumeClient(usize),
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So many nanoseconds after the clients have started.
    At(u64),
    /// So many events after a client has begun so many of its calls.
    Step(usize, u64, u64),
    /// So many events after something has happened so many times.
    After(Mark, u64, u64),
}

/// What is counted, so that faults meet it in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The coordinator carries out a request.
    Request,
    /// The coordinator begins to store a state, or has stored it.
    Store,
    /// An agent begins to ask somebody for something, or has an answer.
    Agent,
}

impl Mark {
    /// All of them, in order.
    pub const ALL: [Mark; 3] = [Mark::Request, Mark::Store, Mark::Agent];
}

/// A fault and its time.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub kind: FaultKind,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the operator chose.
    pub settings: Settings,
    /// Bytes of a node's memory.
    pub memory_len: u64,
    /// Machines, spares among them.
    pub machines: usize,
    /// Keys.
    pub keys: Vec<Vec<u8>>,
    /// Clients.
    pub clients: Vec<Plan>,
    /// Each way of a control message, in nanoseconds at the most.
    pub way_ns: u64,
    /// Storing the coordinator's state, in nanoseconds at the most.
    pub store_ns: u64,
    /// In the order in which they are looked at.
    pub faults: Vec<Fault>,
    /// Faults come however many copies are left.
    pub is_reckless: bool,
}

/// How long the clients work, in leases.
const WORK_LEASES: u64 = 24;

impl Scenario {
    /// One at random.
    pub fn draw(world: &World, commit: CommitKind) -> Scenario {
        let pick = |count: u64| world.draw(count);
        let of = |list: &[u64]| list[world.draw(list.len() as u64) as usize];
        let copies = of(&[2, 2, 3]) as usize;
        let nodes = copies + pick(3) as usize;
        let machines = nodes + of(&[0, 1, 1, 2]) as usize;
        let (block_len, extent_len) = (8 << 10, of(&[1 << 10, 2 << 10, 8 << 10]));
        let settings = Settings {
            name: "simulated".into(),
            commit,
            sizes: Sizes {
                policy: Policy::Replicate { copies: copies as u8 },
                max_keys: 16,
                block_len,
                extent_len,
            },
            homes_per_node: 1,
            nodes_to_form: nodes as u16,
            headroom_nodes: 1,
            write_floor: of(&[0, 0, 1, 2]) as u8,
            lease_ns: LEASE,
            restore_bytes_per_s: 0,
            coordinators: vec!["office:1".into()],
        };
        let memory_len = 8192 + (copies as u64 + 2) * (256 << 10);
        let keys: Vec<Vec<u8>> =
            (0..1 + pick(8)).map(|i| format!("k{:04}", i * 37 + pick(20)).into_bytes()).collect();
        let count = 1 + pick(3);
        let clients: Vec<Plan> = (0..count)
            .map(|_| {
                let steps = 10 + pick(30);
                let most = 2 * WORK_LEASES * LEASE / steps;
                Plan {
                    steps: (0..steps).map(|_| step(world, keys.len() as u64, most)).collect(),
                    deadline: match pick(4) {
                        0 => Duration::from_nanos(LEASE / 100 * of(&[1, 10, 100, 300])),
                        _ => Duration::MAX,
                    },
                    cache_entries: of(&[0, 4, 64]) as usize,
                    is_undemanding: pick(2) == 0,
                }
            })
            .collect();
        let way_ns = of(&[20_000, 200_000, 1_000_000]);
        let store_ns = of(&[1_000, 500_000, 5_000_000, LEASE / 2]);
        let faults = super::faults::draw(world, machines, clients.len());
        let is_reckless = pick(8) == 0;
        Scenario { settings, memory_len, machines, keys, clients, way_ns, store_ns, faults, is_reckless }
    }
}

pub(super) fn step(world: &World, keys: u64, most_ns: u64) -> Step {
    let verbs = [
        Verb::Get,
        Verb::Get,
        Verb::Exists,
        Verb::Put,
        Verb::Put,
        Verb::Put,
        Verb::PutIfAbsent,
        Verb::PutIfVersion,
        Verb::Delete,
    ];
    // Some come in bursts.
    let after_ns = if world.draw(3) == 0 { world.draw(20_000) } else { world.draw(most_ns) };
    Step {
        after_ns,
        verb: verbs[world.draw(verbs.len() as u64) as usize],
        key: world.draw(keys) as usize,
        len: [0, 8, 60, 200, 900][world.draw(5) as usize],
    }
}
