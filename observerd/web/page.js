"use strict";
// Keeps the page current: asks for it again and puts what changed in the old parts' places.
const EVERY_MS = 2000, PATIENCE_MS = 10000;
let received = performance.now();

// As duration_text in page.py.
function durationText(seconds) {
  const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  if (seconds < 10) return (Math.floor(seconds * 10) / 10).toFixed(1) + " s";
  if (whole < 60) return whole + " s";
  if (whole < 3600) return Math.floor(whole / 60) + " min " + two(whole % 60) + " s";
  if (whole < 86400) return Math.floor(whole / 3600) + " h " + two(Math.floor(whole % 3600 / 60)) + " min";
  return Math.floor(whole / 86400) + " d " + Math.floor(whole % 86400 / 3600) + " h";
}

function tick() {
  const elapsed = (performance.now() - received) / 1000;
  for (const each of document.querySelectorAll("[data-seconds]")) {
    each.textContent = durationText(Number(each.dataset.seconds) + elapsed);
  }
  for (const each of document.querySelectorAll("progress")) {
    each.value = Number(each.getAttribute("value")) + elapsed;
  }
}

// What a reader has opened or is about to press stays open and pressed.
function put(old, fresh) {
  const open = new Set([...old.querySelectorAll("details[open]")].map((each) => each.dataset.key));
  const focused = old.contains(document.activeElement) ? path(old, document.activeElement) : null;
  const content = document.importNode(fresh, true);
  for (const each of content.querySelectorAll("details")) each.open = open.has(each.dataset.key);
  old.replaceChildren(...content.childNodes);
  if (focused) focused.reduce((at, index) => at && at.children[index], old)?.focus({preventScroll: true});
}

function path(from, to) {
  const steps = [];
  for (let at = to; at !== from; at = at.parentElement) steps.unshift([...at.parentElement.children].indexOf(at));
  return steps;
}

function say(text) {
  const lost = document.getElementById("lost");
  lost.hidden = !text;
  if (lost.textContent !== text) lost.textContent = text;
}

const before = new Map([...document.querySelectorAll("[data-live]")].map((each) => [each.id, each.innerHTML]));

async function refresh() {
  try {
    const answer = await fetch("/", {cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS)});
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    received = performance.now();
    document.title = fresh.title;
    for (const each of fresh.querySelectorAll("[data-live]")) {
      if (before.get(each.id) !== each.innerHTML) put(document.getElementById(each.id), each);
      before.set(each.id, each.innerHTML);
    }
    say("");
  } catch {
    say("This worker does not answer any more. One that was idle has given itself up; its runs are in the logs.");
  }
}

async function keepCurrent() {
  if (!document.hidden) await refresh();
  setTimeout(keepCurrent, EVERY_MS);
}

setInterval(tick, 250);
setTimeout(keepCurrent, EVERY_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
