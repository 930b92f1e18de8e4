// One response: the facts, its group, and its tokens in colour.
const MOST_TOKENS = 5000; // drawn at once
const COLOURINGS = {
  probability: { label: "probability", low: "unlikely", ends: ["1", "0"] },
  entropy: { label: "entropy", low: "", ends: ["0"] },
  ratio: { label: "ratio new/old", ends: ["0.7", "1", "1.3"] },
  clipped: { label: "clipping", ends: ["clipped low ▾", "", "clipped high ▴"] },
  advantage: { label: "advantage", ends: ["−2", "0", "+2"] },
  none: { label: "none", ends: [] },
};
let colouring = "probability", response = null, largestEntropy = 0, read = -1;

// The value of a token, null where it has none.
function valueAt(each, name, place) {
  const values = name === "probability" ? each.log_probs : each[name];
  const value = Array.isArray(values) ? values[place] ?? null : values;
  return name === "probability" && value !== null ? Math.exp(value) : value;
}

// The colour of a value, or null: vermilion for what falls or is unlikely, blue for what rises, purple for entropy.
function colour(name, value) {
  if (value === null || value === undefined || name === "none") return null;
  const tint = (hue, share) => (share > 0.02 ? `rgb(var(--${hue}) / ${(0.62 * Math.min(1, share)).toFixed(2)})` : null);
  if (name === "probability") return tint("low", 1 - value);
  if (name === "entropy") return tint("much", value / largestEntropy);
  const signedShare = { ratio: Math.log(value) / Math.log(1.3), clipped: value, advantage: value / 2 }[name];
  return tint(signedShare < 0 ? "low" : "high", Math.abs(signedShare));
}

const pieces = (each) => (each.tokens.length ? each.tokens : [each.response]);
const hasUpdate = (each) => each.optimizer_step !== null;

function drawDetail(each, data) {
  response = each;
  read = -1;
  $("tip").hidden = true;
  if (!largestEntropy) {
    largestEntropy = 0.1;
    for (const other of data.responses) for (const value of other.entropy) if (value > largestEntropy) largestEntropy = value;
    COLOURINGS.entropy.ends[1] = `${number(largestEntropy, 2)} nats`;
  }
  if (!each) return $("detail").replaceChildren(make("p", {}, "No response passes the filters."));
  const group = data.responses.filter((other) => other.rollout_step === each.rollout_step && other.group === each.group);
  const siblings = make("div", { id: "siblings" }, ...group.map((other) => {
    const button = make("button", { type: "button", "aria-current": other === each },
      `${isRight(other)}${other.truncated ? " ✂" : ""} ${signed(other.reward)}`);
    button.addEventListener("click", () => { choose(other); document.querySelector("#siblings [aria-current=true]").focus(); });
    return button;
  }));
  const choice = make("select", { id: "colouring", "aria-label": "Colour tokens by" },
    ...Object.entries(COLOURINGS).map(([name, { label }]) => option(name, label)));
  choice.value = colouring;
  choice.addEventListener("change", () => { colouring = choice.value; paint(); });
  $("detail").replaceChildren(
    make("h2", {}, `${each.correct ? "✓ right" : "✗ wrong"}${each.truncated ? ", ✂ truncated" : ""}: rollout step ${each.rollout_step}`),
    factsTable(each, data), make("h3", {}, `Group of prompt ${each.prompt_index}, ${data.fates[each.fate] ?? each.fate}`), siblings,
    make("h3", {}, "Prompt"), make("pre", { class: "text prompt", dir: "auto", tabindex: 0, "aria-label": "Prompt" }, visible(each.prompt)),
    make("h3", {}, "Response"), make("div", { id: "legend" }), tokenPane(each), choice);
  $("legend").before(choice);
  paint();
}

function factsTable(each, data) {
  const rows = [["answer", visible(each.answer, "⏎")], ["reward", number(each.reward)]];
  const parts = Object.entries(each.reward_parts);
  if (parts.length) rows[1][1] += ` = ${parts.map(([name, value], index) => `${index ? signed(value) : number(value)} ${name}`).join("  ")}`;
  const advantages = Array.isArray(each.advantage) ? "by token" : number(each.advantage);
  rows.push(["advantage", advantages], ["length", `${each.response_length} tokens`]);
  rows.push(["sampled by", `policy version ${each.policy_version}`]);
  rows.push(["trained in", hasUpdate(each) ? `optimizer step ${each.optimizer_step}` : "no optimizer step"]);
  return make("table", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value))));
}

function tokenPane(each) {
  const pane = make("div", { id: "tokens", class: "text", dir: "auto", tabindex: 0, role: "group", "aria-label": "Response: left and right arrow keys read its tokens" });
  const all = pieces(each);
  const more = () => {
    pane.querySelector("button")?.remove();
    const from = pane.childElementCount, to = Math.min(all.length, from + MOST_TOKENS);
    for (let place = from; place < to; place++) {
      const token = make("span", { class: "token", "data-place": place }, visible(all[place]));
      const clip = each.clipped[place] ?? 0;
      if (clip) token.classList.add(clip < 0 ? "low" : "high");
      if (hasUpdate(each) && (each.ratio[place] ?? null) === null) token.classList.add("untrained");
      pane.append(token);
    }
    if (to < all.length) {
      const button = make("button", { type: "button" }, `${(all.length - to).toLocaleString("en")} more tokens`);
      button.addEventListener("click", () => { more(); paint(); });
      pane.append(button);
    }
  };
  more();
  const onPoint = (event) => {
    const token = event.target.closest(".token");
    if (token) readToken(token); else $("tip").hidden = true;
  };
  pane.addEventListener("pointerover", onPoint);
  pane.addEventListener("click", onPoint);
  for (const event of ["pointerleave", "blur", "scroll"]) pane.addEventListener(event, () => { $("tip").hidden = true; });
  pane.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const token = step && pane.children[read + step];
    if (!token?.dataset.place) return;
    token.scrollIntoView({ block: "nearest" });
    requestAnimationFrame(() => readToken(token)); // behind the scroll event, which hides the numbers
    event.preventDefault();
  });
  return pane;
}

function readToken(token) {
  document.querySelector(".token.read")?.classList.remove("read");
  token.classList.add("read");
  read = Number(token.dataset.place);
  const clip = valueAt(response, "clipped", read) ?? 0;
  const lines = [JSON.stringify(visible(pieces(response)[read].slice(0, 60), "⏎")), `probability ${number(valueAt(response, "probability", read), 4)}`];
  if (hasUpdate(response)) {
    lines.push(`entropy ${number(valueAt(response, "entropy", read))}`, `ratio ${number(valueAt(response, "ratio", read))}`);
    if (clip) lines.push(clip < 0 ? "clipped low ▾" : "clipped high ▴");
    if (token.classList.contains("untrained")) lines.push("did not train");
  }
  lines.push(`advantage ${number(valueAt(response, "advantage", read))}`);
  const tip = $("tip"), box = token.getClientRects()[0] ?? token.getBoundingClientRect();
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? box.bottom + 6 : Math.max(4, box.top - tip.offsetHeight - 6)}px`;
}

function paint() {
  const pane = $("tokens");
  pane.classList.toggle("clipped", colouring === "clipped");
  for (const token of pane.querySelectorAll(".token")) {
    token.style.backgroundColor = colour(colouring, valueAt(response, colouring, Number(token.dataset.place))) ?? "";
  }
  const swatches = { probability: [1, 0], entropy: [0, largestEntropy], ratio: [1 / 1.3, 1, 1.3], clipped: [-1, 0, 1], advantage: [-2, 0, 2], none: [] };
  const marks = swatches[colouring].map((value, index) => {
    const swatch = make("i");
    swatch.style.backgroundColor = colour(colouring, value) ?? "";
    return make("span", {}, swatch, ` ${COLOURINGS[colouring].ends[index] || "not clipped"}`);
  });
  if (response.clipped.some((clip) => clip)) marks.push("line below: clipped low; line above: clipped high");
  if (pane.querySelector(".untrained")) marks.push("dotted: did not train");
  if (["entropy", "ratio", "clipped"].includes(colouring) && !hasUpdate(response)) marks.push("no numbers: it was not trained on");
  $("legend").replaceChildren("", ...marks.map((mark) => (mark instanceof Node ? mark : make("span", {}, mark))));
}

function nextColouring() {
  const names = Object.keys(COLOURINGS);
  colouring = names[(names.indexOf(colouring) + 1) % names.length];
  const choice = $("colouring");
  if (choice) { choice.value = colouring; paint(); }
}
