//! The daemon: a coordinator that can be asked over TCP.

mod desk;
mod options;
mod sessions;

pub use options::Options;

use crate::StoreError;
use desk::Desk;
use farrow_control::{Secret, with_port};
use farrow_daemon::{Cause, Ending, caught, wait_for_signals};
use sessions::Sessions;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Why a coordinator cannot start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody listens there already.
    #[error("{address} is in use: is another coordinator running? Choose another coordinator.listen")]
    AddressInUse {
        /// As given.
        address: String,
    },
    /// Nobody can listen there.
    #[error("cannot listen on {address}: {source}; check coordinator.listen")]
    Listen {
        /// As given.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused something that should always work.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// A coordinator met a fault in itself and stopped, so that nothing is decided on a state that may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator met a fault in itself and stopped: {why}; please report it with the log")]
pub struct Failed {
    /// What it was.
    pub why: String,
}

/// A coordinator that serves. Dropping it stops it.
pub struct CoordinatorServer {
    desk: Arc<Desk>,
    sessions: Arc<Sessions>,
    ending: Arc<Ending>,
    address: SocketAddr,
    advertised: String,
    threads: Vec<JoinHandle<()>>,
}

impl CoordinatorServer {
    /// Listens, reads the state, and serves: as the one that leads, or as one that stands by.
    ///
    /// # Errors
    /// [`StartError`]. That no store can be reached is none where there may be several coordinators: it goes on trying.
    pub fn start(options: Options, secret: &Secret) -> Result<CoordinatorServer, StartError> {
        let sessions = Sessions::bind(&options.listen)?;
        let address = sessions.address();
        let advertised = options.advertise.unwrap_or_else(|| with_port(&options.listen, address.port()));
        let ending = Arc::<Ending>::default();
        let mut settings = options.settings;
        if settings.coordinators.is_empty() {
            settings.coordinators.push(advertised.clone());
        }
        let desk = Arc::new(Desk::new(settings, options.store, &advertised));
        desk.campaign()?;
        let mut it = CoordinatorServer { desk, sessions, ending, address, advertised, threads: Vec::new() };
        let (desk, secret, sessions) = (it.desk.clone(), secret.clone(), it.sessions.clone());
        it.spawn("farrow-accept", move || sessions.accept(&desk, &secret))?;
        let desk = it.desk.clone();
        it.spawn("farrow-beat", move || desk.beat())?;
        let desk = it.desk.clone();
        it.spawn("farrow-store", move || desk.keep_stored())?;
        let desk = it.desk.clone();
        it.spawn("farrow-lead", move || desk.lead())?;
        tracing::info!(address = it.advertised, store = it.desk.describe(), "coordinating");
        Ok(it)
    }

    fn spawn(&mut self, name: &str, part: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let ending = self.ending.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            if let Some(why) = caught(part) {
                ending.tell(Cause::Fault(why));
            }
        });
        self.threads.push(thread.map_err(StartError::Thread)?);
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that others dial.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Whether it is the one that leads just now.
    pub fn leads(&self) -> bool {
        self.desk.leads()
    }

    /// Where the state is kept, for people.
    pub fn store(&self) -> String {
        self.desk.describe().to_owned()
    }

    /// Serves until SIGTERM or SIGINT, then stops. A second signal ends the process at once.
    ///
    /// # Errors
    /// The daemon met a fault in itself and has stopped.
    pub fn wait(self) -> Result<(), Failed> {
        let cause = match wait_for_signals(&self.ending, || {}) {
            Ok(cause) => cause,
            Err(error) => Cause::Fault(format!("cannot wait for signals: {error}")),
        };
        if let Cause::Signal(signal) = cause {
            tracing::info!(signal, "told to stop");
        }
        self.stop();
        match cause {
            Cause::Asked(()) | Cause::Signal(_) => Ok(()),
            Cause::Fault(why) => Err(Failed { why }),
        }
    }

    /// Stops: sessions end, another coordinator may lead. Returns when that is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for CoordinatorServer {
    fn drop(&mut self) {
        self.ending.tell(Cause::Asked(()));
        self.desk.close();
        self.sessions.close();
        for thread in self.threads.drain(..) {
            // What a thread has to say of its panic, it has said.
            let _ = thread.join();
        }
        self.sessions.wait_until_empty();
        self.desk.resign();
    }
}

impl fmt::Debug for CoordinatorServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorServer").field("advertised", &self.advertised).finish_non_exhaustive()
    }
}
