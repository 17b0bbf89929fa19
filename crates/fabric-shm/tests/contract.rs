//! The contract of `docs/fabric.md`, over shared memory.

use farrow_fabric::suite::{Agent, Controls, Local, MEMORY_LEN, Seat, World, run_threads};
use farrow_fabric_shm::{Hugepages, NodeMemory, ShmFabric, ShmGrant, ShmHost, ShmLink, ShmPeer};
use farrow_layout::NodeId;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A daemon in this process: its links cannot tell.
struct Node {
    peer: Arc<ShmPeer>,
    /// Gone once it was killed.
    host: Mutex<Option<ShmHost>>,
}

struct ShmWorld(Arc<Node>);

impl ShmWorld {
    fn new() -> ShmWorld {
        let memory = NodeMemory::create(MEMORY_LEN, Hugepages::Auto).unwrap();
        let host = ShmHost::start(memory.len(), 1024, 1).unwrap();
        // Nobody is to be taken for stuck on a busy machine.
        host.set_grace(Duration::from_secs(120));
        let peer = ShmPeer::map(memory.fd(), host.fd()).unwrap();
        let host = Mutex::new(Some(host));
        ShmWorld(Arc::new(Node { peer, host }))
    }
}

impl World for ShmWorld {
    type Fabric = ShmFabric;

    fn run(&self, agents: Vec<Agent<ShmFabric>>) {
        run_threads(agents, || {
            let fabric = ShmFabric::new(64 << 20);
            let own = Own { fabric: fabric.clone(), node: self.0.clone() };
            Seat { link: own.make_link(), fabric, controls: Box::new(own) }
        });
    }
}

struct Own {
    fabric: ShmFabric,
    node: Arc<Node>,
}

impl Own {
    fn grant(&self) -> ShmGrant {
        let host = self.node.host.lock().unwrap();
        host.as_ref().expect("no links of a dead node are asked for").grant(None).unwrap()
    }

    fn link_of(&self, grant: ShmGrant) -> ShmLink {
        self.fabric.link(&self.node.peer, NodeId(3), grant)
    }

    fn make_link(&self) -> ShmLink {
        self.link_of(self.grant())
    }
}

impl Controls<ShmFabric> for Own {
    fn link(&self) -> Local<ShmLink> {
        Box::pin(std::future::ready(self.make_link()))
    }

    fn link_with_wrong_key(&self) -> Local<ShmLink> {
        let mut grant = self.grant();
        grant.key ^= 1;
        Box::pin(std::future::ready(self.link_of(grant)))
    }

    fn fence(&self) -> Local<()> {
        let host = self.node.host.lock().unwrap();
        let host = host.as_ref().expect("a living node is fenced");
        host.fence(host.epoch() + 1).expect("threads of a living process end their chains");
        Box::pin(std::future::ready(()))
    }

    fn kill(&self) -> Local<()> {
        drop(self.node.host.lock().unwrap().take());
        Box::pin(std::future::ready(()))
    }
}

farrow_fabric::contract_tests!(ShmWorld::new);
