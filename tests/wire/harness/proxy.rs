//! A TCP proxy between two servers: the link that can be cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    is_open: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Forwards connections to `target`.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", super::free_port())).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared { is_open: AtomicBool::new(true), streams: Mutex::default() });
        let of_thread = shared.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                of_thread.connect(stream, target);
            }
        });
        Self { port, shared }
    }

    /// Breaks all connections; new ones are closed at once until `mend`.
    pub fn cut(&self) {
        self.shared.is_open.store(false, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.shared.is_open.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn connect(&self, inner: TcpStream, target: u16) {
        if !self.is_open.load(Ordering::SeqCst) {
            return;
        }
        let Ok(outer) = TcpStream::connect(("127.0.0.1", target)) else { return };
        let mut streams = self.streams.lock().unwrap();
        for (from, to) in [(&inner, &outer), (&outer, &inner)] {
            let _ = to.set_nodelay(true);
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            streams.extend([from.try_clone().unwrap(), to.try_clone().unwrap()]);
            thread::spawn(move || forward(from, to));
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
