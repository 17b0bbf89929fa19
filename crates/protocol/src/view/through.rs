//! Operations that go on when their view is lost: in the next one, once it is known what they have done so far.

use super::{InDoubt, Settled, settle_in_doubt};
use crate::mutant::{self, Mutant};
use crate::{
    Commit, Concluded, Condition, Context, DeleteOutcome, Event, Failure, Found, GetOutcome, Home, Known,
    Place, ProtocolError, PutOutcome, Replaced, Staged, Target, delete, exists, get, put,
};
use farrow_fabric::{Effect, Fabric};
use std::rc::Rc;

/// Where a client gets the next view of a home.
#[allow(async_fn_in_trait)] // Single-threaded throughout: no bound is missing.
pub trait Views<F: Fabric> {
    /// A view that may work where `lost` did not: lost links made anew, or dead members left out. Waits for it.
    ///
    /// It may be a closed one, in which reads go on, unless `lost` is that very view and none of its links is lost: then
    /// somebody wants to change something, and waits until it opens.
    ///
    /// When it returns, no verb that this client has posted on a link of `lost` that was broken will execute any more: the
    /// node has torn down its end before it gives a new one, or has fenced.
    ///
    /// # Errors
    /// There will be none, or not in time.
    async fn renew(&self, lost: &Home<F::Link>) -> Result<Rc<Home<F::Link>>, NoView>;
}

/// No view can be had: more nodes are lost than the home survives, or the control plane does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoView;

/// Views that one operation may lose before it gives up.
const MOST_VIEWS: u32 = 64;

/// An operation on its way through views.
struct Through<'a, F: Fabric, V> {
    base: &'a Context<'a, F>,
    views: &'a V,
    view: Option<Rc<Home<F::Link>>>,
    lost: u32,
}

impl<'a, F: Fabric, V: Views<F>> Through<'a, F, V> {
    fn new(base: &'a Context<'a, F>, views: &'a V) -> Self {
        Through { base, views, view: None, lost: 0 }
    }

    fn context(&self) -> Context<'_, F> {
        match &self.view {
            Some(view) => self.base.in_view(view),
            None => *self.base,
        }
    }

    /// Goes on to the next view after `failure`, if that helps.
    async fn renew(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_of_view() || self.lost == MOST_VIEWS {
            return Err(failure);
        }
        self.lost += 1;
        if failure.error == ProtocolError::Closed {
            self.base.note(Event::WaitedForOpen);
        }
        let lost = self.view.as_deref().unwrap_or(self.base.home);
        let view = self.views.renew(lost).await;
        self.view = Some(view.map_err(|NoView| failure)?);
        self.base.note(Event::RenewedView);
        Ok(())
    }

    /// Settles what `failure` left in doubt, in as many views as it takes. `place` is what goes before the word when the
    /// change has to be tried again as it is.
    async fn settle<C: Commit>(
        &mut self,
        commit: C,
        mut failure: Failure,
        place: Place<'_>,
    ) -> Result<Settled, Failure> {
        let doubt = failure.in_doubt.filter(|_| !mutant::is(Mutant::RepeatedBlindly));
        let Some(doubt) = doubt else {
            self.renew(failure).await?;
            return Ok(Settled::NotApplied);
        };
        let epoch = self.context().home.epoch();
        loop {
            self.renew(failure).await?;
            let was_closed = self.context().home.epoch() != epoch;
            failure = match self.settle_in_view(commit, &doubt, was_closed, place).await {
                Ok(Settled::Unknown) => return Err(unknown(doubt)),
                Ok(settled) => return Ok(settled),
                Err(failure) => failure.after(true).leaving(Some(doubt)),
            };
        }
    }

    async fn settle_in_view<C: Commit>(
        &self,
        commit: C,
        doubt: &InDoubt,
        was_closed: bool,
        place: Place<'_>,
    ) -> Result<Settled, Failure> {
        let cx = self.context();
        loop {
            let settled = settle_in_doubt(&cx, commit, doubt).await?;
            if settled != Settled::NotYet || was_closed || mutant::is(Mutant::NotTriedAgain) {
                return Ok(settled);
            }
            // Backups may hold the new word already. Starting over could end in another slot and leave it there, and a backup
            // that becomes the primary would bring it up.
            cx.note(Event::TriedChangeAgain);
            if let Replaced::Won = commit.replace(&cx, &doubt.again(place)).await? {
                commit.conclude(&cx, doubt.slot, doubt.to, Concluded::Update);
                return Ok(Settled::Standing);
            }
        }
    }
}

fn unknown(doubt: InDoubt) -> Failure {
    let why = ProtocolError::Overtaken { word: doubt.to };
    Failure { error: why, effect: Effect::Maybe, in_doubt: Some(doubt) }
}

/// What changes nothing begins anew in each view.
async fn read_through<F: Fabric, V: Views<F>, T>(
    cx: &Context<'_, F>,
    views: &V,
    read: impl AsyncFn(&Context<'_, F>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut through = Through::new(cx, views);
    loop {
        match read(&through.context()).await {
            Err(failure) => through.renew(failure).await?,
            Ok(found) => {
                if !through.context().home.is_open() {
                    cx.note(Event::ReadClosed);
                }
                return Ok(found);
            }
        }
    }
}

/// As [`get`], through any number of views.
///
/// # Errors
/// As [`get`]; an error of a link only when no view can be had.
pub async fn get_through<F: Fabric, C: Commit, V: Views<F>>(
    cx: &Context<'_, F>,
    views: &V,
    commit: C,
    known: Known,
    target: &Target,
) -> Result<GetOutcome, Failure> {
    read_through(cx, views, async |cx| get(cx, commit, known, target).await).await
}

/// As [`exists`], through any number of views.
///
/// # Errors
/// As [`exists`]; an error of a link only when no view can be had.
pub async fn exists_through<F: Fabric, C: Commit, V: Views<F>>(
    cx: &Context<'_, F>,
    views: &V,
    commit: C,
    known: Known,
) -> Result<Option<Found>, Failure> {
    read_through(cx, views, async |cx| exists(cx, commit, known).await).await
}

/// As [`put`], through any number of views. What a lost view leaves in doubt is settled, never blindly repeated.
///
/// # Errors
/// As [`put`]. [`crate::ProtocolError::Overtaken`]: too much happened to the slot meanwhile to tell whether the value was there.
pub async fn put_through<F: Fabric, C: Commit, V: Views<F>>(
    cx: &Context<'_, F>,
    views: &V,
    commit: C,
    mut known: Known,
    condition: Condition,
    staged: &Staged,
    unused: &mut bool,
) -> Result<PutOutcome, Failure> {
    let mut through = Through::new(cx, views);
    let mut was_published = false;
    loop {
        let outcome = put(&through.context(), commit, known, condition, staged, unused).await;
        *unused &= !was_published;
        let Err(failure) = outcome else { return outcome };
        was_published |= failure.effect == Effect::Maybe;
        let doubt = failure.in_doubt;
        if let Some(doubt) = doubt {
            staged.follow(doubt.expected);
        }
        let settled = through.settle(commit, failure, Place::Entry(staged)).await;
        match (settled.map_err(|f| f.after(was_published))?, doubt) {
            (Settled::Standing, Some(doubt)) => {
                return Ok(PutOutcome::Done(Found { slot: doubt.slot, word: doubt.to }));
            }
            (Settled::Overwritten, Some(doubt)) => return Ok(PutOutcome::Overwritten { word: doubt.to }),
            _ => known = None,
        }
    }
}

/// As [`delete`], through any number of views.
///
/// # Errors
/// As [`delete`]. [`crate::ProtocolError::Overtaken`]: too much happened to the slot meanwhile to tell whether this removed the key.
pub async fn delete_through<F: Fabric, C: Commit, V: Views<F>>(
    cx: &Context<'_, F>,
    views: &V,
    commit: C,
    mut known: Known,
    version: Option<farrow_layout::Word>,
) -> Result<DeleteOutcome, Failure> {
    let mut through = Through::new(cx, views);
    let mut was_published = false;
    loop {
        let failure = match delete(&through.context(), commit, known, version).await {
            Err(failure) => failure,
            outcome => return outcome,
        };
        was_published |= failure.effect == Effect::Maybe;
        let doubt = failure.in_doubt;
        let settled = through.settle(commit, failure, Place::Nothing).await;
        match (settled.map_err(|f| f.after(was_published))?, doubt) {
            // The emptied word is everybody's who deletes this version: it does not say who did, and if what it replaced was
            // only remembered, not even that it was done within this operation.
            (Settled::Standing | Settled::Overwritten, Some(doubt)) => {
                if version.is_some() {
                    return Err(unknown(doubt));
                }
                if doubt.read_within || mutant::is(Mutant::AnyDeleteIsMine) {
                    return Ok(DeleteOutcome::Gone);
                }
                return match exists_through(&through.context(), views, commit, None).await {
                    Ok(None) => Ok(DeleteOutcome::Gone),
                    Ok(Some(_)) => Err(unknown(doubt)),
                    Err(failure) => Err(failure.after(true)),
                };
            }
            _ => known = None,
        }
    }
}
