"use strict";
// All text comes from a model and goes into the page through textContent alone, so none of it is ever read as markup.
const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(child))));
  return element;
}

const number = (value, digits = 3) => (value === null || value === undefined ? "–" : Number(value.toFixed(digits)).toString().replace("-", "−"));
const signed = (value) => (value > 0 ? "+" : "") + number(value);

// What would hide, move or turn round other text shows its number instead: control and format characters, half surrogates.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
function visible(text, lineBreak = "⏎\n") {
  return text.replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    if (code === 10) return lineBreak;
    return code < 32 ? String.fromCharCode(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const ROW_HEIGHT = 28; // as in the style
let data, shown = [], chosen = null;

const option = (value, label) => make("option", { value }, label);
const isRight = (response) => (response.correct ? "✓" : "✗");

function start() {
  $("facts").textContent = data.facts.join(" · ");
  for (const step of new Set(data.responses.map((each) => each.rollout_step))) $("step").append(option(step, step));
  const fates = new Set(data.responses.map((each) => each.fate));
  for (const fate of Object.keys(data.fates)) if (fates.has(fate)) $("fate").append(option(fate, data.fates[fate]));
  for (const response of data.responses) response.searched = `${response.prompt}\n${response.response}\n${response.answer}`.toLowerCase();
  $("filters").addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("list").addEventListener("scroll", drawRows);
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) choose(shown[row.dataset.place], true);
  });
  addEventListener("resize", drawRows);
  document.addEventListener("keydown", onKey);
  drawCurves(data, (step) => { $("step").value = step; filter(); });
  document.querySelector("main").hidden = false;
  filter();
}

function filter() {
  const step = $("step").value, verdict = $("verdict").value, truncated = $("truncated").value, fate = $("fate").value;
  const text = $("text").value.toLowerCase();
  shown = data.responses.filter((each) =>
    (step === "" || each.rollout_step === Number(step)) &&
    (verdict === "" || each.correct === (verdict === "right")) &&
    (truncated === "" || each.truncated === (truncated === "yes")) &&
    (fate === "" || each.fate === fate) &&
    (text === "" || each.searched.includes(text)));
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${data.responses.length.toLocaleString("en")} responses`;
  $("list").scrollTop = 0;
  choose(shown.includes(chosen) ? chosen : shown[0] ?? null);
}

function drawRows() { // only those in sight
  const list = $("list"), rows = $("rows");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW_HEIGHT) + 10);
  rows.style.height = `${shown.length * ROW_HEIGHT}px`;
  rows.replaceChildren(...shown.slice(first, last).map((each, index) => {
    const place = first + index;
    const row = make("div", { class: each.fate in { kept: 1, filled: 1 } ? "row" : "row rejected", role: "option", id: `row${place}`,
      "data-place": place, "aria-selected": each === chosen, "aria-setsize": shown.length, "aria-posinset": place + 1 },
      make("span", { class: "number", title: "rollout step" }, String(each.rollout_step)),
      make("span", { "aria-label": each.correct ? "right" : "wrong" }, isRight(each)),
      make("span", { class: "number", title: "reward" }, number(each.reward, 2)),
      make("span", { "aria-label": each.truncated ? "truncated" : "" }, each.truncated ? "✂" : ""),
      make("span", {}, visible(`${each.prompt.slice(-60)} ${each.response.slice(0, 200)}`, "⏎")));
    row.style.top = `${place * ROW_HEIGHT}px`;
    return row;
  }));
  list.setAttribute("aria-activedescendant", chosen ? `row${shown.indexOf(chosen)}` : "");
}

function choose(response, scroll = false) {
  chosen = response;
  const place = shown.indexOf(chosen), list = $("list");
  if (place >= 0) {
    const top = place * ROW_HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  }
  drawRows();
  drawDetail(chosen, data);
  markCurves(chosen ? data.optimizer_steps[chosen.rollout_step] : undefined);
  if (scroll && matchMedia("(max-width: 700px)").matches) $("detail").scrollIntoView();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { document.activeElement.blur(); $("tip").hidden = true; return; }
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const inList = event.target === $("list"), place = shown.indexOf(chosen), page = Math.floor($("list").clientHeight / ROW_HEIGHT);
  const moves = { j: 1, k: -1, ...(inList && { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }) };
  if (event.key in moves) {
    if (shown.length) choose(shown[Math.max(0, Math.min(shown.length - 1, place + moves[event.key]))]);
  } else if (event.key === "/") {
    $("text").focus();
  } else if (event.key === "c") {
    nextColouring();
  } else {
    return;
  }
  event.preventDefault();
}

unpacked($("data").textContent.trim()).then((unpackedData) => { data = unpackedData; start(); }).catch((error) => {
  $("problem").textContent = `This page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
});
