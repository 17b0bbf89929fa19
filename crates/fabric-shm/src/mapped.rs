//! The mappings that this process has: a memory is mapped once, however many links lead to it.

use farrow_fabric::{Mapping, MappingError};
use rustix::fd::AsFd;
use rustix::fs::fstat;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

/// By device and inode of the file. A file keeps its inode as long as it is mapped, so one that can be upgraded is the same file.
static MAPPED: Mutex<BTreeMap<(u64, u64), Weak<Mapping>>> = Mutex::new(BTreeMap::new());

/// Mappings by file.
pub(crate) struct Mapped;

impl Mapped {
    /// The first `len` bytes of `file`: the mapping that this process has of them, or a new one.
    ///
    /// A page costs a fault in each mapping that touches it: a link that is made anew, or a daemon's agent that works on the
    /// daemon's own memory, would pay for every page again.
    ///
    /// # Errors
    /// As [`Mapping::shared`].
    pub(crate) fn shared(file: impl AsFd, len: usize) -> Result<Arc<Mapping>, MappingError> {
        let stat = fstat(&file).map_err(|error| MappingError { len, source: error.into() })?;
        let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.retain(|_, mapping| mapping.strong_count() > 0);
        let known = mapped.get(&(stat.st_dev, stat.st_ino)).and_then(Weak::upgrade);
        if let Some(mapping) = known.filter(|mapping| mapping.len() == len) {
            return Ok(mapping);
        }
        let mapping = Arc::new(Mapping::shared(file, len)?);
        mapped.insert((stat.st_dev, stat.st_ino), Arc::downgrade(&mapping));
        Ok(mapping)
    }
}

/// A node's memory as its clients have it. The last one to let go of a dead node's memory gives its pages back to the system, which
/// takes 100 ms a gigabyte and more: a thread of its own does that.
#[derive(Debug)]
pub(crate) struct Lent {
    /// There until it is dropped.
    mapping: Option<Arc<Mapping>>,
}

impl Lent {
    /// As [`Mapped::shared`].
    ///
    /// # Errors
    /// As [`Mapping::shared`].
    pub(crate) fn of(file: impl AsFd, len: usize) -> Result<Lent, MappingError> {
        Ok(Lent { mapping: Some(Mapped::shared(file, len)?) })
    }
}

impl Deref for Lent {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        self.mapping.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Under the lock, so that of two at once one is the last.
        let _mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mapping) = self.mapping.take() else { return };
        if Arc::strong_count(&mapping) == 1 {
            // Without a thread it is done here.
            let _ = thread::Builder::new().name("farrow-unmap".into()).spawn(move || drop(mapping));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    #[test]
    fn a_file_is_mapped_once_as_long_as_somebody_has_it() {
        let file = |len| {
            let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&file, len).unwrap();
            file
        };
        let (one, other) = (file(8192), file(8192));
        let first = Mapped::shared(&one, 8192).unwrap();
        let passed = one.try_clone().unwrap();
        assert!(Arc::ptr_eq(&first, &Mapped::shared(&passed, 8192).unwrap()));
        assert!(!Arc::ptr_eq(&first, &Mapped::shared(&other, 8192).unwrap()));
        let lent = [Lent::of(&one, 8192).unwrap(), Lent::of(&one, 8192).unwrap()];
        assert!(Arc::ptr_eq(&first, lent[0].mapping.as_ref().unwrap()));
        drop(first);
        lent[1].word(0).store(5, std::sync::atomic::Ordering::Relaxed);
        drop(lent);
        assert_eq!(Mapped::shared(&one, 4096).unwrap().len(), 4096, "less of it is another mapping");
        assert_eq!(Mapped::shared(&passed, 8192).unwrap().len(), 8192);
    }
}
