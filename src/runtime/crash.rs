//! What the process leaves behind when it dies of a fault: a report in the log, of Redis' form, with the signal and the stack.
//!
//! The handler calls nothing that allocates or takes a lock: what it needs is written down before. glibc's `backtrace` loads
//! its unwinder at the first call, so that is made at the start; it reads memory that may be damaged, so an alarm ends the
//! process should it not come back. The signal then takes its usual course. A panic comes by here too, since it aborts.
//!
//! Registers, clients and the data set are left out: nobody knows what state the engine is in.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayString;

const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];
/// How long a report may take.
const REPORT_SECONDS_MAX: u32 = 10;

/// Where the report goes; none is the standard output.
static FILE: OnceLock<Option<CString>> = OnceLock::new();
static IS_ENABLED: AtomicBool = AtomicBool::new(true);

/// `crash-log-enabled`
pub fn set_enabled(is_enabled: bool) {
    IS_ENABLED.store(is_enabled, Ordering::Relaxed);
}

/// From here on a fault is reported in `file`, or on the standard output.
pub fn install(file: Option<&str>) {
    let file = file.and_then(|file| CString::new(file).ok());
    // It is called once, at the start.
    let _ = FILE.set(file);
    let mut frames = [std::ptr::null_mut(); 1];
    backtrace(&mut frames);
    // SAFETY: all fields of the structure are plain numbers, of which those not set here are zero: no flags, an empty mask.
    // The handler has the signature that SA_SIGINFO asks for, and keeps to what a signal handler may do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = report as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
        for signal in SIGNALS {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Dies of a fault: DEBUG SEGFAULT.
pub fn fault() {
    // SAFETY: raising a signal touches no memory of this program; what its handler does is up to `report`.
    unsafe {
        libc::raise(libc::SIGSEGV);
    }
}

extern "C" fn report(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: `alarm` and `raise` are safe in a signal handler, and so is `open`, of a path that lives as long as the process.
    // The kernel hands a valid `info` to a handler with SA_SIGINFO.
    unsafe {
        if IS_ENABLED.load(Ordering::Relaxed) {
            libc::alarm(REPORT_SECONDS_MAX);
            let out = match FILE.get() {
                Some(Some(file)) => {
                    libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT, 0o644)
                }
                _ => libc::STDOUT_FILENO,
            };
            write_report(out, signal, &*info);
        }
        // What it does otherwise was restored when this handler began, and happens once it ends.
        libc::raise(signal);
    }
}

fn write_report(out: c_int, signal: c_int, info: &libc::siginfo_t) {
    let mut text = ArrayString::<1024>::new();
    let pid = std::process::id();
    // SAFETY: the kernel fills in these fields of the union, one for signals that were sent, the other for faults.
    let (sender, address) = unsafe { (info.si_pid(), info.si_addr() as usize) };
    // The text is shorter than its room.
    let _ = write!(
        text,
        "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n{pid}:M # Russet {} crashed by signal: {signal}, \
         si_code: {}\n",
        env!("CARGO_PKG_VERSION"),
        info.si_code,
    );
    let _ = match info.si_code {
        // Sent by a process, maybe this one.
        ..=0 => writeln!(text, "{pid}:M # Killed by PID: {sender}"),
        _ => writeln!(text, "{pid}:M # Accessing address: {address:#x}"),
    };
    let _ = write!(text, "\n------ STACK TRACE ------\nBacktrace:\n");
    write_all(out, &text);
    let mut frames = [std::ptr::null_mut(); 64];
    let found = backtrace(&mut frames);
    symbols(found, out);
    text.clear();
    let _ = write!(
        text,
        "\n=== REDIS BUG REPORT END. ===\n\n       'addr2line -Cfie' with this program and the numbers behind '+' names the \
         places above.\n\n"
    );
    write_all(out, &text);
}

fn write_all(out: c_int, text: &str) {
    // SAFETY: the buffer is valid for its length. What cannot be written cannot be reported either.
    unsafe {
        libc::write(out, text.as_ptr().cast(), text.len());
    }
}

/// Fills in the return addresses of this thread, the innermost first; answers those that were found.
#[cfg(target_env = "gnu")]
fn backtrace(frames: &mut [*mut c_void]) -> &[*mut c_void] {
    // SAFETY: at most as many addresses are written as there is room for.
    let found = unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as c_int) };
    &frames[..found.max(0) as usize]
}

/// Writes one line for each address: file, offset, address.
#[cfg(target_env = "gnu")]
fn symbols(frames: &[*mut c_void], out: c_int) {
    // SAFETY: it reads as many addresses as there are, and unlike its siblings allocates nothing.
    unsafe { libc::backtrace_symbols_fd(frames.as_ptr(), frames.len() as c_int, out) }
}

#[cfg(not(target_env = "gnu"))]
fn backtrace(_: &mut [*mut c_void]) -> &[*mut c_void] {
    &[]
}

#[cfg(not(target_env = "gnu"))]
fn symbols(_: &[*mut c_void], out: c_int) {
    write_all(out, "not available with this C library\n");
}
