//! The memory of a node: anonymous, or a file that outlives the daemon; on huge pages where there are some.

use crate::mapped::Mapped;
use crate::system::{Available, HugepagePool, available};
use farrow_fabric::{Mapping, MappingError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, flock,
    fstat, fstatfs, ftruncate, memfd_create, open,
};
use rustix::io::Errno;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Of threads that take pages: clients of this host's other nodes go first.
const POPULATING_NICE: i32 = 10;
/// Bytes that a thread takes the pages of at a time: a huge page of the largest common size would be one part.
const POPULATED_AT_ONCE: usize = 64 << 20;
/// Threads that take pages: more get in each other's way in the kernel.
const MOST_POPULATING: usize = 8;

/// A node's memory, mapped, behind a descriptor that can be passed to clients of this host.
#[derive(Debug)]
pub struct NodeMemory {
    file: OwnedFd,
    mapping: Arc<Mapping>,
    pages: Pages,
    is_kept: bool,
    /// Never passed to anybody: a lock lasts as long as any copy of its descriptor.
    _lock: Option<OwnedFd>,
}

/// Whether to use huge pages: fewer misses in the CPU's and the device's address translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// If enough are free.
    #[default]
    Auto,
    /// Or fail.
    Require,
    /// Never.
    Off,
}

/// What the memory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Which pages.
    pub kind: PageKind,
    /// A sentence for people: what is used, and if it is not the best, why and what to do.
    pub note: String,
}

/// A size of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// The CPU's ordinary ones.
    Small,
    /// Huge pages of this many bytes.
    Huge(u64),
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// No bytes were asked for.
    #[error("a node needs memory: ask for more than 0 bytes")]
    Empty,
    /// More than there is.
    #[error(
        "{} of memory asked for, but only {} are left under {limited_by}: ask for less, free some, or raise the limit",
        Size(*asked),
        Size(*available)
    )]
    TooLittle {
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        available: u64,
        /// What sets the limit.
        limited_by: String,
    },
    /// Huge pages were required.
    #[error("{why}")]
    NoHugepages {
        /// What there is, and the command that makes more.
        why: String,
    },
    /// Another daemon has the file.
    #[error("{} is in use by another process (flock): stop it, or use another file", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file of another size is there.
    #[error(
        "{} holds {found} bytes, not the {asked} asked for: ask for {found} bytes to keep its content, or remove it",
        .path.display()
    )]
    OtherLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length asked for.
        asked: u64,
    },
    /// It could not be mapped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl NodeMemory {
    /// Anonymous memory of at least `len` bytes, zeroed, sealed against any change of its length.
    ///
    /// # Errors
    /// More than the machine or the control group has left; no huge pages where they are required.
    pub fn create(len: u64, hugepages: Hugepages) -> Result<NodeMemory, MemoryError> {
        if len == 0 {
            return Err(MemoryError::Empty);
        }
        let shortage = match hugepages {
            Hugepages::Off => "huge pages are turned off".to_string(),
            Hugepages::Auto | Hugepages::Require => match NodeMemory::create_huge(len) {
                Ok(memory) => return Ok(memory),
                Err(why) if hugepages == Hugepages::Require => return Err(MemoryError::NoHugepages { why }),
                Err(why) => why,
            },
        };
        enough(len, available())?;
        let len = len.next_multiple_of(rustix::param::page_size() as u64);
        let note = format!("{} on small pages: {shortage}", Size(len));
        let pages = Pages { kind: PageKind::Small, note };
        NodeMemory::anonymous(len, MemfdFlags::empty(), pages)
    }

    /// `Err` says why there are no huge pages, and what to do.
    fn create_huge(len: u64) -> Result<NodeMemory, String> {
        let pool =
            HugepagePool::read().ok_or("this kernel has no huge pages (no Hugepagesize in /proc/meminfo)")?;
        let (needed, page) = (pool.pages_for(len), Size(pool.page));
        let advice = format!("run `sysctl vm.nr_hugepages={}` as root", pool.wanted_total(len));
        if needed > pool.free {
            return Err(format!(
                "{needed} free huge pages of {page} are needed, and there are {}: {advice}",
                pool.free
            ));
        }
        let pages = Pages {
            kind: PageKind::Huge(pool.page),
            note: format!("{} on {needed} huge pages of {page}", Size(needed * pool.page)),
        };
        NodeMemory::anonymous(needed * pool.page, MemfdFlags::HUGETLB, pages).map_err(|error| {
            format!("{needed} huge pages of {page} were free but not to be had ({error}): {advice}")
        })
    }

    fn anonymous(len: u64, flags: MemfdFlags, pages: Pages) -> Result<NodeMemory, MemoryError> {
        let file = sealed_file("farrow-memory", len, flags).map_err(system("create a memory file"))?;
        let mapping = Mapped::shared(&file, len as usize)?;
        Ok(NodeMemory { file, mapping, pages, is_kept: false, _lock: None })
    }

    /// Memory in the file at `path`, which is made if it is not there; on tmpfs or hugetlbfs it outlives the daemon but
    /// not the machine.
    ///
    /// The file is locked: a second daemon is refused. Its bytes are allocated here, so that a full file system is an
    /// error now and not a signal later. A file cannot be sealed; whoever may cut it can kill the node and its clients.
    ///
    /// # Errors
    /// In use; of another length; no room.
    pub fn open_file(path: &Path, len: u64) -> Result<NodeMemory, MemoryError> {
        if len == 0 {
            return Err(MemoryError::Empty);
        }
        let system = |what: &str| system(&format!("{what} {}", path.display()));
        let open_it = || open(path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let lock = open_it().map_err(system("open"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(MemoryError::InUse { path: path.into() }),
            Err(error) => return Err(system("lock")(error)),
        }
        let file = open_it().map_err(system("open"))?;
        let home = FileHome::of(&file).map_err(system("examine"))?;
        let len = len.next_multiple_of(home.page);
        let found = fstat(&file).map_err(system("examine"))?.st_size as u64;
        let is_kept = found != 0;
        if is_kept && found != len {
            return Err(MemoryError::OtherLength { path: path.into(), found, asked: len });
        }
        fallocate(&file, FallocateFlags::empty(), 0, len).map_err(system("allocate the bytes of"))?;
        let mapping = Mapped::shared(&file, len as usize)?;
        let pages = home.pages(path, len);
        Ok(NodeMemory { file, mapping, pages, is_kept, _lock: Some(lock) })
    }

    /// Takes all pages now, by several threads, so that the first to touch one does not wait for it, nor dies for want of it.
    ///
    /// `progress` is told how many bytes are there, after each part, by whichever thread took it.
    ///
    /// # Errors
    /// The machine or the control group has not as many.
    pub fn populate(&self, progress: impl Fn(u64) + Sync) -> Result<(), MemoryError> {
        let (len, part) = (self.mapping.len(), POPULATED_AT_ONCE);
        let (next, done, failed) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(None));
        let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_POPULATING));
        thread::scope(|scope| {
            for _ in 0..threads.min(len.div_ceil(part)) {
                scope.spawn(|| {
                    let _ = rustix::process::nice(POPULATING_NICE);
                    loop {
                        let at = next.fetch_add(part, Ordering::Relaxed);
                        if at >= len {
                            return;
                        }
                        let part = part.min(len - at);
                        if let Err(error) = self.populate_part(at, part) {
                            next.store(len, Ordering::Relaxed);
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            return;
                        }
                        progress(done.fetch_add(part as u64, Ordering::Relaxed) + part as u64);
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(Errno::NOMEM | Errno::FAULT) => {
                let Available { bytes, limited_by } = available()
                    .unwrap_or(Available { bytes: 0, limited_by: "the size of its file system".into() });
                Err(MemoryError::TooLittle { asked: self.len(), available: bytes, limited_by })
            }
            Some(error) => Err(system("take the pages of the memory")(error)),
        }
    }

    fn populate_part(&self, at: usize, len: usize) -> Result<(), Errno> {
        match self.mapping.populate(at, len) {
            Err(Errno::INVAL) => {
                for page in (at..at + len).step_by(rustix::param::page_size()) {
                    self.mapping.word(page).fetch_or(0, Ordering::Relaxed);
                }
                Ok(())
            }
            other => other,
        }
    }

    /// The descriptor to pass to clients.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The daemon's own access to it.
    pub fn mapping(&self) -> Arc<Mapping> {
        self.mapping.clone()
    }

    /// Bytes: what was asked for, rounded up to whole pages.
    pub fn len(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Never: empty memory is refused.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What it lies on.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Whether it holds what an earlier daemon left there, rather than zeroes.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }
}

/// A nameless file of fixed length.
pub(crate) fn sealed_file(name: &str, len: u64, flags: MemfdFlags) -> Result<OwnedFd, Errno> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags)?;
    ftruncate(&file, len)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

fn enough(asked: u64, available: Option<Available>) -> Result<(), MemoryError> {
    match available {
        Some(Available { bytes, limited_by }) if bytes < asked => {
            Err(MemoryError::TooLittle { asked, available: bytes, limited_by })
        }
        _ => Ok(()),
    }
}

/// The file system that a file lies on.
struct FileHome {
    kind: FileSystem,
    page: u64,
}

#[derive(PartialEq)]
enum FileSystem {
    Tmpfs,
    Hugetlbfs,
    Other,
}

impl FileHome {
    fn of(file: &OwnedFd) -> Result<FileHome, Errno> {
        let stat = fstatfs(file)?;
        // linux/magic.h
        let kind = match stat.f_type as u64 {
            0x0102_1994 => FileSystem::Tmpfs,
            0x958_458f6 => FileSystem::Hugetlbfs,
            _ => FileSystem::Other,
        };
        let page = match kind {
            FileSystem::Hugetlbfs => stat.f_bsize as u64,
            _ => rustix::param::page_size() as u64,
        };
        Ok(FileHome { kind, page })
    }

    fn pages(&self, path: &Path, len: u64) -> Pages {
        let path = path.display();
        let (kind, note) = match self.kind {
            FileSystem::Hugetlbfs => {
                let note = format!("{} on huge pages of {}, in {path}", Size(len), Size(self.page));
                (PageKind::Huge(self.page), note)
            }
            FileSystem::Tmpfs => {
                let note = format!(
                    "{} on small pages of tmpfs, in {path}: put the file on hugetlbfs for huge pages",
                    Size(len)
                );
                (PageKind::Small, note)
            }
            FileSystem::Other => {
                let note = format!(
                    "{len} bytes in {path}, which is on neither tmpfs nor hugetlbfs: the kernel writes every change back to it; \
                     prefer a file in /dev/shm"
                );
                (PageKind::Small, note)
            }
        };
        Pages { kind, note }
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 1 << 10 => write!(f, "{s} bytes"),
            s if s >= 1 << 30 && s.is_multiple_of(1 << 30) => write!(f, "{} GiB", s >> 30),
            s if s >= 1 << 20 && s.is_multiple_of(1 << 20) => write!(f, "{} MiB", s >> 20),
            s if s < 1 << 20 => write!(f, "{} KiB", s >> 10),
            s if s < 10 << 30 => write!(f, "{} MiB", s >> 20),
            s => write!(f, "{} GiB", s >> 30),
        }
    }
}

fn system(what: &str) -> impl FnOnce(Errno) -> MemoryError + use<> {
    let what = what.to_string();
    move |e| MemoryError::System { what, source: e.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_rounded_up_and_of_fixed_length() {
        let memory = NodeMemory::create(5000, Hugepages::Off).unwrap();
        assert_eq!(memory.len(), 8192);
        assert_eq!(memory.mapping().word(8184).load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(ftruncate(memory.fd(), 4096), Err(Errno::PERM));
        assert_eq!(ftruncate(memory.fd(), 16384), Err(Errno::PERM));
        assert!(memory.pages().note.contains("huge pages are turned off"), "{}", memory.pages().note);
    }

    #[test]
    fn all_pages_are_taken_at_once_when_asked_for() {
        let memory = NodeMemory::create(POPULATED_AT_ONCE as u64 + 4096, Hugepages::Off).unwrap();
        let pages = || fstat(memory.fd()).unwrap().st_blocks as u64 * 512;
        assert_eq!(pages(), 0);
        let most = AtomicU64::new(0);
        memory
            .populate(|done| {
                most.fetch_max(done, Ordering::Relaxed);
            })
            .unwrap();
        assert_eq!(pages(), memory.len());
        assert_eq!(most.into_inner(), memory.len());
    }

    #[test]
    fn required_hugepages_that_are_not_there_name_the_command() {
        let error = NodeMemory::create(1 << 46, Hugepages::Require).unwrap_err().to_string();
        match HugepagePool::read() {
            Some(pool) => {
                let command = format!("sysctl vm.nr_hugepages={}", pool.wanted_total(1 << 46));
                assert!(error.contains(&command), "{error}");
                assert!(error.contains(&format!("there are {}:", pool.free)), "{error}");
            }
            None => assert!(error.contains("no huge pages"), "{error}"),
        }
    }

    #[test]
    fn auto_hugepages_say_what_was_used() {
        let memory = NodeMemory::create(1 << 20, Hugepages::Auto).unwrap();
        match memory.pages().kind {
            PageKind::Huge(page) => assert!(memory.len().is_multiple_of(page)),
            PageKind::Small => assert!(memory.pages().note.contains("huge pages"), "{}", memory.pages().note),
        }
    }

    #[test]
    fn more_than_there_is_says_the_numbers() {
        let error = NodeMemory::create(1 << 50, Hugepages::Off).unwrap_err();
        assert!(matches!(error, MemoryError::TooLittle { asked, .. } if asked == 1 << 50), "{error}");
        let limit = Available { bytes: 10, limited_by: "memory.max of the control group /x".into() };
        let error = enough(11, Some(limit)).unwrap_err().to_string();
        assert!(error.contains("11 bytes") && error.contains("only 10") && error.contains("/x"), "{error}");
    }

    #[test]
    fn a_file_outlives_its_daemon_and_serves_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let first = NodeMemory::open_file(&path, 8192).unwrap();
        assert!(!first.is_kept());
        first.mapping().copy_in(100, b"kept");
        let passed = first.fd().try_clone_to_owned().unwrap();
        assert!(matches!(NodeMemory::open_file(&path, 8192), Err(MemoryError::InUse { .. })));
        drop(first);

        let second =
            NodeMemory::open_file(&path, 8192).expect("a client's descriptor does not keep the lock");
        let mut bytes = [0; 4];
        second.mapping().copy_out(100, &mut bytes);
        assert!(second.is_kept());
        assert_eq!(&bytes, b"kept");
        drop((second, passed));
        let error = NodeMemory::open_file(&path, 4096).unwrap_err().to_string();
        assert!(error.contains("8192") && error.contains("4096"), "{error}");
    }
}
