//! The world's state: nodes, links, tasks, the agenda. Nothing here polls, wakes into or drops a client's code.

use crate::agenda::{Actor, Agenda, Picked};
use crate::chain_run::{ChainRun, Stage, Waiting};
use crate::choices::{Choices, Point};
use crate::nic::{Nic, Server};
use crate::sleep::Timer;
use crate::task::{Task, Woken};
use crate::watch::Watch;
use crate::{Access, AccessKind, CostModel, Lane, LaneKind, Memory, Observer};
use crate::{Options, Pace, TaskId, Touch, Trace, TraceLine};
use farrow_fabric::{Answers, Effect, Nanos, TotalsCell, VerbError, Why};
use farrow_layout::NodeId;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// The state, as fabrics, links and the world share it. Borrowed for short times only, never while a client's code runs.
pub(crate) type Shared = Rc<RefCell<State>>;

pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) choices: Box<dyn Choices>,
    pub(crate) now: Nanos,
    pub(crate) agenda: Agenda,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<LinkState>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) woken: Arc<Woken>,
    pub(crate) clients: Vec<Client>,
    /// How often tasks were polled so far.
    polls: u64,
    /// CASes that found what they expected.
    pub(crate) swaps: u64,
    pub(crate) trace: Trace,
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// What the present step does, for choices that want to know.
    pub(crate) watch: Option<Watch>,
    /// The choices have given the run up.
    pub(crate) is_given_up: bool,
    /// How many timers each client has had.
    timers: Vec<usize>,
}

pub(crate) struct Node {
    pub(crate) memory: Memory,
    pub(crate) is_dead: bool,
    /// What its NIC and the wire to it take, where that differs from the world's.
    pub(crate) cost: Option<CostModel>,
    pub(crate) nic: Nic,
}

/// Who posts on links: a fabric.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) processor: Server,
    /// The poll in which it last posted something: what it posts in one poll is one burst.
    posted_in: Option<u64>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.memory.keep();
    }
}

/// Whether chains can be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// The responder will find that the key is none of its.
    WrongKey,
    /// The responder has given it up; the client has yet to hear of it.
    Broken(Why),
    Down,
}

impl Standing {
    fn is_live(self) -> bool {
        matches!(self, Standing::Up | Standing::WrongKey)
    }
}

pub(crate) struct LinkState {
    pub(crate) client: usize,
    pub(crate) node: usize,
    pub(crate) standing: Standing,
    totals: Rc<TotalsCell>,
    /// Chains on their way to the node, or being executed there.
    chains: VecDeque<ChainRun>,
    /// Executed chains whose answers are on their way back, and when they arrive.
    answers: VecDeque<(ChainRun, Result<Answers, VerbError>, Nanos)>,
    is_executing: bool,
    is_answering: bool,
    last_arrival: Nanos,
    last_return: Nanos,
}

impl State {
    pub(crate) fn new(options: Options, choices: Box<dyn Choices>) -> State {
        State {
            options,
            choices,
            now: Nanos(0),
            agenda: Agenda::new(&options.pace),
            nodes: Vec::new(),
            links: Vec::new(),
            tasks: Vec::new(),
            woken: Arc::default(),
            clients: Vec::new(),
            polls: 0,
            swaps: 0,
            trace: Trace::new(options.record),
            observer: None,
            watch: (options.pace == Pace::Chosen).then(Watch::default),
            is_given_up: false,
            timers: Vec::new(),
        }
    }

    /// What things take at a node, in virtual time.
    fn cost(&self, node: usize) -> Option<CostModel> {
        match self.options.pace {
            Pace::Timed(cost) => Some(self.nodes[node].cost.unwrap_or(cost)),
            Pace::Even | Pace::Skewed | Pace::Chosen => None,
        }
    }

    pub(crate) fn add_node(&mut self, memory_len: u64) -> usize {
        self.nodes.push(Node {
            memory: Memory::zeroed(memory_len),
            is_dead: false,
            cost: None,
            nic: Nic::default(),
        });
        self.nodes.len() - 1
    }

    pub(crate) fn add_link(
        &mut self,
        client: usize,
        node: usize,
        standing: Standing,
        totals: &Rc<TotalsCell>,
    ) -> usize {
        let standing = if self.nodes[node].is_dead { Standing::Broken(Why::PeerLost) } else { standing };
        self.links.push(LinkState {
            client,
            node,
            standing,
            totals: totals.clone(),
            chains: VecDeque::new(),
            answers: VecDeque::new(),
            is_executing: false,
            is_answering: false,
            last_arrival: Nanos(0),
            last_return: Nanos(0),
        });
        self.links.len() - 1
    }

    pub(crate) fn add_timer(&mut self, client: usize, at: Nanos) -> Rc<Timer> {
        if self.timers.len() <= client {
            self.timers.resize(client + 1, 0);
        }
        self.timers[client] += 1;
        let cause = self.watch.as_ref().map_or(0, Watch::number);
        let timer = Rc::new(Timer::new(client, self.timers[client], cause));
        self.schedule(at, Actor::Fire(timer.clone()));
        timer
    }

    fn schedule(&mut self, at: Nanos, actor: Actor) {
        let (links, tasks) = (&self.links, &self.tasks);
        self.agenda.add(at, actor, |actor| match actor {
            // Nothing departs but in virtual time, which has no lanes.
            Actor::Execute(link) | Actor::Depart(link) => {
                Lane::new(LaneKind::Execute, links[*link].client, *link)
            }
            Actor::Answer(link) => Lane::new(LaneKind::Answer, links[*link].client, *link),
            Actor::Fire(timer) => Lane::new(LaneKind::Fire, timer.client, timer.number),
            Actor::Poll(id) => {
                let task = &tasks[id.0];
                let kind = if task.is_fault { LaneKind::Fault } else { LaneKind::Poll };
                Lane::new(kind, task.fabric, id.0)
            }
        });
    }

    /// Puts tasks that were woken on the agenda.
    pub(crate) fn note_woken(&mut self) {
        for id in self.woken.take() {
            let task = &mut self.tasks[id.0];
            if let Some(watch) = &self.watch {
                task.woken_by.push(watch.number());
            }
            if !task.is_on_agenda && !task.has_ended {
                task.is_on_agenda = true;
                self.schedule(self.now, Actor::Poll(id));
            }
        }
    }

    /// Takes what happens next, and lets the clock follow.
    pub(crate) fn next(&mut self, without_tasks: bool) -> Option<Actor> {
        self.note_woken();
        let tasks = &self.tasks;
        let allow = |actor: &Actor| match actor {
            Actor::Poll(id) => !without_tasks && !tasks[id.0].is_paused,
            Actor::Fire(_) | Actor::Execute(_) | Actor::Answer(_) | Actor::Depart(_) => true,
        };
        let (due, actor, lane) = match self.agenda.pick(self.choices.as_mut(), allow) {
            Picked::Next { due, actor, lane } => (due, actor, lane),
            Picked::Nothing => return None,
            Picked::GivenUp => {
                self.is_given_up = true;
                return None;
            }
        };
        if let (Some(watch), Some(lane)) = (&mut self.watch, lane) {
            watch.begin(lane);
            match &actor {
                Actor::Poll(id) => watch.causes(self.tasks[id.0].woken_by.drain(..)),
                Actor::Fire(timer) => watch.causes([timer.cause]),
                Actor::Execute(_) | Actor::Answer(_) | Actor::Depart(_) => {}
            }
        }
        self.now = match self.options.pace {
            Pace::Timed(_) => self.now.max(due),
            Pace::Chosen => self.now,
            // A timer takes the clock along; everything else just takes a moment.
            Pace::Even | Pace::Skewed => match actor {
                Actor::Fire(_) => Nanos(self.now.0 + 1).max(due),
                _ => Nanos(self.now.0 + 1),
            },
        };
        Some(actor)
    }

    fn latency(&mut self, cost: &CostModel) -> u64 {
        cost.one_way_ns + self.choices.below(cost.jitter_ns + 1, Point::Latency)
    }

    /// Chains reach their link with one doorbell.
    pub(crate) fn submit(&mut self, link: usize, chains: Vec<ChainRun>) {
        let is_timed = matches!(self.options.pace, Pace::Timed(_));
        let mut departs_at = self.now;
        if let Pace::Timed(cost) = self.options.pace {
            let client = &mut self.clients[self.links[link].client];
            let is_burst = client.posted_in.replace(self.polls) != Some(self.polls);
            let verbs: usize = chains.iter().map(ChainRun::verbs_left).sum();
            let busy_ns = if is_burst { cost.burst_ns } else { 0 } + verbs as u64 * cost.post_ns;
            departs_at = client.processor.serve(self.now, busy_ns * 1000);
        }
        let cause = self.watch.as_ref().map_or(0, Watch::number);
        for mut chain in chains {
            chain.cause = cause;
            (chain.departs_at, chain.arrives_at) =
                (departs_at, if is_timed { Nanos::NEVER } else { self.now });
            let why = match self.links[link].standing {
                Standing::Up | Standing::WrongKey => {
                    self.links[link].chains.push_back(chain);
                    continue;
                }
                Standing::Broken(why) => why,
                Standing::Down => Why::LinkDown,
            };
            let error = VerbError::refused(self.node_id(link), why);
            self.answer_later(link, chain, Err(error));
        }
        if !is_timed {
            self.schedule_execution(link);
        } else if departs_at > self.now {
            self.schedule(departs_at, Actor::Depart(link));
        } else {
            self.depart(link);
        }
    }

    /// What a link's client has got round to posting is on its way.
    pub(crate) fn depart(&mut self, link: usize) {
        let cost = self.cost(self.links[link].node).expect("only in virtual time is anything under way");
        let arrival = Nanos(self.now.0 + self.latency(&cost));
        let state = &mut self.links[link];
        state.last_arrival = state.last_arrival.max(arrival);
        let departing = |c: &&mut ChainRun| c.arrives_at == Nanos::NEVER && c.departs_at <= self.now;
        for chain in state.chains.iter_mut().filter(departing) {
            chain.arrives_at = state.last_arrival;
        }
        self.schedule_execution(link);
    }

    fn node_id(&self, link: usize) -> NodeId {
        NodeId(self.links[link].node as u16)
    }

    fn schedule_execution(&mut self, link: usize) {
        let state = &mut self.links[link];
        let Some(first) =
            state.chains.front().filter(|c| !state.is_executing && c.arrives_at != Nanos::NEVER)
        else {
            return;
        };
        state.is_executing = true;
        let at = first.arrives_at.max(self.now);
        self.schedule(at, Actor::Execute(link));
    }

    /// In virtual time: takes the NIC's next piece of a link's first chain one stage further. Each stage is an event, so
    /// that its queue is filled in the order in which pieces reach it, not in the order in which they set out.
    fn serve(&mut self, link: usize, cost: &CostModel) {
        let state = &mut self.links[link];
        let nic = &mut self.nodes[state.node].nic;
        let chain = state.chains.front_mut().expect("something is at the NIC");
        let mut done_at = self.now;
        if chain.stage == Stage::Wire {
            let piece = chain.prepare(self.options.grain, self.choices.as_mut());
            chain.stage = Stage::Arrived(piece);
            done_at = nic.take_in(cost, self.now, &piece);
        }
        if let Stage::Arrived(piece) = chain.stage
            && done_at == self.now
        {
            chain.stage = Stage::Served;
            done_at = nic.work(cost, self.now, &piece);
        }
        state.is_executing = true;
        self.schedule(done_at, Actor::Execute(link));
    }

    /// Executes the next piece of a link's first chain.
    pub(crate) fn execute(&mut self, link: usize) {
        self.links[link].is_executing = false;
        if self.links[link].standing == Standing::WrongKey && !self.links[link].chains.is_empty() {
            self.fail(link, Why::WrongKey, 0);
            return;
        }
        let cost = self.cost(self.links[link].node);
        let state = &mut self.links[link];
        let Some(chain) = state.chains.front_mut() else { return };
        let node = &mut self.nodes[state.node];
        assert!(!node.is_dead, "a dead node has no chains");
        if !chain.is_executed() {
            match &cost {
                Some(cost) if chain.stage != Stage::Served => return self.serve(link, cost),
                Some(_) => chain.stage = Stage::Wire,
                None => {
                    chain.prepare(self.options.grain, self.choices.as_mut());
                }
            }
            let (reach, reach_len) = chain.reach();
            let executed = chain.execute(&mut node.memory);
            let access = Access {
                now: self.now,
                client: state.client,
                node: NodeId(state.node as u16),
                at: executed.at,
                kind: executed.kind,
            };
            self.swaps += u64::from(matches!(access.kind, AccessKind::Swapped { .. }));
            if let Some(cost) = &cost {
                let leaves_at = node.nic.send_out(cost, self.now, executed.bytes_out);
                chain.leaves_at = chain.leaves_at.max(leaves_at);
            }
            let digest = digest(&access);
            if let Some(observer) = &mut self.observer {
                observer.on_access(&access, &node.memory);
            }
            if let Some(watch) = &mut self.watch {
                watch.causes([chain.cause]);
                // A CAS that lost, or a WRITE of what is there already, is as good as a READ.
                let is_write = executed.is_change;
                watch.touch(Touch { node: access.node, at: reach, len: reach_len as u32, is_write });
                let looked_at = self.observer.as_ref().map_or(&[][..], |o| o.looked_at());
                looked_at.iter().for_each(|t| watch.touch(*t));
            }
            let mut words = [None; 2];
            if self.trace.is_recorded() {
                let here = node.memory.bytes(access.at, executed.len);
                for (word, bytes) in words.iter_mut().zip(here.chunks_exact(8)) {
                    *word = Some(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
                }
            }
            self.trace.push(TraceLine::Access { access, words }, digest);
        }
        if chain.is_executed() {
            let mut chain = state.chains.pop_front().expect("it is the first");
            let answers = std::mem::take(&mut chain.answers);
            self.answer_later(link, chain, Ok(answers));
        }
        match cost {
            // What comes next on the link is behind this piece, and at the NIC already if it has arrived.
            Some(cost) if self.links[link].chains.front().is_some_and(|c| c.arrives_at <= self.now) => {
                self.serve(link, &cost);
            }
            _ => self.schedule_execution(link),
        }
    }

    fn answer_later(&mut self, link: usize, mut chain: ChainRun, answer: Result<Answers, VerbError>) {
        if chain.waiting.is_none() {
            return;
        }
        chain.cause = self.watch.as_ref().map_or(0, Watch::number);
        let mut at = self.now;
        if let Some(cost) = self.cost(self.links[link].node) {
            let returned = chain.leaves_at.max(self.now).0 + self.latency(&cost);
            at = self.links[link].last_return.max(Nanos(returned));
            self.links[link].last_return = at;
        }
        let state = &mut self.links[link];
        state.answers.push_back((chain, answer, at));
        if !state.is_answering {
            state.is_answering = true;
            self.schedule(at, Actor::Answer(link));
        }
    }

    /// Takes the first answer of a link off the wire; the caller hands it over once the state is free again.
    pub(crate) fn take_answer(&mut self, link: usize) -> Option<(Rc<Waiting>, Result<Answers, VerbError>)> {
        let now = self.now;
        let state = &mut self.links[link];
        state.is_answering = false;
        let (mut chain, answer, _) = state.answers.pop_front()?;
        if let Some(watch) = &mut self.watch {
            watch.causes([chain.cause]);
        }
        if answer.is_err() && state.standing != Standing::Down {
            state.standing = Standing::Down;
            state.totals.update(|t| t.links_lost += 1);
        }
        let client = state.client;
        if let Some((_, _, at)) = state.answers.front() {
            let at = now.max(*at);
            state.is_answering = true;
            self.schedule(at, Actor::Answer(link));
        }
        let line = TraceLine::Answered { now, client, link };
        self.trace.push(line, [3, client as u64, link as u64, now.0]);
        Some((chain.orphan()?, answer))
    }

    /// Breaks a link: the client is told so of every chain whose answer does not come through. The first `late` verbs that
    /// are still to be executed stay, and land some time; the others never do.
    pub(crate) fn fail(&mut self, link: usize, why: Why, late: usize) {
        let node = self.node_id(link);
        let state = &mut self.links[link];
        if !state.standing.is_live() {
            return;
        }
        state.standing = Standing::Broken(why);
        // Some answers were on the wire already: those come through in order, up to one.
        let through = self.choices.below(state.answers.len() as u64 + 1, Point::Fault) as usize;
        for (_, answer, _) in state.answers.iter_mut().skip(through) {
            *answer = Err(VerbError::maybe(node, why));
        }
        let chains = std::mem::take(&mut self.links[link].chains);
        let mut left = late;
        let mut stay = VecDeque::new();
        for mut chain in chains {
            let effect =
                if chain.has_begun || left > 0 || why == Why::Fenced { Effect::Maybe } else { Effect::None };
            chain.truncate(left);
            left -= chain.verbs_left();
            let mut told = ChainRun::new(farrow_fabric::Chain::new());
            told.waiting = chain.orphan();
            if !chain.is_executed() {
                stay.push_back(chain);
            }
            self.answer_later(link, told, Err(VerbError { node, effect, why }));
        }
        self.links[link].chains = stay;
    }

    /// Forgets what the responder still had to execute for a link: what a fence does.
    pub(crate) fn drain(&mut self, link: usize) {
        self.links[link].chains.clear();
    }

    /// How many verbs of a link are still to be executed.
    pub(crate) fn verbs_left(&self, link: usize) -> usize {
        self.links[link].chains.iter().map(ChainRun::verbs_left).sum()
    }

    /// The client of a link is no more: the first `late` verbs still to be executed land some time, the others never.
    pub(crate) fn orphan(&mut self, link: usize, late: usize) {
        let state = &mut self.links[link];
        state.standing = Standing::Down;
        state.answers.clear();
        let mut left = late;
        for chain in &mut state.chains {
            drop(chain.orphan());
            chain.truncate(left);
            left -= chain.verbs_left();
        }
        state.chains.retain(|c| !c.is_executed());
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        self.trace.note(|| TraceLine::Note { now, text: text() });
    }

    pub(crate) fn polled(&mut self, id: TaskId) {
        self.polls += 1;
        let line = TraceLine::Polled { now: self.now, task: id.0 };
        self.trace.push(line, [1, id.0 as u64, self.now.0, 0]);
    }

    pub(crate) fn fired(&mut self) {
        let now = self.now;
        self.trace.push(TraceLine::Fired { now }, [2, now.0, 0, 0]);
    }
}

fn digest(access: &Access) -> [u64; 4] {
    let (kind, a, b) = match access.kind {
        AccessKind::Read { len } => (4, len as u64, 0),
        AccessKind::Write { len } => (5, len as u64, 0),
        AccessKind::Swapped { old, new } => (6, old, new),
        AccessKind::NotSwapped { expected, old } => (7, expected, old),
        AccessKind::Added { old, new } => (8, old, new),
    };
    let place = (access.client as u64) << 48 | u64::from(access.node.0) << 32 | kind;
    [place, access.at.0 ^ access.now.0 << 32, a, b]
}
