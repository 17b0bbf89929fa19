//! The current view of each home, and the next one.

use super::links::{Links, Unlinked};
use super::shared::Shared;
use super::{Counts, Routes};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_fabric::{Fabric, Link, join_all};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId, Plan};
use farrow_mutant::{self as mutant, Mutant};
use farrow_protocol::{Home, Member};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The views in which one client works, all homes'.
pub(crate) struct HomeViews<F: Fabric, R> {
    routes: Rc<R>,
    links: Links<F, R>,
    plan: Plan,
    current: Vec<Place<F::Link>>,
    renaming: Shared<Result<(), String>>,
    /// Why the client has no other id, if that was refused.
    unnamed: RefCell<Option<String>>,
    /// The id that links and views belong to.
    id: Cell<ClientId>,
    counts: Rc<Counts>,
}

/// The view of one home, if it has one.
type Place<L> = RefCell<Option<Rc<Home<L>>>>;

/// Why there is no view of a home.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoWay {
    /// More nodes were lost than the policy survives.
    #[error("home {0} has lost all of its members")]
    NobodyLeft(HomeId),
    /// A member cannot be linked, and the cluster does not go on without it.
    #[error("{node} cannot be linked: {why}")]
    Unlinked {
        /// The member.
        node: NodeId,
        /// In words.
        why: String,
    },
    /// The view is as it should be: another one would not do better.
    #[error("its links are up")]
    NothingLost,
    /// The client was taken for lost, and gets no other id.
    #[error("this client was taken for lost, and has no other id: {0}")]
    Unnamed(String),
}

impl<F: Fabric, R: Routes<F>> HomeViews<F, R> {
    /// No view yet; `links` are those that were made already.
    pub(crate) fn new(
        fabric: F,
        routes: Rc<R>,
        plan: Plan,
        links: Vec<(F::Link, Epoch)>,
        counts: Rc<Counts>,
    ) -> Self {
        let homes = routes.map().homes.len();
        HomeViews {
            id: Cell::new(routes.id()),
            links: Links::new(fabric, routes.clone(), links, counts.clone()),
            routes,
            plan,
            current: (0..homes).map(|_| RefCell::default()).collect(),
            renaming: Shared::default(),
            unnamed: RefCell::default(),
            counts,
        }
    }

    fn place(&self, home: HomeId) -> &Place<F::Link> {
        &self.current[usize::from(home.0)]
    }

    /// The view that operations begin in, if there is one.
    pub(crate) fn current(&self, home: HomeId) -> Option<Rc<Home<F::Link>>> {
        self.place(home).borrow().clone()
    }

    /// The view to begin in; the first time it is put together.
    ///
    /// # Errors
    /// [`NoWay`].
    pub(crate) async fn view(&self, home: HomeId) -> Result<Rc<Home<F::Link>>, NoWay> {
        match self.current(home) {
            Some(view) if view.is_open() => Ok(view),
            _ => self.next(home, None).await,
        }
    }

    /// A view that may do better than `lost`, whose links failed, or which is closed to what was to be done.
    ///
    /// # Errors
    /// [`NoWay`].
    pub(crate) async fn renew(&self, lost: &Home<F::Link>) -> Result<Rc<Home<F::Link>>, NoWay> {
        self.next(lost.id(), Some(lost)).await
    }

    /// The node that `view` has as its primary does not answer requests, though the link to it may work. Makes the link, and
    /// the session with it, anew.
    ///
    /// # Errors
    /// [`NoWay`]; the view is left as it is.
    pub(crate) async fn reach_primary(&self, view: &Rc<Home<F::Link>>) -> Result<Rc<Home<F::Link>>, NoWay> {
        let home = view.id();
        let (map, id) = (self.routes.map(), self.id.get());
        let primary = view.primary().link.node();
        // A node that the latest map has passed over already is waited for in vain: no later map would come of it.
        let is_member = map.homes[usize::from(home.0)].has_member(primary);
        if self.current(home).is_some_and(|current| Rc::ptr_eq(&current, view)) && !is_member {
            self.place(home).take();
        } else if self.current(home).is_some_and(|current| Rc::ptr_eq(&current, view)) {
            match self.links.again(primary, &map).await {
                Ok(()) => {
                    self.place(home).take();
                }
                Err(unlinked) => self.settle(unlinked, &map, id).await?,
            }
        }
        self.next(home, None).await
    }

    /// The primary says that the home is not as this client's map has it. Waits a little, or until a later map is known.
    ///
    /// # Errors
    /// [`NoWay`].
    pub(crate) async fn look_again(&self, home: HomeId, waits: u32) -> Result<Rc<Home<F::Link>>, NoWay> {
        self.links.wait(waits, &self.routes.map()).await;
        self.view(home).await
    }

    async fn next(&self, home: HomeId, lost: Option<&Home<F::Link>>) -> Result<Rc<Home<F::Link>>, NoWay> {
        let is_closed_to_it = lost.is_some_and(|lost| !lost.is_open() && is_up(lost));
        loop {
            let (map, id) = (self.routes.map(), self.id.get());
            let entry = &map.homes[usize::from(home.0)];
            if let Some(view) = self.current(home)
                && !lost.is_some_and(|lost| std::ptr::eq(&*view, lost))
                && is_up(&view)
                && view.is_open() == entry.is_open
                && (view.is_open() || !is_closed_to_it)
            {
                return Ok(view);
            }
            if entry.members.is_empty() {
                return Err(NoWay::NobodyLeft(home));
            }
            if is_closed_to_it && !entry.is_open {
                self.wait_behind(&map).await;
                continue;
            }
            if lost.is_some_and(|lost| is_up(lost) && lost.epoch() == entry.epoch && lost.is_open()) {
                return Err(NoWay::NothingLost);
            }
            let links = match self.link_all(entry, &map).await {
                Ok(links) => links,
                Err(unlinked) => {
                    self.settle(unlinked, &map, id).await?;
                    continue;
                }
            };
            // M-3: a link that is later than the map was handed out behind a fence that the map does not know of.
            let is_late = links.iter().any(|(_, epoch)| *epoch > map.epoch);
            if !map.is_static() && is_late && !mutant::is(Mutant::LateLinkAccepted) {
                self.wait_behind(&map).await;
                continue;
            }
            if self.id.get() != id || self.routes.map().epoch != map.epoch {
                continue;
            }
            let members = entry.members.iter().zip(links);
            let members =
                members.map(|(m, (link, _))| Member { link, segment: self.plan.segment(m.segment) });
            let view = Home::new(home, members.collect()).of_epoch(entry.epoch);
            let view = Rc::new(if entry.is_open { view } else { view.closed() });
            self.counts.note(|c| c.views_made += 1);
            self.links.prune(&map);
            *self.place(home).borrow_mut() = Some(view.clone());
            return Ok(view);
        }
    }

    async fn link_all(&self, entry: &HomeEntry, map: &ClusterMap) -> Result<Vec<(F::Link, Epoch)>, Unlinked> {
        let links = entry.members.iter().map(|m| Box::pin(self.links.get(m.node, entry.epoch, map)));
        join_all(links.collect::<Vec<_>>()).await.into_iter().collect()
    }

    /// Does what there is to do about a node without a link, before another look at the map.
    async fn settle(&self, unlinked: Unlinked, map: &ClusterMap, id: ClientId) -> Result<(), NoWay> {
        match unlinked {
            Unlinked::MapChanged => {}
            Unlinked::Deposing => {
                self.counts.note(|c| c.map_waits += 1);
                self.links.wait_for_successor(map).await;
            }
            Unlinked::Evicted => self.rename(id).await?,
            Unlinked::Broken(node, why) => return Err(NoWay::Unlinked { node, why }),
        }
        Ok(())
    }

    async fn wait_behind(&self, map: &ClusterMap) {
        self.counts.note(|c| c.map_waits += 1);
        self.routes.newer_than(map.epoch).await;
    }

    /// The client was taken for lost: all links and views are another's, and it goes on under a new id.
    async fn rename(&self, old: ClientId) -> Result<(), NoWay> {
        if self.id.get() != old {
            return Ok(());
        }
        let done = |renamed: Result<(), String>| {
            if renamed.is_ok() {
                self.counts.note(|c| c.renamed += 1);
                self.links.forget();
                self.current.iter().for_each(|view| drop(view.take()));
                self.id.set(self.routes.id());
            }
            *self.unnamed.borrow_mut() = renamed.err();
        };
        self.renaming.join(|| self.routes.rename(old), done).await;
        match self.unnamed.borrow().clone() {
            Some(why) => Err(NoWay::Unnamed(why)),
            None => Ok(()),
        }
    }
}

/// Whether all links of a view work, as far as is known.
pub(crate) fn is_up<L: Link>(view: &Home<L>) -> bool {
    view.members().iter().all(|member| member.link.is_up())
}
