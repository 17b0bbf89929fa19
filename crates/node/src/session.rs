//! One connection, from its handshake to its end.

use crate::service::{Answer, Service, Session};
use crate::sessions::Ticket;
use crate::wire::Wire;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_control::{Channel, Error, Limits, Secret};

/// Serves a connection until it ends. The clients that joined on it have left when this returns.
pub(crate) fn serve(service: &Service, secret: &Secret, wire: &Wire, ticket: &Ticket) {
    match converse(service, secret, wire, ticket) {
        Ok(()) | Err(Error::Closed) => {}
        Err(error @ (Error::WrongSecret | Error::VersionMismatch { .. } | Error::Tampered)) => {
            tracing::warn!(from = %wire, %error, "refused a connection");
        }
        Err(error) => tracing::debug!(from = %wire, %error, "a connection ended"),
    }
}

fn converse(service: &Service, secret: &Secret, wire: &Wire, ticket: &Ticket) -> Result<(), Error> {
    let mut channel = Channel::accept(wire.clone(), secret, Limits::default())?;
    if !ticket.admit() {
        return turn_away(service, &mut channel);
    }
    let mut presence = Presence { service, session: Session::new(ticket.id()) };
    loop {
        let request: Request = channel.recv()?;
        let Answer { reply, files } = service.answer(&mut presence.session, wire, request);
        channel.send(&reply)?;
        if let (Some(grant), Some(socket)) = (files, wire.as_unix())
            && let Err(error) = service.links().pass_files(socket, &grant)
        {
            // The client waits for files, and would take the next reply for them.
            tracing::warn!(error, "cannot pass shared memory");
            return Ok(());
        }
    }
}

/// Says why before it hangs up: the peer belongs to the cluster and deserves to know.
fn turn_away(service: &Service, channel: &mut Channel<Wire>) -> Result<(), Error> {
    let patience = channel.limits().handshake;
    if channel.recv_within::<Request>(patience)?.is_some() {
        channel.send(&Reply::Refused(Refusal::TooManyClients(service.max_clients())))?;
    }
    Ok(())
}

/// What a session leaves behind is cleaned up however it ends.
struct Presence<'a> {
    service: &'a Service,
    session: Session,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        // After a fault the daemon ends as a whole, and its locks cannot be relied on.
        if !std::thread::panicking() {
            self.service.end(&self.session);
        }
    }
}
