//! FUSEE's figures: what is on their axes, what was published, and the points that predict it.

use super::point::{Point, Program, Protocol, Workload};

/// A figure of the FUSEE paper (FAST'23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// 13: throughput over the number of clients, two nodes.
    Clients,
    /// 14: throughput over the number of memory nodes, 128 clients.
    Nodes,
    /// 18: throughput over the number of replicas, five nodes.
    Replicas,
    /// 19: median latency of one client over the number of replicas.
    Latency,
}

/// Clients of Fig. 13, eight on a machine.
const CLIENTS: [u32; 8] = [8, 16, 32, 48, 64, 88, 112, 128];
/// The paper does not say how many clients Fig. 18 has, and its C of 16.4 Mops on five nodes is beyond the 10.4 that 128
/// clients reach there in Fig. 14. So many bring our C to where the paper's is.
const CLIENTS_OF_REPLICAS: u32 = 176;

impl Figure {
    /// All, in the paper's order.
    pub const ALL: [Figure; 4] = [Figure::Clients, Figure::Nodes, Figure::Replicas, Figure::Latency];

    /// Its number in the paper.
    pub fn number(self) -> u32 {
        match self {
            Figure::Clients => 13,
            Figure::Nodes => 14,
            Figure::Replicas => 18,
            Figure::Latency => 19,
        }
    }

    /// The figure of this number.
    pub fn numbered(number: u32) -> Option<Figure> {
        Figure::ALL.into_iter().find(|f| f.number() == number)
    }

    /// What its points differ in.
    pub fn axis(self) -> &'static str {
        match self {
            Figure::Clients => "clients",
            Figure::Nodes => "memory nodes",
            Figure::Replicas | Figure::Latency => "copies",
        }
    }

    /// Its panels.
    pub fn workloads(self) -> &'static [Workload] {
        match self {
            Figure::Clients | Figure::Nodes => &[Workload::A, Workload::C],
            Figure::Replicas => &[Workload::A, Workload::B, Workload::C],
            Figure::Latency => &[Workload::Updates, Workload::C],
        }
    }

    /// Ours, the one that does what the paper's did first.
    pub fn protocols(self) -> &'static [Protocol] {
        match self {
            Figure::Clients | Figure::Nodes => &[Protocol::OneIndex, Protocol::Snapshot, Protocol::Colocated],
            Figure::Replicas | Figure::Latency => &[Protocol::Snapshot, Protocol::Colocated],
        }
    }

    /// What lies along the axis.
    pub fn values(self) -> Vec<u32> {
        match self {
            Figure::Clients => CLIENTS.to_vec(),
            Figure::Nodes => (2..=5).collect(),
            Figure::Replicas | Figure::Latency => (1..=5).collect(),
        }
    }

    /// The point at `value` of the axis.
    pub fn point(self, workload: Workload, protocol: Protocol, value: u32) -> Point {
        let throughput = Program::Throughput;
        let base = Point { workload, protocol, nodes: 2, copies: 2, clients: 128, program: throughput };
        let small = u8::try_from(value).unwrap_or(u8::MAX);
        match self {
            Figure::Clients => Point { clients: value, ..base },
            Figure::Nodes => Point { nodes: u16::from(small), ..base },
            Figure::Replicas => Point { nodes: 5, copies: small, clients: CLIENTS_OF_REPLICAS, ..base },
            Figure::Latency => {
                Point { nodes: 5, copies: small, clients: 1, program: Program::Latency, ..base }
            }
        }
    }

    /// All its points.
    pub fn points(self) -> Vec<Point> {
        let mut points = Vec::new();
        for workload in self.workloads() {
            for protocol in self.protocols() {
                let at = |value| self.point(*workload, *protocol, value);
                points.extend(self.values().into_iter().map(at));
            }
        }
        points
    }

    /// What the paper's plot shows, read off it to about 3 %: Mops, or microseconds in Fig. 19. `None` where the value is
    /// not known.
    pub fn published(self, workload: Workload, value: u32) -> Option<f64> {
        let listed = |from: u32, list: &[f64]| list.get(value.checked_sub(from)? as usize).copied();
        match (self, workload) {
            // "Flat from": what lies below the knee is not known.
            (Figure::Clients, Workload::A) => (value >= 88).then_some(3.45),
            (Figure::Clients, Workload::C) => (value >= 112).then_some(8.7),
            (Figure::Nodes, Workload::A) => listed(2, &[3.4, 4.8, 4.8, 4.8]),
            (Figure::Nodes, Workload::C) => listed(2, &[8.7, 10.4, 10.3, 10.35]),
            (Figure::Replicas, Workload::A) => listed(1, &[9.1, 6.6, 4.6, 3.5, 2.8]),
            (Figure::Replicas, Workload::B) if value == 1 => Some(13.9),
            (Figure::Replicas, Workload::B) if value == 5 => Some(12.5),
            (Figure::Replicas, Workload::C) => Some(16.4),
            (Figure::Latency, Workload::Updates) => listed(1, &[10.0, 17.0, 19.0, 20.0, 23.0]),
            (Figure::Latency, Workload::C) => Some(5.0),
            _ => None,
        }
    }
}
