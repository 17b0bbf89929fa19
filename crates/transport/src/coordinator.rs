//! Asking the coordinator, whichever of them leads.

use farrow_control::coordination::{Ask, Denial, Tell};
use farrow_control::{Channel, Limits, Secret};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For a connection and its handshake.
const DIAL: Duration = Duration::from_millis(500);
/// For an answer, beyond the quarter of a lease that a coordinator holds it back.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// Coordinators that are asked in one call: each may name another that leads.
const MOST_HOPS: usize = 4;

/// Why there is no answer. The request may have been carried out all the same.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No address was given.
    #[error("no coordinator is known: set cluster.coordinators")]
    NoCoordinators,
    /// None of them could be reached, or none leads.
    #[error("no coordinator answers: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// The one that was reached did not answer.
    #[error("coordinator {address}: {source}")]
    Channel {
        /// Its address.
        address: String,
        /// What is wrong.
        #[source]
        source: farrow_control::Error,
    },
}

/// A way to the coordinator that leads. Dials when it is asked, and again after an error. One request at a time.
pub struct Caller {
    coordinators: Vec<String>,
    secret: Secret,
    who: String,
    /// The address to try first.
    first: usize,
    reached: Option<(String, Channel<TcpStream>)>,
    lease: Duration,
}

impl Caller {
    /// A way to one of `coordinators`; `who` is program and purpose, as `status` shows it.
    pub fn new(coordinators: Vec<String>, secret: Secret, who: String) -> Caller {
        Caller { coordinators, secret, who, first: 0, reached: None, lease: Duration::ZERO }
    }

    /// How long a lease is; zero before a coordinator was reached for the first time.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The coordinators to try from now on.
    pub fn set_coordinators(&mut self, coordinators: &[String]) {
        if !coordinators.is_empty() && coordinators != self.coordinators {
            self.coordinators = coordinators.to_vec();
            self.first = 0;
        }
    }

    /// Asks. Blocks for half a lease at most once one is reached.
    ///
    /// # Errors
    /// [`CallError`]: whether the request was carried out is not known. The next call dials anew.
    pub fn call(&mut self, ask: &Ask) -> Result<Tell, CallError> {
        let mut hops = 0;
        loop {
            let (address, mut channel) = match self.reached.take() {
                Some(reached) => reached,
                None => self.dial()?,
            };
            match channel.call::<Ask, Tell>(ask) {
                Ok(Tell::Denied(Denial::NotLeading { leader })) if hops < MOST_HOPS => {
                    hops += 1;
                    self.prefer(leader.as_deref());
                }
                Ok(tell) => {
                    self.reached = Some((address, channel));
                    return Ok(tell);
                }
                Err(source) => {
                    self.first += 1;
                    return Err(CallError::Channel { address, source });
                }
            }
        }
    }

    /// Tries `leader` first, or the next one.
    fn prefer(&mut self, leader: Option<&str>) {
        let known = leader.and_then(|leader| self.coordinators.iter().position(|c| c == leader));
        self.first = known.unwrap_or(self.first + 1);
    }

    fn dial(&mut self) -> Result<(String, Channel<TcpStream>), CallError> {
        if self.coordinators.is_empty() {
            return Err(CallError::NoCoordinators);
        }
        let mut failed = Vec::new();
        for _ in 0..self.coordinators.len() + 1 {
            let address = self.coordinators[self.first % self.coordinators.len()].clone();
            match self.greet(&address) {
                Ok(Ok(channel)) => return Ok((address, channel)),
                Ok(Err(leader)) => {
                    failed.push(format!("{address} does not lead"));
                    self.prefer(leader.as_deref());
                }
                Err(why) => {
                    failed.push(format!("{address}: {why}"));
                    self.first += 1;
                }
            }
        }
        Err(CallError::Unreachable(failed))
    }

    /// A channel to a coordinator that leads; or which one does, if that is known.
    #[allow(clippy::type_complexity)] // Two ways of not getting a channel, which are told apart at once.
    fn greet(&mut self, address: &str) -> Result<Result<Channel<TcpStream>, Option<String>>, String> {
        let target = address.to_socket_addrs().map_err(|e| e.to_string())?.next();
        let target = target.ok_or("the name has no address")?;
        let stream = TcpStream::connect_timeout(&target, DIAL).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let limits = Limits { handshake: DIAL, reply: DIAL, message: DIAL, ..Limits::default() };
        let mut channel = Channel::connect(stream, &self.secret, limits).map_err(|e| e.to_string())?;
        match channel.call(&Ask::Hello { who: self.who.clone() }).map_err(|e| e.to_string())? {
            Tell::Welcome { lease_ms, .. } => {
                self.lease = Duration::from_millis(lease_ms);
                let reply = (self.lease / 2).max(LEAST_PATIENCE);
                channel.set_limits(Limits { reply, ..limits });
                Ok(Ok(channel))
            }
            Tell::Denied(Denial::NotLeading { leader }) => Ok(Err(leader)),
            Tell::Denied(denial) => Err(denial.to_string()),
            other => Err(format!("an answer that does not fit: {other:?}")),
        }
    }
}
