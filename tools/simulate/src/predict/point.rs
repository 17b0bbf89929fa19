//! One point of a curve: a cluster, a workload, and what they come to.

use super::client::Client;
use super::cluster::Cluster;
use super::one_index::OneIndex;
use super::popularity::Popularity;
use farrow_fabric::{Cost, Nanos, Totals};
use farrow_fabric_sim::{CostModel, NicUsage};
use farrow_protocol::{Colocated, Commit, Event, Events, Snapshot};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Reads and updates of keys that are there, zipfian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Workload {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads.
    C,
    /// Updates.
    Updates,
}

/// Who replicates slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// SNAPSHOT over copies of values but one replica of the index, as in most of FUSEE's evaluation.
    OneIndex,
    /// SNAPSHOT over as many replicas of the index as copies of values.
    Snapshot,
    /// Farrow's, over as many replicas of the index as copies of values.
    Colocated,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Point {
    /// The workload.
    pub workload: Workload,
    /// The protocol.
    pub protocol: Protocol,
    /// Memory nodes.
    pub nodes: u16,
    /// Copies of each value.
    pub copies: u8,
    /// Clients, each a thread of its own.
    pub clients: u32,
    /// What they run.
    pub program: Program,
}

/// FUSEE measures throughput and latency with two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Ten operations on the way in each client, as coroutines that sleep and are woken.
    Throughput,
    /// One operation after another, polled for.
    Latency,
}

/// What the throughput program takes of its processor, chosen so that FUSEE's operations on three to five nodes, where
/// Fig. 14 is bounded by the clients, come out with the work requests of FUSEE's code: 128 / 10.4 Mops of C are 12.3 us for
/// one phase of 3; 128 / 4.8 Mops of A are 26.7 us for, on average, 2.5 phases and 5 (what is remembered is nearly always
/// stale there: a SEARCH of 2 phases and 3, an UPDATE of 3 phases and 7).
pub const THROUGHPUT: CostModel = CostModel { burst_ns: 7400, post_ns: 1600, ..CostModel::CONNECTX3 };

/// What the latency program takes of it, chosen so that FUSEE's SEARCH takes the 5 us of Fig. 10: 2.35 us of them are a
/// round trip, 3 READs and 1280 B.
pub const LATENCY: CostModel = CostModel { burst_ns: 2650, ..CostModel::CONNECTX3 };

/// What it came to, over the measured operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The point.
    pub point: Point,
    /// Millions of operations per second of virtual time.
    pub mops: f64,
    /// Median latency, in virtual microseconds.
    pub p50_us: f64,
    /// The latency that one operation in a hundred exceeds.
    pub p99_us: f64,
    /// Round trips of an operation, on average.
    pub round_trips: f64,
    /// Verbs of an operation, on average, those behind the reply included.
    pub verbs: f64,
    /// CASes among them.
    pub atomics: f64,
    /// Payload bytes that an operation sends, on average.
    pub bytes_out: f64,
    /// Payload bytes that an operation fetches, on average.
    pub bytes_in: f64,
    /// The resource that was busiest.
    pub busiest: &'static str,
    /// For how much of the time it was busy.
    pub busy: f64,
    /// How often an operation took each rare path, on average, the warm-up included.
    pub paths: BTreeMap<&'static str, f64>,
}

/// Steps of the world after which a point counts as stuck.
const MOST_STEPS: u64 = 1 << 32;

impl Workload {
    /// How many of a hundred operations are updates.
    pub fn update_percent(self) -> u32 {
        match self {
            Workload::A => 50,
            Workload::B => 5,
            Workload::C => 0,
            Workload::Updates => 100,
        }
    }
}

impl Program {
    /// Operations on the way in each client.
    pub fn in_flight(self) -> u32 {
        match self {
            Program::Throughput => 10,
            Program::Latency => 1,
        }
    }

    /// What things take.
    pub fn cost(self) -> CostModel {
        match self {
            Program::Throughput => THROUGHPUT,
            Program::Latency => LATENCY,
        }
    }

    /// Operations before anything counts, and operations that count.
    fn operations(self) -> (u64, u64) {
        match self {
            Program::Throughput => (15_000, 45_000),
            Program::Latency => (500, 5_000),
        }
    }
}

impl Protocol {
    /// Its name in tables and legends.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::OneIndex => OneIndex::NAME,
            Protocol::Snapshot => Snapshot::NAME,
            Protocol::Colocated => Colocated::NAME,
        }
    }
}

impl Point {
    /// Runs it: the same numbers every time, on every machine.
    ///
    /// # Panics
    /// If an operation fails: nothing here can make one.
    pub fn run(&self, popularity: &Arc<Popularity>) -> Measured {
        match self.protocol {
            Protocol::OneIndex => self.run_with(OneIndex, popularity),
            Protocol::Snapshot => self.run_with(Snapshot, popularity),
            Protocol::Colocated => self.run_with(Colocated, popularity),
        }
    }

    fn run_with<C: Commit>(&self, commit: C, popularity: &Arc<Popularity>) -> Measured {
        let (warm_up, measured) = self.program.operations();
        let in_flight = u64::from(self.clients * self.program.in_flight());
        let writes = (warm_up + measured + in_flight) * u64::from(self.workload.update_percent() + 2) / 100;
        let cluster = Rc::new(Cluster::new(self, self.program.cost(), writes));
        let tally = Rc::new(Tally::default());
        let new = |number| Rc::new(Client::new(&cluster, popularity, &tally, commit, self, number));
        let clients: Vec<_> = (0..self.clients).map(new).collect();
        let world = &cluster.world;
        let mut tasks = Vec::new();
        for _ in 0..self.program.in_flight() {
            tasks.extend(clients.iter().map(|client| world.spawn(&client.fabric(), client.clone().run())));
        }
        let usage = || -> Vec<NicUsage> { cluster.nodes.iter().map(|n| world.nic_usage(*n)).collect() };
        let processors = || clients.iter().map(|c| world.processor_ns(&c.fabric())).sum::<u64>();
        run_until(world, || tally.done.get() >= warm_up);
        let (usage_before, processors_before) = (usage(), processors());
        tally.begin(world.now());
        run_until(world, || tally.done.get() >= measured);
        let elapsed_ns = world.now().since(tally.began.get()) as f64;

        let processor_share =
            (processors() - processors_before) as f64 / f64::from(self.clients) / elapsed_ns;
        let mut shares = vec![("client processors", processor_share)];
        for (before, after) in usage_before.iter().zip(usage()) {
            let share = |of: fn(&NicUsage) -> u64| (of(&after) - of(before)) as f64 / elapsed_ns;
            let engine = share(|u| u.engine_ns);
            let is_atomic = share(|u| u.atomics_ns) > engine / 2.0;
            shares.push((if is_atomic { "a node's engine, atomics" } else { "a node's engine" }, engine));
            shares.push(("bytes to a node", share(|u| u.inward_ns)));
            shares.push(("bytes from a node", share(|u| u.outward_ns)));
        }
        let by_share = |a: &&(&str, f64), b: &&(&str, f64)| a.1.total_cmp(&b.1);
        // The world has the tasks, and they have the world: without an end to that it would stay for good, and its memory.
        tasks.into_iter().for_each(|task| world.stop(task));
        drop(clients);
        assert_eq!(Rc::strong_count(&cluster), 1, "nobody else has the cluster any more");

        let (busiest, busy) = *shares.iter().max_by(by_share).expect("there are resources");
        let sums = tally.sums.get();
        let mean = |sum: u64| sum as f64 / tally.done.get() as f64;
        let mut latencies = tally.latencies_ns.take();
        latencies.sort_unstable();
        let quantile = |percent: usize| f64::from(latencies[(latencies.len() - 1) * percent / 100]) / 1000.0;
        let all = (warm_up + measured) as f64;
        let path = |(event, count): (Event, u64)| (event.label(), count as f64 / all);
        Measured {
            point: *self,
            mops: tally.done.get() as f64 * 1000.0 / elapsed_ns,
            p50_us: quantile(50),
            p99_us: quantile(99),
            round_trips: mean(sums.round_trips),
            verbs: mean(sums.verbs),
            atomics: mean(sums.atomics),
            bytes_out: mean(sums.bytes_out),
            bytes_in: mean(sums.bytes_in),
            busiest,
            busy,
            paths: tally.events.seen().map(path).collect(),
        }
    }
}

fn run_until(world: &farrow_fabric_sim::World, is_done: impl Fn() -> bool) {
    for _ in 0..MOST_STEPS {
        if is_done() {
            return;
        }
        assert!(world.step(), "clients in a closed loop never come to rest");
    }
    panic!("{MOST_STEPS} steps, and the operations are not done");
}

/// What the operations of all clients came to.
#[derive(Default)]
pub struct Tally {
    began: Cell<Nanos>,
    done: Cell<u64>,
    latencies_ns: RefCell<Vec<u32>>,
    sums: Cell<Sums>,
    /// Rare paths.
    pub events: Events,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    round_trips: u64,
    verbs: u64,
    atomics: u64,
    bytes_out: u64,
    bytes_in: u64,
}

impl Tally {
    fn begin(&self, now: Nanos) {
        self.began.set(now);
        self.done.set(0);
        self.sums.set(Sums::default());
        self.latencies_ns.borrow_mut().clear();
    }

    /// Counts an operation.
    pub fn note(&self, now: Nanos, begin: Nanos, cost: &Cost) {
        self.done.set(self.done.get() + 1);
        self.latencies_ns.borrow_mut().push(u32::try_from(now.since(begin)).unwrap_or(u32::MAX));
        let both = |of: fn(&Totals) -> u64| of(&cost.foreground) + of(&cost.background);
        let sums = self.sums.get();
        self.sums.set(Sums {
            round_trips: sums.round_trips + u64::from(cost.round_trips),
            verbs: sums.verbs + both(|t| t.reads + t.writes + t.cas + t.faa),
            atomics: sums.atomics + both(|t| t.cas + t.faa),
            bytes_out: sums.bytes_out + both(|t| t.bytes_out),
            bytes_in: sums.bytes_in + both(|t| t.bytes_in),
        });
    }
}
