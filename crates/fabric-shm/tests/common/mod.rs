//! A node in this process, and chains that take long.

use farrow_fabric::{Answers, Chain, Fabric, Link, VerbError, block_on};
use farrow_fabric_shm::{Hugepages, NodeMemory, ShmFabric, ShmHost, ShmLink, ShmPeer};
use farrow_layout::{NodeId, RemoteAddr};
use std::sync::Arc;

pub const NODE: NodeId = NodeId(5);

pub struct Node {
    pub memory: NodeMemory,
    pub host: ShmHost,
}

impl Node {
    pub fn new(memory_len: u64, links: u32) -> Node {
        let memory = NodeMemory::create(memory_len, Hugepages::Off).unwrap();
        let host = ShmHost::start(memory.len(), links, 1).unwrap();
        Node { memory, host }
    }

    pub fn peer(&self) -> Arc<ShmPeer> {
        ShmPeer::map(self.memory.fd(), self.host.fd()).unwrap()
    }
}

pub fn fabric() -> ShmFabric {
    ShmFabric::new(1 << 30)
}

pub fn post(fabric: &ShmFabric, link: &ShmLink, chain: Chain) -> Result<Answers, VerbError> {
    block_on(fabric, link.post(chain))
}

pub fn add_one() -> Chain {
    Chain::new().fetch_add(RemoteAddr(0), 1)
}

pub fn read_word(at: u64) -> Chain {
    Chain::new().read_word(RemoteAddr(at))
}

/// A chain that counts, copies for tens of milliseconds, and counts again.
pub fn long_chain(fabric: &ShmFabric, len: usize) -> Chain {
    let into = fabric.buffers().take(len).unwrap();
    let copies = (0..6).fold(add_one(), |chain, _| chain.read(RemoteAddr(0), into.whole()));
    copies.fetch_add(RemoteAddr(8), 1)
}
