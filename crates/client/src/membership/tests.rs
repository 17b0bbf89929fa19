//! Stories of clients whose nodes, links, maps and ids are lost, told with simulated memory and a control plane of the
//! test's own.

use super::{LinkError, Linking, Routes, Waiting};
use crate::{Core, Error, GrantError, Granting, Options, Space};
use farrow_control::coordination::Decision;
use farrow_control::map::{ClusterMap, CommitKind, Shape};
use farrow_fabric::{Fabric, block_on_for, join_all};
use farrow_fabric_sim::{CostModel, Grain, Options as WorldOptions, Pace, Seed, SimFabric, SimLink, World};
use farrow_layout::{BlockAddr, ClientId, Epoch, ExtentWord, HomeId, KeyHash, NodeId, Plan, Policy};
use farrow_protocol::Extent;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Three nodes, three copies of everything, and who decides about them.
struct Outside {
    world: World,
    fabric: SimFabric,
    plan: Plan,
    map: RefCell<Arc<ClusterMap>>,
    waiting: RefCell<Vec<Waker>>,
    /// What each node was fenced to.
    epochs: RefCell<BTreeMap<NodeId, Epoch>>,
    unreachable: RefCell<BTreeSet<NodeId>>,
    decision: Cell<Decision>,
    evicted: RefCell<BTreeSet<ClientId>>,
    id: Cell<ClientId>,
    /// The latest link to each node.
    links: RefCell<BTreeMap<NodeId, usize>>,
    linked: Cell<u32>,
    reports: Cell<u32>,
    /// Who was asked for extents, in order.
    asked: RefCell<Vec<NodeId>>,
    /// Extents that were handed out.
    granted: Cell<u64>,
    sealed: RefCell<Vec<(NodeId, u64)>>,
    refusals: RefCell<Vec<GrantError>>,
}

#[derive(Clone)]
struct Control(Rc<Outside>);

type Client = Core<SimFabric, Control>;

const FIRST: ClientId = ClientId(7);
const PATIENCE: Duration = Duration::from_secs(20);

impl Control {
    fn new(coordinators: &[&str]) -> Control {
        let shape = Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 3 },
            nodes: (0..3).map(|i| format!("10.0.0.{i}:7400")).collect(),
            homes_per_node: 1,
            max_keys: 64,
            memory_len: 4 << 20,
            block_len: 64 << 10,
            extent_len: 4 << 10,
        };
        let map = ClusterMap::of(&shape).unwrap();
        let coordinators = coordinators.iter().map(|c| (*c).to_owned()).collect();
        let map = ClusterMap { coordinators, write_floor: 2, ..map };
        let world = World::new(
            WorldOptions { grain: Grain::Whole, pace: Pace::Timed(CostModel::CONNECTX3), record: false },
            Seed::new(1),
        );
        let plan = map.plan().unwrap();
        for _ in 0..3 {
            world.node(plan.memory_for(3));
        }
        Control(Rc::new(Outside {
            fabric: world.fabric(1 << 20),
            world,
            plan,
            epochs: RefCell::new((0..3).map(|n| (NodeId(n), map.epoch)).collect()),
            map: RefCell::new(Arc::new(map)),
            waiting: RefCell::default(),
            unreachable: RefCell::default(),
            decision: Cell::new(Decision::YourWay),
            evicted: RefCell::default(),
            id: Cell::new(FIRST),
            links: RefCell::default(),
            linked: Cell::new(0),
            reports: Cell::new(0),
            asked: RefCell::default(),
            granted: Cell::new(0),
            sealed: RefCell::default(),
            refusals: RefCell::default(),
        }))
    }

    fn client(&self) -> Client {
        self.client_with(Options::default())
    }

    fn client_with(&self, options: Options) -> Client {
        let options = Options { cache_entries: 64, deadline: Duration::from_secs(2), ..options };
        Core::new(self.0.fabric.clone(), self.clone(), self.0.plan, Vec::new(), options)
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        block_on_for(&self.0.fabric, PATIENCE, future).expect("it comes to an end")
    }

    /// Does `work` while `script` goes on beside it.
    fn beside<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
        script: impl Future<Output = ()> + 'static,
    ) -> T {
        let done = Rc::new(RefCell::new(None));
        let result = done.clone();
        let work: Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(async move { *result.borrow_mut() = Some(work.await) });
        let (ticking, is_done) = (self.clone(), done.clone());
        let script = Box::pin(async move {
            script.await;
            // One event happens between a wake-up and what it leads to: it must not be a distant deadline.
            while is_done.borrow().is_none() {
                ticking.sleep(Duration::from_micros(100)).await;
            }
        });
        self.run(join_all([work, script]));
        done.take().expect("it has ended")
    }

    async fn sleep(&self, time: Duration) {
        self.0.fabric.sleep_until(self.0.fabric.now() + time).await;
    }

    /// Breaks the links of a node; those that it gives from now on are of `epoch`.
    fn fence(&self, node: NodeId, epoch: Epoch) {
        self.0.world.fence(node);
        self.0.epochs.borrow_mut().insert(node, epoch);
    }

    fn lose_link(&self, node: NodeId) {
        self.0.world.lose_link(self.0.links.borrow()[&node]);
    }

    fn kill(&self, node: NodeId) {
        self.0.world.kill_node(node);
        self.0.unreachable.borrow_mut().insert(node);
    }

    /// The next map is what `change` makes of this one.
    fn publish(&self, change: impl FnOnce(&mut ClusterMap)) {
        let mut map = ClusterMap::clone(&self.0.map.borrow());
        map.epoch = Epoch(map.epoch.0 + 1);
        change(&mut map);
        assert_eq!(map.defect(), None);
        *self.0.map.borrow_mut() = Arc::new(map);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// All homes of the map are closed under its epoch, and all nodes that are left are fenced to it.
    fn close_without(&self, lost: Option<NodeId>) {
        self.publish(|map| {
            for home in &mut map.homes {
                home.members.retain(|member| Some(member.node) != lost);
                (home.epoch, home.is_open) = (map.epoch, false);
            }
        });
        let epoch = self.0.map.borrow().epoch;
        (0..3).map(NodeId).filter(|n| Some(*n) != lost).for_each(|node| self.fence(node, epoch));
    }

    fn open(&self) {
        self.publish(|map| map.homes.iter_mut().for_each(|home| home.is_open = true));
    }

    /// Puts a value, and lets what goes on behind the answer come to its end.
    fn put(&self, client: &Client, key: &[u8], value: &[u8]) {
        self.run(client.put(key, value)).unwrap();
        self.run(self.sleep(Duration::from_millis(1)));
    }

    /// A key of the home that `node` is the primary of.
    fn key(&self, node: u16) -> Vec<u8> {
        let map = self.0.map.borrow();
        let is_there = |key: &[u8]| {
            let (home, _) = map.route(KeyHash::of(key));
            map.homes[usize::from(home.0)].members[0].node == NodeId(node)
        };
        (0..).map(|i: u32| i.to_le_bytes().to_vec()).find(|key| is_there(key)).unwrap()
    }
}

impl Routes<SimFabric> for Control {
    fn id(&self) -> ClientId {
        self.0.id.get()
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.0.map.borrow().clone()
    }

    fn newer_than(&self, epoch: Epoch) -> Waiting<()> {
        let outside = self.0.clone();
        Box::pin(poll_fn(move |cx| {
            if outside.map.borrow().epoch > epoch {
                return Poll::Ready(());
            }
            outside.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn link(&self, node: NodeId) -> Linking<SimLink> {
        let (control, client) = (self.clone(), self.0.id.get());
        Box::pin(async move {
            control.sleep(Duration::from_micros(200)).await;
            let outside = &control.0;
            if outside.unreachable.borrow().contains(&node) {
                return Err(LinkError::Unreachable("nobody answers".into()));
            }
            if outside.evicted.borrow().contains(&client) {
                return Err(LinkError::Evicted);
            }
            if let Some(old) = outside.links.borrow().get(&node) {
                outside.world.revoke_link(*old);
            }
            outside.linked.set(outside.linked.get() + 1);
            let link = outside.fabric.link(node);
            outside.links.borrow_mut().insert(node, link.number());
            Ok((link, outside.epochs.borrow()[&node]))
        })
    }

    fn report(&self, _: NodeId, _: u64, _: String) -> Waiting<Decision> {
        self.0.reports.set(self.0.reports.get() + 1);
        Box::pin(std::future::ready(self.0.decision.get()))
    }

    fn rename(&self, old: ClientId) -> Waiting<Result<(), String>> {
        let outside = self.0.clone();
        Box::pin(async move {
            if outside.id.get() == old {
                outside.id.set(ClientId(old.0 + 1));
            }
            Ok(())
        })
    }
}

impl Space for Control {
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting {
        let outside = &self.0;
        if let Some(refusal) = outside.refusals.borrow_mut().pop() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        if outside.unreachable.borrow().contains(&primary) {
            let why = "the peer closed the connection".into();
            return Box::pin(std::future::ready(Err(GrantError::Unavailable(why))));
        }
        outside.asked.borrow_mut().push(primary);
        let extent_len = outside.plan.geometry().extent_len;
        let count = bytes.div_ceil(extent_len);
        let first = outside.granted.replace(outside.granted.get() + count);
        let start = BlockAddr(outside.plan.extent_start(first).0);
        let word = ExtentWord::open_as(outside.id.get(), 1);
        let (count, len) = (count as u32, count * extent_len);
        Box::pin(std::future::ready(Ok(Extent { home, first, count, start, len, word })))
    }

    fn seal(&self, primary: NodeId, extent: &Extent, _: u64) {
        self.0.sealed.borrow_mut().push((primary, extent.first));
    }
}

#[test]
fn a_link_that_is_lost_is_made_anew_and_operations_go_on() {
    let control = Control::new(&[]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    for node in 0..3 {
        control.lose_link(NodeId(node));
        control.put(&client, &key, &[node as u8]);
        assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), [node as u8]);
    }
    assert_eq!(control.0.linked.get(), 3 + 3, "only what was lost is made anew");
    assert_eq!(control.0.asked.borrow().len(), 1, "the extent outlives the links");
}

#[test]
fn many_operations_wait_for_one_link() {
    let control = Control::new(&[]);
    let client = control.client();
    let keys: Vec<_> = (0..40u32).map(|i| i.to_le_bytes()).collect();
    control.run(client.put(&keys[0], b"v")).unwrap();
    control.lose_link(NodeId(0));
    let got = control.run(client.get_many(&keys));
    assert!(got.iter().all(Result::is_ok), "{got:?}");
    assert_eq!(control.0.linked.get(), 3 + 1);
}

#[test]
fn in_a_static_cluster_a_dead_node_is_an_error_at_once() {
    let control = Control::new(&[]);
    let client = control.client();
    let key = control.key(1);
    control.put(&client, &key, b"one");
    control.kill(NodeId(1));
    let began = control.0.fabric.now();
    for _ in 0..10 {
        let error = control.run(client.get(&key)).unwrap_err();
        assert!(matches!(&error, Error::Unavailable { why } if why.contains("nobody answers")), "{error}");
    }
    let took = control.0.fabric.now().since(began);
    assert!(took < 20_000_000, "{took} ns");
    assert!(control.0.reports.get() == 0, "there is nobody to tell");
    assert_eq!(control.run(client.get(&control.key(0))).unwrap_err().label(), "unavailable");
}

#[test]
fn in_a_closed_home_reads_go_on_and_writes_wait_until_it_opens() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"before");
    control.close_without(None);
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"before");
    let opened = Rc::new(Cell::new(false));
    let (writer, name, is_open) = (client.clone(), key.clone(), opened.clone());
    let put = async move {
        writer.put(&name, b"after").await.unwrap();
        assert!(is_open.get(), "written into a closed home");
    };
    let (script, now_open) = (control.clone(), opened.clone());
    control.beside(put, async move {
        script.sleep(Duration::from_millis(300)).await;
        now_open.set(true);
        script.open();
    });
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"after");
    assert!(client.stats().membership.map_waits > 0);
}

#[test]
fn a_lost_primary_is_left_out_and_the_next_one_is_asked_for_space() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.kill(NodeId(0));
    control.0.decision.set(Decision::Deposing);
    let (writer, name) = (client.clone(), key.clone());
    let put = async move { writer.put(&name, b"two").await.unwrap() };
    let script = control.clone();
    control.beside(put, async move {
        script.sleep(Duration::from_millis(100)).await;
        script.close_without(Some(NodeId(0)));
        script.sleep(Duration::from_millis(100)).await;
        script.open();
    });
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"two");
    assert_eq!(control.0.reports.get(), 1);
    assert_eq!(*control.0.asked.borrow(), [NodeId(0)], "what was announced stays in use");
    while control.0.asked.borrow().len() < 2 {
        control.put(&client, &key, &[3; 512]);
    }
    assert_eq!(control.0.asked.borrow()[1], NodeId(1));
    assert!(client.stats().membership.under_replicated_writes > 0);
    drop(client);
    assert!(control.0.sealed.borrow().iter().all(|(primary, _)| *primary == NodeId(1)));
    assert!(control.0.sealed.borrow().iter().any(|(_, extent)| *extent == 0));
}

#[test]
fn whose_way_it_is_that_is_broken_is_told_so() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.lose_link(NodeId(2));
    control.0.unreachable.borrow_mut().insert(NodeId(2));
    let error = control.run(client.put(&key, b"two")).unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error}");
    assert_eq!(control.0.reports.get(), 1, "the first failure alone may mean nothing");
    control.0.unreachable.borrow_mut().clear();
    control.run(control.sleep(Duration::from_millis(100)));
    control.put(&client, &key, b"three");
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"three");
}

#[test]
fn a_link_from_behind_a_fence_is_not_used_with_a_map_from_before_it() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    // Fenced on behalf of a closing that the client has not heard of.
    (0..3).for_each(|node| control.fence(NodeId(node), Epoch(2)));
    let heard = Rc::new(Cell::new(false));
    let (reader, name, has_heard) = (client.clone(), key.clone(), heard.clone());
    let get = async move {
        let value = reader.get(&name).await.unwrap().unwrap().to_vec();
        assert!(has_heard.get(), "an earlier map was used");
        value
    };
    let (script, now_heard) = (control.clone(), heard.clone());
    let value = control.beside(get, async move {
        script.sleep(Duration::from_millis(50)).await;
        now_heard.set(true);
        script.publish(|map| {
            map.homes.iter_mut().for_each(|home| (home.epoch, home.is_open) = (Epoch(2), false));
        });
    });
    assert_eq!(value, b"one");
}

#[test]
fn a_link_from_before_a_closing_is_not_used_behind_it() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    // The map says that homes are closed, and only node 0 has been fenced yet.
    control.publish(|map| {
        map.homes.iter_mut().for_each(|home| (home.epoch, home.is_open) = (map.epoch, false));
    });
    control.fence(NodeId(0), Epoch(2));
    let (reader, name, nodes) = (client.clone(), key.clone(), control.clone());
    let get = async move {
        let value = reader.get(&name).await.unwrap().unwrap().to_vec();
        assert!(nodes.0.epochs.borrow().values().all(|epoch| *epoch == Epoch(2)));
        value
    };
    let script = control.clone();
    let value = control.beside(get, async move {
        script.sleep(Duration::from_millis(200)).await;
        (1..3).for_each(|node| script.fence(NodeId(node), Epoch(2)));
    });
    assert_eq!(value, b"one");
}

#[test]
fn a_client_that_was_taken_for_lost_goes_on_under_another_id() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.0.evicted.borrow_mut().insert(FIRST);
    (0..3).for_each(|node| control.fence(NodeId(node), Epoch(1)));
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"one");
    assert_eq!(client.id(), ClientId(FIRST.0 + 1));
    control.put(&client, &key, b"two");
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"two");
    assert_eq!(control.0.asked.borrow().len(), 2, "extents of the old id are not written to");
    assert_eq!(client.stats().membership.renamed, 1);
    drop(client);
    assert!(control.0.sealed.borrow().iter().all(|(_, extent)| *extent != 0));
}

#[test]
fn a_put_in_the_middle_of_which_its_client_is_taken_for_lost_is_made_under_the_other_id() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.0.evicted.borrow_mut().insert(FIRST);
    control.close_without(None);
    control.open();
    control.put(&client, &key, b"two");
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"two");
    assert_eq!((client.id(), control.0.asked.borrow().len()), (ClientId(FIRST.0 + 1), 2));
}

#[test]
fn where_too_few_copies_are_left_nothing_is_written_unless_that_is_allowed() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.publish(|map| {
        for home in &mut map.homes {
            home.members.truncate(1);
            home.epoch = map.epoch;
        }
    });
    (0..3).for_each(|node| control.fence(NodeId(node), Epoch(2)));
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"one");
    for _ in 0..2 {
        let error = control.run(client.put(&key, b"two")).unwrap_err();
        assert_eq!(error, Error::UnderReplicated { copies: 1, wanted: 2 });
        assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"one");
    }
    assert_eq!(control.run(client.delete(&key)).unwrap_err().label(), "under_replicated");
    let bold = control.client_with(Options { allow_under_replicated: true, ..Options::default() });
    control.run(bold.put(&key, b"three")).unwrap();
    assert_eq!(bold.stats().membership.under_replicated_writes, 1);
}

#[test]
fn a_primary_that_does_not_grant_yet_is_asked_again() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let not_now = GrantError::NotNow("the home is closed".into());
    *control.0.refusals.borrow_mut() = vec![not_now; 30];
    control.run(client.put(&control.key(0), b"one")).unwrap();
    assert!(control.0.refusals.borrow().is_empty());
    assert_eq!(control.0.linked.get(), 3, "links have nothing to do with it");
}

#[test]
fn a_session_that_is_over_is_made_anew_with_its_link() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let over = GrantError::Unavailable("the session has ended".into());
    *control.0.refusals.borrow_mut() = vec![over];
    control.run(client.put(&control.key(0), b"one")).unwrap();
    assert_eq!(control.0.linked.get(), 3 + 1);
}

#[test]
fn a_put_whose_primary_dies_while_it_is_asked_for_room_waits_for_the_successor() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.0.decision.set(Decision::Undecided);
    control.run(client.get(&key)).unwrap();
    control.kill(NodeId(0));
    let (writer, name) = (client.clone(), key.clone());
    let put = async move { writer.put(&name, b"one").await };
    let ready = control.clone();
    let script = async move {
        // A long lease.
        ready.sleep(Duration::from_millis(1_900)).await;
        ready.close_without(Some(NodeId(0)));
        ready.sleep(Duration::from_millis(5)).await;
        ready.open();
    };
    control.beside(put, script).unwrap();
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"one");
    assert_eq!(*control.0.asked.borrow(), [NodeId(1)], "the successor");
}

#[test]
fn a_node_that_is_to_go_and_comes_back_is_worked_with_though_the_map_stays() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    // Silent, with the last copy of something: no map goes on without it.
    control.lose_link(NodeId(0));
    control.0.unreachable.borrow_mut().insert(NodeId(0));
    control.0.decision.set(Decision::Deposing);
    let (reader, name) = (client.clone(), key.clone());
    let get = async move { reader.get(&name).await.unwrap().unwrap().to_vec() };
    let script = control.clone();
    let value = control.beside(get, async move {
        script.sleep(Duration::from_millis(50)).await;
        script.0.unreachable.borrow_mut().clear();
    });
    assert_eq!(value, b"one");
}

#[test]
fn a_member_that_joined_while_the_client_slept_is_told_of_the_extent_it_got_meanwhile() {
    let control = Control::new(&["c:1"]);
    let key = control.key(0);
    let joining = control.0.map.borrow().homes[0].members[1];
    for lost in [1, 2] {
        control.close_without(Some(NodeId(lost)));
        control.open();
    }
    let client = control.client_with(Options { allow_under_replicated: true, ..Options::default() });
    assert!(control.run(client.get(&key)).unwrap().is_none());
    // One member joins, with a copy of a table in which the extent is not.
    control.publish(|map| {
        map.homes[0].members.push(joining);
        (map.homes[0].epoch, map.homes[0].is_open) = (map.epoch, false);
    });
    let epoch = control.0.map.borrow().epoch;
    [0, 1].map(NodeId).into_iter().for_each(|node| control.fence(node, epoch));
    control.open();
    control.put(&client, &key, b"one");
    let at = control.0.plan.segment(joining.segment).extent_record(0);
    let record = ExtentWord::from_raw(control.0.world.memory(joining.node).word(at));
    assert_eq!(record, ExtentWord::open_as(FIRST, 1), "its new primary would grant it again");
}

#[test]
fn extents_of_large_values_are_sealed_when_the_next_one_is_written() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let (key, value) = (control.key(0), vec![7; 6 << 10]);
    for _ in 0..4 {
        control.put(&client, &key, &value);
    }
    let sealed: Vec<_> = control.0.sealed.borrow().iter().map(|(_, first)| *first).collect();
    assert_eq!(sealed, [0, 2, 4], "two extents for each value; the last one is not looked at yet");
    assert_eq!(client.open_bytes(), 3 * 2 * (4 << 10));
}

#[test]
fn a_deadline_bounds_every_wait() {
    let control = Control::new(&["c:1"]);
    let client = control.client();
    let key = control.key(0);
    control.put(&client, &key, b"one");
    control.close_without(None);
    assert_eq!(control.run(client.get(&key)).unwrap().unwrap().to_vec(), b"one");
    let error = control.run(client.put(&key, b"two")).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "nothing was posted: {error}");
    control.kill(NodeId(0));
    control.0.decision.set(Decision::Deposing);
    let error = control.run(client.get(&key)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}
