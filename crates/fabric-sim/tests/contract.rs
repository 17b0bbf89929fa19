//! The contract suite over simulated links.

use farrow_fabric::suite::{Agent, Controls, Local, Seat};
use farrow_fabric_sim::{CostModel, Grain, Options, Pace, Seed, SimFabric, SimLink, World};
use farrow_layout::NodeId;

const NODE: NodeId = NodeId(0);
/// Events after which a clause counts as hung.
const MOST_EVENTS: u64 = 50_000_000;

struct Simulated(World);

impl Simulated {
    fn new(grain: Grain, pace: Pace) -> Simulated {
        let world = World::new(Options { grain, pace, record: false }, Seed::new(1));
        world.node(farrow_fabric::suite::MEMORY_LEN);
        Simulated(world)
    }
}

struct Hands {
    world: World,
    fabric: SimFabric,
}

impl Controls<SimFabric> for Hands {
    fn link(&self) -> Local<SimLink> {
        let link = self.fabric.link(NODE);
        Box::pin(async { link })
    }

    fn link_with_wrong_key(&self) -> Local<SimLink> {
        let link = self.fabric.link_with_wrong_key(NODE);
        Box::pin(async { link })
    }

    fn fence(&self) -> Local<()> {
        let world = self.world.clone();
        Box::pin(async move { world.fence(NODE) })
    }

    fn kill(&self) -> Local<()> {
        let world = self.world.clone();
        Box::pin(async move { world.kill_node(NODE) })
    }
}

impl farrow_fabric::suite::World for Simulated {
    type Fabric = SimFabric;

    fn run(&self, agents: Vec<Agent<SimFabric>>) {
        let world = &self.0;
        let seat = |agent: Agent<SimFabric>| {
            let fabric = world.fabric(64 << 20);
            let controls = Box::new(Hands { world: world.clone(), fabric: fabric.clone() });
            let link = fabric.link(NODE);
            world.spawn(&fabric.clone(), agent(Seat { fabric, link, controls }))
        };
        let tasks: Vec<_> = agents.into_iter().map(seat).collect();
        assert!(world.run(MOST_EVENTS), "the agents have not ended after {MOST_EVENTS} events");
        assert!(
            tasks.into_iter().all(|t| world.has_ended(t)),
            "nothing can happen, but an agent still waits"
        );
    }

    fn rounds(&self, full: u64) -> u64 {
        full.div_ceil(50).min(100)
    }
}

mod even {
    use super::*;
    farrow_fabric::contract_tests!(|| Simulated::new(Grain::Pieces, Pace::Even));
}

mod skewed {
    use super::*;
    farrow_fabric::contract_tests!(|| Simulated::new(Grain::Pieces, Pace::Skewed));
}

mod words {
    use super::*;
    farrow_fabric::contract_tests!(|| Simulated::new(Grain::Words, Pace::Even));
}

mod timed {
    use super::*;
    farrow_fabric::contract_tests!(|| Simulated::new(Grain::Whole, Pace::Timed(CostModel::CONNECTX3)));
}
