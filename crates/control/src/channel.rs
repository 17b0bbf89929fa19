//! A byte stream made into an authenticated, encrypted channel of messages.
//!
//! ```text
//! initiator                        responder
//!     preamble  ──────────────────▶              a stranger or another version is refused here, in clear
//!               ◀──────────────────  preamble
//!     e, psk    ──────────────────▶              Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s
//!               ◀──────────────────  e, ee       or a refusal: the secrets differ
//!     empty     ──────────────────▶              proves that the first message was not a recording
//!     messages  ◀─────────────────▶  messages
//! ```
//!
//! Both ends prove the cluster's secret; the keys are ephemeral, so a secret that leaks later opens no recording.
//! Every wait has a deadline over the whole step, so a peer that drips one byte at a time gains nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use snow::{Builder, HandshakeState, TransportState};

use crate::frame::{
    self, Assembler, FRAME_HEADER_LEN, FrameError, HANDSHAKE_LEN, MAX_PAYLOAD, PREAMBLE_LEN, TAG_LEN,
};
use crate::{Preamble, Secret};

const NOISE_PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Sent in place of the responder's handshake message when the initiator's does not prove the secret.
const REFUSAL: [u8; FRAME_HEADER_LEN] = [0; FRAME_HEADER_LEN];

/// A wait for a message's beginning is never shorter, or it would end before the stream was asked.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// An authenticated, encrypted channel of messages over a connected stream.
///
/// After any error it is of no use: both ends have lost their place in the stream, so every later call returns
/// [`Error::Poisoned`] and the caller reconnects. Over TCP, set `TCP_NODELAY` first: a connecting end's first message
/// follows its last handshake frame, and would wait for the acknowledgement of that.
pub struct Channel<S> {
    stream: S,
    noise: TransportState,
    peer: Preamble,
    limits: Limits,
    poisoned: bool,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl<S: Read + Write + Timeouts> Channel<S> {
    /// Opens a channel as the end that connected the stream.
    ///
    /// # Errors
    /// [`Error::NotFarrow`], [`Error::VersionMismatch`], [`Error::WrongSecret`], or the stream failed. Nothing was
    /// said that needs to be secret.
    pub fn connect(mut stream: S, secret: &Secret, limits: Limits) -> Result<Channel<S>, Error> {
        let deadline = Deadline::after(limits.handshake);
        write_all(&mut stream, &Preamble::OURS.to_bytes(), deadline)?;
        let theirs = read_preamble(&mut stream, deadline)?;
        check_version(theirs)?;

        let mut noise = handshake(secret, Preamble::OURS, theirs, Side::Initiator);
        send_handshake(&mut stream, &mut noise, deadline)?;
        receive_handshake(&mut stream, &mut noise, deadline)?;
        let mut channel = Channel::new(stream, noise, theirs, limits);
        channel.send_frame(&[], deadline)?;
        Ok(channel)
    }

    /// Opens a channel as the end that accepted the stream. When it returns, the peer has proved the secret.
    ///
    /// # Errors
    /// As [`Channel::connect`]. A stranger is not answered; a Farrow peer of another version or with another secret
    /// is told so, and gets the same error.
    pub fn accept(mut stream: S, secret: &Secret, limits: Limits) -> Result<Channel<S>, Error> {
        let deadline = Deadline::after(limits.handshake);
        let theirs = read_preamble(&mut stream, deadline)?;
        write_all(&mut stream, &Preamble::OURS.to_bytes(), deadline)?;
        check_version(theirs)?;

        let mut noise = handshake(secret, theirs, Preamble::OURS, Side::Responder);
        match receive_handshake(&mut stream, &mut noise, deadline) {
            Err(Error::WrongSecret) => {
                // The peer learns the reason if it can be told; the refusal stands either way.
                let _ = write_all(&mut stream, &REFUSAL, deadline);
                return Err(Error::WrongSecret);
            }
            received => received?,
        }
        send_handshake(&mut stream, &mut noise, deadline)?;
        let mut channel = Channel::new(stream, noise, theirs, limits);
        match channel.receive_frame(deadline) {
            Ok(()) if channel.plaintext.is_empty() => Ok(channel),
            Ok(()) | Err(Error::Tampered) => Err(Error::WrongSecret),
            Err(error) => Err(error),
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The channel is poisoned; the peer may or may not have received the message.
    pub fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), Error> {
        self.guard(|channel| {
            let mut framed = postcard::to_extend(message, frame::open_message())
                .map_err(|_| Error::Malformed("this end's message cannot be serialised"))?;
            frame::seal_message(&mut framed, channel.limits.max_message)?;
            let deadline = Deadline::after(channel.limits.message);
            framed.chunks(MAX_PAYLOAD).try_for_each(|frame| channel.send_frame(frame, deadline))
        })
    }

    /// Receives one message, waiting for its beginning as long as [`Limits::idle`] says.
    ///
    /// # Errors
    /// The channel is poisoned. [`Error::Closed`] between two messages is how a peer that is done leaves.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let wait = self.limits.idle;
        self.guard(|channel| channel.receive(wait)?.ok_or(Error::TimedOut))
    }

    /// Receives one message if it begins within `wait`; `None`, and a channel in good order, if none does.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub fn recv_within<T: DeserializeOwned>(&mut self, wait: Duration) -> Result<Option<T>, Error> {
        self.guard(|channel| channel.receive(Some(wait)))
    }

    /// Sends a request and receives its reply, which must begin within [`Limits::reply`].
    ///
    /// # Errors
    /// The channel is poisoned; the peer may or may not have carried out the request.
    pub fn call<Req: Serialize + ?Sized, Rep: DeserializeOwned>(
        &mut self,
        request: &Req,
    ) -> Result<Rep, Error> {
        self.send(request)?;
        let wait = self.limits.reply;
        self.guard(|channel| channel.receive(Some(wait))?.ok_or(Error::TimedOut))
    }

    /// What the peer said of itself.
    pub fn peer(&self) -> Preamble {
        self.peer
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the limits from the next call on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The stream below, for its addresses or for passing descriptors between two messages. Bytes read from it or
    /// written to it are missing in the channel.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    fn new(stream: S, noise: HandshakeState, peer: Preamble, limits: Limits) -> Channel<S> {
        let noise = noise.into_transport_mode().expect("both handshake messages have passed");
        Channel {
            stream,
            noise,
            peer,
            limits,
            poisoned: false,
            plaintext: Vec::new(),
            ciphertext: Vec::new(),
        }
    }

    fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        // Set first, so that a panic inside leaves it set too.
        self.poisoned = true;
        let done = step(self)?;
        self.poisoned = false;
        Ok(done)
    }

    fn receive<T: DeserializeOwned>(&mut self, wait: Option<Duration>) -> Result<Option<T>, Error> {
        let mut header = [0; FRAME_HEADER_LEN];
        let (first, rest) = header.split_at_mut(1);
        // Even a wait of zero looks at the stream once.
        let begin = wait.map_or(Deadline::NEVER, |wait| Deadline::after(wait.max(SHORTEST_WAIT)));
        match read_all(&mut self.stream, first, begin) {
            Err(Error::TimedOut) => return Ok(None),
            read => read?,
        }
        let deadline = Deadline::after(self.limits.message);
        read_all(&mut self.stream, rest, deadline)?;
        self.receive_body(u16::from_le_bytes(header), deadline)?;

        let mut assembler = Assembler::new(self.limits.max_message);
        while !assembler.push(&self.plaintext)? {
            self.receive_frame(deadline)?;
        }
        let message = assembler.finish();
        match postcard::take_from_bytes(&message) {
            Ok((message, [])) => Ok(Some(message)),
            Ok(_) => Err(Error::Malformed("bytes are left over behind the message")),
            Err(_) => Err(Error::Malformed("the bytes are not the message that was expected here")),
        }
    }

    fn send_frame(&mut self, plaintext: &[u8], deadline: Deadline) -> Result<(), Error> {
        let len = plaintext.len() + TAG_LEN;
        let header = u16::try_from(len).expect("a frame's plaintext is at most MAX_PAYLOAD").to_le_bytes();
        self.ciphertext.resize(FRAME_HEADER_LEN + len, 0);
        self.ciphertext[..FRAME_HEADER_LEN].copy_from_slice(&header);
        let written = self
            .noise
            .write_message(plaintext, &mut self.ciphertext[FRAME_HEADER_LEN..])
            .map_err(|_| Error::Malformed("the channel's frame counter is used up"))?;
        assert_eq!(written, len, "encryption adds a tag and nothing else");
        write_all(&mut self.stream, &self.ciphertext, deadline)
    }

    /// Reads and decrypts one frame into `self.plaintext`.
    fn receive_frame(&mut self, deadline: Deadline) -> Result<(), Error> {
        let len = read_frame_header(&mut self.stream, deadline)?;
        self.receive_body(len, deadline)
    }

    fn receive_body(&mut self, len: u16, deadline: Deadline) -> Result<(), Error> {
        let len = usize::from(len);
        let Some(payload_len) = len.checked_sub(TAG_LEN) else {
            return Err(Error::Malformed("a frame is too short for its authentication tag"));
        };
        self.ciphertext.resize(len, 0);
        self.plaintext.resize(payload_len, 0);
        read_all(&mut self.stream, &mut self.ciphertext, deadline)?;
        match self.noise.read_message(&self.ciphertext, &mut self.plaintext) {
            Ok(read) => {
                assert_eq!(read, payload_len, "decryption removes a tag and nothing else");
                Ok(())
            }
            Err(_) => Err(Error::Tampered),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("stream", &self.stream)
            .field("peer", &self.peer)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// What a channel waits for and how long, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message sent or received, in bytes as serialised.
    pub max_message: usize,
    /// For the whole handshake, from the first byte to the last.
    pub handshake: Duration,
    /// For one message, once it has begun: to be sent, or to arrive in full.
    pub message: Duration,
    /// For a reply to begin after its request was sent.
    pub reply: Duration,
    /// For a message to begin in [`Channel::recv`]; `None` waits for ever.
    pub idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message: 16 << 20,
            handshake: Duration::from_secs(5),
            message: Duration::from_secs(10),
            reply: Duration::from_secs(30),
            idle: None,
        }
    }
}

/// A stream whose reads and writes can be given a time limit, after which they fail with
/// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`].
pub trait Timeouts {
    /// Limits each read from now on; `None` lets it wait for ever.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Limits each write from now on; `None` lets it wait for ever.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Timeouts for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TcpStream::set_read_timeout(self, timeout)
    }
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TcpStream::set_write_timeout(self, timeout)
    }
}

impl Timeouts for UnixStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        UnixStream::set_read_timeout(self, timeout)
    }
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        UnixStream::set_write_timeout(self, timeout)
    }
}

/// Why a channel could not be opened or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer speaks another protocol.
    #[error(
        "the peer does not speak Farrow's control protocol (it sent \"{}\"); check the address and port",
        seen.escape_ascii()
    )]
    NotFarrow {
        /// The first bytes it sent.
        seen: Vec<u8>,
    },
    /// The peer speaks another major version of this protocol.
    #[error(
        "the peer speaks control protocol {}.{}, this build {}.{}; run the same Farrow release on both ends",
        theirs.major, theirs.minor, ours.major, ours.minor
    )]
    VersionMismatch {
        /// What this build speaks.
        ours: Preamble,
        /// What the peer speaks.
        theirs: Preamble,
    },
    /// The two ends do not hold the same secret, or somebody between them altered the handshake.
    #[error("the peer holds another cluster secret; give every node and client of the cluster the same one")]
    WrongSecret,
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// A step took longer than its limit.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// A message exceeds [`Limits::max_message`]; it was neither sent nor read.
    #[error("a message of {len} bytes exceeds the limit of {max}; split it, or raise the limit on both ends")]
    TooLarge {
        /// The message's length in bytes.
        len: u64,
        /// The limit.
        max: usize,
    },
    /// The peer proved the secret and then sent what cannot be understood: a bug, or another build.
    #[error("malformed: {0}; run the same Farrow release on both ends")]
    Malformed(&'static str),
    /// A frame failed its authentication: it was altered, repeated or left out on the way.
    #[error("a frame failed its authentication: somebody on the way altered, repeated or dropped bytes")]
    Tampered,
    /// An earlier error has ended this channel.
    #[error("the connection to it was lost earlier; connect again")]
    Poisoned,
    /// The operating system reported an error on the stream.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Error {
        match error {
            FrameError::TooLarge { len, max } => Error::TooLarge { len, max },
            FrameError::Malformed(what) => Error::Malformed(what),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::WouldBlock | Kind::TimedOut => Error::TimedOut,
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Initiator,
    Responder,
}

fn handshake(secret: &Secret, initiator: Preamble, responder: Preamble, side: Side) -> HandshakeState {
    let prologue = [initiator.to_bytes(), responder.to_bytes()].concat();
    let psk = secret.psk();
    let builder = Builder::new(NOISE_PATTERN.parse().expect("the pattern is a constant that snow knows"))
        .prologue(&prologue)
        .psk(0, psk.as_slice());
    match side {
        Side::Initiator => builder.build_initiator(),
        Side::Responder => builder.build_responder(),
    }
    .expect("NNpsk0 needs a psk of 32 bytes and nothing else")
}

fn send_handshake<S: Write + Timeouts>(
    stream: &mut S,
    noise: &mut HandshakeState,
    deadline: Deadline,
) -> Result<(), Error> {
    let mut frame = [0; FRAME_HEADER_LEN + HANDSHAKE_LEN];
    frame[..FRAME_HEADER_LEN].copy_from_slice(&(HANDSHAKE_LEN as u16).to_le_bytes());
    let written = noise
        .write_message(&[], &mut frame[FRAME_HEADER_LEN..])
        .expect("it is this end's turn and the buffer has the message's exact size");
    assert_eq!(written, HANDSHAKE_LEN);
    write_all(stream, &frame, deadline)
}

fn receive_handshake<S: Read + Timeouts>(
    stream: &mut S,
    noise: &mut HandshakeState,
    deadline: Deadline,
) -> Result<(), Error> {
    match usize::from(read_frame_header(stream, deadline)?) {
        0 => return Err(Error::WrongSecret),
        HANDSHAKE_LEN => {}
        _ => return Err(Error::Malformed("a handshake frame has the wrong length")),
    }
    let mut frame = [0; HANDSHAKE_LEN];
    read_all(stream, &mut frame, deadline)?;
    noise.read_message(&frame, &mut []).map(|_| ()).map_err(|_| Error::WrongSecret)
}

fn check_version(theirs: Preamble) -> Result<(), Error> {
    let ours = Preamble::OURS;
    if theirs.major == ours.major { Ok(()) } else { Err(Error::VersionMismatch { ours, theirs }) }
}

fn read_preamble<S: Read + Timeouts>(stream: &mut S, deadline: Deadline) -> Result<Preamble, Error> {
    let mut bytes = [0; PREAMBLE_LEN];
    let mut filled = 0;
    while filled < PREAMBLE_LEN {
        filled += read_some(stream, &mut bytes[filled..], deadline)?;
        if !Preamble::may_begin_with(&bytes[..filled]) {
            return Err(Error::NotFarrow { seen: bytes[..filled].to_vec() });
        }
    }
    Preamble::from_bytes(bytes).ok_or(Error::NotFarrow { seen: bytes.to_vec() })
}

fn read_frame_header<S: Read + Timeouts>(stream: &mut S, deadline: Deadline) -> Result<u16, Error> {
    let mut header = [0; FRAME_HEADER_LEN];
    read_all(stream, &mut header, deadline)?;
    Ok(u16::from_le_bytes(header))
}

fn read_all<S: Read + Timeouts>(stream: &mut S, bytes: &mut [u8], deadline: Deadline) -> Result<(), Error> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += read_some(stream, &mut bytes[filled..], deadline)?;
    }
    Ok(())
}

fn read_some<S: Read + Timeouts>(
    stream: &mut S,
    bytes: &mut [u8],
    deadline: Deadline,
) -> Result<usize, Error> {
    loop {
        stream.set_read_timeout(deadline.left()?)?;
        match stream.read(bytes) {
            Ok(0) => return Err(Error::Closed),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_all<S: Write + Timeouts>(stream: &mut S, mut bytes: &[u8], deadline: Deadline) -> Result<(), Error> {
    while !bytes.is_empty() {
        stream.set_write_timeout(deadline.left()?)?;
        match stream.write(bytes) {
            Ok(0) => return Err(Error::Closed),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    stream.flush().map_err(Error::from)
}

/// A moment after which a step has failed, however many reads or writes it is made of.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    const NEVER: Deadline = Deadline(None);

    /// A wait too long for the clock is a wait for ever.
    fn after(wait: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(wait))
    }

    /// The time left, `None` for ever.
    fn left(self) -> Result<Option<Duration>, Error> {
        match self.0.map(|at| at.saturating_duration_since(Instant::now())) {
            // A stream takes a zero timeout for an error, not for "now".
            Some(Duration::ZERO) => Err(Error::TimedOut),
            left => Ok(left),
        }
    }
}
