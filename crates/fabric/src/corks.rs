//! What one thread's fabric and links know of corks: how many there are, and which links have chains staged.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A link that holds back its doorbell.
pub trait Staged {
    /// Rings once for all that was staged.
    fn ring(&self);
}

/// The corks of one thread, shared between its fabric and all of its links, of whatever provider.
///
/// A link that posts asks [`Corks::is_corked`]. If so it stages itself, once; otherwise it rings at once.
#[derive(Default)]
pub struct Corks {
    depth: Cell<u32>,
    staged: RefCell<Vec<Rc<dyn Staged>>>,
}

impl Corks {
    /// No corks.
    pub fn new() -> Rc<Corks> {
        Rc::default()
    }

    /// Whether doorbells are held back.
    pub fn is_corked(&self) -> bool {
        self.depth.get() > 0
    }

    /// One more cork.
    pub fn cork(&self) {
        self.depth.set(self.depth.get() + 1);
    }

    /// One cork less; the last one rings for every staged link, in the order in which they staged.
    ///
    /// # Panics
    /// Without a cork.
    pub fn uncork(&self) {
        let depth = self.depth.get();
        assert!(depth > 0, "uncork without cork");
        self.depth.set(depth - 1);
        if depth > 1 || self.staged.borrow().is_empty() {
            return;
        }
        // Ringing may post again, so the list is not borrowed meanwhile; its memory is kept for the next time.
        let mut links = self.staged.take();
        for link in links.drain(..) {
            link.ring();
        }
        let mut staged = self.staged.borrow_mut();
        if staged.is_empty() {
            *staged = links;
        }
    }

    /// Remembers `link` for the last [`Corks::uncork`]. A link stages itself once until it has been rung.
    ///
    /// # Panics
    /// Without a cork: nobody would ring.
    pub fn stage(&self, link: Rc<dyn Staged>) {
        assert!(self.is_corked(), "a link was staged without a cork");
        self.staged.borrow_mut().push(link);
    }
}

impl fmt::Debug for Corks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Corks({}, {} staged)", self.depth.get(), self.staged.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bell(Cell<u32>);

    impl Staged for Bell {
        fn ring(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn the_last_uncork_rings_once_per_link() {
        let (corks, bell) = (Corks::new(), Rc::new(Bell(Cell::new(0))));
        corks.cork();
        corks.cork();
        corks.stage(bell.clone());
        corks.uncork();
        assert_eq!(bell.0.get(), 0);
        corks.uncork();
        assert_eq!(bell.0.get(), 1);
        corks.cork();
        corks.uncork();
        assert_eq!(bell.0.get(), 1, "nothing was staged under this cork");
    }

    #[test]
    #[should_panic(expected = "without cork")]
    fn corks_and_uncorks_match() {
        Corks::new().uncork();
    }
}
