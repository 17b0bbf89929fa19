//! The state in one file of this host, for one coordinator.

use super::text::{decode, encode};
use super::{Campaign, Store, StoreError};
use crate::State;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The state in one file. Beside it lie the version before (`.previous`), a lock that keeps a second coordinator out
/// (`.lock`), and for moments the next one (`.new`).
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    lock: Option<File>,
}

impl FileStore {
    /// The state in `path`. Touches nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> FileStore {
        FileStore { path: path.into(), lock: None }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn unusable(&self, what: impl std::fmt::Display) -> StoreError {
        StoreError::Unusable(format!("the state of the coordinator in {}: {what}", self.path.display()))
    }

    fn take_lock(&self) -> Result<File, StoreError> {
        let path = self.beside(".lock");
        let cannot = |e: io::Error| self.unusable(format!("cannot open {}: {e}", path.display()));
        fs::create_dir_all(self.folder())
            .map_err(|e| self.unusable(format!("cannot make its folder: {e}")))?;
        let lock = private().read(true).open(&path).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                Err(self
                    .unusable("another coordinator uses it; give each one a file of its own, or etcd to all"))
            }
            Err(TryLockError::Error(e)) => Err(cannot(e)),
        }
    }

    fn load(&self) -> Result<Option<State>, StoreError> {
        let previous = self.beside(".previous");
        match fs::read(&self.path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(state) => Ok(Some(state)),
                Err(why) => Err(self.unusable(format!("{why}; the version before is {}", previous.display()))),
            },
            Err(e) if e.kind() == ErrorKind::NotFound && !previous.exists() => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(self.unusable(format!(
                "it is missing, but {} is there: copy that one to go on with it, or move it away to begin a new cluster",
                previous.display()
            ))),
            Err(e) => Err(self.unusable(format!("cannot read it: {e}"))),
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let (new, previous) = (self.beside(".new"), self.beside(".previous"));
        let mut file = private().truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // At each moment one of the two whole versions has the name that counts.
        match fs::remove_file(&previous) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        match fs::hard_link(&self.path, &previous) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::rename(&new, &self.path)?;
        File::open(self.folder())?.sync_all()
    }
}

/// Addresses and names of clients are nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o640);
    options
}

impl Store for FileStore {
    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn campaign(&mut self, _: &str) -> Result<Campaign, StoreError> {
        if self.lock.is_none() {
            self.lock = Some(self.take_lock()?);
        }
        Ok(Campaign::Leads(self.load()?.map(Box::new)))
    }

    fn keep(&mut self) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    fn store(&mut self, state: &State) -> Result<(), StoreError> {
        assert!(self.lock.is_some(), "only who holds the lock writes");
        let failed = |e| StoreError::Failed(format!("cannot write {}: {e}", self.path.display()));
        self.replace(&encode(state)).map_err(failed)
    }

    fn resign(&mut self) {
        self.lock = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::formed_state;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_stored_is_loaded_and_the_version_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deeper/state");
        let mut store = FileStore::new(&path);
        assert_eq!(store.campaign("a:1"), Ok(Campaign::Leads(None)));
        let first = formed_state();
        store.store(&first).unwrap();
        let mut second = first.clone();
        second.next_client = 99;
        store.store(&second).unwrap();
        store.resign();
        let mut again = FileStore::new(&path);
        assert_eq!(again.campaign("a:1"), Ok(Campaign::Leads(Some(Box::new(second)))));
        assert_eq!(decode(&fs::read(again.beside(".previous")).unwrap()), Ok(first));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn two_coordinators_do_not_use_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut one = FileStore::new(&path);
        one.campaign("a:1").unwrap();
        let refused = FileStore::new(&path).campaign("a:1").unwrap_err();
        assert!(refused.to_string().contains("another coordinator uses it"), "{refused}");
        one.resign();
        FileStore::new(&path).campaign("a:1").unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(&path, "something else").unwrap();
        let why = FileStore::new(&path).campaign("a:1").unwrap_err().to_string();
        assert!(why.contains("not the state") && why.contains(".previous"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"something else");
    }

    #[test]
    fn a_missing_file_beside_an_earlier_version_is_no_new_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = FileStore::new(&path);
        store.campaign("a:1").unwrap();
        store.store(&formed_state()).unwrap();
        store.store(&formed_state()).unwrap();
        fs::remove_file(&path).unwrap();
        let why = store.campaign("a:1").unwrap_err().to_string();
        assert!(why.contains("copy that one"), "{why}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said() {
        let why = FileStore::new("/proc/nowhere/state").campaign("a:1").unwrap_err();
        assert!(matches!(&why, StoreError::Unusable(text) if text.contains("folder")), "{why}");
    }
}
