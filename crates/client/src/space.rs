//! Space to append to: extents asked for ahead of need, used by one client, sealed when their operations have ended.

use crate::Error;
use farrow_fabric::{Chain, Fabric, Meter, join_all};
use farrow_layout::HomeId;
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
    /// Asks the home's primary for at least `bytes` contiguous bytes. The request is sent at once; the future waits for
    /// the answer.
    fn open(&self, home: HomeId, bytes: u64) -> Granting;

    /// Tells the home's primary that all operations in the extent have ended, `used` bytes of it filled. Does not wait.
    fn seal(&self, extent: &Extent, used: u64);
}

/// Why no extent was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The home's blocks are all in use.
    #[error("{0}")]
    NoSpace(String),
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
            GrantError::Unavailable(why) => Error::Unavailable { why },
        }
    }
}

/// One client's extents of one home.
#[derive(Default)]
pub(crate) struct HomeExtents {
    current: RefCell<Option<Rc<Appender>>>,
    ahead: RefCell<Option<Granting>>,
    is_fetching: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
    retiring: RefCell<Vec<Rc<Appender>>>,
    /// Granted, but not announced, for a member could not be reached: whoever tries again takes these first. Else a client
    /// that retries while a node is down would use up the home.
    kept: RefCell<Vec<Extent>>,
}

/// Ends a fetch, however it ended, and lets the others try.
struct Fetching<'a>(&'a HomeExtents);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.is_fetching.set(false);
        self.0.waiters.take().into_iter().for_each(Waker::wake);
    }
}

impl HomeExtents {
    /// Room for `len` bytes. Asks for the next extent when half of this one is used, so that a PUT seldom waits.
    pub(crate) async fn reserve<F: Fabric, S: Space>(
        &self,
        fabric: &F,
        space: &S,
        home: &Home<F::Link>,
        extent_len: u64,
        len: usize,
    ) -> Result<(Reservation, Rc<Appender>), Error> {
        if len as u64 > extent_len {
            let extent = match self.take_kept(len as u64) {
                Some(extent) => extent,
                None => space.open(home.id(), len as u64).await?,
            };
            self.announce(fabric, home, &extent).await?;
            let appender = Rc::new(Appender::new(extent));
            let place = appender.reserve(len).expect("as much was asked for");
            self.retiring.borrow_mut().push(appender.clone());
            return Ok((place, appender));
        }
        loop {
            if let Some(appender) = &*self.current.borrow()
                && let Some(place) = appender.reserve(len)
            {
                if appender.left() < appender.extent().len / 2 && !self.is_fetching.get() {
                    self.ahead.borrow_mut().get_or_insert_with(|| space.open(home.id(), extent_len));
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
            let extent = match self.take_kept(extent_len) {
                Some(extent) => extent,
                None => {
                    let ahead = self.ahead.take();
                    ahead.unwrap_or_else(|| space.open(home.id(), extent_len)).await?
                }
            };
            self.announce(fabric, home, &extent).await?;
            let full = self.current.replace(Some(Rc::new(Appender::new(extent))));
            self.retiring.borrow_mut().extend(full);
            self.seal_quiet::<F, S>(space, home);
        }
    }

    /// The first extent with room for `len` bytes that was granted and not used.
    fn take_kept(&self, len: u64) -> Option<Extent> {
        let mut kept = self.kept.borrow_mut();
        let place = kept.iter().position(|extent| extent.len >= len)?;
        Some(kept.remove(place))
    }

    async fn announce<F: Fabric>(
        &self,
        fabric: &F,
        home: &Home<F::Link>,
        extent: &Extent,
    ) -> Result<(), Error> {
        let announced = announce(fabric, home, extent).await;
        if announced.is_err() {
            self.kept.borrow_mut().push(*extent);
        }
        announced
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
    pub(crate) fn close<F: Fabric, S: Space>(&self, space: &S, home: &Home<F::Link>) {
        self.retiring.borrow_mut().extend(self.current.take());
        self.seal_quiet::<F, S>(space, home);
        self.kept.take().iter().for_each(|unused| space.seal(unused, 0));
        // One that has arrived and was not needed. One that is still on its way is sealed by who asks for it.
        if let Some(mut ahead) = self.ahead.take()
            && let Poll::Ready(Ok(unused)) = ahead.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            space.seal(&unused, 0);
        }
    }

    /// Bytes in extents that this client holds open, at one member.
    pub(crate) fn open_bytes(&self) -> u64 {
        let current = self.current.borrow();
        let retiring = self.retiring.borrow();
        current.iter().chain(retiring.iter()).map(|a| a.extent().len).sum()
    }
}

/// Writes the records of a new extent at the backups before the first entry goes there, so that whoever survives knows
/// whose it is.
async fn announce<F: Fabric>(_: &F, home: &Home<F::Link>, extent: &Extent) -> Result<(), Error> {
    let meter = Meter::new();
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
        answer.map_err(|e| Error::Unavailable { why: e.to_string() })?;
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
    space.seal(extent, appender.used());
}
