// Numbers, sizes and times as people read them. Pure.
import {h} from "./dom.js";

const number = new Intl.NumberFormat("en");

export function count(n) {
  return number.format(Math.round(n));
}

// 7.5 M, 124 M, 6.7 B
export function large(n) {
  for (const [unit, size] of [
    ["B", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ])
    if (n >= size) return `${(n / size).toFixed(n < 10 * size ? 1 : 0)} ${unit}`;
  return String(n);
}

export function plural(n, one, many = one + "s") {
  return `${count(n)} ${n === 1 ? one : many}`;
}

// Three significant digits, for losses and rates.
export function short(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e5))
    return x.toExponential(1).replace("e-", "e−").replace("e+", "e");
  if (size >= 1000) return count(x);
  return x.toPrecision(3);
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${(s / 3600).toFixed(s < 36000 ? 1 : 0)} h`;
  return `${Math.round(s / 86400)} d`;
}

function ago(unix) {
  const s = Date.now() / 1000 - unix;
  return s < 45 ? "just now" : `${duration(s)} ago`;
}

export function time(unix) {
  const date = new Date(unix * 1000);
  return h("time", {datetime: date.toISOString(), title: date.toLocaleString()}, ago(unix));
}

// The part of ft:BASE:TENANT:SUFFIX:ID that tells it from the others.
export function modelShort(id) {
  const parts = id.split(":");
  if (parts[0] !== "ft" || parts.length < 5) return id;
  const tail = parts.slice(5).join(":");
  return (parts[3] ? `${parts[3]} · ${parts[4]}` : parts[4]) + (tail ? ` · ${tail}` : "");
}
