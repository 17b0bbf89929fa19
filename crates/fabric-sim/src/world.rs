//! The world: makes nodes, clients and faults, and lets one event happen after another.

use crate::agenda::Actor;
use crate::choices::{Choices, Point};
use crate::state::{Shared, State};
use crate::task::Task;
use crate::{CostModel, Mark, Memory, NicUsage, Observer, Options, Pace, SimFabric, TaskId, Touch, Trace};
use farrow_fabric::{Nanos, Why};
use farrow_layout::{NodeId, RemoteAddr};
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::task::Context;

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct World(Shared);

impl World {
    /// A world without nodes and clients, at time zero.
    pub fn new(options: Options, choices: impl Choices + 'static) -> World {
        World(Rc::new(RefCell::new(State::new(options, Box::new(choices)))))
    }

    pub(crate) fn of(shared: Shared) -> World {
        World(shared)
    }

    /// Adds a node with zeroed memory.
    pub fn node(&self, memory_len: u64) -> NodeId {
        NodeId(self.0.borrow_mut().add_node(memory_len) as u16)
    }

    /// Gives a node another NIC, or a longer wire, than the world's [`crate::Pace::Timed`] says: a slow node. What a
    /// client's processor takes is not the node's.
    pub fn set_cost(&self, node: NodeId, cost: CostModel) {
        self.0.borrow_mut().nodes[usize::from(node.0)].cost = Some(cost);
    }

    /// How busy a node's NIC was so far, in virtual time.
    pub fn nic_usage(&self, node: NodeId) -> NicUsage {
        self.0.borrow().nodes[usize::from(node.0)].nic.usage()
    }

    /// How long a client's processor was busy so far, in nanoseconds of virtual time.
    pub fn processor_ns(&self, fabric: &SimFabric) -> u64 {
        self.0.borrow().clients[fabric.client()].processor.busy_ns()
    }

    /// Adds a client's fabric, with at most `buffer_limit` bytes of local memory.
    pub fn fabric(&self, buffer_limit: usize) -> SimFabric {
        SimFabric::new(self.0.clone(), buffer_limit)
    }

    /// Adds a task of a client. It runs when the world does.
    pub fn spawn(&self, fabric: &SimFabric, task: impl Future<Output = ()> + 'static) -> TaskId {
        let mut state = self.0.borrow_mut();
        let id = TaskId(state.tasks.len());
        let task = Task::new(id, fabric.client(), &state.woken, Box::pin(task));
        state.tasks.push(task);
        id
    }

    /// Adds a fault that happens at some time: under [`Pace::Chosen`] at any point, by default after everything else.
    pub fn spawn_fault(&self, fault: impl FnOnce(&World) + 'static) -> TaskId {
        self.spawn_fault_of(usize::MAX, fault)
    }

    /// As [`World::spawn_fault`], of a fault that stops a client: which is nothing to others but through what it leaves.
    pub fn spawn_stop(&self, task: TaskId) -> TaskId {
        let fabric = self.0.borrow().tasks[task.0].fabric;
        self.spawn_fault_of(fabric, move |world| world.stop(task))
    }

    fn spawn_fault_of(&self, fabric: usize, fault: impl FnOnce(&World) + 'static) -> TaskId {
        let world = self.clone();
        let mut state = self.0.borrow_mut();
        let id = TaskId(state.tasks.len());
        let mut task = Task::new(id, fabric, &state.woken, Box::pin(async move { fault(&world) }));
        task.is_fault = true;
        state.tasks.push(task);
        id
    }

    /// Whether an explorer chooses the order, step by step.
    pub fn is_chosen(&self) -> bool {
        self.0.borrow().options.pace == Pace::Chosen
    }

    /// Says what the orders that an explorer tries are about: from `true` to `false`, and only there, it branches.
    pub fn search(&self, is_on: bool) {
        self.0.borrow_mut().choices.search(is_on);
    }

    /// Whether the choices have given this run up: it shows nothing that another does not.
    pub fn is_given_up(&self) -> bool {
        self.0.borrow().is_given_up
    }

    /// A client says that an operation begins or ends within the present step.
    pub fn mark(&self, mark: Mark) {
        if let Some(watch) = &mut self.0.borrow_mut().watch {
            watch.mark(mark);
        }
    }

    /// A test says that it looks at memory within the present step, past all links.
    pub fn looks_at(&self, touch: Touch) {
        if let Some(watch) = &mut self.0.borrow_mut().watch {
            watch.touch(touch);
        }
    }

    /// Lets the next event happen; `false` when nothing can happen any more.
    pub fn step(&self) -> bool {
        self.take(false)
    }

    pub(crate) fn step_without_tasks(&self) -> bool {
        self.take(true)
    }

    fn take(&self, without_tasks: bool) -> bool {
        let next = self.0.borrow_mut().next(without_tasks);
        let Some(actor) = next else { return false };
        self.act(actor);
        let state = &mut *self.0.borrow_mut();
        if let Some(watch) = &mut state.watch {
            state.choices.done(&watch.done());
        }
        true
    }

    /// Lets events happen until nothing can any more, but at most `most` of them; whether it came to rest.
    pub fn run(&self, most: u64) -> bool {
        (0..most).any(|_| !self.step())
    }

    fn act(&self, actor: Actor) {
        match actor {
            Actor::Execute(link) => self.0.borrow_mut().execute(link),
            Actor::Answer(link) => {
                let answer = self.0.borrow_mut().take_answer(link);
                if let Some((waiting, answer)) = answer {
                    waiting.answer(answer);
                }
            }
            Actor::Fire(timer) => {
                if !timer.is_cancelled.get() {
                    self.0.borrow_mut().fired();
                    timer.fire();
                }
            }
            Actor::Depart(link) => self.0.borrow_mut().depart(link),
            Actor::Poll(id) => self.poll(id),
        }
    }

    fn poll(&self, id: TaskId) {
        let (future, waker) = {
            let mut state = self.0.borrow_mut();
            state.polled(id);
            let task = &mut state.tasks[id.0];
            task.is_on_agenda = false;
            (task.future.take(), task.waker.clone())
        };
        // Not borrowed while the client's code runs: it posts, sleeps and asks for the time.
        let Some(mut future) = future else { return };
        let has_ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = self.0.borrow_mut();
        let task = &mut state.tasks[id.0];
        if !has_ended {
            task.future = Some(future);
            return;
        }
        task.has_ended = true;
        drop(state);
        drop(future);
    }

    /// Ends the world: all tasks are gone where they are. Tasks that hold the world would keep it for ever otherwise.
    pub fn end(&self) {
        let mut state = self.0.borrow_mut();
        state.observer = None;
        let tasks = state.tasks.iter_mut();
        let futures: Vec<_> = tasks
            .filter_map(|task| {
                task.has_ended = true;
                task.future.take()
            })
            .collect();
        drop(state);
        drop(futures);
    }

    /// Whether a task has ended by itself, or was stopped.
    pub fn has_ended(&self, task: TaskId) -> bool {
        self.0.borrow().tasks[task.0].has_ended
    }

    /// Stops a client where it is: the task is gone, and of the verbs that its links still have to execute, some prefix of
    /// each link's will be.
    pub fn stop(&self, id: TaskId) {
        let future = {
            let mut state = self.0.borrow_mut();
            state.note(|| format!("task {} stops", id.0));
            let task = &mut state.tasks[id.0];
            task.has_ended = true;
            let (future, fabric) = (task.future.take(), task.fabric);
            for link in 0..state.links.len() {
                if state.links[link].client == fabric {
                    let left = state.verbs_left(link) as u64;
                    let late = state.choices.below(left + 1, Point::Fault) as usize;
                    state.orphan(link, late);
                }
            }
            future
        };
        drop(future);
    }

    /// Holds a task back until [`World::resume`]; what it has posted goes on.
    pub fn pause(&self, task: TaskId) {
        self.0.borrow_mut().tasks[task.0].is_paused = true;
    }

    /// Lets a paused task run on.
    pub fn resume(&self, task: TaskId) {
        self.0.borrow_mut().tasks[task.0].is_paused = false;
    }

    /// Breaks one link: some prefix of what it still has to execute will land, at some time before the next fence.
    pub fn lose_link(&self, link: usize) {
        let mut state = self.0.borrow_mut();
        let left = state.verbs_left(link) as u64;
        let late = state.choices.below(left + 1, Point::Fault) as usize;
        state.fail(link, Why::PeerLost, late);
    }

    /// The node takes one link back: nothing that it has not executed yet will be.
    pub fn revoke_link(&self, link: usize) {
        let mut state = self.0.borrow_mut();
        state.fail(link, Why::PeerLost, 0);
        state.drain(link);
    }

    /// Whether a node is gone.
    pub fn is_dead(&self, node: NodeId) -> bool {
        self.0.borrow().nodes[usize::from(node.0)].is_dead
    }

    /// In virtual time, all that goes to or comes from a node takes `extra_ns` longer from now on.
    pub fn slow_down(&self, node: NodeId, extra_ns: u64) {
        let mut state = self.0.borrow_mut();
        if let Pace::Timed(usual) = state.options.pace {
            let cost = &mut state.nodes[usize::from(node.0)].cost;
            let of_node = cost.get_or_insert(usual);
            of_node.one_way_ns += extra_ns;
        }
    }

    /// Fences a node: when this returns, nothing of any link that exists changes its memory any more.
    pub fn fence(&self, node: NodeId) {
        self.break_links(node, Why::Fenced);
    }

    /// The node is gone, with its memory.
    pub fn kill_node(&self, node: NodeId) {
        self.0.borrow_mut().nodes[usize::from(node.0)].is_dead = true;
        self.break_links(node, Why::PeerLost);
    }

    fn break_links(&self, node: NodeId, why: Why) {
        let mut state = self.0.borrow_mut();
        for link in 0..state.links.len() {
            if state.links[link].node == usize::from(node.0) {
                state.fail(link, why, 0);
                state.drain(link);
            }
        }
    }

    /// How many CASes have found what they expected: what faults that are to hit changes go by.
    pub fn swaps(&self) -> u64 {
        self.0.borrow().swaps
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    /// A number below `count` from the run's choices, for the test's own scenario.
    pub fn draw(&self, count: u64) -> u64 {
        self.0.borrow_mut().choices.below(count, Point::Scenario)
    }

    /// A node's memory as it is.
    pub fn memory(&self, node: NodeId) -> Ref<'_, Memory> {
        Ref::map(self.0.borrow(), |state| &state.nodes[usize::from(node.0)].memory)
    }

    /// Changes a node's memory, past all links.
    pub fn poke(&self, node: NodeId, at: RemoteAddr, bytes: &[u8]) {
        self.0.borrow_mut().nodes[usize::from(node.0)].memory.set_bytes(at, bytes);
    }

    /// Lets `observer` look on from now on.
    pub fn observe(&self, observer: impl Observer + 'static) {
        self.0.borrow_mut().observer = Some(Box::new(observer));
    }

    /// Puts a line into the trace, if it is recorded.
    pub fn note(&self, text: impl FnOnce() -> String) {
        self.0.borrow_mut().note(text);
    }

    /// What has happened so far.
    pub fn trace(&self) -> Ref<'_, Trace> {
        Ref::map(self.0.borrow(), |state| &state.trace)
    }
}
