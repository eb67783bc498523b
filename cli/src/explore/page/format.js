// Numbers and moments as short text, in the forms of the command line's reports.

// 0.4s, 12.3s, 3m04s, 2h05m; below a tenth of a second in milliseconds.
export function duration(ms) {
  if (ms === null) return "-";
  if (ms < 100) return `${Math.round(ms)}ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}.${Math.floor((ms % 1000) / 100)}s`;
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h${two(Math.floor((seconds % 3600) / 60))}m`;
}

// A point of a build's time; short builds need more digits for it than for how long they took.
export function clock(ms) {
  return ms < 10000 ? `${(ms / 1000).toFixed(2)}s` : duration(ms);
}

// A tick of a time axis whose ticks are `step` milliseconds apart: as many digits as tell them apart.
export function tick(ms, step) {
  if (ms === 0) return "0";
  if (ms < 1000 && step < 1000) return `${Math.round(ms)}ms`;
  const digits = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
  const minutes = Math.floor(ms / 60000);
  if (minutes === 0) return `${(ms / 1000).toFixed(digits)}s`;
  const seconds = ((ms % 60000) / 1000).toFixed(digits).padStart(digits > 0 ? digits + 3 : 2, "0");
  if (minutes < 60) return `${minutes}m${seconds}s`;
  const rest = `${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(minutes / 60)}h${rest}${step < 60000 ? `${seconds}s` : ""}`;
}

// 999B, 1.2kB, 34.0MB: decimal units.
export function bytes(count) {
  if (count < 1000) return `${count}B`;
  let value = count / 1000;
  let unit = 0;
  while (value >= 1000 && unit < 4) {
    value /= 1000;
    unit += 1;
  }
  return `${(Math.floor(value * 10) / 10).toFixed(1)}${["kB", "MB", "GB", "TB", "PB"][unit]}`;
}

// A day and a time of this machine's clock, without the reader's language getting in between.
export function moment(ms) {
  const date = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// One line without control characters.
export function oneLine(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, " ");
}
