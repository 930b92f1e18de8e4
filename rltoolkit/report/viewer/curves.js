// Small curves over optimizer steps; a click goes to the rollout step behind it.
const WIDE = 200, HIGH = 84, LEFT = 30, BOTTOM = 12, TOP = 5;
let scale = null;

function svg(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function drawCurves(data, onStep) {
  const longest = Math.max(1, ...data.curves.flatMap((curve) => curve.points.map(([x]) => x)));
  scale = (x) => LEFT + (x / longest) * (WIDE - LEFT - 4);
  const steps = Object.entries(data.optimizer_steps).filter(([step]) => data.responses.some((each) => each.rollout_step === Number(step)));
  const nearest = (x) => steps.reduce((best, each) => (Math.abs(each[1] - x) < Math.abs(best[1] - x) ? each : best));
  for (const curve of data.curves) {
    const values = curve.points.map(([, y]) => y), low = Math.min(0, ...values), high = Math.max(...values, low + 1e-9);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HIGH - TOP - BOTTOM);
    const text = (value) => (curve.percent ? `${number(value * 100, 1)} %` : number(value, Math.abs(value) >= 10 ? 1 : 3));
    const said = make("span", {}, text(values.at(-1)));
    const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img",
      "aria-label": `${curve.title}: from ${text(values[0])} to ${text(values.at(-1))} at optimizer step ${curve.points.at(-1)[0]}` });
    picture.append(
      svg("line", { class: "axis", x1: LEFT, x2: WIDE, y1: y(low), y2: y(low) }),
      svg("text", { x: LEFT - 3, y: TOP + 7, "text-anchor": "end" }, curve.percent ? number(high * 100, 0) : number(high, high >= 10 ? 0 : 2)),
      svg("text", { x: LEFT - 3, y: HIGH - BOTTOM, "text-anchor": "end" }, curve.percent ? number(low * 100, 0) : number(low, 2)),
      svg("text", { x: WIDE - 4, y: HIGH - 1, "text-anchor": "end" }, `step ${longest}`),
      svg("polyline", { class: "curve", points: curve.points.map(([x, value]) => `${scale(x).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }),
      svg("line", { class: "now", y1: TOP, y2: HIGH - BOTTOM, x1: -9, x2: -9 }));
    const under = (event) => {
      const box = picture.getBoundingClientRect();
      return (((event.clientX - box.left) / box.width) * WIDE - LEFT) / (WIDE - LEFT - 4) * longest;
    };
    picture.addEventListener("pointermove", (event) => {
      const x = under(event);
      const point = curve.points.reduce((best, each) => (Math.abs(each[0] - x) < Math.abs(best[0] - x) ? each : best));
      said.textContent = `step ${point[0]}: ${text(point[1])}`;
    });
    picture.addEventListener("pointerleave", () => { said.textContent = text(values.at(-1)); });
    picture.addEventListener("click", (event) => { if (steps.length) onStep(nearest(under(event))[0]); });
    $("curves").append(make("figure", {}, make("figcaption", {}, curve.title, said), picture));
  }
}

function markCurves(step) {
  for (const line of document.querySelectorAll(".now")) {
    for (const end of ["x1", "x2"]) line.setAttribute(end, step === undefined ? -9 : scale(step));
  }
}
