//! A store that speaks RESP, as the peer of a comparison: one blocking connection a thread, one command at a time.

use crate::store::{Counters, Failed, Look, NAP, Store, Stores};
use crate::workload::key::Key;
use anyhow::{Context, bail};
use farrow_fabric::Cost;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

/// Where the server is.
#[derive(Clone, Debug)]
pub(crate) enum Redis {
    Unix(String),
    Tcp(String),
}

impl Redis {
    /// Reads `redis:/path/of/socket` or `redis:host:port`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Redis> {
        match text.strip_prefix("redis:") {
            Some(path) if path.starts_with('/') => Ok(Redis::Unix(path.to_owned())),
            Some(address) if address.contains(':') => Ok(Redis::Tcp(address.to_owned())),
            _ => bail!("`{text}` is no peer: write redis:/path/of/socket or redis:host:port"),
        }
    }
}

impl Stores for Redis {
    type Store = Connection;

    fn open(&self) -> anyhow::Result<Connection> {
        let stream: Box<dyn Stream> = match self {
            Redis::Unix(path) => {
                Box::new(UnixStream::connect(path).with_context(|| format!("cannot connect to {path}"))?)
            }
            Redis::Tcp(address) => {
                let stream =
                    TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        Ok(Connection(RefCell::new(Wire {
            stream,
            out: Vec::with_capacity(BUFFER_LEN),
            input: vec![0; BUFFER_LEN],
            filled: 0,
            taken: 0,
            value: Rc::default(),
        })))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

const BUFFER_LEN: usize = 64 << 10;
/// The longest reply that is believed.
const MAX_BULK: usize = 512 << 20;

/// One connection.
pub(crate) struct Connection(RefCell<Wire>);

struct Wire {
    stream: Box<dyn Stream>,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    taken: usize,
    /// The last value, used again so that a reply costs no allocation.
    value: Rc<RefCell<Vec<u8>>>,
}

/// A value; valid until the connection's next command.
pub(crate) struct Bulk(Rc<RefCell<Vec<u8>>>);

impl Look for Bulk {
    fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.0.borrow())
    }
}

enum Reply {
    Status,
    Integer(i64),
    Bulk,
    Nil,
}

impl Wire {
    fn push(&mut self, parts: &[&[u8]]) {
        // Writing to a vector does not fail.
        let _ = write!(self.out, "*{}\r\n", parts.len());
        for part in parts {
            let _ = write!(self.out, "${}\r\n", part.len());
            self.out.extend_from_slice(part);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        } else if self.filled == self.input.len() {
            self.input.copy_within(self.taken..self.filled, 0);
            (self.taken, self.filled) = (0, self.filled - self.taken);
            if self.filled == self.input.len() {
                self.input.resize(2 * self.filled, 0);
            }
        }
        match self.stream.read(&mut self.input[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }

    /// The next line, without its end, as a range of the input.
    fn line(&mut self) -> io::Result<std::ops::Range<usize>> {
        loop {
            let unread = &self.input[self.taken..self.filled];
            if let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.taken..self.taken + end;
                self.taken += end + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn reply(&mut self) -> Result<Reply, Failed> {
        let line = self.line().map_err(broken)?;
        let text = String::from_utf8_lossy(&self.input[line]);
        let (kind, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
        let number = || rest.parse::<i64>().map_err(|_| strange(&text));
        match kind {
            "+" => Ok(Reply::Status),
            "-" => Err(Failed {
                label: if rest.starts_with("OOM") { "full" } else { "refused" },
                why: rest.to_owned(),
            }),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => match number()? {
                -1 => Ok(Reply::Nil),
                len => {
                    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_BULK);
                    let len = len.ok_or_else(|| strange(&text))?;
                    self.bulk(len).map_err(broken)?;
                    Ok(Reply::Bulk)
                }
            },
            _ => Err(strange(&text)),
        }
    }

    fn bulk(&mut self, len: usize) -> io::Result<()> {
        while self.filled - self.taken < len + 2 {
            self.fill()?;
        }
        let mut value = self.value.borrow_mut();
        value.clear();
        value.extend_from_slice(&self.input[self.taken..self.taken + len]);
        self.taken += len + 2;
        Ok(())
    }

    /// One command and its reply; bytes as they are on the wire.
    fn ask(&mut self, parts: &[&[u8]]) -> (Result<Reply, Failed>, Cost) {
        self.push(parts);
        let mut cost = Cost { round_trips: 1, ..Cost::default() };
        cost.foreground.bytes_out = self.out.len() as u64;
        let reply = self.flush().map_err(broken).and_then(|()| self.reply());
        // One command at a time: what has arrived is this reply.
        cost.foreground.bytes_in = self.taken as u64;
        (reply, cost)
    }
}

fn broken(error: io::Error) -> Failed {
    Failed { label: "unavailable", why: format!("the connection failed: {error}") }
}

fn strange(reply: &str) -> Failed {
    Failed { label: "corrupt", why: format!("the server answered `{reply}`, which is not RESP") }
}

impl Store for Connection {
    type Value = Bulk;

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        // Nothing here ever waits but in the kernel.
        let mut future = pin!(future);
        let mut cx = std::task::Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
        }
    }

    fn together<T>(&self, futures: impl Future<Output = T>) -> impl Future<Output = T> {
        futures
    }

    async fn get(&self, key: &[u8]) -> (Result<Option<Bulk>, Failed>, Cost) {
        let mut wire = self.0.borrow_mut();
        let (reply, cost) = wire.ask(&[b"GET", key]);
        let value = reply.map(|reply| matches!(reply, Reply::Bulk).then(|| Bulk(wire.value.clone())));
        (value, cost)
    }

    async fn put(&self, key: &[u8], value: &[u8]) -> (Result<(), Failed>, Cost) {
        let (reply, cost) = self.0.borrow_mut().ask(&[b"SET", key, value]);
        (reply.map(|_| ()), cost)
    }

    async fn delete(&self, key: &[u8]) -> (Result<bool, Failed>, Cost) {
        let (reply, cost) = self.0.borrow_mut().ask(&[b"DEL", key]);
        (reply.map(|reply| matches!(reply, Reply::Integer(1))), cost)
    }

    async fn load(&self, pairs: &[(Key, Vec<u8>)]) -> Result<(), Failed> {
        let mut wire = self.0.borrow_mut();
        for (key, value) in pairs {
            wire.push(&[b"SET", key, value]);
        }
        wire.flush().map_err(broken)?;
        for _ in pairs {
            wire.reply()?;
        }
        Ok(())
    }

    async fn wait_until(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        if left > NAP {
            std::thread::sleep(left - NAP);
        }
        while Instant::now() < at {
            std::hint::spin_loop();
        }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A connection whose server has said all it will ever say.
    fn answered(bytes: &[u8]) -> Connection {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let store = Redis::parse(&format!("redis:{}", path.display())).unwrap().open().unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(bytes).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        // It goes on listening: a client that asks on must find the answers, not a broken pipe.
        std::thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()));
        store
    }

    #[test]
    fn replies_are_read_whatever_they_are() {
        let store = answered(b"$5\r\nhe\r\no\r\n$-1\r\n+OK\r\n:1\r\n:0\r\n-OOM no\r\n");
        store.block_on(async {
            let (value, cost) = store.get(b"k").await;
            assert_eq!(value.unwrap().unwrap().look(<[u8]>::to_vec), b"he\r\no");
            assert_eq!((cost.round_trips, cost.foreground.bytes_out), (1, 20));
            assert!(store.get(b"k").await.0.unwrap().is_none());
            store.put(b"k", b"v").await.0.unwrap();
            assert!(store.delete(b"k").await.0.unwrap());
            assert!(!store.delete(b"k").await.0.unwrap());
            assert_eq!(store.put(b"k", b"v").await.0.unwrap_err().label, "full");
            assert_eq!(store.get(b"k").await.0.err().unwrap().label, "unavailable");
        });
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bytes in [&b"\r\n"[..], b"?\r\n", b"$x\r\n", b"$99999999999\r\n", b"$-7\r\n", b"\xff\xff\r\n"] {
            let store = answered(bytes);
            let (answer, _) = store.block_on(store.get(b"k"));
            assert_eq!(answer.err().unwrap().label, "corrupt", "{bytes:?}");
        }
    }

    #[test]
    fn peers_are_named() {
        assert!(matches!(Redis::parse("redis:/a/b").unwrap(), Redis::Unix(path) if path == "/a/b"));
        assert!(matches!(Redis::parse("redis:host:6379").unwrap(), Redis::Tcp(_)));
        assert!(Redis::parse("memcached:/x").is_err());
        assert!(Redis::parse("redis:").is_err());
    }
}
