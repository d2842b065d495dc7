//! The sockets of clients, read and written by direct system calls.
//!
//! One request without pipeline costs two system calls and little else, so the C library's share of them counts: in a
//! process of several threads its `recv` and `send` are cancellation points, which costs as much as running a PING
//! (`docs/performance.md`). What tokio knows of a socket's readiness is used and kept as its own `poll_read` does.

use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream of bytes.
pub trait ClientSocket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Reads what is there; 0 bytes at the end.
    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as fits.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// The socket for a thread that may wait for it.
    fn into_blocking(self) -> io::Result<Box<dyn BlockingSocket>>;

    /// Lets the kernel wait for more before it sends little: fewer packets, later. Not every kind of socket can.
    fn send_in_larger_packets(&self);
}

/// A connected stream of bytes that is waited for.
pub trait BlockingSocket: io::Read + io::Write + Send {}

impl<S: io::Read + io::Write + Send> BlockingSocket for S {}

macro_rules! impl_socket {
    ($stream:ty, $set_delay:expr) => {
        impl ClientSocket for $stream {
            fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_read_ready(cx))?;
                    let wanted = into.len();
                    let mut received = 0;
                    let read = self.try_io(Interest::READABLE, || {
                        (received, _) = recv(self.as_fd(), &mut *into, RecvFlags::empty())?;
                        expect_more(received, wanted)
                    });
                    if let Some(done) = outcome(read, received) {
                        return Poll::Ready(done);
                    }
                }
            }

            fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_write_ready(cx))?;
                    let mut sent = 0;
                    let written = self.try_io(Interest::WRITABLE, || {
                        sent = send(self.as_fd(), bytes, SendFlags::NOSIGNAL)?;
                        expect_more(sent, bytes.len())
                    });
                    if let Some(done) = outcome(written, sent) {
                        return Poll::Ready(done);
                    }
                }
            }

            fn into_blocking(self) -> io::Result<Box<dyn BlockingSocket>> {
                let stream = self.into_std()?;
                stream.set_nonblocking(false)?;
                Ok(Box::new(stream))
            }

            fn send_in_larger_packets(&self) {
                $set_delay(self);
            }
        }
    };
}

impl_socket!(TcpStream, |stream: &TcpStream| {
    // It is a matter of speed alone.
    let _ = stream.set_nodelay(false);
});
impl_socket!(UnixStream, |_: &UnixStream| ());

/// What tokio is told of a call that moved `bytes` of `wanted`: a short one has used the readiness up, and the next attempt
/// is worth a system call only after the kernel has reported it anew.
fn expect_more(bytes: usize, wanted: usize) -> io::Result<()> {
    if (1..wanted).contains(&bytes) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// What the caller reads; none if it is to be tried again.
fn outcome(attempt: io::Result<()>, bytes: usize) -> Option<io::Result<usize>> {
    match attempt {
        Err(error) if bytes == 0 => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => None,
            _ => Some(Err(error)),
        },
        _ => Some(Ok(bytes)),
    }
}
