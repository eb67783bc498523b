//! The init process of every `withExec`: a static program without a C
//! library that runs the user's command and keeps what it printed.
//!
//! A stock BuildKit returns an exec's file systems, not its output. So the
//! lowering puts this program in front of the command and gives it a writable
//! meta mount; the mount is an output of the exec vertex and is cached with
//! it, which is how `stdout`, `stderr` and `exitCode` survive a cache hit.
//!
//! ```text
//! /.dagop/init [--meta=DIR] [--stdin=FILE] [--stdout=FILE] [--stderr=FILE]
//!     [--scrub-env=NAME]... [--scrub-file=FILE]... -- COMMAND [ARG...]
//! ```
//!
//! How it works: fork, exec the command with its output on two pipes, then
//! copy whatever arrives to our own output (BuildKit's log), to
//! `DIR/stdout` or `DIR/stderr`, to `DIR/combinedOutput` and to the redirect
//! file, with the values of the named secrets replaced (see `scrub.rs`).
//! As process 1 it forwards signals and reaps orphans. When the command
//! ends, what is still in the pipes is drained, `DIR/exitCode` is written, and
//! init ends with the same code (128 + signal number for a killed command).
//! A failure of init itself is code 125, as in `docker run`; a command that
//! is not found is 127, one that cannot be executed 126.
//!
//! The program reaches the daemon as a *secret* mount: its bytes are therefore
//! in no cache key, and a new compiler does not invalidate anybody's cache.
//! The mount's id carries [`the protocol version`](../src/init.rs).
//!
//! It is compiled by `build.rs` with `rustc` alone. Without libc it needs its
//! own system call stubs and memory functions, which are the unsafe parts.
#![no_std]
#![no_main]
#![no_builtins]

mod memory;
mod scrub;
mod sys;

use scrub::Scrubber;
use sys::{Fd, Str};

/// Exit code of a failure of init itself.
const CODE_INIT_FAILED: i32 = 125;
/// Exit code when the command exists but cannot be executed.
const CODE_NOT_EXECUTABLE: i32 = 126;
/// Exit code when no such command exists.
const CODE_NOT_FOUND: i32 = 127;
/// Longest path init builds (`DIR/name`, `PATH` entry and command).
const PATH_MAX: usize = 4096;
/// Bytes copied at a time; the size of a pipe.
const CHUNK: usize = 64 * 1024;
/// The longest secret that BuildKit carries, and so the longest text that can be
/// held back.
const VALUE_MAX: usize = 512 * 1024;
/// Room for a chunk behind what is held back.
const BUFFER: usize = CHUNK + VALUE_MAX;

/// What the command line asked for.
struct Options {
    meta: &'static [u8],
    stdin: Option<Str>,
    stdout: Option<Str>,
    stderr: Option<Str>,
    /// Index of the command in `argv`.
    command: usize,
}

/// One stream of the command: where it comes from and where it goes.
struct Stream {
    pipe: Fd,
    log: Fd,
    sinks: [Fd; 3],
    buffer: &'static mut [u8; BUFFER],
    /// Bytes at the start of the buffer that wait for more.
    held: usize,
}

/// State too large for the stack; init has one thread.
static mut BUFFERS: [[u8; BUFFER]; 2] = [[0; BUFFER]; 2];
static mut SCRUBBER: Scrubber = Scrubber::new();

/// Entered by `_start` with the initial stack pointer.
#[unsafe(no_mangle)]
extern "C" fn init_main(stack: *const usize) -> ! {
    let (argv, envp) = sys::arguments(stack);
    let options = parse(argv);
    let code = run(argv, envp, &options);
    sys::exit(code)
}

fn parse(argv: &'static [Str]) -> Options {
    let mut options = Options {
        meta: b"/.dagop/meta",
        stdin: None,
        stdout: None,
        stderr: None,
        command: 0,
    };
    for (i, arg) in argv.iter().enumerate().skip(1) {
        if arg.bytes() == b"--" {
            options.command = i + 1;
            break;
        } else if let Some(v) = arg.strip(b"--meta=") {
            options.meta = v.bytes();
        } else if let Some(v) = arg.strip(b"--stdin=") {
            options.stdin = Some(v);
        } else if let Some(v) = arg.strip(b"--stdout=") {
            options.stdout = Some(v);
        } else if let Some(v) = arg.strip(b"--stderr=") {
            options.stderr = Some(v);
        } else if arg
            .strip(b"--scrub-env=")
            .or(arg.strip(b"--scrub-file="))
            .is_none()
        {
            fail(b"unknown option ", arg.bytes(), 0);
        }
    }
    if options.command == 0 || options.command >= argv.len() {
        fail(b"no command", b"", 0);
    }
    options
}

fn run(argv: &'static [Str], envp: &'static [Str], options: &Options) -> i32 {
    let combined = create(options, b"combinedOutput");
    let out_file = create(options, b"stdout");
    let err_file = create(options, b"stderr");
    let out_copy = redirect(options.stdout);
    let err_copy = redirect(options.stderr);
    let stdin = options.stdin.map(|path| {
        sys::open_read(path).unwrap_or_else(|e| fail(b"cannot open stdin ", path.bytes(), e))
    });
    // Signals are read from a descriptor, so none can be lost between a check and a wait.
    let signals = sys::signal_descriptor().unwrap_or_else(|e| fail(b"signalfd", b"", e));
    let (out_read, out_write) = sys::pipe().unwrap_or_else(|e| fail(b"pipe", b"", e));
    let (err_read, err_write) = sys::pipe().unwrap_or_else(|e| fail(b"pipe", b"", e));
    let child = match sys::fork() {
        Ok(0) => child(argv, envp, options, stdin, out_write, err_write),
        Ok(pid) => pid,
        Err(e) => fail(b"fork", b"", e),
    };
    sys::close(out_write);
    sys::close(err_write);
    if let Some(fd) = stdin {
        sys::close(fd);
    }
    // SAFETY: init has one thread, and these are the only references made.
    let ([out_buffer, err_buffer], scrubber) =
        unsafe { (&mut *(&raw mut BUFFERS), &mut *(&raw mut SCRUBBER)) };
    collect_secrets(argv, envp, scrubber);
    let mut streams = [
        Stream {
            pipe: out_read,
            log: Fd::OUT,
            sinks: [out_file, combined, out_copy],
            buffer: out_buffer,
            held: 0,
        },
        Stream {
            pipe: err_read,
            log: Fd::ERR,
            sinks: [err_file, combined, err_copy],
            buffer: err_buffer,
            held: 0,
        },
    ];
    let code = supervise(child, signals, &mut streams, scrubber);
    record(options, code);
    code
}

/// Copies output and handles signals until the command has ended.
fn supervise(child: i32, signals: Fd, streams: &mut [Stream; 2], scrubber: &Scrubber) -> i32 {
    loop {
        let ready = sys::poll([signals, streams[0].pipe, streams[1].pipe]);
        for (i, stream) in streams.iter_mut().enumerate() {
            if ready[i + 1] {
                stream.copy_some(scrubber);
            }
        }
        if !ready[0] {
            continue;
        }
        let signal = sys::read_signal(signals);
        if signal != sys::SIGCHLD {
            sys::kill(child, signal);
            continue;
        }
        // One SIGCHLD may stand for several ended processes; orphans are ours to reap.
        let mut ended = None;
        while let Some((pid, code)) = sys::reap() {
            if pid == child {
                ended = Some(code);
            }
        }
        if let Some(code) = ended {
            // A background process may hold a pipe open for ever: take what
            // is there, do not wait for end of file.
            for stream in streams.iter_mut() {
                while stream.copy_some(scrubber) {}
                stream.flush(scrubber);
            }
            return code;
        }
    }
}

impl Stream {
    /// Moves one chunk; false when nothing was there or the stream has ended.
    fn copy_some(&mut self, scrubber: &Scrubber) -> bool {
        if self.pipe == Fd::NONE {
            return false;
        }
        match sys::read(self.pipe, &mut self.buffer[self.held..self.held + CHUNK]) {
            Ok(0) => {
                sys::close(self.pipe);
                self.pipe = Fd::NONE;
                false
            }
            Ok(n) => {
                self.send(self.held + n, false, scrubber);
                true
            }
            Err(_) => false,
        }
    }

    fn flush(&mut self, scrubber: &Scrubber) {
        self.send(self.held, true, scrubber);
    }

    /// Sends the first `len` bytes of the buffer on, and keeps what must wait.
    fn send(&mut self, len: usize, last: bool, scrubber: &Scrubber) {
        let (log, sinks) = (self.log, self.sinks);
        self.held = if scrubber.is_empty() {
            write(log, sinks, &self.buffer[..len]);
            0
        } else {
            scrubber.pass(&self.buffer[..len], last, |bytes| write(log, sinks, bytes))
        };
        self.buffer.copy_within(len - self.held..len, 0);
    }
}

fn write(log: Fd, sinks: [Fd; 3], bytes: &[u8]) {
    // A daemon that went away must not fail the step: log errors are ignored.
    let _ = sys::write_all(log, bytes);
    for sink in sinks {
        if sink != Fd::NONE && sys::write_all(sink, bytes).is_err() {
            fail(b"cannot store the command's output", b"", 0);
        }
    }
}

/// Reads the values of the secrets that the command line names.
fn collect_secrets(argv: &'static [Str], envp: &'static [Str], scrubber: &mut Scrubber) {
    for arg in argv.iter().skip(1) {
        if arg.bytes() == b"--" {
            return;
        }
        let fits = if let Some(name) = arg.strip(b"--scrub-env=") {
            let value = envp.iter().find_map(|e| e.strip(name.bytes())?.strip(b"="));
            value.is_none_or(|v| scrubber.add(v.bytes()))
        } else if let Some(path) = arg.strip(b"--scrub-file=") {
            collect_file(path, scrubber)
        } else {
            true
        };
        if !fits {
            fail(
                b"the secrets are too large to be hidden in the output",
                b"",
                0,
            );
        }
    }
}

/// A file that cannot be read is no concern: the command cannot read it either.
fn collect_file(path: Str, scrubber: &mut Scrubber) -> bool {
    let Ok(file) = sys::open_read(path) else {
        return true;
    };
    let mut n = 0;
    loop {
        let room = &mut scrubber.tail()[n..];
        if room.is_empty() {
            return false;
        }
        match sys::read(file, room) {
            Ok(0) | Err(_) => break,
            Ok(more) => n += more,
        }
    }
    sys::close(file);
    scrubber.add_tail(n);
    true
}

fn child(
    argv: &'static [Str],
    envp: &'static [Str],
    options: &Options,
    stdin: Option<Fd>,
    out: Fd,
    err: Fd,
) -> ! {
    if let Some(fd) = stdin {
        sys::dup2(fd, Fd::IN);
    }
    sys::dup2(out, Fd::OUT);
    sys::dup2(err, Fd::ERR);
    sys::unblock_signals();
    let name = argv[options.command];
    let error = if name.bytes().contains(&b'/') {
        sys::exec(name.pointer(), argv, options.command, envp)
    } else {
        search_path(name, argv, options.command, envp)
    };
    let code = if error == sys::ENOENT {
        CODE_NOT_FOUND
    } else {
        CODE_NOT_EXECUTABLE
    };
    say(&[
        b"exec: \"",
        name.bytes(),
        b"\": ",
        sys::describe(error),
        b"\n",
    ]);
    sys::exit(code)
}

/// Tries each entry of `PATH`; the error to report is the most telling one.
fn search_path(name: Str, argv: &'static [Str], at: usize, envp: &'static [Str]) -> i32 {
    let path = envp
        .iter()
        .find_map(|e| e.strip(b"PATH="))
        .map_or(&b""[..], |p| p.bytes());
    let mut error = sys::ENOENT;
    for dir in path.split(|&b| b == b':') {
        let mut buffer = [0u8; PATH_MAX];
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        if let Some(candidate) = join(&mut buffer, dir, name.bytes()) {
            let e = sys::exec(candidate, argv, at, envp);
            if e != sys::ENOENT && e != sys::ENOTDIR {
                error = e;
            }
        }
    }
    error
}

/// `dir/name` as a C string, or nothing when it does not fit.
fn join(buffer: &mut [u8; PATH_MAX], dir: &[u8], name: &[u8]) -> Option<*const u8> {
    let len = dir.len() + 1 + name.len();
    if len >= PATH_MAX {
        return None;
    }
    buffer[..dir.len()].copy_from_slice(dir);
    buffer[dir.len()] = b'/';
    buffer[dir.len() + 1..len].copy_from_slice(name);
    buffer[len] = 0;
    Some(buffer.as_ptr())
}

fn create(options: &Options, name: &[u8]) -> Fd {
    let mut buffer = [0u8; PATH_MAX];
    let Some(path) = join(&mut buffer, options.meta, name) else {
        fail(b"the meta path is too long", b"", 0)
    };
    sys::open_write(path).unwrap_or_else(|e| fail(b"cannot create ", name, e))
}

fn redirect(path: Option<Str>) -> Fd {
    match path {
        None => Fd::NONE,
        Some(path) => sys::open_write(path.pointer())
            .unwrap_or_else(|e| fail(b"cannot redirect to ", path.bytes(), e)),
    }
}

/// Writes `exitCode`: the decimal code, no newline.
fn record(options: &Options, code: i32) {
    let mut digits = [0u8; 3];
    let mut at = digits.len();
    let mut rest = code;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let file = create(options, b"exitCode");
    if sys::write_all(file, &digits[at..]).is_err() {
        fail(b"cannot store the exit code", b"", 0);
    }
}

/// Says what went wrong and ends init.
fn fail(what: &[u8], detail: &[u8], errno: i32) -> ! {
    let reason = if errno == 0 {
        &b""[..]
    } else {
        sys::describe(errno)
    };
    let colon = if errno == 0 { &b""[..] } else { b": " };
    say(&[b"dagop init: ", what, detail, colon, reason, b"\n"]);
    sys::exit(CODE_INIT_FAILED)
}

fn say(parts: &[&[u8]]) {
    for part in parts {
        let _ = sys::write_all(Fd::ERR, part);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail(b"internal error", b"", 0)
}

/// Named by the unwind tables of `core`, never called: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
