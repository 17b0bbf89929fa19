//! The fabric's contract over a real device. As for all tests of this crate: SKIP without one, unless
//! `FARROW_REQUIRE_RDMA=1`.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use common::{Devices, connect, connect_with, devices};
use farrow_fabric::suite::{Agent, Controls, Local, MEMORY_LEN, Seat, World, clauses, run_threads};
use farrow_fabric::{Mapping, Why};
use farrow_fabric_verbs::{Port, VerbsFabric, VerbsHost, VerbsLink};

/// Small enough that the suite's transfers and words lie on both sides of chunk boundaries, and a megabyte across many.
const CHUNK_LEN: u64 = 64 << 10;
const BUFFER_LIMIT: usize = 64 << 20;
/// What an emulated processor does of the rounds that are meant for hardware.
const SLOWDOWN: u64 = 40;

/// `EMULATED`: Soft-RoCE, which is real in all but the speed and what is excluded below.
struct VerbsWorld<const EMULATED: bool> {
    devices: Devices,
    node: Arc<Mutex<Option<VerbsHost>>>,
    port: Arc<Port>,
    _memory: Arc<Mapping>,
}

impl<const EMULATED: bool> VerbsWorld<EMULATED> {
    fn new(devices: &Devices) -> Self {
        let memory = common::mapping(MEMORY_LEN);
        let host = common::host(devices, &memory, CHUNK_LEN);
        VerbsWorld {
            devices: devices.clone(),
            node: Arc::new(Mutex::new(Some(host))),
            port: common::port(devices),
            _memory: memory,
        }
    }
}

impl<const EMULATED: bool> World for VerbsWorld<EMULATED> {
    type Fabric = VerbsFabric;

    const EXCLUDED: &'static [(&'static str, &'static str)] = if EMULATED {
        &[(
            "F3",
            "Soft-RoCE copies with memcpy, whose stores are aligned as the first byte is: a transfer that does not \
             begin and end at a multiple of 8 tears words (links.rs tests those that do)",
        )]
    } else {
        &[]
    };

    fn run(&self, agents: Vec<Agent<VerbsFabric>>) {
        run_threads(agents, || {
            let options = common::options(&self.devices);
            let fabric = VerbsFabric::new(&self.port, options, BUFFER_LIMIT).expect("a fabric");
            let links = Rc::default();
            let control = VerbsControls { fabric: fabric.clone(), node: self.node.clone(), links };
            let link = control.make(connect);
            Seat { fabric, link, controls: Box::new(control) }
        });
    }

    fn rounds(&self, full: u64) -> u64 {
        if EMULATED { (full / SLOWDOWN).max(1) } else { full }
    }
}

struct VerbsControls {
    fabric: VerbsFabric,
    node: Arc<Mutex<Option<VerbsHost>>>,
    links: Rc<RefCell<Vec<VerbsLink>>>,
}

impl VerbsControls {
    fn make(&self, connect: impl FnOnce(&VerbsFabric, &VerbsHost) -> VerbsLink) -> VerbsLink {
        let node = self.node.lock().expect("not poisoned");
        let link = connect(&self.fabric, node.as_ref().expect("the node lives"));
        self.links.borrow_mut().push(link.clone());
        link
    }
}

impl Controls<VerbsFabric> for VerbsControls {
    fn link(&self) -> Local<VerbsLink> {
        let link = self.make(connect);
        Box::pin(async { link })
    }

    fn link_with_wrong_key(&self) -> Local<VerbsLink> {
        let link = self.make(|fabric, host| {
            connect_with(fabric, host, |chunks| chunks.iter_mut().for_each(|chunk| chunk.key ^= 0x5500))
        });
        Box::pin(async { link })
    }

    fn fence(&self) -> Local<()> {
        {
            let node = self.node.lock().expect("not poisoned");
            let host = node.as_ref().expect("the node lives");
            assert!(host.fence(host.epoch() + 1).expect("a later epoch") > 0);
            assert_eq!(host.links(), 0);
        }
        // Who asks for a fence knows that its own links are of the past. The other agents find out by themselves.
        self.links.borrow().iter().for_each(|link| link.give_up(Why::Fenced));
        Box::pin(async {})
    }

    fn kill(&self) -> Local<()> {
        *self.node.lock().expect("not poisoned") = None;
        Box::pin(async {})
    }
}

macro_rules! contract {
    ($($clause:ident)+) => {
        $(
            #[test]
            fn $clause() {
                let Some(devices) = devices() else { return };
                if devices.node.emulated || devices.client.emulated {
                    farrow_fabric::suite::$clause(|| VerbsWorld::<true>::new(&devices));
                } else {
                    farrow_fabric::suite::$clause(|| VerbsWorld::<false>::new(&devices));
                }
            }
        )+

        #[test]
        fn no_clause_is_left_out() {
            assert_eq!([$(stringify!($clause)),+].len(), clauses::<VerbsWorld<false>>().len());
        }
    };
}

contract! {
    f1_verbs_of_a_chain_take_effect_in_order
    f2_words_are_whole_and_atomic
    f3_longer_transfers_tear_between_words_only
    f4_a_completed_verb_is_visible_to_all_later_ones
    f5_bad_chains_fail_typed_and_change_nothing
    f6_a_fence_is_a_barrier
    f7_dropping_a_completion_cancels_nothing
    f8_buffers_stay_pinned_until_reaped
    f9_a_lost_link_says_maybe_or_none
    f10_chains_mix_verbs_and_segments
    f11_many_chains_complete_in_order
    f12_counters_count_what_was_posted
    f13_large_transfers_arrive
}
