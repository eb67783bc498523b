# shellcheck shell=bash
# What the scripts of hack/, .ci/ and examples/ share: where state lives, how
# Debian packages are obtained, how a daemon is started, found again and
# stopped by pid. Sourced, never run.
#
# State lives outside the checkout, in $DAGOP_HACK_STATE
# (default: $XDG_CACHE_HOME/dagop-hack or ~/.cache/dagop-hack):
#   tools/             programs built or unpacked once, named by version
#   run/<instance>/    one private daemon and one registry: socket, pid, log, data
# The instance is $DAGOP_INSTANCE (default "dev"), so that a test run never
# meets the daemon that somebody works with.

# shellcheck disable=SC2034 # used by the scripts that source this file
ROOT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE_DIR=${DAGOP_HACK_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/dagop-hack}
TOOLS_DIR=$STATE_DIR/tools
RUN_DIR=$STATE_DIR/run/${DAGOP_INSTANCE:-dev}
PACKAGES_DIR=$TOOLS_DIR/packages

# Progress goes to stderr: stdout belongs to results such as an address.
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Runs a command as root: directly, or through sudo for an ordinary user.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

need_root() {
  as_root true 2>/dev/null || die "$1 needs root, or sudo without a password"
}

# apt-get without questions. A fresh machine has no package lists, so a first
# failure is answered by fetching them.
apt_get() {
  local options=(-qq -o Dpkg::Use-Pty=0)
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$@" >&2 && return
  say "apt-get ${1}: trying again with fresh package lists"
  as_root apt-get "${options[@]}" update >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$@" >&2
}

# need COMMAND PACKAGE: installs a package that only brings programs, unless
# the command is already there.
need() {
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null && return
  say "installing $2 (for $1)"
  apt_get install -y --no-install-recommends "$2"
}

# unpacked PACKAGE PATH-IN-PACKAGE...: prints the first of these files that a
# package has, which is unpacked and not installed. Used for packages that would start a service
# (docker-registry, docker.io) or push out another one (busybox-static).
unpacked() {
  local folder=$PACKAGES_DIR/$1 file
  [ -e "$folder" ] || unpack "$1" || die "cannot get the Debian package $1"
  for file in "${@:2}"; do
    if [ -e "$folder/$file" ]; then printf '%s\n' "$folder/$file"; return; fi
  done
  die "the Debian package $1 holds none of: ${*:2}"
}

unpack() {
  local temp
  mkdir -p "$PACKAGES_DIR"
  temp=$(mktemp -d "$PACKAGES_DIR/.unpack.XXXXXX")
  say "unpacking the Debian package $1"
  # apt's download user may not write here; root does it and hands over.
  if ! (cd "$temp" && apt_get -o APT::Sandbox::User=root download "$1"); then
    rm -rf "$temp"
    return 1
  fi
  dpkg-deb --extract "$temp"/*.deb "$temp/root"
  rm -rf "${PACKAGES_DIR:?}/$1"
  mv "$temp/root" "$PACKAGES_DIR/$1"
  rm -rf "$temp"
}

# Prints a static busybox: the machine's own if it is static, else Debian's.
static_busybox() {
  local found
  for found in /bin/busybox /usr/bin/busybox; do
    if [ -x "$found" ] && is_static "$found"; then readlink -f "$found"; return; fi
  done
  # The package moved its program from bin to usr/bin.
  unpacked busybox-static usr/bin/busybox bin/busybox
}

# A static program names no interpreter: no "ld-linux" or "ld-musl" in it.
is_static() { ! head -c 4096 "$1" | grep -aq -e 'ld-linux' -e 'ld-musl'; }

# Compiling Rust needs a C compiler as linker; SQLite is C as well.
need_rust() {
  PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || die "cargo is not on the PATH: install Rust first (rustup.rs)"
  need cc gcc
  [ -e /usr/include/stdlib.h ] || apt_get install -y --no-install-recommends libc6-dev
}

# ---- daemons -----------------------------------------------------------------
# A pid file holds "pid start-time". The start time (field 22 of
# /proc/PID/stat) tells our process from a later one with a recycled pid.

start_time() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # The command name in parentheses may hold spaces: count from behind it, where field 3 is first.
  read -ra fields <<<"${stat##*) }"
  printf '%s\n' "${fields[19]}"
}

# running PIDFILE: prints the pid if that very process still runs.
running() {
  local pid started
  [ -r "$1" ] || return 1
  read -r pid started <"$1" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] || return 1
  printf '%s\n' "$pid"
}

# start PIDFILE LOG COMMAND...: starts a daemon in its own process session.
start() {
  local pidfile=$1 log=$2 pid
  shift 2
  rm -f "$pidfile" "$pidfile.new"
  # The shell writes its pid and becomes the daemon: the only way to learn the
  # pid behind sudo. The lock (descriptor 9) must not be inherited.
  # shellcheck disable=SC2016 # expanded by the inner shell
  as_root setsid sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$pidfile.new" "$@" \
    >>"$log" 2>&1 </dev/null 9>&- &
  wait_for 10 test -s "$pidfile.new" || die "could not start $1, see $log"
  pid=$(<"$pidfile.new")
  printf '%s %s\n' "$pid" "$(start_time "$pid" || echo gone)" >"$pidfile"
  rm -f "$pidfile.new"
}

# stop PIDFILE: TERM, then KILL after 20 seconds. Fine if nothing runs.
stop() {
  local pid
  if pid=$(running "$1"); then
    as_root kill -TERM "$pid" || true
    if ! wait_for 20 not running "$1"; then
      say "process $pid ignores SIGTERM: SIGKILL"
      as_root kill -KILL "$pid" || true
      wait_for 10 not running "$1" || die "process $pid cannot be killed"
    fi
  fi
  rm -f "$1"
}

not() { ! "$@" >/dev/null; }

# wait_for SECONDS COMMAND...: polls until the command succeeds.
wait_for() {
  local tenths=$(($1 * 10))
  shift
  while ((tenths-- > 0)); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  return 1
}

# locked FUNCTION...: one up or down at a time for an instance. The folder
# itself is the lock, so that no lock file is left behind.
locked() {
  mkdir -p "$RUN_DIR"
  (
    flock 9
    "$@"
  ) 9<"$RUN_DIR"
}

# unmount_below DIR: detaches what a killed daemon left mounted, deepest first.
unmount_below() {
  local mounts mount
  mounts=$(awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r)
  while read -r mount; do
    [ -z "$mount" ] || as_root umount "$mount" || as_root umount -l "$mount"
  done <<<"$mounts"
}
