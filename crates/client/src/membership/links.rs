//! The current link to each node, and making it anew.

use super::shared::{Shared, first};
use super::{Counts, LinkError, Routes};
use farrow_control::coordination::Decision;
use farrow_control::map::ClusterMap;
use farrow_fabric::{Fabric, Link, Nanos};
use farrow_layout::{Epoch, NodeId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// The first wait after a node could not be linked; each one is twice as long,
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// up to this.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait for the map that goes on without a node. It may never come: a node that holds the last copy of something is
/// waited for, and one that was silent for a moment may be heard again.
const DEPOSING_WAIT: Duration = Duration::from_millis(200);
/// The coordinator hears of a node that could not be linked so often in a row.
const TELLING: u32 = 2;
/// Looks at a link that works still and is to be fenced, before it is made anew all the same: a link may be broken at the
/// node and not know it yet.
const LOOKS: u32 = 4;

/// One client's links, one a node.
pub(super) struct Links<F: Fabric, R> {
    fabric: F,
    routes: Rc<R>,
    nodes: RefCell<BTreeMap<NodeId, Rc<Way<F::Link>>>>,
    counts: Rc<Counts>,
}

/// The way to one node.
struct Way<L> {
    link: RefCell<Option<(L, Epoch)>>,
    attempt: Shared<Attempt<L>>,
    /// In a row.
    failures: Cell<u32>,
    /// When the coordinator was told first, of those in a row.
    told: Cell<Option<Nanos>>,
    retry_at: Cell<Nanos>,
    /// What came of the last attempt, if it failed.
    verdict: RefCell<Option<Verdict>>,
}

/// What one attempt to make a link came to.
enum Attempt<L> {
    Linked(L, Epoch),
    Evicted,
    Failed(String, Option<Decision>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Evicted,
    Failed(String, Option<Decision>),
}

/// Why there is no link of the wanted epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unlinked {
    /// The cluster goes on without the node: wait for the map.
    Deposing,
    /// A later map is known: it may name other nodes.
    MapChanged,
    /// The client needs another id.
    Evicted,
    /// It is this client's way to the node that is broken, or nobody knows better.
    Broken(NodeId, String),
}

impl<L> Default for Way<L> {
    fn default() -> Self {
        Way {
            link: RefCell::default(),
            attempt: Shared::default(),
            failures: Cell::default(),
            told: Cell::default(),
            retry_at: Cell::new(Nanos::default()),
            verdict: RefCell::default(),
        }
    }
}

impl<L: Link> Way<L> {
    /// The link, if it works as far as is known.
    fn up(&self) -> Option<(L, Epoch)> {
        self.link.borrow().as_ref().filter(|(link, _)| link.is_up()).cloned()
    }
}

impl<F: Fabric, R: Routes<F>> Links<F, R> {
    /// Nothing but the links that are given.
    pub(super) fn new(
        fabric: F,
        routes: Rc<R>,
        made: Vec<(F::Link, Epoch)>,
        counts: Rc<Counts>,
    ) -> Links<F, R> {
        let links = Links { fabric, routes, nodes: RefCell::default(), counts };
        for (link, epoch) in made {
            let way = links.way(link.node());
            *way.link.borrow_mut() = Some((link, epoch));
        }
        links
    }

    fn way(&self, node: NodeId) -> Rc<Way<F::Link>> {
        self.nodes.borrow_mut().entry(node).or_default().clone()
    }

    /// A link to `node` that works and is of epoch `needed` at least; the one that is there, or a new one.
    ///
    /// As long as `map` is the latest, it is tried again and again where the coordinator has the say; in a static cluster, and
    /// where the coordinator says that it is this client's way, once in each interval of backing off.
    pub(super) async fn get(
        &self,
        node: NodeId,
        needed: Epoch,
        map: &ClusterMap,
    ) -> Result<(F::Link, Epoch), Unlinked> {
        let mut looks = 0;
        loop {
            // Each time: all are forgotten when the client gets another id.
            let way = self.way(node);
            match way.up() {
                Some((link, epoch)) if epoch >= needed || map.is_static() => return Ok((link, epoch)),
                // The map says that the fence is coming: the node just has not heard of it yet.
                Some(_) if looks < LOOKS => {
                    self.pause(SHORTEST_WAIT * (1 << looks), map).await?;
                    looks += 1;
                    continue;
                }
                _ => {}
            }
            if self.fabric.now() < way.retry_at.get() {
                let verdict = way.verdict.borrow().clone();
                match verdict {
                    Some(Verdict::Failed(_, Some(Decision::Deposing))) => return Err(Unlinked::Deposing),
                    Some(Verdict::Failed(why, Some(Decision::YourWay))) => {
                        return Err(Unlinked::Broken(node, why));
                    }
                    Some(Verdict::Failed(why, None)) if map.is_static() => {
                        return Err(Unlinked::Broken(node, why));
                    }
                    _ => {
                        let left = way.retry_at.get().since(self.fabric.now());
                        self.pause(Duration::from_nanos(left), map).await?;
                        continue;
                    }
                }
            }
            self.attempt(node, map).await?;
            looks = 0;
        }
    }

    /// Makes the link to `node` anew, whether the one that is there works or not; if there is no new one, the old one stays.
    pub(super) async fn again(&self, node: NodeId, map: &ClusterMap) -> Result<(), Unlinked> {
        self.attempt(node, map).await?;
        let verdict = self.way(node).verdict.borrow().clone();
        match verdict {
            None => Ok(()),
            Some(Verdict::Evicted) => Err(Unlinked::Evicted),
            Some(Verdict::Failed(_, Some(Decision::Deposing))) => Err(Unlinked::Deposing),
            Some(Verdict::Failed(why, None)) if map.is_static() => Err(Unlinked::Broken(node, why)),
            // Nobody was asked yet, or nobody knows yet.
            Some(Verdict::Failed(_, None | Some(Decision::Undecided))) => {
                let left = self.way(node).retry_at.get().since(self.fabric.now());
                self.pause(Duration::from_nanos(left), map).await?;
                Err(Unlinked::MapChanged)
            }
            Some(Verdict::Failed(why, Some(Decision::YourWay))) => Err(Unlinked::Broken(node, why)),
        }
    }

    /// One attempt, together with all who wait for it.
    async fn attempt(&self, node: NodeId, map: &ClusterMap) -> Result<(), Unlinked> {
        let way = self.way(node);
        let is_static = map.is_static();
        let is_telling = !is_static && way.failures.get() + 1 >= TELLING;
        let start = || {
            let now = self.fabric.now();
            let told = way.told.get().or(is_telling.then_some(now));
            way.told.set(told);
            let for_ns = told.map_or(0, |told| now.since(told));
            let routes = self.routes.clone();
            let counts = self.counts.clone();
            let attempt = async move {
                match routes.link(node).await {
                    Ok((link, epoch)) => Attempt::Linked(link, epoch),
                    Err(LinkError::Evicted) => Attempt::Evicted,
                    Err(LinkError::Unreachable(why)) if is_telling => {
                        counts.note(|c| c.reports += 1);
                        let decision = routes.report(node, for_ns, why.clone()).await;
                        Attempt::Failed(why, Some(decision))
                    }
                    Err(LinkError::Unreachable(why)) => Attempt::Failed(why, None),
                }
            };
            Box::pin(attempt) as _
        };
        let joined = way.attempt.join(start, |attempt| self.note(&way, attempt));
        // A node that does not answer must not hold up those whose map knows better by now.
        match first(joined, self.routes.newer_than(map.epoch)).await {
            false => Err(Unlinked::MapChanged),
            true if *way.verdict.borrow() == Some(Verdict::Evicted) => Err(Unlinked::Evicted),
            true => Ok(()),
        }
    }

    fn note(&self, way: &Way<F::Link>, attempt: Attempt<F::Link>) {
        let verdict = match attempt {
            Attempt::Linked(link, epoch) => {
                self.counts.note(|c| c.links_made += 1);
                *way.link.borrow_mut() = Some((link, epoch));
                way.failures.set(0);
                way.told.set(None);
                way.retry_at.set(Nanos::default());
                None
            }
            Attempt::Evicted => Some(Verdict::Evicted),
            Attempt::Failed(why, decision) => {
                self.counts.note(|c| c.links_failed += 1);
                let failures = way.failures.get();
                way.failures.set(failures.saturating_add(1));
                let wait = (SHORTEST_WAIT * (1 << failures.min(7))).min(LONGEST_WAIT).as_nanos() as u64;
                let wait = wait / 2 + self.fabric.random() % (wait / 2 + 1);
                way.retry_at.set(self.fabric.now() + Duration::from_nanos(wait));
                Some(Verdict::Failed(why, decision))
            }
        };
        *way.verdict.borrow_mut() = verdict;
    }

    /// Backs off for the `waits`th time, but only as long as `map` is the latest.
    pub(super) async fn wait(&self, waits: u32, map: &ClusterMap) {
        let _ = self.pause(SHORTEST_WAIT * (1 << waits.min(2)), map).await;
    }

    /// Waits, but only as long as `map` is the latest.
    async fn pause(&self, wait: Duration, map: &ClusterMap) -> Result<(), Unlinked> {
        let sleep = self.fabric.sleep_until(self.fabric.now() + wait);
        let has_slept = first(sleep, self.routes.newer_than(map.epoch)).await;
        if has_slept { Ok(()) } else { Err(Unlinked::MapChanged) }
    }

    /// Waits for a later map than `map`, or until nodes that are to go are worth another look.
    pub(super) async fn wait_for_successor(&self, map: &ClusterMap) {
        // Whichever it was, the map is looked at next.
        let _ = self.pause(DEPOSING_WAIT, map).await;
    }

    /// Drops links to nodes that are not there any more.
    pub(super) fn prune(&self, map: &ClusterMap) {
        let is_up = |node: &NodeId| map.node(*node).is_some_and(|entry| entry.is_up());
        self.nodes.borrow_mut().retain(|node, _| is_up(node));
    }

    /// Forgets all links: they were another client's, by now.
    pub(super) fn forget(&self) {
        let ways = std::mem::take(&mut *self.nodes.borrow_mut());
        ways.values().for_each(|way| way.attempt.forget());
    }
}
