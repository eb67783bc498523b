//! Linux system calls of x86-64 and AArch64, each behind a safe function.
//!
//! Everything `unsafe` about init that is not a memory function is here.
//! Errors are positive `errno` values.

use core::arch::asm;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const PPOLL: usize = 271;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const SIGNALFD4: usize = 289;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
    pub const FCNTL: usize = 72;
}
#[cfg(target_arch = "aarch64")]
mod nr {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const PPOLL: usize = 73;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const SIGNALFD4: usize = 74;
    pub const DUP3: usize = 24;
    pub const PIPE2: usize = 59;
    pub const FCNTL: usize = 25;
}

pub const ENOENT: i32 = 2;
pub const ENOTDIR: i32 = 20;
pub const SIGCHLD: i32 = 17;

const EINTR: i32 = 4;
const AT_FDCWD: usize = -100isize as usize;
const O_WRONLY_CREAT_TRUNC_CLOEXEC: usize = 0o1 | 0o100 | 0o1000 | 0o2_000_000;
const O_CLOEXEC: usize = 0o2_000_000;
const O_NONBLOCK: usize = 0o4000;
const F_SETFL: usize = 4;
const WNOHANG: usize = 1;
const SIG_SETMASK: usize = 2;
const POLLIN: i16 = 1;
/// Size of the kernel's signal set, in bytes.
const SIGSET_BYTES: usize = 8;
/// Size of `struct signalfd_siginfo`; its first word is the signal number.
const SIGINFO_BYTES: usize = 128;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call init_main",
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x0, sp",
    "bl init_main",
);

fn call(n: usize, a: [usize; 5]) -> Result<usize, i32> {
    let result: isize;
    // SAFETY: the callers below pass pointers to live memory of the size the
    // call expects; the kernel touches nothing else.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") n as isize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") n,
            inlateout("x0") a[0] as isize => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4],
            options(nostack),
        );
    }
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}

/// A file descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Fd(i32);

impl Fd {
    pub const IN: Self = Self(0);
    pub const OUT: Self = Self(1);
    pub const ERR: Self = Self(2);
    /// No descriptor; `poll` ignores it.
    pub const NONE: Self = Self(-1);
}

/// A C string that lives as long as the process: an argument or a variable.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Str(*const u8);

impl Str {
    pub fn pointer(self) -> *const u8 {
        self.0
    }

    pub fn bytes(self) -> &'static [u8] {
        let mut n = 0;
        // SAFETY: the kernel gives C strings that outlive the process's code.
        unsafe {
            while *self.0.add(n) != 0 {
                n += 1;
            }
            core::slice::from_raw_parts(self.0, n)
        }
    }

    /// The rest after `prefix`.
    pub fn strip(self, prefix: &[u8]) -> Option<Self> {
        // SAFETY: the prefix was found, so the string is at least as long.
        self.bytes()
            .starts_with(prefix)
            .then(|| Self(unsafe { self.0.add(prefix.len()) }))
    }
}

/// Arguments and environment from the initial stack: count, pointers, null, pointers, null.
pub fn arguments(stack: *const usize) -> (&'static [Str], &'static [Str]) {
    // SAFETY: the layout is the System V ABI's; `Str` has a pointer's layout.
    unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<Str>();
        let envp = argv.add(argc + 1);
        let mut envc = 0;
        while !(*envp.add(envc)).0.is_null() {
            envc += 1;
        }
        (
            core::slice::from_raw_parts(argv, argc),
            core::slice::from_raw_parts(envp, envc),
        )
    }
}

pub fn exit(code: i32) -> ! {
    loop {
        let _ = call(nr::EXIT_GROUP, [code as usize, 0, 0, 0, 0]);
    }
}

pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize, i32> {
    loop {
        match call(
            nr::READ,
            [
                fd.0 as usize,
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                0,
                0,
            ],
        ) {
            Err(EINTR) => {}
            other => return other,
        }
    }
}

pub fn write_all(fd: Fd, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        match call(
            nr::WRITE,
            [fd.0 as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0],
        ) {
            Ok(n) => bytes = &bytes[n..],
            Err(EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub fn close(fd: Fd) {
    let _ = call(nr::CLOSE, [fd.0 as usize, 0, 0, 0, 0]);
}

pub fn dup2(from: Fd, to: Fd) {
    let _ = call(nr::DUP3, [from.0 as usize, to.0 as usize, 0, 0, 0]);
}

pub fn open_read(path: Str) -> Result<Fd, i32> {
    call(nr::OPENAT, [AT_FDCWD, path.0 as usize, O_CLOEXEC, 0, 0]).map(|fd| Fd(fd as i32))
}

/// Creates or truncates a file, mode 0644; `path` is a C string.
pub fn open_write(path: *const u8) -> Result<Fd, i32> {
    call(
        nr::OPENAT,
        [
            AT_FDCWD,
            path as usize,
            O_WRONLY_CREAT_TRUNC_CLOEXEC,
            0o644,
            0,
        ],
    )
    .map(|fd| Fd(fd as i32))
}

/// A pipe whose read end does not block; both ends close on exec.
pub fn pipe() -> Result<(Fd, Fd), i32> {
    let mut ends = [0i32; 2];
    call(nr::PIPE2, [ends.as_mut_ptr() as usize, O_CLOEXEC, 0, 0, 0])?;
    call(nr::FCNTL, [ends[0] as usize, F_SETFL, O_NONBLOCK, 0, 0])?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// Zero in the child, the child's id in the parent.
pub fn fork() -> Result<i32, i32> {
    call(nr::CLONE, [SIGCHLD as usize, 0, 0, 0, 0]).map(|pid| pid as i32)
}

/// Replaces the process; returns only with the error.
pub fn exec(path: *const u8, argv: &'static [Str], at: usize, envp: &'static [Str]) -> i32 {
    // The kernel's own null ends both lists: the slices lie in the initial stack.
    let (argv, envp) = (argv[at..].as_ptr() as usize, envp.as_ptr() as usize);
    call(nr::EXECVE, [path as usize, argv, envp, 0, 0])
        .err()
        .unwrap_or(0)
}

/// One ended child: its id and exit code (128 + signal when killed).
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0i32;
    let any = -1isize as usize;
    let pid = call(nr::WAIT4, [any, &raw mut status as usize, WNOHANG, 0, 0]).ok()? as i32;
    let signal = status & 0x7f;
    let code = if signal == 0 {
        (status >> 8) & 0xff
    } else {
        128 + signal
    };
    (pid > 0).then_some((pid, code))
}

pub fn kill(pid: i32, signal: i32) {
    let _ = call(nr::KILL, [pid as usize, signal as usize, 0, 0, 0]);
}

fn set_mask(mask: u64) {
    let _ = call(
        nr::RT_SIGPROCMASK,
        [SIG_SETMASK, &raw const mask as usize, 0, SIGSET_BYTES, 0],
    );
}

/// Blocks every signal and returns a descriptor from which they are read.
pub fn signal_descriptor() -> Result<Fd, i32> {
    let mask = u64::MAX;
    set_mask(mask);
    let none = -1isize as usize;
    call(
        nr::SIGNALFD4,
        [none, &raw const mask as usize, SIGSET_BYTES, O_CLOEXEC, 0],
    )
    .map(|fd| Fd(fd as i32))
}

pub fn unblock_signals() {
    set_mask(0);
}

/// The next pending signal's number.
pub fn read_signal(fd: Fd) -> i32 {
    let mut info = [0u8; SIGINFO_BYTES];
    match read(fd, &mut info) {
        Ok(_) => i32::from_ne_bytes([info[0], info[1], info[2], info[3]]),
        Err(_) => 0,
    }
}

/// Waits until one of three descriptors can be read or has ended.
pub fn poll(fds: [Fd; 3]) -> [bool; 3] {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct PollFd {
        fd: i32,
        events: i16,
        revents: i16,
    }
    let mut set = fds.map(|fd| PollFd {
        fd: fd.0,
        events: POLLIN,
        revents: 0,
    });
    let _ = call(
        nr::PPOLL,
        [set.as_mut_ptr() as usize, set.len(), 0, 0, SIGSET_BYTES],
    );
    set.map(|p| p.revents != 0)
}

/// The usual words for the errors an exec gives.
pub fn describe(errno: i32) -> &'static [u8] {
    match errno {
        1 => b"operation not permitted",
        ENOENT => b"executable file not found",
        7 => b"argument list too long",
        8 => b"exec format error",
        12 => b"out of memory",
        13 => b"permission denied",
        ENOTDIR => b"not a directory",
        21 => b"is a directory",
        26 => b"text file busy",
        28 => b"no space left on device",
        30 => b"read-only file system",
        40 => b"too many levels of symbolic links",
        _ => b"system error",
    }
}
