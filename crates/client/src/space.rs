//! Space to append to: extents asked for ahead of need, used by one client, sealed when their operations have ended.

use crate::Error;
use farrow_fabric::{Chain, Fabric, Link, Meter, VerbError, join_all};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId};
use farrow_protocol::{Appender, Extent, Home, Reservation};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// An extent on its way.
pub type Granting = Pin<Box<dyn Future<Output = Result<Extent, GrantError>>>>;

/// Who hands out extents: memory nodes over the control plane, or a simulated one.
pub trait Space: 'static {
    /// Asks `primary`, the home's, for at least `bytes` contiguous bytes. The request is sent at once; the future waits for
    /// the answer.
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting;

    /// Tells `primary`, that of the extent's home by now, that all operations in the extent have ended, `used` bytes of it
    /// filled. Does not wait.
    fn seal(&self, primary: NodeId, extent: &Extent, used: u64);

    /// The client is about to leave, and some of its extents may be open still: they are to be cleaned up behind it.
    fn leaves_open(&self) {}
}

/// Why no extent was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The home's blocks are all in use.
    #[error("{0}")]
    NoSpace(String),
    /// The home is about to change its view, or has, and one of the two does not know it yet.
    #[error("{0}")]
    NotNow(String),
    /// The node did not answer, or refused.
    #[error("{0}")]
    Unavailable(String),
}

impl From<GrantError> for Error {
    fn from(e: GrantError) -> Error {
        match e {
            GrantError::NoSpace(why) => Error::Full {
                why: format!("{why}: delete does not free space yet; give nodes more memory (node.memory)"),
            },
            GrantError::NotNow(why) | GrantError::Unavailable(why) => Error::Unavailable { why },
        }
    }
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The primary did not grant an extent.
    Grant(GrantError),
    /// A backup could not be told of it: another view may do better.
    Link(VerbError),
    /// Others of this client work in a later view already.
    Overtaken,
}

/// Whose extents those are that a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    owner: ClientId,
    primary: NodeId,
    /// Of the view in which that is the primary.
    epoch: Epoch,
}

/// One client's extents of one home.
///
/// What was asked for or granted outlives the operation that asked: a deadline that passes meanwhile, or a backup that is
/// out of reach, must not cost an extent a time, for nobody would ever write there.
#[derive(Default)]
pub(crate) struct HomeExtents {
    /// Under which id, and from whom they are; until the first is asked for, nobody.
    holder: Cell<Option<Holder>>,
    current: RefCell<Option<Rc<Appender>>>,
    /// Asked for.
    coming: RefCell<Vec<Coming>>,
    /// Granted, and not announced at all backups yet.
    unused: RefCell<Vec<Unused>>,
    is_fetching: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
    retiring: RefCell<Vec<Rc<Appender>>>,
    /// Whether something was given up under the present id that may be open in the table of a node.
    has_given_up: Cell<bool>,
}

/// An extent of at least so many bytes that was asked for.
struct Coming {
    bytes: u64,
    holder: Holder,
    granting: Granting,
}

/// An extent that was granted.
struct Unused {
    holder: Holder,
    extent: Extent,
}

/// Ends a fetch, however it ended, and lets the others try.
struct Fetching<'a>(&'a HomeExtents);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.is_fetching.set(false);
        self.0.waiters.take().into_iter().for_each(Waker::wake);
    }
}

/// Puts back what an operation took and did not come to use.
struct Kept<'a, T> {
    list: &'a RefCell<Vec<T>>,
    kept: Option<T>,
}

impl<'a, T> Kept<'a, T> {
    fn new(list: &'a RefCell<Vec<T>>, kept: T) -> Kept<'a, T> {
        Kept { list, kept: Some(kept) }
    }

    fn get(&mut self) -> &mut T {
        self.kept.as_mut().expect("kept until it is used")
    }

    fn used(mut self) -> T {
        self.kept.take().expect("kept until it is used")
    }
}

impl<T> Drop for Kept<'_, T> {
    fn drop(&mut self) {
        self.list.borrow_mut().extend(self.kept.take());
    }
}

impl HomeExtents {
    /// Room for `len` bytes. Asks for the next extent when half of this one is used, so that a PUT seldom waits.
    pub(crate) async fn reserve<F: Fabric, S: Space>(
        &self,
        space: &S,
        owner: ClientId,
        home: &Home<F::Link>,
        extent_len: u64,
        len: usize,
    ) -> Result<(Reservation, Rc<Appender>), NoRoom> {
        let primary = home.primary().link.node();
        let holder = Holder { owner, primary, epoch: home.epoch() };
        if !self.follow(holder) {
            return Err(NoRoom::Overtaken);
        }
        if len as u64 > extent_len {
            let appender = Rc::new(self.fetch::<F, S>(space, holder, home, len as u64).await?);
            self.seal_quiet::<F, S>(space, home);
            let place = appender.reserve(len).expect("as much was asked for");
            self.retiring.borrow_mut().push(appender.clone());
            return Ok((place, appender));
        }
        loop {
            if let Some(appender) = &*self.current.borrow()
                && let Some(place) = appender.reserve(len)
            {
                let is_ahead = !self.coming.borrow().is_empty() || !self.unused.borrow().is_empty();
                if appender.left() < appender.extent().len / 2 && !self.is_fetching.get() && !is_ahead {
                    let granting = space.open(primary, home.id(), extent_len);
                    self.coming.borrow_mut().push(Coming { bytes: extent_len, holder, granting });
                }
                return Ok((place, appender.clone()));
            }
            if self.is_fetching.replace(true) {
                let mut asked = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut asked, true) || !self.is_fetching.get() {
                        return Poll::Ready(());
                    }
                    self.waiters.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                })
                .await;
                continue;
            }
            let _fetching = Fetching(self);
            let appender = self.fetch::<F, S>(space, holder, home, extent_len).await?;
            let full = self.current.replace(Some(Rc::new(appender)));
            self.retiring.borrow_mut().extend(full);
            self.seal_quiet::<F, S>(space, home);
        }
    }

    /// An extent of at least `bytes` that the backups know of: one that is there, that is coming, or a new one.
    async fn fetch<F: Fabric, S: Space>(
        &self,
        space: &S,
        holder: Holder,
        home: &Home<F::Link>,
        bytes: u64,
    ) -> Result<Appender, NoRoom> {
        let take = |unused: &Unused| unused.holder == holder && unused.extent.len >= bytes;
        let unused = self.unused.borrow().iter().position(take);
        let unused = match unused {
            Some(index) => self.unused.borrow_mut().swap_remove(index),
            None => {
                let take = |coming: &Coming| coming.holder == holder && coming.bytes >= bytes;
                let index = self.coming.borrow().iter().position(take);
                let coming = match index {
                    Some(index) => self.coming.borrow_mut().swap_remove(index),
                    None => Coming { bytes, holder, granting: space.open(holder.primary, home.id(), bytes) },
                };
                let mut coming = Kept::new(&self.coming, coming);
                let granted = poll_fn(|cx| coming.get().granting.as_mut().poll(cx)).await;
                drop(coming.used());
                if let Err(GrantError::Unavailable(_)) = granted {
                    // It may have been granted before the answer was lost.
                    self.has_given_up.set(true);
                }
                Unused { holder, extent: granted.map_err(NoRoom::Grant)? }
            }
        };
        let mut unused = Kept::new(&self.unused, unused);
        announce::<F>(home, &unused.get().extent).await.map_err(NoRoom::Link)?;
        if self.holder.get() != Some(holder) {
            return Err(NoRoom::Overtaken);
        }
        Ok(Appender::new(unused.used().extent))
    }

    /// Forgets what is of no use to `holder`. Extents that were announced are in the table of a new primary too; those that
    /// were not may be somebody else's there by now. Those of another id are not this client's any more. `false`: somebody is
    /// ahead of the one who asks.
    fn follow(&self, holder: Holder) -> bool {
        let before = self.holder.get();
        if before == Some(holder) {
            return true;
        }
        if before.is_some_and(|before| before.owner == holder.owner && before.epoch > holder.epoch) {
            return false;
        }
        self.holder.set(Some(holder));
        let is_usable = |other: &Holder| other.owner == holder.owner && other.primary == holder.primary;
        let held = || self.unused.borrow().len() + self.coming.borrow().len();
        let before_that = held();
        self.unused.borrow_mut().retain(|unused| is_usable(&unused.holder));
        self.coming.borrow_mut().retain(|coming| is_usable(&coming.holder));
        // Their records may have come to the next primary all the same, with a copy of the last one's table.
        self.has_given_up.set(self.has_given_up.get() || held() < before_that);
        self.unused.borrow_mut().iter_mut().for_each(|unused| unused.holder = holder);
        self.coming.borrow_mut().iter_mut().for_each(|coming| coming.holder = holder);
        if before.is_some_and(|before| before.owner != holder.owner) {
            self.current.take();
            self.retiring.take();
            // Whoever evicted the other id has cleaned up behind it.
            self.has_given_up.set(false);
        }
        true
    }

    /// Seals full extents whose operations have all ended.
    fn seal_quiet<F: Fabric, S: Space>(&self, space: &S, home: &Home<F::Link>) {
        self.retiring.borrow_mut().retain(|appender| {
            if appender.is_quiet() {
                seal::<F, S>(space, home, appender);
            }
            !appender.is_quiet()
        });
    }

    /// Seals everything that is quiet, the current extent too: the client leaves.
    pub(crate) fn close<F: Fabric, S: Space>(&self, space: &S, owner: ClientId, home: &Home<F::Link>) {
        if self.holder.get().is_none() {
            return;
        }
        self.follow(Holder { owner, primary: home.primary().link.node(), epoch: home.epoch() });
        self.retiring.borrow_mut().extend(self.current.take());
        self.seal_quiet::<F, S>(space, home);
        for unused in self.unused.take() {
            seal::<F, S>(space, home, &Appender::new(unused.extent));
        }
        // One that has arrived and was not needed. One that is still on its way is sealed by who asks for it.
        for mut coming in self.coming.take() {
            if let Poll::Ready(Ok(unused)) =
                coming.granting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                space.seal(home.primary().link.node(), &unused, 0);
            }
        }
        if self.has_given_up.get() || !self.retiring.borrow().is_empty() {
            space.leaves_open();
        }
    }

    /// As [`HomeExtents::close`], when there is no view of the home to do it in.
    pub(crate) fn abandon<S: Space>(&self, space: &S) {
        if self.holder.get().is_some() {
            space.leaves_open();
        }
    }

    /// Bytes in extents that this client holds open, at one member.
    pub(crate) fn open_bytes(&self) -> u64 {
        let current = self.current.borrow();
        let retiring = self.retiring.borrow();
        let unused = self.unused.borrow().iter().map(|unused| unused.extent.len).sum::<u64>();
        current.iter().chain(retiring.iter()).map(|a| a.extent().len).sum::<u64>() + unused
    }
}

/// Writes the records of a new extent at the backups before the first entry goes there, so that whoever survives knows
/// whose it is.
///
/// Who joins the home later has the primary's table as it stood when the home was closed, and must find the extent there: it has
/// to be granted before that. What a backup was told over a link of this view was, since the fence would have broken that. Without
/// a backup, the primary's own link has to say so; a client that slept may ask a home for an extent that has other members by now.
async fn announce<F: Fabric>(home: &Home<F::Link>, extent: &Extent) -> Result<(), VerbError> {
    let meter = Meter::new();
    if home.backups().is_empty() {
        let primary = home.primary();
        let record = Chain::new().read_word(primary.segment.extent_record(extent.first));
        return meter.post(&primary.link, record).await.map(drop);
    }
    let posted = home.backups().iter().flat_map(|member| {
        let records: Vec<u64> = (extent.first..extent.first + u64::from(extent.count)).collect();
        let chains: Vec<_> = records
            .chunks(farrow_fabric::MAX_CHAIN)
            .map(|some| {
                let record = |chain: Chain, e: &u64| {
                    chain.write_word(member.segment.extent_record(*e), extent.word.raw())
                };
                meter.post(&member.link, some.iter().fold(Chain::new(), record))
            })
            .collect();
        chains
    });
    for answer in join_all(posted.collect::<Vec<_>>()).await {
        answer?;
    }
    Ok(())
}

fn seal<F: Fabric, S: Space>(space: &S, home: &Home<F::Link>, appender: &Appender) {
    let extent = appender.extent();
    let meter = Meter::new();
    for member in home.backups() {
        for e in extent.first..extent.first + u64::from(extent.count) {
            let at = member.segment.extent_record(e);
            meter.post_behind(&member.link, Chain::new().write_word(at, extent.word.sealed().raw()));
        }
    }
    space.seal(home.primary().link.node(), extent, appender.used());
}
