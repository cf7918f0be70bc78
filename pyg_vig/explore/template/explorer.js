"use strict";

/* State of the page, event handlers that change it, and the text on the page. */

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const blocks = new Map(); // unpacked when first shown
const stage = byId("stage"), slider = byId("block");
const drawing = new Drawing(byId("heat"), byId("marks"), data);

let pressedBy = "mouse"; // pointer type, which not every browser reports with a click

/* The patch is stored as a position (fractions of height and width), so that it stays in place if the grid changes. */
const state = { block: 0, y: 0.5, x: 0.5, overlay: "none", pinned: false };

function currentBlock() {
  if (!blocks.has(state.block)) blocks.set(state.block, new Block(data.blocks[state.block]));
  return blocks.get(state.block);
}

function currentPatch() {
  return currentBlock().grid.patchAt(state.y, state.x);
}

/** Change the state and redraw the page; with `announce`, announce the changes to screen readers. */
function update(changes, announce = false) {
  Object.assign(state, changes);
  const block = currentBlock(), patch = currentPatch(), neighbors = block.neighbors(patch);
  drawing.drawMarks(block, patch, state.overlay === "none");
  showOverlay(block, patch);
  showBlock(block);
  showPatch(block, patch, neighbors);
  if (announce) byId("announcement").textContent = announcement(block, patch, neighbors);
}

function showBlock(block) {
  const { rows, columns } = block.grid, name = `${state.block + 1} of ${data.blocks.length}`;
  const pooling = block.isPooled ? `, neighbours pooled to ${block.sources.rows} × ${block.sources.columns}` : "";
  slider.value = state.block + 1;
  slider.setAttribute("aria-valuetext", `block ${name}, ${rows} × ${columns} patches`);
  byId("block-name").textContent = name;
  byId("block-facts").textContent = `${rows} × ${columns} patches${pooling}`;
  byId("block-module").textContent = block.name;
  byId("previous").disabled = state.block === 0;
  byId("next").disabled = state.block === data.blocks.length - 1;
}

const OVERLAYS = {
  none: { values: () => null, meaning: () => "" },
  similarity: {
    values: (block, patch) => block.similarity(patch),
    meaning: (block) => `Cosine similarity of the patch to all others (${block.attention ? "query and key" : "features"}).`,
    range: (values) => [Math.min(...values), Math.max(...values)],
    text: (value) => value.toFixed(2),
  },
  timesChosen: {
    values: (block) => block.timesChosen(),
    meaning: () => "How many other patches have this one as a neighbour.",
    range: (values) => [0, Math.max(...values)],
    text: (value) => String(value),
  },
};

function showOverlay(block, patch) {
  const overlay = OVERLAYS[state.overlay], values = overlay.values(block, patch);
  stage.dataset.overlay = state.overlay;
  byId("scale").hidden = !values;
  byId("overlay-meaning").textContent = overlay.meaning(block);
  document.querySelector(`input[value="${state.overlay}"]`).checked = true;
  const [low, high] = values ? overlay.range(values) : [0, 0];
  drawing.drawHeatmap(block.sources, values, low, high);
  if (!values) return;
  byId("low").textContent = overlay.text(low);
  byId("high").textContent = overlay.text(high);
}

function showPatch(block, patch, neighbors) {
  byId("patch-name").textContent = `Patch in ${block.grid.name(patch)}`;
  byId("patch-facts").textContent = describeNeighbors(block, patch, neighbors);
  byId("pinned").hidden = !state.pinned;
  stage.classList.toggle("pinned", state.pinned);
  const maximum = Math.max(...neighbors.map(({ weight }) => Math.abs(weight)), 1e-9);
  byId("neighbors").replaceChildren(...neighbors.map((neighbor) => listEntry(block, patch, neighbor, maximum)));
}

function describeNeighbors(block, patch, neighbors) {
  const others = neighbors.filter((neighbor) => !block.isSamePatch(patch, neighbor.patch));
  if (!others.length) return "no neighbours except itself";
  const itself = others.length < neighbors.length ? " (including itself)" : "";
  const facts = [`${neighbors.length} neighbours${itself}, with their ${block.attention ? "attention" : "similarity"}`];
  facts.push(`on average ${block.meanDistance(patch).toFixed(1)} patches away`);
  if (!block.isPooled) facts.push(`chosen as a neighbour by ${block.timesChosen()[patch]} others`);
  return facts.join(" · ");
}

function listEntry(block, patch, neighbor, maximum) {
  const entry = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.dataset.patch = neighbor.patch;
  button.title = "Go to this patch";
  const name = document.createElement("span"), bar = document.createElement("i"), weight = document.createElement("span");
  name.textContent = block.isSamePatch(patch, neighbor.patch) ? "itself" : block.sources.name(neighbor.patch);
  bar.style.setProperty("--share", Math.abs(neighbor.weight) / maximum);
  weight.textContent = formatWeight(neighbor.weight);
  weight.className = "number";
  button.append(name, bar, weight);
  entry.append(button);
  return entry;
}

function formatWeight(weight) {
  return Math.abs(weight) < 0.0995 ? weight.toPrecision(2) : weight.toFixed(3);
}

function announcement(block, patch, neighbors) {
  const others = neighbors.filter((neighbor) => !block.isSamePatch(patch, neighbor.patch));
  const first = others.slice(0, 3).map((neighbor) => block.sources.name(neighbor.patch)).join("; ");
  return `Block ${state.block + 1}, patch in ${block.grid.name(patch)}: ${neighbors.length} neighbours. First: ${first}.`;
}

/** Position of the pointer on the photo, as fractions of height and width. */
function positionOf(event) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
}

function isCurrentPatch(position) {
  return currentBlock().grid.patchAt(position.y, position.x) === currentPatch();
}

function movePatch(down, right) {
  const { grid } = currentBlock(), { row, column } = grid.box(currentPatch());
  const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
  const target = clamp(row + down, grid.rows) * grid.columns + clamp(column + right, grid.columns);
  update(grid.center(target), true);
}

function moveBlock(step) {
  update({ block: Math.min(data.blocks.length - 1, Math.max(0, state.block + step)) }, true);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-pressed", theme === "dark");
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

function toggleTheme() {
  systemTheme.onchange = null; // stop following the system once the user has chosen
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

const KEYS = {
  ArrowUp: () => movePatch(-1, 0),
  ArrowDown: () => movePatch(1, 0),
  ArrowLeft: () => movePatch(0, -1),
  ArrowRight: () => movePatch(0, 1),
  "[": () => moveBlock(-1),
  "]": () => moveBlock(1),
  1: () => update({ overlay: "none" }, true),
  2: () => update({ overlay: "similarity" }, true),
  3: () => update({ overlay: "timesChosen" }, true),
  t: toggleTheme,
};

document.addEventListener("keydown", (event) => {
  const onControl = event.target.closest("input, button, summary");
  const action = event.key === "Enter" && !onControl ? () => update({ pinned: !state.pinned }) : KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.startsWith("Arrow") && event.target.closest("input")) return; // inputs handle arrows themselves
  event.preventDefault();
  action();
});

stage.addEventListener("pointermove", (event) => {
  const position = positionOf(event);
  if (event.pointerType === "mouse" && !state.pinned && !isCurrentPatch(position)) update(position);
});

stage.addEventListener("pointerdown", (event) => {
  pressedBy = event.pointerType;
});

stage.addEventListener("click", (event) => {
  const position = positionOf(event), unpin = state.pinned && isCurrentPatch(position);
  update({ ...position, pinned: pressedBy === "mouse" && !unpin }); // touch needs no pin: only a tap moves the patch
});

byId("neighbors").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) update({ ...currentBlock().sources.center(Number(button.dataset.patch)), pinned: true }, true);
});

for (const [name, on] of Object.entries({ pointerover: true, focusin: true, pointerout: false, focusout: false })) {
  byId("neighbors").addEventListener(name, (event) => {
    const button = event.target.closest("button");
    drawing.highlight(on && button ? Number(button.dataset.patch) : null);
  });
}

slider.addEventListener("input", () => update({ block: Number(slider.value) - 1 }));
byId("previous").addEventListener("click", () => moveBlock(-1));
byId("next").addEventListener("click", () => moveBlock(1));
byId("theme").addEventListener("click", toggleTheme);
document.querySelectorAll("input[name=overlay]").forEach((choice) => {
  choice.addEventListener("change", () => update({ overlay: choice.value }));
});

const systemTheme = matchMedia("(prefers-color-scheme: dark)");
systemTheme.onchange = () => setTheme(systemTheme.matches ? "dark" : "light");
systemTheme.onchange();

slider.max = data.blocks.length;
document.body.style.setProperty("--aspect", data.width / data.height);
byId("gradient").style.background = `linear-gradient(to right, ${VIRIDIS.map((color) => `rgb(${color})`).join()})`;
update({});
