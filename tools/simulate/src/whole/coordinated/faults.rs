//! Faults at random, and whether they may come now.

use super::cluster::Cluster;
use super::net::Party;
use super::scenario::{Fault, FaultKind, LEASE, Mark, When};
use farrow_control::map::ClusterMap;
use farrow_coordinator::State;
use farrow_fabric_sim::World;
use farrow_layout::NodeId;

/// Faults of one run, each with its end.
pub(super) fn draw(world: &World, machines: usize, clients: usize) -> Vec<Fault> {
    let pick = |count: u64| world.draw(count);
    let mut faults = Vec::new();
    let machine = || pick(machines as u64) as usize;
    let client = || pick(clients as u64) as usize;
    for _ in 0..[0, 1, 1, 2, 3, 4][pick(6) as usize] {
        let at = pick(20 * LEASE);
        let lasts = [LEASE / 10, LEASE / 2, LEASE, 2 * LEASE, 6 * LEASE][pick(5) as usize];
        let lasts = lasts / 2 + pick(lasts);
        let (begin, end) = match pick(24) {
            0..5 => {
                let machine = machine();
                (FaultKind::Kill(machine), FaultKind::Restart(machine))
            }
            5 | 6 => {
                let machine = machine();
                (FaultKind::Pause(machine), FaultKind::Resume(machine))
            }
            7..11 => {
                let parties = [
                    (Party::Machine(machine()), Party::Office),
                    (Party::Machine(machine()), Party::Machine(machine())),
                    (Party::Process(client()), Party::Machine(machine())),
                    (Party::Process(client()), Party::Office),
                ];
                let (one, other) = parties[pick(4) as usize];
                let (from, to) = if pick(2) == 0 { (one, other) } else { (other, one) };
                (FaultKind::Cut(from, to), FaultKind::Heal(from, to))
            }
            11 | 12 => (FaultKind::CrashCoordinator, FaultKind::StartCoordinator),
            13 => (FaultKind::PauseCoordinator, FaultKind::ResumeCoordinator),
            14 => {
                let client = client();
                (FaultKind::PauseClient(client), FaultKind::ResumeClient(client))
            }
            15..18 => (FaultKind::KillAgent, FaultKind::RestartAll),
            18..21 => (FaultKind::PauseAgent, FaultKind::ResumeAll),
            21 | 22 => (FaultKind::CutAgent, FaultKind::HealAll),
            _ => {
                faults.push(Fault { when: When::At(at), kind: FaultKind::StopClient(client()) });
                continue;
            }
        };
        // By the coordinator's requests, faults meet changes of views in the middle.
        let when = match (begin, pick(4)) {
            (FaultKind::KillAgent | FaultKind::PauseAgent | FaultKind::CutAgent, _) => {
                When::After(Mark::Agent, pick(60), pick(1 << pick(10)))
            }
            (FaultKind::CrashCoordinator | FaultKind::PauseCoordinator, 0 | 1) => {
                When::After(Mark::Store, pick(24), 0)
            }
            // Who hears nothing of a change of view while it goes on.
            (FaultKind::Cut(Party::Office, _), 0 | 1) => When::After(Mark::Agent, pick(60), pick(64)),
            (_, 0 | 1) => When::At(at),
            _ => When::After(Mark::Request, pick(400), pick(200)),
        };
        faults.push(Fault { when, kind: begin });
        faults.push(Fault { when: When::At(at + lasts), kind: end });
    }
    faults
}

/// Whether a fault that strikes a machine leaves every home a copy on one that nothing is wrong with.
///
/// What is stored may be behind what is decided, and what is decided may never be stored: both count. A node that the coordinator
/// has not heard for a while may be passed over in the very next moment, though nothing is between them any more.
fn is_spared(cluster: &Cluster, machine: usize) -> bool {
    let states = [cluster.office.latest(), cluster.office.decided()];
    states.iter().all(|state| state.as_ref().is_some_and(|state| is_spared_in(cluster, machine, state)))
}

fn is_spared_in(cluster: &Cluster, machine: usize, state: &State) -> bool {
    let map: &ClusterMap = &state.map;
    let is_well = |node: NodeId| {
        let entry = &map.nodes[usize::from(node.0)];
        let of = cluster.machine_of(entry);
        entry.is_up()
            && of.number != machine
            && !state.deposing.contains(&node)
            && !state.gone.contains(&node)
            && !of.is_paused.get()
            && !cluster.net.is_touched(Party::Machine(of.number))
            && cluster.office.is_in_touch(cluster.now(), node)
            && cluster.serves(entry)
    };
    map.homes.iter().all(|home| home.members.iter().any(|member| is_well(member.node)))
}

impl Cluster {
    /// Whether a fault may come now: not when it would take what may be the last copy, unless everything may be lost.
    pub(super) fn may(&self, kind: FaultKind, is_reckless: bool) -> bool {
        let machines: Vec<usize> = match kind {
            FaultKind::Kill(machine) | FaultKind::Pause(machine) => vec![machine],
            FaultKind::Cut(from, to) => [from, to]
                .iter()
                .filter_map(|party| match party {
                    Party::Machine(machine) => Some(*machine),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        is_reckless || machines.into_iter().all(|machine| is_spared(self, machine))
    }
}
